"""The page: one HTML file with everything in it, whose policy forbids it to fetch anything from anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from submanifold.report.clouds import MOST_POINTS, embed_json, interactive, look, spatial
from submanifold.report.figures import Drawing, draw_all
from submanifold.report.reproduction import command
from submanifold.report.tables import dimension_tables
from submanifold.report.template import asset, environment, policy

if TYPE_CHECKING:
    from submanifold.lens.outcome import Report

__all__ = ["render"]


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def render(report: Report, drawings: Mapping[str, Drawing] | None = None) -> str:
    """The page of `report` as HTML; `drawings` are its figures if they are drawn already."""
    drawings = draw_all(report) if drawings is None else drawings
    in_space = spatial(report.clouds) if "clouds" in drawings else []
    traces = interactive(in_space)
    scripts = [asset("page.js")]
    if in_space:
        scripts = [_plotly(), asset("clouds.js"), *scripts]
    context: dict[str, Any] = {
        "title": report.title,
        "report": report,
        "drawings": drawings,
        "policy": policy(scripts),
        "style": asset("page.css"),
        "scripts": scripts,
        "traces": embed_json(traces) if traces else "",
        "clouds": [(cloud, look(index), traces[index]["visible"]) for index, cloud in enumerate(in_space)],
        "has_classes": any(cloud.color_by is not None for cloud in in_space),
        "most_points": MOST_POINTS,
        "tables": [] if report.dimension is None else dimension_tables(report.dimension),
        "command": command(report.settings),
    }
    return environment().get_template("page.html.j2").render(context)
