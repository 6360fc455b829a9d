"""The one plotting style: readable in black and white and by the colour-blind, the same in reports, PNGs and papers.

Series differ by colour (Okabe and Ito's palette), by line style and by marker at once, so that no figure depends on
colour alone. Figures are made without pyplot's global state; nothing is shown or kept alive behind the caller's back.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from submanifold.files import atomic_write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "CLASS_COLORS",
    "DATA",
    "SERIES",
    "Series",
    "new_figure",
    "picture",
    "png_bytes",
    "save_png",
    "series",
    "style",
]


@dataclass(frozen=True)
class Series:
    """How one series looks: `marker` and `line` are matplotlib's, `symbol` is plotly's in three dimensions."""

    color: str
    marker: str
    line: Any
    symbol: str = "circle"

    def line_kwargs(self) -> dict[str, Any]:
        """Keyword arguments for `Axes.plot`."""
        return {"color": self.color, "marker": self.marker, "linestyle": self.line}

    def point_kwargs(self) -> dict[str, Any]:
        """Keyword arguments for `Axes.scatter`."""
        return {"color": self.color, "marker": self.marker}


DATA = Series("#555555", "o", "-")
SERIES = (
    Series("#0072B2", "s", "-", "square"),
    Series("#D55E00", "^", "--", "cross"),
    Series("#009E73", "D", "-.", "diamond"),
    Series("#CC79A7", "v", ":", "circle-open"),
    Series("#E69F00", "P", (0, (5, 1, 1, 1, 1, 1)), "square-open"),
    Series("#56B4E9", "X", (0, (8, 3)), "diamond-open"),
)
"""Data are always grey; models take the series in order."""

CLASS_COLORS = (
    *("#332288", "#88CCEE", "#44AA99", "#117733", "#999933"),
    *("#DDCC77", "#CC6677", "#882255", "#AA4499", "#777777"),
)
"""Colours of labelled classes (Tol's muted palette), used where position shows the class too."""

_STYLE: dict[Any, Any] = {
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "image.cmap": "cividis",
    "svg.fonttype": "none",
}


def series(index: int) -> Series:
    """The look of the `index`-th model."""
    return SERIES[index % len(SERIES)]


@contextmanager
def style() -> Iterator[None]:
    """Draw in the project's style inside this block, whatever the caller's matplotlib settings are."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        yield


def new_figure(
    columns: int = 1,
    rows: int = 1,
    *,
    width: float = 4.6,
    height: float = 3.5,
    **subplot_kwargs: Any,
) -> tuple[Figure, list[Axes]]:
    """A figure with `rows` x `columns` panels of `width` x `height` inches, and its axes row by row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(rows, columns, squeeze=False, **subplot_kwargs)
    return figure, list(axes.ravel())


def picture(points: NDArray[Any]) -> Figure:
    """Images (n, channels, height, width) as a grid; points (n, D) on their first two principal axes."""
    return _grid(points) if points.ndim == 4 else _scatter(points)


def _grid(images: NDArray[Any]) -> Figure:
    """The images from black, the smallest value of all, to white, the largest; three channels are colours."""
    n, channels, height, width = images.shape
    columns = min(n, 8 if n <= 64 else 16)
    rows = -(-n // columns)
    shown = images if channels == 3 else images[:, :1]
    low, high = float(shown.min()), float(shown.max())
    sheet = np.ones((rows * (height + 1) + 1, columns * (width + 1) + 1, shown.shape[1]))
    for index, image in enumerate((shown - low) / max(high - low, 1e-12)):
        top, left = (1 + index // columns * (height + 1)), (1 + index % columns * (width + 1))
        sheet[top : top + height, left : left + width] = np.moveaxis(image, 0, -1)
    figure, (axis,) = new_figure(width=0.6 * columns, height=0.6 * rows * height / width)
    axis.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.axis("off")
    return figure


def _scatter(points: NDArray[Any]) -> Figure:
    centred = points - points.mean(axis=0)
    if centred.shape[1] > 2:
        centred = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T  # (n, 2)
        labels = ("principal axis 1", "principal axis 2")
    else:
        centred, labels = points, ("x1", "x2")
    x, y = centred[:, 0], centred[:, 1] if centred.shape[1] == 2 else np.zeros(len(centred))
    figure, (axis,) = new_figure(width=4.6, height=4.6)
    axis.scatter(x, y, s=8, alpha=0.6, linewidths=0, **series(0).point_kwargs())
    axis.set(xlabel=labels[0], ylabel=labels[1] if centred.shape[1] == 2 else "")
    axis.set_aspect("equal", adjustable="datalim")
    return figure


def png_bytes(figure: Figure) -> bytes:
    """`figure` as the bytes of a PNG."""
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format="png", facecolor="white")
    return buffer.getvalue()


def save_png(figure: Figure, path: str | Path) -> Path:
    """Write `figure` as a PNG, whole or not at all, and return its path."""
    path = Path(path)
    atomic_write_bytes(path, png_bytes(figure))
    return path
