"""Nearest-neighbour descent for more points than exact search can serve, with a recall that is measured.

Dong, Moses, Li (2011), Efficient k-nearest neighbor graph construction for generic similarity measures, WWW, section 2:
the neighbours of a neighbour are likely neighbours. Candidates are its (from faiss); their distances are computed in
float64, and how many neighbours were missed is measured on rows drawn at random, whose neighbours are found exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import faiss
import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from submanifold.neighbors.exact import Plan, smallest
from submanifold.neighbors.frame import Framed
from submanifold.neighbors.progress import Report
from submanifold.neighbors.projection import principal_coordinates
from submanifold.neighbors.threads import limited

__all__ = ["Approximation", "Effort", "descend", "recall_interval", "recalls"]

Matrix = NDArray[np.float64]
Index = NDArray[np.int64]

_LEAST_RECALL = 0.99  # with which the bias of a likelihood estimate of dimension stays below half a per cent
_PROBES = 500
_TRIAL = 5000
_HELD_BYTES = 2**30


@dataclass(frozen=True)
class Approximation:
    """Neighbours of which some were missed.

    Attributes:
        distances: (n, k), ascending.
        indices: (n, k).
        recall: the share of the k nearest neighbours that was found, on a sample of rows.
        interval: its 95% interval.
    """

    distances: Matrix
    indices: Index
    recall: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Effort:
    """How hard to descend.

    Attributes:
        factor: candidates of each point, in multiples of k.
        more: candidates more than that.
        rounds: rounds of descent.
        cost: seconds in multiples of the least effort's, measured.
    """

    factor: float
    more: int
    rounds: int
    cost: float

    def seconds(self, n: int, k: int, d: int) -> float:
        """What a descent in d coordinates costs, in the units of `Plan.seconds`."""
        return self.cost * n * (1 + k / 20) * (1.1e-4 + 3.5e-7 * d)


_EFFORTS = (Effort(1.25, 8, 8, 1.0), Effort(2.0, 16, 12, 2.0))


def descend(plan: Plan, k: int, *, budget: float, seed: int, n_jobs: int, report: Report) -> Approximation | None:
    """The k nearest neighbours of all points, or None where a recall of 0.99 is out of reach.

    Each effort is tried on a random part of the points first, so that data of many intrinsic dimensions do not cost a
    descent that fails: the share of missed neighbours grows about as the 1.75th power of the number of points.

    Args:
        plan: the points and how they would be searched exactly.
        k: neighbours of each point.
        budget: efforts that cost more, in the units of `Plan.seconds`, are not made.
        seed: decides all that is random.
        n_jobs: threads.
        report: told of the progress.
    """
    n, least = len(plan.framed), 8 * (2 * k + 16)
    if n < least:  # descent needs room to descend in
        return None
    part = max(_TRIAL, n // 8, least)
    whole = trial = _Descent(plan, k, seed, n_jobs, report)
    efforts = [effort for effort in _EFFORTS if effort.seconds(n, k, whole.d) <= budget]
    if efforts and part <= n // 2:
        drawn = np.sort(np.random.default_rng(seed).choice(n, part, replace=False))
        points = Framed(plan.framed.points.take(drawn), like=plan.framed)
        trial = _Descent(Plan.of(points, k, None), k, seed, n_jobs, report)
    for effort in efforts:
        if trial is whole or 1 - trial.at(effort).recall <= (1 - _LEAST_RECALL) * (part / n) ** 1.75:
            found = whole.at(effort)
            if found.recall >= _LEAST_RECALL and np.isfinite(found.distances).all():
                return found
    return None


class _Descent:
    """Descents of different effort among the same points, judged by the same sample of rows."""

    def __init__(self, plan: Plan, k: int, seed: int, n_jobs: int, report: Report) -> None:
        self.plan, self.k, self.seed, self.n_jobs, self.report = plan, k, seed, n_jobs, report

    @property
    def d(self) -> int:
        """The number of coordinates in which candidates are sought."""
        if self.plan.projection is not None:
            return int(self.plan.projection.points.shape[1]) - 2
        n, D = self.plan.framed.shape
        return D if n * D * 4 <= _HELD_BYTES else min(D, 96)

    @cached_property
    def truth(self) -> tuple[Index, Matrix]:
        """Rows drawn at random (p,), and the distances of their nearest neighbours (p, k)."""
        n = len(self.plan.framed)
        rows = np.sort(np.random.default_rng(self.seed).choice(n, min(n, _PROBES), replace=False))
        return rows, self.plan.of_rows(rows, self.k, n_jobs=self.n_jobs, report=self.report)[0]

    @cached_property
    def coordinates(self) -> NDArray[np.float32]:
        """Coordinates (n, d) in which candidates are near: those of the projection, all, or the principal ones."""
        framed = self.plan.framed
        if self.plan.projection is not None:
            return self.plan.projection.points[:, :-2]
        if self.d < framed.shape[1]:
            return principal_coordinates(framed, self.d)
        x = np.empty(framed.shape, dtype=np.float32)
        for rows, block in framed.extended_blocks():
            x[rows] = block[:, :-2]
        return x

    def at(self, effort: Effort) -> Approximation:
        """The neighbours that `effort` finds; infinite distances where it finds fewer than k."""
        framed = self.plan.framed
        width = min(int(effort.factor * self.k) + effort.more, len(framed) - 2)
        with limited(1):  # faiss's descent gives another graph each time that threads share it
            candidates = _graph(self.coordinates, width, effort.rounds, self.seed)
            exact = framed.distances(framed, candidates, self.n_jobs) / framed.scale
        distances, indices = smallest(exact, candidates, self.k)
        rows, truth = self.truth
        found = recalls(distances[rows], truth)
        return Approximation(distances, indices, float(found.mean()), recall_interval(found))


def recalls(distances: Matrix, truth: Matrix) -> Matrix:
    """The share of the k nearest neighbours found, for each row (p,); a tie with the k-th counts as found."""
    return np.asarray((distances <= truth[:, -1:] * (1 + 1e-9)).mean(axis=1))


def recall_interval(found: Matrix) -> tuple[float, float]:
    """The 95% interval of the mean of shares (p,) of whole rows, as those of one row miss neighbours together.

    Clopper and Pearson's interval for as many independent trials as have the variance of the mean, at least one a row.
    """
    p, share = len(found), float(found.mean())
    variance = float(found.var(ddof=1)) / p if p > 1 else 0.0
    trials = max(p, share * (1 - share) / variance) if variance > 0 else p
    hits, misses = share * trials, (1 - share) * trials
    low = float(beta.ppf(0.025, hits, misses + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(0.975, hits + 1, misses)) if misses > 0 else 1.0
    return low, high


def _graph(x: NDArray[np.float32], width: int, rounds: int, seed: int) -> Index:
    """Candidates (n, width) of each of the points `x` (n, d), -1 where there are fewer; never the point itself."""
    index = faiss.IndexNNDescentFlat(x.shape[1], width)
    index.nndescent.random_seed = seed % 2**31
    index.nndescent.iter = rounds
    index.nndescent.S, index.nndescent.R, index.nndescent.L = 10, 50, width + 10
    index.add(np.ascontiguousarray(x))
    found = faiss.vector_to_array(index.nndescent.final_graph).reshape(len(x), -1).astype(np.int64)
    found[found == np.arange(len(x))[:, None]] = -1
    order = np.sort(found, axis=1)
    again = np.flatnonzero(((np.diff(order, axis=1) == 0) & (order[:, 1:] >= 0)).any(axis=1))
    for i in again:  # a candidate twice would count twice
        first = np.unique(found[i], return_index=True)[1]
        twice = np.setdiff1d(np.arange(found.shape[1]), first)
        found[i, twice] = -1
    return found
