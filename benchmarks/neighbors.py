"""The neighbour search against faiss's flat index and scikit-learn's brute force: same data, time as a ratio.

Each search runs in a process of its own, so that its peak memory can be read; the imports are not timed. Distances are
compared on 200 rows. "d = 10" is a Gaussian of 10 dimensions in D, "full rank" has the spectrum of natural images
(variances that fall as 1 / j in all D directions).
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["run"]

Matrix = NDArray[np.float64]

_TASKS = (
    # n, D, k, data, peers
    (10_000, 784, 20, "d = 10", ("faiss", "scikit-learn")),
    (10_000, 784, 70, "d = 10", ("faiss", "scikit-learn")),
    (10_000, 784, 20, "full rank", ("faiss", "scikit-learn")),
    (10_000, 784, 70, "full rank", ("faiss",)),
    (10_000, 3, 20, "d = 10", ("scikit-learn",)),
    (50_000, 784, 20, "d = 10", ("faiss", "nn-descent")),
)


def run() -> list[dict[str, Any]]:
    """One row for each task and peer: seconds, processor seconds and peak memory of both, and what differs."""
    rows = []
    for n, D, k, data, peers in _TASKS:
        ours = _measured("submanifold", n, D, k, data)
        for peer in peers:
            theirs = _measured(peer, n, D, k, data)
            near, far = np.array(ours["distances"]), np.array(theirs["distances"])
            rows.append(
                {
                    "task": f"n = {n}, D = {D}, k = {k}, {data}",
                    "method": ours["method"],
                    "peer": {"faiss": "faiss flat, float32", "scikit-learn": "scikit-learn brute, float64"}.get(
                        peer, peer
                    ),
                    "seconds": ours["seconds"],
                    "peer seconds": theirs["seconds"],
                    "CPU-s": ours["cpu"],
                    "peer CPU-s": theirs["cpu"],
                    "times less CPU": theirs["cpu"] / ours["cpu"],
                    "peak MB": ours["peak"],
                    "peer peak MB": theirs["peak"],
                    "largest relative difference": float(np.abs(near / far - 1).max()),
                    "peer's recall": float((far <= near[:, -1:] * (1 + 1e-5)).mean()),
                    "peer's MLE / ours - 1": theirs["mle"] / ours["mle"] - 1,
                }
            )
    return rows


def _measured(who: str, n: int, D: int, k: int, data: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.neighbors", who, str(n), str(D), str(k), data]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    result: dict[str, Any] = json.loads(answer.splitlines()[-1])
    return result


def _data(n: int, D: int, kind: str) -> Matrix:
    rng = np.random.default_rng(0)
    if kind == "full rank":
        return rng.standard_normal((n, D)) / np.sqrt(1 + np.arange(D))
    return rng.standard_normal((n, min(10, D))) @ rng.standard_normal((min(10, D), D))


def _ours(X: Matrix, k: int) -> tuple[Matrix, str]:
    from submanifold.neighbors import NeighborGraph

    graph = NeighborGraph(X, k)
    return graph.distances, graph.method


def _descent(X: Matrix, k: int) -> tuple[Matrix, str]:
    from submanifold.neighbors import NeighborGraph

    graph = NeighborGraph(X, k, method="nn-descent")
    return graph.distances, f"recall {graph.recall:.4f}"


def _faiss(X: Matrix, k: int) -> tuple[Matrix, str]:
    import faiss

    index = faiss.IndexFlatL2(X.shape[1])
    single = X.astype(np.float32)
    index.add(single)
    squared, _ = index.search(single, k + 1)
    return np.sqrt(np.maximum(squared[:, 1:].astype(np.float64), 0)), "exact"


def _scikit_learn(X: Matrix, k: int) -> tuple[Matrix, str]:
    from sklearn.neighbors import NearestNeighbors

    return NearestNeighbors(n_neighbors=k, algorithm="brute").fit(X).kneighbors()[0], "exact"


_SEARCHES: dict[str, Callable[[Matrix, int], tuple[Matrix, str]]] = {
    "submanifold": _ours,
    "nn-descent": _descent,
    "faiss": _faiss,
    "scikit-learn": _scikit_learn,
}


def _child(who: str, n: int, D: int, k: int, data: str) -> None:
    X = _data(n, D, data)
    _SEARCHES[who](X[:100], 2)  # imports and first use
    started, processor = time.perf_counter(), time.process_time()
    distances, method = _SEARCHES[who](X, k)
    seconds, cpu = time.perf_counter() - started, time.process_time() - processor
    mle = 1 / np.mean(np.log(distances[:, -1:] / distances[:, :-1]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    result = {"seconds": seconds, "cpu": cpu, "peak": peak, "method": method, "mle": float(mle)}
    print(json.dumps({**result, "distances": distances[:200].tolist()}))


if __name__ == "__main__":
    _child(sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5])
