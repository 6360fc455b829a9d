"""What the terminal shows: results on stdout, everything else on stderr."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from submanifold.lens.outcome import Cell, Report

__all__ = ["console", "note", "open_page", "show_report"]

_MARKS = {"yes": "✓", "no": "✗"}


def console() -> Console:
    """The console for results."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=False)


def note(text: str) -> None:
    """Say something that is not a result."""
    from rich.console import Console

    Console(stderr=True, highlight=False).print(text, markup=False, soft_wrap=True)


def _answer(cell: Cell) -> str:
    mark = _MARKS.get(cell.answer, "?")
    return f"{mark} {cell.answer}" + (f"\n{cell.detail}" if cell.detail else "")


def show_report(report: Report, page: Path) -> None:
    """The verdict, the table of models and where the page is."""
    from rich.table import Table
    from rich.text import Text

    out = console()
    out.print()
    for index, sentence in enumerate(report.headline):
        out.print(Text(sentence, style="bold" if index == 0 else ""))
    table = Table(box=None, pad_edge=False, padding=(1, 3, 0, 0), header_style="dim")
    for column in ("model", "learned the manifold?", "learned the distribution?", "key findings"):
        table.add_column(column, overflow="fold")
    for card in report.cards:
        findings = "\n".join(f"{f.name.replace('_', ' ')}: {f.verdict}" for f in card.findings)
        table.add_row(
            Text(card.name, style="bold"),
            Text(_answer(card.learned_manifold)),
            Text(_answer(card.learned_distribution)),
            Text(findings),
        )
    if report.cards:
        out.print(table)
    out.print()
    out.print(Text(f"Report: {page}"), soft_wrap=True)


def open_page(page: Path) -> None:
    """Show `page` in the browser."""
    import webbrowser

    webbrowser.open(page.resolve().as_uri())
