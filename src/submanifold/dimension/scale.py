r"""The dimension as a function of the scale at which the data are looked at.

At small scales neighbours see noise, which has all D dimensions; at large ones they see curvature, boundaries and gaps.
In between the curve of the estimate against scale is flat: the *plateau* is the dimension. The curve is drawn of
calibrated estimates (`submanifold.dimension.reference`), which are flat on a flat manifold in any dimension, and it
goes on beyond the neighbours that a graph holds by thinning the data: the k nearest of n/4 points reach as far as
the 4 k nearest of n.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from submanifold.dimension.reference import HIGHEST, REFERENCES, calibrate
from submanifold.dimension.space import Space
from submanifold.dimension.variance import Patches, graph_size, half_size, log_interval, split_variance
from submanifold.neighbors import NeighborGraph

__all__ = ["Reading", "ScaleCurve", "scale_curve"]

Vector = NDArray[np.float64]
Index = NDArray[np.int64]

_N_SPLITS = 20
_OVERLAP = 1.3  # by how much overlapping neighbourhoods raise the error of independent ones
_LEAST_INVERSE = 1e-12  # dimensions beyond 1e12 stand for neighbours that are all equally far
_THINNING = 4
_FEWEST_THINNED, _MOST_THINNED = 200, 20_000  # points that are left
_LARGEST_SHARE = 0.15  # of all points in one neighbourhood: beyond it, the data as a whole are seen
_SHORT, _LONG = 3.0, 8.0  # ratios of k over which slopes d log dimension / d log k are measured
_STEEP, _LEVEL = -0.14, -0.06  # curvature and shape bend by up to 0.1 at small scales, noise by up to 1
_FILLS, _LEAVES = 0.9, 0.67  # noise alone has the ambient dimension, and hides what has two thirds of it at most


class Reading(NamedTuple):
    """The dimension read at one scale.

    Attributes:
        dimension: that of the uniform ball that reads the same.
        interval: 95%, from the lowest to the highest end over all reference laws.
        sampling_interval: 95% about the estimator's own mean, with the ball alone.
        by_reference: the dimension with each reference law.
        raw: the maximum likelihood estimate as it is.
        k: neighbours among all points.
        radius: median distance to the k-th of them.
        n: the points that were looked at for it, fewer than all where the scale was reached by thinning.
    """

    dimension: float
    interval: tuple[float, float]
    sampling_interval: tuple[float, float]
    by_reference: dict[str, float]
    raw: float
    k: int
    radius: float
    n: int


@dataclass(frozen=True, eq=False)
class ScaleCurve:
    """The pooled maximum likelihood estimate against the number of neighbours.

    Attributes:
        ks: numbers of neighbours among all points, (s,), on a geometric grid; those beyond the graph's own are reached
            by thinning the data.
        radii: median distance to the k-th neighbour, (s,), in the units of the data.
        dimension: the estimate as it is read at each k, (s,).
        low, high: ends of its 95% interval at each k, (s,). Beyond the largest k that halves of the data can provide,
            the relative error of that k is kept, which is too wide rather than too narrow.
        calibrated: the dimension of the ball that would read the same, (s,).
        relative_error: standard error of the logarithm of `calibrated`, (s,).
        sizes: the points that are left by thinning at each k, (s,).
        start: position in `ks` of the finest scale that is free of noise: the plateau starts there.
        stop: position after the last scale of the plateau.
        flat: whether the curve levels off at all; where it does not, noise is seen at every scale.
    """

    ks: Index
    radii: Vector
    dimension: Vector
    low: Vector
    high: Vector
    calibrated: Vector
    relative_error: Vector
    sizes: Index
    start: int
    stop: int
    flat: bool

    @property
    def noisy(self) -> bool:
        """Whether the finest scales see noise rather than the manifold."""
        return self.start > 0 or not self.flat

    def finest(self, precision: float) -> int:
        """Position of the finest scale of the plateau whose relative error is expected to be at most `precision`.

        What is expected, 1.3 over the root of n (k - 1), depends on n and k alone: were the scale chosen by its
        measured error, it would be chosen where that happens to be taken for too small. Where no scale is that precise,
        the coarsest one that holds ten points or a twentieth of all at most.
        """
        within = np.arange(self.start, self.stop)
        k = self.ks[within] * self.sizes[within] / self.sizes[0]  # among the points that are left
        precise = within[_OVERLAP / np.sqrt(self.sizes[within] * (k - 1)) <= precision]
        if len(precise):
            return int(precise[0])
        return int(within[self.ks[within] <= max(self.sizes[0] / 20, 10, self.ks[self.start])][-1])

    def reading(self, position: int) -> Reading:
        """What is read at one scale, with all reference laws."""
        n, raw = int(self.sizes[position]), float(self.dimension[position])
        k = round(int(self.ks[position]) * n / int(self.sizes[0]))
        sampling = (float(self.low[position]), float(self.high[position]))
        by_reference, ends = {}, {}
        for name in REFERENCES:
            by_reference[name] = float(calibrate(raw, n, k, name).dimension)
            low, high = (float(calibrate(end, n, k, name).dimension) if 0 < end < np.inf else end for end in sampling)
            ends[name] = (low, high if high < 0.999 * HIGHEST else float("inf"))  # above the table nothing is known
        lowest = min(low for low, _ in ends.values()) if self.flat else 0.0  # noise at all scales: an upper bound
        return Reading(
            dimension=by_reference["ball"],
            interval=(lowest, max(high for _, high in ends.values())),
            sampling_interval=ends["ball"],
            by_reference=by_reference,
            raw=raw,
            k=int(self.ks[position]),
            radius=float(self.radii[position]),
            n=n,
        )

    def to_json(self) -> dict[str, Any]:
        """The curve as JSON-able lists, and the first and last k of the plateau."""
        names = ("ks", "radii", "dimension", "low", "high", "calibrated")
        plateau = [int(self.ks[self.start]), int(self.ks[self.stop - 1])] if self.flat else None
        return {**{name: getattr(self, name).tolist() for name in names}, "plateau": plateau}


class _Part(NamedTuple):
    """The columns of a curve that one graph provides, (s,) each."""

    ks: Vector
    radii: Vector
    dimension: Vector
    low: Vector
    high: Vector
    calibrated: Vector
    relative_error: Vector
    sizes: Vector


def scale_curve(
    graph: NeighborGraph, space: Space | None = None, *, k_max: int, also: int | None = None, seed: int = 0
) -> ScaleCurve:
    """The estimates from 2 to `k_max` neighbours, and beyond where the `space` is given whose points can be thinned.

    Args:
        graph: neighbours of distinct points, `k_max` for each.
        space: the points and the distance between them, n as in the graph.
        k_max: the largest number of neighbours that are asked of one graph.
        also: a k that the grid must hold.
        seed: of the choice of points and of the halves behind the errors.
    """
    parts = [_part(graph, min(k_max, graph.k), 1, also, seed)]
    n, rng = graph.n_points, np.random.default_rng(seed)
    factor = _THINNING
    while space is not None and space.searchable and n // factor >= _FEWEST_THINNED:
        if n // factor <= _MOST_THINNED:
            thinned = space.take(np.sort(rng.choice(n, n // factor, replace=False)))
            k = min(k_max, int(_LARGEST_SHARE * len(thinned)))
            part = _part(thinned.graph(min(graph_size(k, len(thinned)), k_max)), k, factor, None, seed)
            beyond = part.ks > parts[-1].ks[-1]
            parts.append(_Part(*(column[beyond] for column in part)))
        factor *= _THINNING
    whole = _Part(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    start, stop, flat = _plateau(whole, graph.ambient_dim)
    columns = whole._asdict() | {"ks": whole.ks.astype(np.int64), "sizes": whole.sizes.astype(np.int64)}
    return ScaleCurve(**columns, start=start, stop=stop, flat=flat)


def _part(graph: NeighborGraph, k_max: int, factor: int, also: int | None, seed: int) -> _Part:
    n = graph.n_points
    ks = np.unique(np.rint(np.geomspace(2, k_max, 16)).astype(np.int64)) if k_max > 2 else np.array([2])
    ks = ks if also is None else np.union1d(ks, [also])
    dimension = np.exp(_log_dimensions(Patches.of(graph, int(ks[-1])), ks))
    split_ks = ks[[graph.k >= graph_size(int(k), n) and half_size(int(k), n) == k for k in ks]]
    variance = np.full(len(ks), np.inf)
    if len(split_ks):
        statistic = partial(_log_dimensions, ks=split_ks)
        known = split_variance(graph, int(split_ks[-1]), statistic, n_splits=_N_SPLITS, seed=seed)
        variance = np.concatenate([known, np.full(len(ks) - len(split_ks), known[-1])])
    ends = np.array(
        [
            log_interval(value, float(v), _N_SPLITS) if np.isfinite(v) else (0.0, np.inf)
            for value, v in zip(dimension, variance, strict=True)
        ]
    )
    found = [calibrate(raw, n, int(k), "ball") for raw, k in zip(dimension, ks, strict=True)]
    return _Part(
        ks=(ks * factor).astype(np.float64),
        radii=np.median(graph.distances[:, ks - 1], axis=0),
        dimension=dimension,
        low=ends[:, 0],
        high=ends[:, 1],
        calibrated=np.array([float(one.dimension) for one in found]),
        relative_error=np.sqrt(variance) * np.array([float(one.elasticity) for one in found]),
        sizes=np.full(len(ks), float(n)),
    )


def _log_dimensions(patches: Patches, ks: Index) -> Vector:
    r"""$\log \hat m_k$ for each k, from running sums of $\log T_j$ over j < k."""
    log_t = np.log(patches.distances).mean(axis=0)  # (K,): the inverse is linear in the log-distances
    inverse = log_t[ks - 1] - np.cumsum(log_t)[ks - 2] / (ks - 1)  # (s,)
    # On a lattice all distances may tie; rounding then leaves either sign of zero.
    return np.asarray(-np.log(np.maximum(inverse, _LEAST_INVERSE)))


def _plateau(curve: _Part, ambient_dim: int | None) -> tuple[int, int, bool]:
    """Where the noise ends, where the curve leaves the level it has there, and whether the noise ends at all."""
    log_d = np.log(curve.calibrated)
    start, flat = _end_of_noise(curve) if _is_noisy(curve, ambient_dim) else (0, True)
    if not flat:
        return start, start + 1, False
    error = np.hypot(curve.relative_error[start], curve.relative_error[start:])
    tolerance = np.maximum(np.log(1.1), 2 * error)
    left = np.flatnonzero(np.abs(log_d[start:] - log_d[start]) > tolerance)
    return start, start + int(left[0]) if len(left) else len(log_d), True


def _is_noisy(curve: _Part, ambient_dim: int | None) -> bool:
    """Whether the finest scales see noise.

    Either the curve falls steeply from the first scale on, or it starts at the ambient dimension and leaves it. A fall
    at large scales alone is none: density and shape are seen there; and a gentle one from the first scale on may be
    either, which the caveats tell.
    """
    at_first, error = _slope(curve, 0, _LONG)
    fills = ambient_dim is not None and curve.calibrated[0] > _FILLS * ambient_dim
    leaves = bool(curve.calibrated[-1] < _LEAVES * curve.calibrated[0]) and bool(np.isfinite(error))
    return at_first + 2 * error < _STEEP or (fills and leaves)


def _end_of_noise(curve: _Part) -> tuple[int, bool]:
    """The first level scale after the steepest, or the end of the least steep window; whether that is level at all."""
    inside = [i for i in range(len(curve.ks)) if _reaches(curve, i, _SHORT)]
    slopes = np.array([_slope(curve, i, _SHORT)[0] for i in inside])
    after = np.arange(len(slopes)) >= np.argmin(slopes)
    level = np.flatnonzero(after & (slopes > _LEVEL))
    if len(level):
        return inside[level[0]], True
    least = inside[int(np.argmax(np.where(after, slopes, -np.inf)))]
    return _far_end(curve, least, _SHORT), bool(slopes[after].max() > _STEEP)


def _slope(curve: _Part, i: int, window: float) -> tuple[float, float]:
    """d log dimension / d log k from the i-th scale to one with `window` times its k, and its standard error."""
    j = _far_end(curve, i, window)
    run = float(np.log(curve.ks[j] / curve.ks[i])) if j > i else np.inf
    error = float(np.hypot(curve.relative_error[i], curve.relative_error[j]))
    return float(np.log(curve.calibrated[j] / curve.calibrated[i])) / run, error / run if j > i else np.inf


def _far_end(curve: _Part, i: int, window: float) -> int:
    return min(int(np.searchsorted(curve.ks, 0.99 * window * curve.ks[i])), len(curve.ks) - 1)


def _reaches(curve: _Part, i: int, window: float) -> bool:
    """Whether the curve goes on for half of the window at least, on the logarithmic scale."""
    return bool(curve.ks[-1] >= np.sqrt(window) * curve.ks[i])
