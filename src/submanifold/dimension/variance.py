r"""The sampling error of neighbour statistics, by splitting the data in two.

Neighbourhoods overlap, so that the local statistics of different points are dependent, and the error computed as if
they were not is too small by a factor of 1.2 to 1.45. Two disjoint halves A and B of an independent sample are
themselves independent. If $V_m$ is the variance of a statistic $\theta$ on m points, and $V_m \propto 1/m$,

$$ \mathbb{E}\,(\theta_A - \theta_B)^2 = 2 V_{n/2} = 4 V_n, $$

whatever the dependence inside a half. The average of $(\theta_A - \theta_B)^2 / 4$ over several random splits is
therefore an unbiased estimate of $V_n$ that needs no new neighbour search: the k nearest neighbours within a half are
found among the first 2k + O(sqrt k) neighbours within the whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from submanifold.neighbors import NeighborGraph

__all__ = ["Patches", "graph_size", "half_size", "log_interval", "split_variance"]

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Patches:
    """Neighbourhoods of the points `rows` (m,): distances (m, k), ascending, and indices (m, k)."""

    distances: NDArray[np.float64]
    indices: NDArray[np.int64]
    rows: NDArray[np.int64]

    @classmethod
    def of(cls, graph: NeighborGraph, k: int) -> Patches:
        """The first k neighbours in `graph`."""
        return cls(graph.distances[:, :k], graph.indices[:, :k], graph.rows)


def graph_size(k: int, n: int) -> int:
    """Neighbours to search so that k of them almost surely fall in the same random half of n points."""
    return min(n - 1, math.ceil(2 * k + 5 * math.sqrt(k)))


def half_size(k: int, n: int) -> int:
    """The neighbours that a half of n points can provide, k where it has that many."""
    return min(k, n // 2 - 1)


def split_variance(
    graph: NeighborGraph,
    k: int,
    statistic: Callable[[Patches], NDArray[np.float64] | float],
    *,
    n_splits: int,
    seed: int,
) -> NDArray[np.float64]:
    """The variance of `statistic`, a function of k-neighbourhoods of any output shape, over new samples of n points.

    `graph` must have been made with `graph_size(k, n)` neighbours; `n_splits` random splits are averaged.
    """
    rng = np.random.default_rng(seed)
    k = half_size(k, graph.n_points)
    squares = [
        (np.asarray(statistic(first)) - np.asarray(statistic(second))) ** 2 / 4
        for first, second in _halves(graph, k, n_splits, rng)
    ]
    return np.asarray(np.mean(squares, axis=0))


def log_interval(value: float, variance: float, degrees: float = np.inf, level: float = 0.95) -> tuple[float, float]:
    """The interval of a positive quantity of which the logarithm has the estimated `variance`."""
    width = float(student.ppf((1 + level) / 2, degrees)) * math.sqrt(variance)
    return value * math.exp(-width), value * math.exp(width)


def _halves(graph: NeighborGraph, k: int, n_splits: int, rng: np.random.Generator) -> Iterator[tuple[Patches, Patches]]:
    for _ in range(n_splits):
        in_first = np.zeros(graph.n_points, dtype=bool)
        in_first[rng.permutation(graph.n_points)[: graph.n_points // 2]] = True
        yield _within(graph, k, in_first), _within(graph, k, ~in_first)


def _within(graph: NeighborGraph, k: int, member: NDArray[np.bool_]) -> Patches:
    """The neighbourhoods of the members among the members; rows with fewer than k known ones are left out."""
    here = np.flatnonzero(member[graph.rows])
    columns = slice(graph_size(k, graph.n_points))
    kept = member[graph.indices[here, columns]]  # (h, K)
    rank = np.cumsum(kept, axis=1)
    enough = rank[:, -1] >= k
    here, kept = here[enough], (kept & (rank <= k))[enough]
    return Patches(
        graph.distances[here, columns][kept].reshape(-1, k),
        graph.indices[here, columns][kept].reshape(-1, k),
        graph.rows[here],
    )
