"""`submanifold dimension SOURCE`: the intrinsic dimension of data."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from submanifold.cli.arguments import Limit, Seed, Source, split_names
from submanifold.cli.console import console, note

if TYPE_CHECKING:
    from submanifold.data import Dataset
    from submanifold.dimension import DimensionEstimate

__all__ = ["dimension"]


def dimension(
    source: Source,
    k: Annotated[int | None, typer.Option(min=3, help="Neighbours of the maximum likelihood estimate.")] = None,
    method: Annotated[
        str | None, typer.Option(help="Estimators, separated by commas; see: submanifold list estimators.")
    ] = None,
    by_class: Annotated[bool, typer.Option("--by-class", help="Also show each class by itself.")] = False,
    limit: Limit = None,
    seed: Seed = 0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    save: Annotated[Path | None, typer.Option(help="Draw the estimates into this PNG.")] = None,
) -> None:
    """Estimate the intrinsic dimension of data, with its interval."""
    from submanifold import data
    from submanifold.dimension import estimate, names
    from submanifold.errors import InvalidInput

    points = data.load(source, limit=limit)
    if by_class and points.labels is None:
        raise InvalidInput(f"--by-class: {points.name} has no labels")
    methods = names() if method is None else split_names(method)
    found = estimate(points, methods=methods, k=k, seed=seed)
    if json:
        console().print_json(dumps(found.to_json()))
    else:
        _show(found, points, by_class)
    if save is not None:
        from submanifold.plotting import save_png

        note(f"Figure: {save_png(found.figure(), save)}")


def _show(found: DimensionEstimate, points: Dataset, by_class: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from submanifold.lens.finding import Number
    from submanifold.report.wording import estimate, interval

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for column in ("method", "dimension", "95% interval"):
        table.add_column(column)
    rows = {"consensus": found, **found.by_method}
    if by_class and found.by_class is not None:
        rows |= {f"class {label}": one for label, one in found.by_class.items()}
    for name, one in rows.items():
        number = Number(one.dimension, *one.interval)
        style = "bold" if one is found else ""
        table.add_row(name, Text(estimate(number), style=style), interval(number))
    out = console()
    out.print(Text(f"{points.name}: {found.n} points in {found.ambient_dim} dimensions"), soft_wrap=True)
    out.print(table)
    for sentence in found.warnings:
        note(f"note: {sentence}")
