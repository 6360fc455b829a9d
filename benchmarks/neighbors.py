"""The neighbour search against scikit-learn's brute force: same data, same distances, time as a ratio."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from sklearn.neighbors import NearestNeighbors

from submanifold.neighbors import NeighborGraph

__all__ = ["run"]


def run() -> list[dict[str, Any]]:
    """One row for each size: seconds, scikit-learn's seconds, their ratio, and the largest relative difference."""
    return [_row(n, D, k) for n, D, k in ((10_000, 20, 20), (10_000, 100, 20), (10_000, 784, 20), (10_000, 100, 100))]


def _row(n: int, D: int, k: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 10)) @ rng.standard_normal((10, D))
    started = time.perf_counter()
    graph = NeighborGraph(X, k)
    ours = time.perf_counter() - started
    started = time.perf_counter()
    distances, _ = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(X).kneighbors()
    theirs = time.perf_counter() - started
    return {
        "task": f"n = {n}, D = {D}, k = {k}",
        "peer": "scikit-learn brute, float64",
        "seconds": ours,
        "peer seconds": theirs,
        "times faster": theirs / ours,
        "largest relative difference": float(np.abs(graph.distances / distances - 1).max()),
    }
