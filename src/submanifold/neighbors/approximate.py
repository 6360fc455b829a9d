"""Nearest-neighbour descent for more points than exact search can serve, with a recall that is measured.

Dong, Moses, Li (2011), Efficient k-nearest neighbor graph construction for generic similarity measures, WWW, section 2:
the neighbours of a neighbour are likely neighbours. Candidates are its (from faiss); their distances are computed in
float64, and how many neighbours were missed is measured on rows drawn at random, whose neighbours are found exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from submanifold.neighbors.exact import Plan, smallest
from submanifold.neighbors.progress import Report
from submanifold.neighbors.projection import principal_coordinates
from submanifold.neighbors.threads import limited

__all__ = ["Approximation", "descend", "recall_interval", "recalls", "seconds"]

Matrix = NDArray[np.float64]
Index = NDArray[np.int64]

_LEAST_RECALL = 0.99  # with which the bias of a likelihood estimate of dimension stays below half a per cent
_PROBES = 500
_HELD_BYTES = 2**30
_ATTEMPTS = ((1.25, 8, 8), (2.0, 16, 12))  # factor of k, candidates more than that, rounds


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


def seconds(n: int, k: int) -> float:
    """What the descent costs, in the units of `Plan.seconds`."""
    return 3e-4 * n * max(1.0, k / 20)


def descend(plan: Plan, k: int, *, seed: int, n_jobs: int, report: Report) -> Approximation | None:
    """The k nearest neighbours of all points, or None where the recall stays below 0.99 whatever is tried."""
    n = len(plan.framed)
    rows = np.sort(np.random.default_rng(seed).choice(n, min(n, _PROBES), replace=False))
    truth, _ = plan.of_rows(rows, k, n_jobs=n_jobs, report=report)  # (p, k)
    x = _coordinates(plan)  # (n, d)
    norms = plan.framed.norms()
    if n < 8 * (2 * k + 16):  # descent needs room to descend in
        return None
    for factor, more, rounds in _ATTEMPTS:
        width = min(int(factor * k) + more, n - 2)
        with limited(1):  # faiss's descent gives another graph each time that threads share it
            found = _graph(x, width, rounds, seed)
            exact = plan.framed.distances(plan.framed, found, norms, n_jobs) / plan.framed.scale
        distances, indices = smallest(exact, found, k)
        if np.isfinite(distances).all():
            found_of = recalls(distances[rows], truth)
            if found_of.mean() >= _LEAST_RECALL:
                return Approximation(distances, indices, float(found_of.mean()), recall_interval(found_of))
    return None


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


def _coordinates(plan: Plan) -> NDArray[np.float32]:
    """Coordinates (n, d) in which candidates are near: those of the projection, or all."""
    n, D = plan.framed.shape
    if plan.projection is not None:
        return plan.projection.points[:, :-2]
    if n * D * 4 > _HELD_BYTES:
        return principal_coordinates(plan.framed, 96)
    x = np.empty((n, D), dtype=np.float32)
    for rows, block in plan.framed.extended_blocks():
        x[rows] = block[:, :-2]
    return x


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
    again = np.flatnonzero((np.diff(order, axis=1) == 0).any(axis=1) & (order[:, 0] >= 0))
    for i in again:  # a candidate twice would count twice
        first = np.unique(found[i], return_index=True)[1]
        twice = np.setdiff1d(np.arange(found.shape[1]), first)
        found[i, twice] = -1
    return found
