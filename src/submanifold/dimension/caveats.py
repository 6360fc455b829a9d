"""What a dimension estimate does not show by itself, in plain sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from submanifold.data.lattice import lattice_spacing
from submanifold.dimension.mixture import Piece
from submanifold.dimension.pointwise import LocalDimension
from submanifold.dimension.pooling import heterogeneity_p_value
from submanifold.dimension.reference import HIGHEST
from submanifold.dimension.result import MethodEstimate
from submanifold.dimension.scale import Reading, ScaleCurve
from submanifold.dimension.space import Space
from submanifold.dimension.wording import p_value
from submanifold.neighbors import NeighborGraph, Points

__all__ = ["caveats"]

_RATIO_OF_METHODS = 1.25
_RATIO_OF_CLASSES = 1.1
_NARROW = 5.0  # ratio of k that a plateau should span
_LATTICE_ROWS = 5_000
_FAR, _FAR_VOLUME = 20.0, 1e3  # typical distances to the nearest neighbour, and volumes, that make an outlier
_SQUARES = ("cosine", "correlation", "sqeuclidean")
_CORNERS = 200  # points whose triangles are looked at
_ROUNDED = 0.05  # of the longest side
_FEW = 0.02  # more than this part of the points are no outliers but a tail


def caveats(
    space: Space,
    graph: NeighborGraph,
    reading: Reading,
    curve: ScaleCurve,
    pieces: Sequence[Piece],
    by_method: Mapping[str, MethodEstimate],
    by_class: Mapping[int | str, MethodEstimate] | None,
    found: LocalDimension,
    *,
    pooled: bool,
) -> tuple[str, ...]:
    """The sentences that apply to an estimate of `space`, mostly none; `pooled` where methods were chosen."""
    by_scale = not pooled and not pieces
    D = graph.ambient_dim
    sentences = [
        _pieces(pieces),
        _duplicates(len(space), graph.n_points),
        _lattice(space.points) if space.points is not None else _lattice_of_distances(graph),
        _squares(space),
        _impossible(reading, D) if D is not None and graph.metric == "euclidean" else "",
        _noise(curve, reading, D, by_scale=by_scale),
        _too_few(graph.n_points, reading.dimension, by_scale=by_scale),
        _scale(curve),
        "" if pieces else _methods(by_method),
        _classes(by_class),
        "" if pieces else _places(found),
        _outliers(graph, reading.dimension),
        _recall(graph),
    ]
    return tuple(sentence for sentence in sentences if sentence)


def _pieces(pieces: Sequence[Piece]) -> str:
    if not pieces:
        return ""
    parts = ", ".join(f"{piece.dimension:.1f} ({piece.share:.0%} of the points)" for piece in pieces)
    return (
        f"The data are a union of pieces of different dimension: {parts}. A pooled number would describe none of them "
        "and is not given: look at each piece by itself."
    )


def _duplicates(n: int, n_distinct: int) -> str:
    if n == n_distinct:
        return ""
    return f"{n - n_distinct:,} of {n:,} points are copies of others and were dropped."


def _lattice(points: Points) -> str:
    few = points.take(np.arange(0, len(points), max(1, len(points) // _LATTICE_ROWS)))
    spacing = lattice_spacing(few.array())
    if spacing is None:
        return ""
    return (
        f"All values are multiples of {spacing:.3g}: distances of the order of this spacing are rounded, which "
        "distorts the estimates at the smallest scales, TwoNN above all."
    )


def _lattice_of_distances(graph: NeighborGraph) -> str:
    spacing = lattice_spacing(graph.distances)
    if spacing is None:
        return ""
    return (
        f"All distances between neighbours are multiples of {spacing:.3g}: neighbours at equal distances distort the "
        "estimates at the smallest scales, TwoNN above all."
    )


def _squares(space: Space) -> str:
    """Distances that grow as squares of distances do, of which a dimension is the half."""
    if space.metric in _SQUARES:
        return (
            f"Small distances by metric={space.name!r} grow as the square of how far points are apart, so that half of "
            "the dimension is read: for all of it give their square roots, with metric='precomputed'."
        )
    few = None if space.metric == "euclidean" else space.between(_few_of(len(space)))
    broken = 0.0 if few is None else _broken_triangles(few)
    if broken == 0:
        return ""
    return (
        f"In {max(broken, 0.001):.1%} of the triangles of points one side is longer than the other two together, as no "
        "distance allows. Squares of distances are like that, of which half of the dimension is read: give their roots."
    )


def _few_of(n: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, n - 1, _CORNERS).astype(np.int64))


def _broken_triangles(distances: NDArray[np.float64]) -> float:
    """The part of triangles with a side that is longer than the way round, by more than rounding, in (m, m)."""
    longest = (1 - _ROUNDED) * distances
    broken = sum(int((longest > row[:, None] + row).sum()) for row in distances)
    return broken / len(distances) ** 3


def _impossible(reading: Reading, ambient_dim: int) -> str:
    if reading.interval[0] <= ambient_dim:
        return ""
    return (
        f"The reading, {reading.dimension:.1f}, is above the number of coordinates, {ambient_dim}, which no data can "
        "exceed: neighbours at nearly equal distances, as on a lattice, mislead it."
    )


def _noise(curve: ScaleCurve, reading: Reading, ambient_dim: int | None, *, by_scale: bool) -> str:
    if not curve.noisy:
        return ""
    if not curve.flat:
        return (
            f"The estimate falls from {curve.calibrated[0]:.1f} to {curve.calibrated[-1]:.1f} over all scales and "
            "never levels off: neighbours see noise rather than the manifold, whose dimension is at most the last one."
        )
    seen = float(curve.calibrated[0]) if ambient_dim is None else min(float(curve.calibrated[0]), ambient_dim)
    beyond = by_scale and reading.k >= curve.ks[curve.start]
    return (
        f"Neighbours nearer than about {curve.radii[curve.start]:.2g} (k < {curve.ks[curve.start]}) see noise or "
        f"rounding, of {seen:.1f} dimensions: "
        + ("the consensus is read beyond." if beyond else "what is read among them, as here, is too high.")
    )


def _too_few(n: int, dimension: float, *, by_scale: bool) -> str:
    """Eckmann and Ruelle 1992, Fundamental limitations for estimating dimensions, equation 3, with rho = 0.1."""
    if dimension > 0.99 * HIGHEST:
        return f"The dimension is at the upper end of what can be calibrated, {HIGHEST:.0f}: it may be larger."
    limit = 2 * math.log10(n)
    if dimension <= limit:
        return ""
    return (
        f"{n:,} points resolve dimensions up to about {limit:.1f} (2 log10 n): above it, estimates from distances to "
        "neighbours read too little"
        + (
            ". The consensus is corrected for that; the other methods are not."
            if by_scale
            else ", and are not corrected."
        )
    )


def _scale(curve: ScaleCurve) -> str:
    """Curvature raises the estimate at large scales; tails, gaps and noise lower it."""
    last = min(curve.stop, len(curve.ks) - 1)
    if not curve.flat or curve.ks[last] >= _NARROW * curve.ks[curve.start] or curve.stop == len(curve.ks):
        return ""
    level, end = curve.calibrated[curve.start], curve.calibrated[-1]
    cause = (
        "curvature, or pieces that come near each other"
        if end > level
        else "noise at small scales, density that varies, or thin directions that large neighbourhoods overlook"
    )
    return (
        f"The dimension depends on the scale: it is {level:.1f} at k = {curve.ks[curve.start]} and {end:.1f} at "
        f"k = {curve.ks[-1]} ({cause})."
    )


def _methods(by_method: Mapping[str, MethodEstimate]) -> str:
    ratios = {
        name: one.dimension / one.expected
        for name, one in by_method.items()
        if one.expected is not None and not one.interval[0] <= one.expected <= one.interval[1]
    }
    if not by_method:
        return ""
    if all(one.expected is None for one in by_method.values()):
        return _chosen(by_method)
    name = max(ratios, key=lambda name: abs(math.log(ratios[name])), default=None)
    if name is None or 1 / _RATIO_OF_METHODS < ratios[name] < _RATIO_OF_METHODS:
        return ""
    one, more = by_method[name], ratios[name] > 1
    cause = {
        ("lpca", True): "its larger neighbourhoods see curvature or noise as further directions",
        ("lpca", False): "its larger neighbourhoods overlook thin directions",
    }.get((name, more), "its scale is another one: look at the scale curve")
    return (
        f"The methods disagree: {name} reads {one.dimension:.1f} where {one.expected:.1f} would agree with the "
        f"consensus; {cause}."
    )


def _chosen(by_method: Mapping[str, MethodEstimate]) -> str:
    values = {name: one.dimension for name, one in by_method.items()}
    least, most = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    if values[most] < _RATIO_OF_METHODS * values[least]:
        return ""
    return (
        f"The methods disagree, from {values[least]:.1f} ({least}) to {values[most]:.1f} ({most}): "
        "look at the scale curve before trusting any one of them."
    )


def _classes(by_class: Mapping[int | str, MethodEstimate] | None) -> str:
    if by_class is None or len(by_class) < 2:
        return ""
    values = {label: one.dimension for label, one in by_class.items()}
    least, most = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    p = heterogeneity_p_value(list(values.values()), [one.log_variance for one in by_class.values()])
    if p > 0.01 or values[most] < _RATIO_OF_CLASSES * values[least]:
        return ""
    return (
        f"The dimension differs between classes, from {values[least]:.1f} (class {least}) to "
        f"{values[most]:.1f} (class {most}): no single number describes all of them."
    )


def _places(found: LocalDimension) -> str:
    if not found.varies:
        return ""
    low, high = np.quantile(found.dimension, [0.1, 0.9])
    return (
        f"The dimension differs from place to place, by about {found.spread:.0%} beyond its error ("
        f"{p_value(found.p_value)}): 10% and 90% quantiles of the local dimension are {low:.1f} and {high:.1f}."
    )


def _outliers(graph: NeighborGraph, dimension: float) -> str:
    nearest = graph.distances[:, 0]
    times = max(_FAR, _FAR_VOLUME ** (1 / max(dimension, 0.5)))
    far = int((nearest > times * float(np.median(nearest))).sum())
    if not 0 < far <= _FEW * len(nearest):
        return ""
    return (
        f"{far:,} of {len(nearest):,} points lie far from all others (over {times:.0f} times the usual distance to a "
        "neighbour): outliers hardly move estimates from neighbours, but any that look at the whole cloud."
    )


def _recall(graph: NeighborGraph) -> str:
    if not graph.recall < 0.99:  # NaN for neighbours that were given
        return ""
    return (
        f"The neighbour search found {graph.recall:.1%} of the true neighbours: "
        "estimates are low by up to a half of the part that is missing."
    )
