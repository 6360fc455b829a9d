"""Which search serves: by metric, device, number of points and what is wanted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from submanifold.neighbors.approximate import descend
from submanifold.neighbors.devices import search_on
from submanifold.neighbors.exact import Plan, by_tree, search
from submanifold.neighbors.frame import Framed
from submanifold.neighbors.metrics import Metric, nearest_by
from submanifold.neighbors.points import Points
from submanifold.neighbors.progress import Report

__all__ = ["METHODS", "Found", "find"]

METHODS = ("auto", "exact", "nn-descent")

_FEW = 20_000  # points up to which exact search is always the faster one


@dataclass(frozen=True)
class Found:
    """Neighbours, how they were found, and the share of them that was.

    Attributes:
        distances: (m, k), ascending.
        indices: (m, k).
        method: "exact" or "nn-descent".
        recall: 1 where exact, else measured.
        recall_interval: its 95% interval.
    """

    distances: NDArray[np.float64]
    indices: NDArray[np.int64]
    method: str = "exact"
    recall: float = 1.0
    recall_interval: tuple[float, float] = (1.0, 1.0)


def find(
    points: Points,
    k: int,
    rows: NDArray[np.int64] | None,
    *,
    metric: Metric,
    method: str,
    n_jobs: int,
    device: str | None,
    seed: int,
    progress: bool,
) -> Found:
    """The k nearest other points of the points `rows`, or of all; see `submanifold.neighbors.NeighborGraph`."""
    own = np.arange(len(points)) if rows is None else rows
    with Report(float(len(own)) * len(points), progress) as report:
        if metric != "euclidean":
            return Found(*nearest_by(metric, points, points.take(own), k, own, n_jobs=n_jobs, report=report))
        if device is not None:
            framed = Framed(points)
            queries = framed if rows is None else Framed(points.take(own), like=framed)
            return Found(*search_on(device, framed, queries, k, own, n_jobs=n_jobs, report=report))
        may_descend = method != "exact" and rows is None and not by_tree(points)
        if not may_descend or (method == "auto" and len(points) <= _FEW):
            wanted = None if rows is None else points.take(own)
            return Found(*search(points, wanted, k, own, n_jobs=n_jobs, report=report))
        plan = Plan.of(Framed(points), k, None)
        budget = np.inf if method == "nn-descent" else plan.seconds
        near = descend(plan, k, budget=budget, seed=seed, n_jobs=n_jobs, report=report)
        if near is not None:
            return Found(near.distances, near.indices, "nn-descent", near.recall, near.interval)
        return Found(*plan.everyone(k, n_jobs=n_jobs, report=report))
