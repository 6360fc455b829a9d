"""The neighbour search against faiss's flat index and scikit-learn's brute force, and TwoNN against scikit-dimension.

Each search runs in a process of its own, so that its peak memory can be read; neither the imports nor a first use are
timed. "d = 10" is a Gaussian of 10 dimensions in D, "full rank" has the spectrum of natural images (variances that fall
as 1 / j in all D directions). Recall and the effect on estimates of dimension (their relative change) compare with the
first search of a task, on the rows that both have. faiss's flat index among 50,000 points answers 5,000 queries, whose
times are scaled by ten (those of building the index are not); scikit-dimension's TwoNN runs on 20,000 points, as on
50,000 it takes minutes and gigabytes.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["run"]

Matrix = NDArray[np.float64]
Found = dict[str, NDArray[Any]]

_TASKS: tuple[tuple[int, int, int, str, tuple[str, ...]], ...] = (
    # n, D, k, data, who searches
    (10_000, 784, 20, "d = 10", ("auto", "faiss flat", "scikit-learn brute")),
    (10_000, 784, 70, "d = 10", ("auto", "faiss flat", "scikit-learn brute")),
    (10_000, 784, 20, "full rank", ("auto", "faiss flat", "scikit-learn brute")),
    (10_000, 784, 70, "full rank", ("auto", "faiss flat", "scikit-learn brute")),
    (50_000, 784, 20, "d = 10", ("auto", "nn-descent", "faiss flat, a tenth")),
    (50_000, 784, 20, "full rank", ("auto", "faiss flat, a tenth")),
    (20_000, 100, 2, "d = 10", ("TwoNN", "scikit-dimension TwoNN")),
    (50_000, 100, 2, "d = 10", ("TwoNN",)),
)


def run() -> list[dict[str, Any]]:
    """One row for each task and search: seconds, processor seconds, peak memory, recall, and what estimates change."""
    rows = []
    for n, D, k, data, searches in _TASKS:
        first: Found | None = None
        for who in searches:
            about, found = _measured(who, n, D, k, data)
            first = found if first is None else first
            effects = {f"effect on {name}": _effect(found[name], first[name]) for name in ("MLE", "TwoNN")}
            rows.append(
                {
                    "task": f"n = {n}, D = {D}, k = {k}, {data}",
                    "search": who,
                    **about,
                    "recall": _recall(found["indices"], first["indices"]),
                    **effects,
                }
            )
    return rows


def _measured(who: str, n: int, D: int, k: int, data: str) -> tuple[dict[str, float], Found]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "found.npz")
        command = [sys.executable, "-m", "benchmarks.neighbors", who, str(n), str(D), str(k), data, str(path)]
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        about: dict[str, float] = json.loads(answer.splitlines()[-1])
        with np.load(path) as file:
            return about, dict(file)


def _effect(found: Matrix, truth: Matrix) -> float:
    """The relative change of an estimate, the inverse mean of logarithms (m,) instead of (n,), on the rows of both."""
    return float(truth[: len(found)].mean() / found.mean() - 1)


def _recall(found: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """The share of the neighbours `truth` (n, k) in `found` (m, k), on the rows that both have."""
    if truth.size == 0:
        return float("nan")
    return float(np.mean([np.isin(near, mine).mean() for near, mine in zip(truth, found, strict=False)]))


def _data(n: int, D: int, kind: str) -> Matrix:
    rng = np.random.default_rng(0)
    if kind == "full rank":
        return rng.standard_normal((n, D)) / np.sqrt(1 + np.arange(D))
    return rng.standard_normal((n, min(10, D))) @ rng.standard_normal((min(10, D), D))


def _ours(X: Matrix, k: int, method: str) -> Found:
    from submanifold.neighbors import NeighborGraph

    graph = NeighborGraph(X, k, method=method)
    return _found(graph.distances, graph.indices)


def _faiss(X: Matrix, k: int, part: int) -> Found:
    import faiss

    index = faiss.IndexFlatL2(X.shape[1])
    single = X.astype(np.float32)
    index.add(single)
    squared, indices = index.search(single[: len(X) // part], k + 1)
    return _found(np.sqrt(np.maximum(squared[:, 1:].astype(np.float64), 0)), indices[:, 1:])


def _scikit_learn(X: Matrix, k: int) -> Found:
    from sklearn.neighbors import NearestNeighbors

    return _found(*NearestNeighbors(n_neighbors=k, algorithm="brute").fit(X).kneighbors())


def _twonn(X: Matrix, k: int) -> Found:
    from submanifold.dimension import TwoNN

    return _estimated(TwoNN().fit(X).dimension_)


def _scikit_dimension(X: Matrix, k: int) -> Found:
    import skdim

    return _estimated(skdim.id.TwoNN().fit(X).dimension_)


def _found(distances: Matrix, indices: NDArray[np.int64]) -> Found:
    """Neighbours, and of each point the logarithms whose inverse means are the estimates of maximum likelihood."""
    mle = np.log(distances[:, -1:] / distances[:, :-1]).mean(axis=1)
    return {"indices": indices, "MLE": mle, "TwoNN": np.log(distances[:, 1] / distances[:, 0])}


def _estimated(dimension: float) -> Found:
    return {"indices": np.empty((0, 0), dtype=np.int64), "MLE": np.array([np.nan]), "TwoNN": np.array([1 / dimension])}


_SEARCHES: dict[str, Callable[[Matrix, int], Found]] = {
    "auto": lambda X, k: _ours(X, k, "auto"),
    "nn-descent": lambda X, k: _ours(X, k, "nn-descent"),
    "faiss flat": lambda X, k: _faiss(X, k, 1),
    "faiss flat, a tenth": lambda X, k: _faiss(X, k, 10),
    "scikit-learn brute": _scikit_learn,
    "TwoNN": _twonn,
    "scikit-dimension TwoNN": _scikit_dimension,
}


def _timed(search: Callable[[], Found]) -> tuple[Found, float, float]:
    """What a search finds, its seconds and its processor seconds."""
    started, processor = time.perf_counter(), time.process_time()
    found = search()
    return found, time.perf_counter() - started, time.process_time() - processor


def _child(who: str, n: int, D: int, k: int, data: str, path: str) -> None:
    X = _data(n, D, data)
    _SEARCHES[who](X[:100], 2)  # imports and first use
    found, seconds, cpu = _timed(lambda: _SEARCHES[who](X, k))
    if who == "faiss flat, a tenth":
        _, building, building_cpu = _timed(lambda: _faiss(X, k, len(X)))  # one query
        seconds, cpu = 10 * seconds - 9 * building, 10 * cpu - 9 * building_cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    np.savez(path, **found)
    print(json.dumps({"seconds": seconds, "CPU-s": cpu, "peak MB": peak}))


if __name__ == "__main__":
    _child(sys.argv[1], *map(int, sys.argv[2:5]), *sys.argv[5:7])
