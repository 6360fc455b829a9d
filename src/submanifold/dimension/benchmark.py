"""Estimators against the 24 benchmark manifolds of known dimension; nobody is told anything."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence

import numpy as np

from submanifold.checks import check_choice, check_int
from submanifold.data.benchmarks import BENCHMARK, BenchmarkManifold
from submanifold.dimension.base import DimensionEstimator, Matrix
from submanifold.dimension.benchmark_scores import Benchmark, ManifoldScore, MethodScore
from submanifold.dimension.catalogue import ESTIMATORS
from submanifold.dimension.consensus import estimate
from submanifold.dimension.neighborhood import NeighborEstimator
from submanifold.dimension.persistent import PH
from submanifold.errors import InvalidInput
from submanifold.neighbors import NeighborGraph, distinct_rows

__all__ = ["SLOW", "fast_methods", "run_benchmark"]

SLOW: tuple[type[DimensionEstimator], ...] = (PH,)
"""Estimators that take a second or more for each manifold, and are run when asked for by name."""


def fast_methods() -> list[str]:
    """The methods of the benchmark unless others are asked for."""
    return [name for name, estimator in ESTIMATORS.items() if estimator not in SLOW]


def run_benchmark(
    methods: Sequence[str] | None = None,
    *,
    n: int = 2500,
    seed: int = 0,
    noise: float = 0.0,
    manifolds: Sequence[str] | None = None,
    progress: bool = False,
) -> Benchmark:
    """Score the consensus, and `methods` with their defaults, on samples of the benchmark manifolds.

    Args:
        methods: names of estimators; `fast_methods()` by default, none for the consensus alone.
        n: points of each manifold, at least 100.
        seed: of the points and of the estimators.
        noise: root mean square length of noise over that of the points, see `BenchmarkManifold.sample`.
        manifolds: names of manifolds; all by default.
        progress: show a bar.

    Raises:
        InvalidInput: for an unknown method or manifold, n below 100, or a negative seed or noise.
    """
    check_int(n, name="n", low=100)
    names = fast_methods() if methods is None else [check_choice(m, list(ESTIMATORS), name="methods") for m in methods]
    chosen = sorted(BENCHMARK, key=_natural) if manifolds is None else list(manifolds)
    if not chosen:
        raise InvalidInput(f"manifolds is empty: give one or more of {', '.join(BENCHMARK)}")
    truth = [BENCHMARK[name] for name in chosen]
    tallies = {name: _Tally(name) for name in names}
    scores, consensus_seconds, search_seconds = [], 0.0, 0.0
    for manifold in _shown(truth, progress):
        X = manifold.sample(n, seed, noise)  # (n, D)
        start = time.process_time()
        scores.append(_consensus(manifold, X, seed))
        consensus_seconds += time.process_time() - start
        start = time.process_time()
        X, graph = _graph(X, [ESTIMATORS[name](random_state=seed) for name in names])
        search_seconds += time.process_time() - start
        for name, tally in tallies.items():
            tally.add(manifold, ESTIMATORS[name](random_state=seed), X, graph)
    done = [tally.score() for tally in tallies.values() if tally.errors]
    return Benchmark(
        n=n,
        seed=seed,
        noise=noise,
        manifolds=tuple(scores),
        methods=tuple(sorted(done, key=lambda one: one.mape)),
        skipped={name: next(iter(tally.refused.values())) for name, tally in tallies.items() if not tally.errors},
        consensus_seconds=consensus_seconds,
        search_seconds=search_seconds,
    )


class _Tally:
    """What one method found so far."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.estimates: dict[str, float] = {}
        self.refused: dict[str, str] = {}
        self.errors: dict[str, float] = {}
        self.rounded: list[float] = []
        self.seconds = 0.0

    def add(self, manifold: BenchmarkManifold, estimator: DimensionEstimator, X: Matrix, graph: NeighborGraph) -> None:
        """Fit one estimator to distinct points and their neighbours."""
        start = time.process_time()
        try:
            found = _fitted(estimator, X, graph)
        except InvalidInput as error:
            self.refused[manifold.name] = str(error)
            return
        finally:
            self.seconds += time.process_time() - start
        self.estimates[manifold.name] = found
        self.errors[manifold.name] = 100 * (found / manifold.dim - 1)
        self.rounded.append(100 * (min(max(round(found), 1), manifold.ambient_dim) / manifold.dim - 1))

    def score(self) -> MethodScore:
        """The averages over all manifolds."""
        worst = max(self.errors, key=lambda name: abs(self.errors[name]))
        return MethodScore(
            name=self.name,
            estimates=self.estimates,
            refused=self.refused,
            mape=float(np.mean(np.abs(list(self.errors.values())))),
            mape_rounded=float(np.mean(np.abs(self.rounded))),
            worst=worst,
            worst_error=self.errors[worst],
            seconds=self.seconds,
        )


def _fitted(estimator: DimensionEstimator, X: Matrix, graph: NeighborGraph) -> float:
    if not isinstance(estimator, NeighborEstimator):
        return float(estimator.fit(X).dimension_)
    most = estimator.most_rows
    if most is not None and len(graph) > most:
        rows = np.random.default_rng(estimator.random_state).choice(len(graph), most, replace=False)
        graph = graph.take(np.sort(rows))
    return float(estimator.fit(X, graph=graph).dimension_)


def _graph(X: Matrix, estimators: Sequence[DimensionEstimator]) -> tuple[Matrix, NeighborGraph]:
    """Distinct points, and one graph of them that has enough neighbours for all estimators."""
    first, _ = distinct_rows(X)
    X = X[first]
    needed = [one.required_neighbors() for one in estimators if isinstance(one, NeighborEstimator)]
    return X, NeighborGraph(X, min(max(needed, default=2), len(X) - 1))


def _consensus(manifold: BenchmarkManifold, X: Matrix, seed: int) -> ManifoldScore:
    found = estimate(X, seed=seed)
    largest = max(found.pieces, key=lambda piece: piece.dimension, default=None)
    return ManifoldScore(
        name=manifold.name,
        dim=manifold.dim,
        ambient_dim=manifold.ambient_dim,
        dimension=found.largest,
        interval=found.interval if largest is None else largest.interval,
        rounded=found.rounded,
        raw=found.reading.raw,
        by_reference=found.reading.by_reference,
        k=found.reading.k,
        pieces=len(found.pieces),
    )


def _natural(name: str) -> tuple[int, str]:
    """M2 comes before M10, and names without a number come last."""
    number = re.match(r"M(\d+)", name)
    return (int(number[1]) if number else 99, name)


def _shown(manifolds: Sequence[BenchmarkManifold], progress: bool) -> Iterable[BenchmarkManifold]:
    """The manifolds one after the other, with a bar on standard error if asked to."""
    if not progress:
        return manifolds
    from rich.console import Console
    from rich.progress import track

    return track(manifolds, "benchmark manifolds", console=Console(stderr=True))
