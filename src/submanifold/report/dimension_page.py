"""An estimate of the dimension as a page: one HTML file that opens without a network, its numbers beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from submanifold.checks import points_of
from submanifold.dimension.wording import how, places, pooled, verdict
from submanifold.errors import InvalidInput
from submanifold.files import atomic_write_bytes, atomic_write_json, writable_folder
from submanifold.neighbors import NeighborGraph, Points
from submanifold.report.document import plain
from submanifold.report.figures import Drawing, draw
from submanifold.report.reproduction import dimension_command
from submanifold.report.tables import dimension_tables
from submanifold.report.template import asset, environment, policy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from submanifold.dimension.result import DimensionEstimate

__all__ = ["DIMENSION_SCHEMA", "render_dimension", "write_dimension"]

DIMENSION_SCHEMA = "submanifold.dimension/1"
"""Name and version of the JSON beside the page."""

_LAWS = {"ball": "a ball", "cube": "a cube", "gaussian": "a Gaussian", "sphere": "a sphere"}
_SCALES = (
    "Left: a plateau over the size of neighbourhoods is a dimension; a drift is noise where they are small, and "
    "curvature or the finite extent of the data where they are large."
)
_RING = " The ring marks the scale at which the consensus was read."
_RIGHT = " Right: each estimate with its 95% interval."
_AGREE = " An upright bar shows what would agree with the consensus."
_HISTOGRAM = (
    "How often each dimension occurs around points, and the error of one point: a histogram no wider than that is one "
    "dimension."
)
_MAP = (
    "Left: the points{plane}, the lighter the higher the dimension around them. Right: how often each occurs, "
    "and the error of one point: a histogram no wider than that is one dimension."
)


def write_dimension(
    found: DimensionEstimate, X: Any, path: str | Path, *, name: str = "data", settings: Mapping[str, Any] | None = None
) -> Path:
    """Write `found`, the estimate of the points `X`, as the page `path`, ending in .html, and return the path.

    Beside the page lie its numbers, under the same name ending in .json, and the folder `figures` with its pictures as
    PNGs. The page needs neither: it may be moved or sent alone. It is written last.

    Args:
        found: what `submanifold.dimension.estimate(X)` returned.
        X: the same points (n, D), images or `Dataset`, for the map of the local dimension. What holds no coordinates, a
            matrix of distances or a `NeighborGraph`, leaves the map out, as None does.
        path: where to.
        name: what the data are called.
        settings: what the estimate was asked with, to reproduce it: "source", "methods", "k", "limit", "seed".

    Raises:
        InvalidInput: `path` does not end in .html, its folder cannot be written to, or X has another number of points.
        OSError: the disk is full; files that were there before stay whole.
    """
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise InvalidInput(f"path={str(path)!r} is not accepted: give the name of a page, ending in .html")
    folder = writable_folder(path.parent, name="path")
    drawings = _drawings(found, X)
    page = render_dimension(found, X, name=name, settings=settings, drawings=drawings)
    pictures = writable_folder(folder / "figures", name="path")
    for drawing in drawings.values():
        atomic_write_bytes(pictures / drawing.file, drawing.png)
    atomic_write_json(path.with_suffix(".json"), _document(found, name, settings or {}))
    atomic_write_bytes(path, page.encode("utf-8"))
    return path


def render_dimension(
    found: DimensionEstimate,
    X: Any,
    *,
    name: str = "data",
    settings: Mapping[str, Any] | None = None,
    drawings: Mapping[str, Drawing] | None = None,
) -> str:
    """The page of `found` as HTML, see `write_dimension`; `drawings` are its figures if they are drawn already."""
    scripts = [asset("page.js")]
    context: dict[str, Any] = {
        "title": f"The dimension of {name}",
        "found": found,
        "verdict": verdict(found, name),
        "how": how(found),
        "places": places(found),
        "facts": _facts(found),
        "tables": dimension_tables(found),
        "drawings": _drawings(found, X) if drawings is None else drawings,
        "command": dimension_command(settings or {}),
        "settings": dict(settings or {}),
        "policy": policy(scripts),
        "style": asset("page.css"),
        "scripts": scripts,
    }
    return environment().get_template("dimension.html.j2").render(context)


def _drawings(found: DimensionEstimate, X: Any) -> dict[str, Drawing]:
    """The figures by key, "dimension" and "local-dimension"; one that cannot be drawn is left out with a warning."""
    alone = X is None or isinstance(X, NeighborGraph) or found.metric == "precomputed"
    points = None if alone else Points.of(points_of(X))
    if points is not None and len(points) != found.n:
        raise InvalidInput(f"X holds {len(points)} points: give the {found.n} points that the estimate was made from")

    def local_map() -> Figure:
        here = np.arange(len(found.rows))
        return found.local.take(here, here).figure(None if points is None else points.gather(found.rows))  # (m, D)

    expects = any(one.expected is not None for one in found.by_method.values())
    scales = _SCALES + _RING * (not found.pieces) + _RIGHT + _AGREE * expects
    places_caption = _HISTOGRAM
    if points is not None:
        places_caption = _MAP.format(plane=" on their first two principal axes" if points.shape[1] > 2 else "")
    drawn = {
        "dimension": draw("dimension", "Dimension against scale, and by method", scales, found.figure),
        "local-dimension": draw("local-dimension", "Where the dimension is what", places_caption, local_map),
    }
    return {key: drawing for key, drawing in drawn.items() if drawing is not None}


def _facts(found: DimensionEstimate) -> dict[str, Any]:
    reading = found.reading
    facts: dict[str, Any] = {"points": found.n}
    if found.ambient_dim is not None:
        facts["coordinates"] = found.ambient_dim
    if found.metric != "euclidean":
        facts["distances"] = found.metric
    if found.n_distinct < found.n:
        facts["distinct points"] = found.n_distinct
    if found.recall < 1:
        facts["neighbours found"] = f"{found.recall:.1%}"
    if not found.pieces and not pooled(found):
        facts |= {
            "read at": f"k = {reading.k}, radius {reading.radius:.3g}",
            "maximum likelihood": round(reading.raw, 2),
            **{f"as {_LAWS[law]}": round(value, 2) for law, value in reading.by_reference.items()},
        }
    return facts


def _document(found: DimensionEstimate, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "schema": DIMENSION_SCHEMA,
        "data": name,
        "verdict": verdict(found, name),
        "how": list(how(found)),
        "dimension": plain(found.to_json()),
        "settings": plain(settings),
    }
