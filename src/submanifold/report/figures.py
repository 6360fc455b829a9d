"""Every figure of a report, drawn once: the page embeds the bytes, the folder keeps them as files."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from submanifold.lens.outcome import Panel
from submanifold.plotting import png_bytes, style
from submanifold.report.clouds import small_multiples, spatial
from submanifold.report.wording import slug, words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from submanifold.lens.outcome import Report

__all__ = ["Drawing", "draw", "draw_all"]

_CSS_PIXELS_PER_INCH = 100  # 10.5 pt text comes out at 14.6 CSS pixels
_DIMENSION = (
    "dimension",
    "Intrinsic dimension over scale",
    "A plateau over the size of neighbourhoods is a dimension; a drift is noise where they are small, and curvature "
    "or the finite extent of the data where they are large.",
)


@dataclass(frozen=True)
class Drawing:
    """One drawn figure: `file` is its name in the folder of figures, sizes are in CSS pixels."""

    file: str
    title: str
    caption: str
    png: bytes
    width: int
    height: int

    @property
    def uri(self) -> str:
        """The picture inside the page."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


def draw(name: str, title: str, caption: str, make: Callable[[], Figure]) -> Drawing | None:
    """The drawing of the figure that `make` makes; None, with a warning, where it cannot be drawn."""
    try:
        with style():
            figure = make()
        width, height = (round(_CSS_PIXELS_PER_INCH * inches) for inches in figure.get_size_inches())
        return Drawing(f"{slug(name)}.png", title, caption, png_bytes(figure), width, height)
    except Exception as error:
        warnings.warn(f"the figure {name!r} cannot be drawn: {error}", stacklevel=2)
        return None


def _wanted(report: Report) -> Iterator[tuple[str, str, str, str, Callable[[], Figure]]]:
    """Key, name, title, caption and how to draw it, of every figure."""
    panels = {panel.name: panel for panel in report.panels}
    if report.clouds and (spatial(report.clouds) or "samples" not in panels):
        make = partial(small_multiples, report.clouds)
        yield "clouds", "clouds", "Data and samples side by side", report.clouds_caption, make
    if report.dimension is not None:
        panels.setdefault("dimension", Panel(*_DIMENSION, report.dimension.figure))
    for panel in panels.values():
        yield f"panel/{panel.name}", panel.name, panel.title, panel.caption, panel.draw
    for card in report.cards:
        for finding in card.findings:
            if finding.draw is not None:
                name, title = f"{card.name} {finding.name}", f"{words(finding.name).capitalize()}: {card.name}"
                yield f"finding/{card.name}/{finding.name}", name, title, "", finding.draw


def draw_all(report: Report) -> dict[str, Drawing]:
    """The drawings of `report` by key: "clouds", "panel/NAME" (always with "panel/dimension"), "finding/MODEL/NAME".

    A figure that cannot be drawn is left out with a warning: the numbers took minutes to get, and are told without it.
    """
    drawn = {key: draw(name, title, caption, make) for key, name, title, caption, make in _wanted(report)}
    return {key: drawing for key, drawing in drawn.items() if drawing is not None}
