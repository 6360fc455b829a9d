"""The report on disk: the page, its numbers and its figures, each written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from submanifold.errors import InvalidInput
from submanifold.files import atomic_write_bytes, atomic_write_json, writable_folder
from submanifold.report.document import to_json
from submanifold.report.figures import draw_all
from submanifold.report.page import render

if TYPE_CHECKING:
    from submanifold.lens.outcome import Report

__all__ = ["write"]


def write(report: Report, path: str | Path) -> Path:
    """Write `report` as the page `path`, ending in .html, and return the path.

    Beside the page lie its numbers, under the same name ending in .json, and the folder `figures` with every picture
    as a PNG. The page needs neither: it may be moved or sent alone. It is written last, so that where there is a new
    page the rest is new as well.

    Raises:
        InvalidInput: `path` does not end in .html, or its folder cannot be written to.
        OSError: the disk is full; files that were there before stay whole.
    """
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise InvalidInput(f"path={str(path)!r} is not accepted: give the name of a page, ending in .html")
    folder = writable_folder(path.parent, name="path")
    drawings = draw_all(report)
    page = render(report, drawings)
    pictures = writable_folder(folder / "figures", name="path")
    for drawing in drawings.values():
        atomic_write_bytes(pictures / drawing.file, drawing.png)
    atomic_write_json(path.with_suffix(".json"), to_json(report))
    atomic_write_bytes(path, page.encode("utf-8"))
    return path
