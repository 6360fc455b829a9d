r"""The sampling error of neighbour statistics, by splitting the data in two.

Neighbourhoods overlap, so that the local statistics of different points are dependent, and the error computed as if
they were not is too small by a factor of 1.2 to 1.45. Two disjoint halves A and B of an independent sample are
themselves independent. If $V_m$ is the variance of a statistic $\theta$ on m points, and $V_m \propto 1/m$,

$$ \mathbb{E}\,(\theta_A - \theta_B)^2 = 2 V_{n/2} = 4 V_n, $$

whatever the dependence inside a half. The average of $(\theta_A - \theta_B)^2 / 4$ over several random splits is
therefore an unbiased estimate of $V_n$ that needs no new neighbour search: the k nearest neighbours within a half are
found among the first 2k + O(sqrt k) neighbours within the whole.

What is presumed fails in two ways. Neighbourhoods of many points (k a tenth of n or so) reach twice the part of a half
that they reach of the whole, so that boundaries and curvature weigh in differently, and the interval of an estimator
may be half or one and a half times as wide as it should be. There `same_reach(k, n)` takes half as many neighbours in a
half, which reach the same part. Where the variance is proportional to 1/k too, as on a sphere, intervals are then up to
$\sqrt 2$ as wide as they should be: the error on the safe side.
And a statistic of all pairs, on a law that looks the same from every point (independent fair bits, a sphere), has
$V_m \propto 1/m^2$: its interval is $\sqrt 2$ as wide. `submanifold reproduce dimension-intervals` counts how often the
interval of each estimator covers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from submanifold.neighbors import NeighborGraph

__all__ = [
    "Patches",
    "both_halves",
    "graph_size",
    "half_size",
    "largest_split",
    "log_interval",
    "same_reach",
    "split_variance",
]

Vector = NDArray[np.float64]

_FEW = 20
_SMALL_PART = 0.04


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


def same_reach(k: int, n: int) -> int:
    """The neighbours to look at within halves of n points, of which k are looked at among all.

    Half as many are as far away in a half. But k itself where that is a small part of the points and does not reach
    far, or where it is not above 20: the fewer neighbours, the less they say.
    """
    return k if k <= n * _SMALL_PART else max(min(k, _FEW), k // 2)


def largest_split(K: int, n: int) -> int:
    """The most neighbours within a half of n points that a graph of K neighbours provides."""
    k = max(0, math.floor(((math.sqrt(25 + 8 * K) - 5) / 4) ** 2))  # the root of 2 k + 5 sqrt k = K
    return half_size(n if n - 1 <= K else k, n)


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
    k = min(half_size(k, graph.n_points), largest_split(graph.k, graph.n_points))
    squares = [
        (np.asarray(statistic(first)) - np.asarray(statistic(second))) ** 2 / 4
        for first, second in _halves(graph, k, n_splits, seed)
    ]
    return np.asarray(np.mean(squares, axis=0))


def log_interval(value: float, variance: float, degrees: float = np.inf, level: float = 0.95) -> tuple[float, float]:
    """The interval of a positive quantity of which the logarithm has the estimated `variance`."""
    width = float(student.ppf((1 + level) / 2, degrees)) * math.sqrt(variance)
    return value * math.exp(-width), value * math.exp(width)


def both_halves(
    graph: NeighborGraph, k: int, n_splits: int, rng: np.random.Generator
) -> Iterator[tuple[Patches, Patches, NDArray[np.int64]]]:
    """For random halves A and B of the points: the k nearest of A, and of B, around every row, own half or not.

    The rows themselves are never among their neighbours. Also yields the positions in the graph of the rows that both
    patches have; those of which the graph does not hold enough neighbours are left out.
    """
    columns = slice(graph_size(k, graph.n_points))
    distances, indices = graph.distances[:, columns], graph.indices[:, columns]
    for _ in range(n_splits):
        member = np.zeros(graph.n_points, dtype=bool)
        member[rng.permutation(graph.n_points)[: graph.n_points // 2]] = True
        kept = [side[indices] for side in (member, ~member)]  # (m, K) each
        rank = [np.cumsum(side, axis=1) for side in kept]
        here = np.flatnonzero((rank[0][:, -1] >= k) & (rank[1][:, -1] >= k))
        if not len(here):
            continue
        first, second = (
            Patches(distances[here][nearest].reshape(-1, k), indices[here][nearest].reshape(-1, k), graph.rows[here])
            for nearest in ((side & (order <= k))[here] for side, order in zip(kept, rank, strict=True))
        )
        yield first, second, here


def _halves(graph: NeighborGraph, k: int, n_splits: int, seed: int) -> Iterator[tuple[Patches, Patches]]:
    for split in _splits(graph, n_splits, seed):
        yield split.patches(graph, k, first=True), split.patches(graph, k, first=False)


@dataclass(frozen=True, eq=False)
class _Split:
    """One random split of n points, and where in the graph each row finds its neighbours within its own half.

    Attributes:
        in_first: whether a row of the graph is in the first half, (m,).
        columns: columns of the graph's neighbours in the row's half, in order, (m, k).
        known: how many of them the graph holds, (m,).
    """

    in_first: NDArray[np.bool_]
    columns: NDArray[np.uint16]
    known: NDArray[np.int64]

    @classmethod
    def of(cls, graph: NeighborGraph, k: int, rng: np.random.Generator) -> _Split:
        member = np.zeros(graph.n_points, dtype=bool)
        member[rng.permutation(graph.n_points)[: graph.n_points // 2]] = True
        own = member[graph.rows]
        kept = member[graph.indices[:, : graph_size(k, graph.n_points)]] == own[:, None]  # (m, K)
        rank = np.cumsum(kept, axis=1, dtype=np.uint16)
        kept &= rank <= k
        row, column = np.nonzero(kept)
        columns = np.zeros((len(own), k), dtype=np.uint16)
        columns[row, rank[kept] - 1] = column
        return cls(own, columns, np.minimum(rank[:, -1], k).astype(np.int64))

    def patches(self, graph: NeighborGraph, k: int, *, first: bool) -> Patches:
        """The neighbourhoods of one half's rows; those with fewer than k known neighbours are left out.

        Known means among the first `graph_size(k, n)`, so that a larger graph gives the same numbers.
        """
        near = self.columns[:, k - 1] < graph_size(k, graph.n_points)
        here = np.flatnonzero((self.in_first == first) & (self.known >= k) & near)
        columns = self.columns[here, :k].astype(np.intp)
        return Patches(graph.distances[here[:, None], columns], graph.indices[here[:, None], columns], graph.rows[here])


# Estimators that share a graph share its splits, which cost more than the statistics themselves.
_KNOWN: WeakKeyDictionary[NeighborGraph, dict[int, list[_Split]]] = WeakKeyDictionary()


def _splits(graph: NeighborGraph, n_splits: int, seed: int) -> list[_Split]:
    known = _KNOWN.setdefault(graph, {}).setdefault(seed, [])
    k = largest_split(graph.k, graph.n_points)
    while len(known) < n_splits:
        known.append(_Split.of(graph, k, np.random.default_rng([seed, len(known)])))
    return known[:n_splits]
