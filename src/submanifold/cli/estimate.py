"""What the terminal shows of an estimate: the verdict, how it was read, tables, the curve, and what to mind."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from submanifold.cli.console import console

if TYPE_CHECKING:
    from rich.table import Table as Shown

    from submanifold.dimension import DimensionEstimate
    from submanifold.report.tables import Table

__all__ = ["show_estimate"]

_WIDEST = 100  # columns of text that the eye can follow


def show_estimate(found: DimensionEstimate, name: str, *, by_class: bool = False) -> None:
    """Print `found`, the estimate of the data called `name`, each class too if asked to."""
    from rich.text import Text

    from submanifold.cli.curve import curve_lines
    from submanifold.dimension.wording import how, places, verdict
    from submanifold.report.tables import dimension_tables

    out = console()
    width = min(out.width, _WIDEST)

    def paragraph(text: str, style: str = "", first: str = "", later: str = "") -> None:
        filled = textwrap.fill(text, width, initial_indent=first, subsequent_indent=later, break_on_hyphens=False)
        out.print(Text(filled, style=style), soft_wrap=True)

    paragraph(verdict(found, name), "bold")
    out.print()
    paragraph(" ".join(how(found)))
    for table in dimension_tables(found):
        if table.kind != "Class" or by_class:
            out.print()
            out.print(_shown(table))
    out.print()
    for line in curve_lines(found, width):
        out.print(Text(line), soft_wrap=True)
    out.print()
    paragraph(places(found))
    if found.warnings:
        out.print()
        for sentence in found.warnings:
            paragraph(sentence, first="note: ", later="      ")


def _shown(table: Table) -> Shown:
    from rich.table import Table as Shown
    from rich.text import Text

    from submanifold.report.wording import estimate, interval

    shown = Shown(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    shown.add_column(table.kind.lower())
    shown.add_column("reads", justify="right")
    shown.add_column("95% interval")
    if table.has_expected:
        shown.add_column("would agree", justify="right")
    if table.has_shares:
        shown.add_column("points", justify="right")
    for row in table.rows:
        style = "bold" if row.name == "consensus" else ""
        more = [row.expected_text] * table.has_expected + [row.share_text] * table.has_shares
        name, value = Text(row.name, style=style), Text(estimate(row.number), style=style)
        shown.add_row(name, value, interval(row.number), *more)
    return shown
