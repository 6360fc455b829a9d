r"""The dimension around each point, how uncertain it is, and whether it differs from place to place.

Two disjoint random halves A and B of the data give, around the same place x, two estimates whose errors are
independent. With $v_A(x), v_B(x)$ their logarithms,

$$ \tfrac12\, \mathbb{E}\,(v_A - v_B)^2 = \text{variance of the error at one place}, \qquad
   \operatorname{Cov}(v_A, v_B) = \text{variance of the dimension between places}, $$

the covariance over all places x. No model of the data is needed for either, nor for the test: that the
dimension is the same everywhere is refuted when $v_A$ and $v_B$ are correlated.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import spearmanr

from submanifold.checks import check_int, check_matrix
from submanifold.dimension.duplicates import drop_duplicates
from submanifold.dimension.mle import inverse_mle
from submanifold.dimension.reference import calibrate
from submanifold.dimension.variance import both_halves, graph_size
from submanifold.errors import InvalidInput
from submanifold.neighbors import NeighborGraph

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LocalDimension", "local"]

Vector = NDArray[np.float64]

_Z = 1.959963984540054
_SPLITS = 10


@dataclass(frozen=True, eq=False)
class LocalDimension:
    """The dimension around each point.

    Attributes:
        dimension: the dimension around the points `rows`, (m,): the harmonic mean of the maximum likelihood estimates
            of a point and its k neighbours, calibrated on a uniform ball.
        low, high: ends of their 95% intervals, (m,).
        rows: the points of X they belong to, (m,).
        relative_error: standard error of the logarithm of one local dimension.
        spread: standard deviation of the logarithm of the dimension between places, the error taken off.
        p_value: of the hypothesis that the dimension is the same everywhere (median over random halves).
        n_neighbors: k.
    """

    dimension: Vector = field(repr=False)
    low: Vector = field(repr=False)
    high: Vector = field(repr=False)
    rows: NDArray[np.int64] = field(repr=False)
    relative_error: float
    spread: float
    p_value: float
    n_neighbors: int

    @property
    def varies(self) -> bool:
        """Whether the dimension differs between places, significantly (p < 0.01) and by more than a tenth."""
        return self.p_value < 0.01 and self.spread > 0.1

    def take(self, place: NDArray[np.int64], rows: NDArray[np.int64]) -> LocalDimension:
        """The same at the points `rows`, which are found at `place` among those of this one."""
        return LocalDimension(
            self.dimension[place],
            self.low[place],
            self.high[place],
            rows,
            self.relative_error,
            self.spread,
            self.p_value,
            self.n_neighbors,
        )

    def figure(self, X: ArrayLike | None = None) -> Figure:
        """The histogram of the dimension, and over the first two principal axes of the points X (n, D) its map."""
        from submanifold.dimension.figure import draw_map

        return draw_map(self, None if X is None else check_matrix(X))

    def to_json(self) -> dict[str, Any]:
        """Quantiles of the local dimension and the test, as JSON-able data."""
        finite = self.dimension[np.isfinite(self.dimension)]
        quantiles = (0.05, 0.25, 0.5, 0.75, 0.95)
        return {
            "quantiles": dict(zip(map(str, quantiles), np.quantile(finite, quantiles).tolist(), strict=True)),
            "relative_error": self.relative_error if np.isfinite(self.relative_error) else None,
            "spread": self.spread,
            "p_value": self.p_value,
            "varies": self.varies,
            "n_neighbors": self.n_neighbors,
        }


def local(X: Any, k: int = 20, *, graph: NeighborGraph | None = None, seed: int = 0) -> LocalDimension:
    """The dimension around each point of `X` (n, D), its uncertainty, and a test whether it varies.

    Smoothing over the neighbourhood, which halves the error of a local estimate at no cost, makes neighbours share
    their values: the map is as fine as two neighbourhoods.

    Args:
        X: points, images (flattened) or a `Dataset`; None where `graph` is given.
        k: neighbours of each point.
        graph: neighbours known already, of distinct points, at least 2 k + 5 sqrt k for each.
        seed: of the halves.

    Raises:
        InvalidInput: for data that `submanifold.checks.check_matrix` refuses, fewer than 2 (k + 1) distinct
            points, or a graph with too few neighbours.
    """
    if graph is not None:
        n = graph.n_points
        if graph.k < graph_size(check_int(k, name="k", low=3, high=n // 2 - 1), n):
            raise InvalidInput(f"graph holds {graph.k} neighbours a point: give {graph_size(k, n)} for k={k}")
        return _local(graph, k, seed)
    X = check_matrix(X)
    points, place = drop_duplicates(X)
    n = len(points)
    check_int(k, name="k", low=3)
    if n < 2 * (k + 1):
        raise InvalidInput(
            f"X holds {n} distinct points: give at least {2 * (k + 1)} for k={k} neighbours, or a lower k"
        )
    found = _local(NeighborGraph(points, graph_size(k, n)), k, seed)
    return found if n == len(X) else found.take(place, np.arange(len(X)))


def _local(graph: NeighborGraph, k: int, seed: int) -> LocalDimension:
    inverse = inverse_mle(graph.distances[:, :k])
    n = graph.n_points
    dimension, elasticity = calibrate(_smoothed(inverse, graph.rows, graph.indices[:, :k], n), n, k, "ball")
    typical = float(np.median(elasticity))  # by which calibration stretches errors
    errors, shared, p_values = [], [], []
    rng = np.random.default_rng(seed)
    apart = _apart(graph, k)
    for first, second, here in both_halves(graph, k, _SPLITS, rng):
        values = [
            np.log(_smoothed(inverse_mle(part.distances), part.rows, part.indices, n)) for part in (first, second)
        ]
        errors.append(np.mean((values[0] - values[1]) ** 2) / 2)
        shared.append(np.cov(values[0], values[1])[0, 1])
        chosen = np.isin(here, apart)
        p_values.append(_one_sided(values[0][chosen], values[1][chosen]))
    error = float(np.sqrt(np.mean(errors))) if errors else float("inf")
    width = np.exp(_Z * error * elasticity)
    return LocalDimension(
        dimension=dimension,
        low=dimension / width,
        high=dimension * width,
        rows=graph.rows,
        relative_error=error * typical,
        spread=typical * float(np.sqrt(max(float(np.mean(shared)), 0.0))) if shared else 0.0,
        p_value=float(np.median(p_values)) if p_values else 1.0,
        n_neighbors=k,
    )


def _one_sided(first: Vector, second: Vector) -> float:
    if len(first) < 8 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return 1.0
    return float(spearmanr(first, second, alternative="greater").pvalue)


def _smoothed(inverse: Vector, rows: NDArray[np.int64], indices: NDArray[np.int64], n: int) -> Vector:
    """Harmonic mean of the local estimates of each row and of those of its neighbours that are rows too, (m,)."""
    known = np.full(n, np.nan)
    known[rows] = inverse
    around = np.concatenate([rows[:, None], indices], axis=1)  # (m, k + 1)
    return np.asarray(1 / np.maximum(np.nanmean(known[around], axis=1), 1e-12))


def _apart(graph: NeighborGraph, k: int) -> NDArray[np.int64]:
    """Positions of rows none of which is among the k neighbours of another: places that share few points."""
    covered = np.zeros(graph.n_points, dtype=bool)
    kept = []
    for position, (row, around) in enumerate(zip(graph.rows, graph.indices[:, :k], strict=True)):
        if not covered[row]:
            kept.append(position)
            covered[around] = True
    return np.asarray(kept)
