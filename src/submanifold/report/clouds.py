"""Data and samples side by side: an interactive view in three dimensions, and small multiples for paper and for 2-D."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from submanifold.plotting import CLASS_COLORS, DATA, Series, new_figure, series

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from submanifold.lens.outcome import Cloud

__all__ = ["MOST_POINTS", "embed_json", "interactive", "look", "small_multiples", "spatial"]

MOST_POINTS = 2000
"""Points shown of each cloud: more hide each other and weigh the page down."""

_MOST_AT_ONCE = 3
_SIZES = {"circle": 2.4, "cross": 4.0, "circle-open": 3.6, "square-open": 3.4}  # of equal weight to the eye


def look(index: int) -> Series:
    """The look of the `index`-th cloud: the data come first."""
    return DATA if index == 0 else series(index - 1)


def _thinned(cloud: Cloud) -> tuple[NDArray[np.float64], NDArray[np.int64] | None]:
    """At most `MOST_POINTS` points at even strides, and their classes."""
    n = len(cloud.points)
    index = np.unique(np.linspace(0, n - 1, min(n, MOST_POINTS)).astype(int)) if n else np.arange(0)
    return cloud.points[index], None if cloud.color_by is None else cloud.color_by[index]


def spatial(clouds: Sequence[Cloud]) -> list[Cloud]:
    """The clouds that have three coordinates."""
    return [cloud for cloud in clouds if cloud.points.shape[1] == 3]


def embed_json(value: Any) -> str:
    """JSON that may stand inside a script element: no character in it can end the element or start another."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def interactive(clouds: Sequence[Cloud]) -> list[dict[str, Any]]:
    """Plotly traces of the clouds in three dimensions; each differs by colour and by symbol.

    Of many clouds the data and the first model are visible to begin with: more would hide each other.
    """
    traces = []
    shown = len(clouds) if len(clouds) <= _MOST_AT_ONCE else 2
    for index, cloud in enumerate(spatial(clouds)):
        points, classes = _thinned(cloud)
        x, y, z = (np.round(points[:, axis], 4).tolist() for axis in range(3))
        trace = {
            "type": "scatter3d",
            "mode": "markers",
            "visible": index < shown,
            "name": html.escape(cloud.label),  # plotly reads names as markup
            "x": x,
            "y": y,
            "z": z,
            "marker": {
                "size": _SIZES.get(look(index).symbol, 2.8),
                "opacity": 0.75,
                "symbol": look(index).symbol,
                "color": look(index).color,
            },
            "hoverinfo": "name",
        }
        if classes is not None:
            trace["meta"] = {"classes": [CLASS_COLORS[c % len(CLASS_COLORS)] for c in classes.tolist()]}
            trace["text"] = [f"class {c}" for c in classes.tolist()]
            trace["hoverinfo"] = "name+text"
        traces.append(trace)
    return traces


def small_multiples(clouds: Sequence[Cloud]) -> Figure:
    """One panel per cloud over the data in pale grey, all on the same axes."""
    dimension = clouds[0].points.shape[1]
    columns = min(len(clouds), 3)
    rows = math.ceil(len(clouds) / columns)
    options = {"subplot_kw": {"projection": "3d"}} if dimension == 3 else {}
    figure, axes = new_figure(columns, rows, width=3.4, height=3.4, **options)
    data, _ = _thinned(clouds[0])
    middle = (data.max(axis=0) + data.min(axis=0)) / 2
    reach = max(float((data.max(axis=0) - data.min(axis=0)).max()) * 0.6, 1e-12)
    for index, cloud in enumerate(clouds):
        axis: Any = axes[index]  # in two or three dimensions
        points, _ = _thinned(cloud)
        if index:
            axis.scatter(*data.T, s=4, color="#C9C9C9", marker=DATA.marker, linewidths=0)
        axis.scatter(*points.T, s=7, alpha=0.7, linewidths=0, **look(index).point_kwargs())
        axis.set_title(cloud.label)
        for letter, centre in zip("xyz", middle, strict=False):
            getattr(axis, f"set_{letter}lim")(centre - reach, centre + reach)
            getattr(axis, f"set_{letter}ticklabels")([])
        axis.set_aspect("equal")
    for axis in axes[len(clouds) :]:
        axis.remove()
    return figure
