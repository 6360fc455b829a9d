"""The page: one HTML file with everything in it, whose policy forbids it to fetch anything from anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any

from submanifold.lens.finding import Number
from submanifold.report import wording
from submanifold.report.clouds import MOST_POINTS, embed_json, interactive, look, spatial
from submanifold.report.figures import Drawing, draw_all
from submanifold.report.reproduction import command

if TYPE_CHECKING:
    from jinja2 import Environment

    from submanifold.dimension.result import DimensionEstimate, MethodEstimate
    from submanifold.lens.outcome import Report

__all__ = ["render"]


def _asset(name: str) -> str:
    return (resources.files("submanifold.report") / "templates" / name).read_text(encoding="utf-8")


def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_asset),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        estimate=wording.estimate,
        fact=wording.fact,
        interval=wording.interval,
        slug=wording.slug,
        words=wording.words,
    )
    return environment


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _policy(scripts: list[str]) -> str:
    """A content security policy under which exactly `scripts` run, and nothing is fetched.

    Scripts are named by their digests, so that text from the data could not run even if it escaped its escaping.
    """
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _rows(found: DimensionEstimate) -> list[tuple[str, dict[str, Number]]]:
    """Tables of the dimension: by method and, where there are labels, by class."""

    def number(one: DimensionEstimate | MethodEstimate) -> Number:
        return Number(one.dimension, *one.interval)

    tables = [("Method", {"consensus": number(found), **{k: number(v) for k, v in found.by_method.items()}})]
    if found.by_class:
        tables.append(("Class", {str(k): number(v) for k, v in found.by_class.items()}))
    return tables


def render(report: Report, drawings: Mapping[str, Drawing] | None = None) -> str:
    """The page of `report` as HTML; `drawings` are its figures if they are drawn already."""
    drawings = draw_all(report) if drawings is None else drawings
    in_space = spatial(report.clouds) if "clouds" in drawings else []
    traces = interactive(in_space)
    scripts = [_asset("page.js")]
    if in_space:
        scripts = [_plotly(), _asset("clouds.js"), *scripts]
    context: dict[str, Any] = {
        "report": report,
        "drawings": drawings,
        "policy": _policy(scripts),
        "style": _asset("page.css"),
        "scripts": scripts,
        "traces": embed_json(traces) if traces else "",
        "clouds": [(cloud, look(index), traces[index]["visible"]) for index, cloud in enumerate(in_space)],
        "has_classes": any(cloud.color_by is not None for cloud in in_space),
        "most_points": MOST_POINTS,
        "dimension_tables": [] if report.dimension is None else _rows(report.dimension),
        "command": command(report.settings),
    }
    return _environment().get_template("page.html.j2").render(context)
