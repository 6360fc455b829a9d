"""Transport against POT, SciPy and scikit-learn: same samples, same answer, time as a ratio."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import ot
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance
from sklearn.metrics.pairwise import rbf_kernel

from submanifold import transport

__all__ = ["run"]


def run() -> list[dict[str, Any]]:
    """One row for each function: seconds, the peer's seconds, their ratio, and the two answers."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(1500, 9)), 0.1 + rng.normal(size=(1500, 9))
    angles, turned = rng.vonmises(0, 1, 3000), rng.vonmises(0.2, 1, 3000)
    return [
        _row("W1, n = 1500, D = 9", "POT emd2", lambda: transport.wasserstein(x, y), lambda: _pot(x, y)),
        _row("W1, n = 1500, D = 9", "SciPy assignment", lambda: transport.wasserstein(x, y), lambda: _assign(x, y)),
        _row(
            "W1 from an offset of 1e8",
            "POT dist + emd2",
            lambda: transport.wasserstein(x + 1e8, y + 1e8),
            lambda: _pot_dist(x + 1e8, y + 1e8),
        ),
        _row(
            "sliced W1, 200 directions",
            "POT",
            lambda: transport.sliced_wasserstein(x, y).value,
            lambda: float(ot.sliced_wasserstein_distance(x, y, n_projections=200, p=1, seed=0)),
        ),
        _row(
            "sliced W1 test, 100 permutations",
            "SciPy, projection by projection",
            lambda: transport.sliced_wasserstein_test(x, y, 100, 20).floor,
            lambda: _sliced_floor(x, y, 100, 20),
        ),
        _row(
            "circular W1, n = 3000",
            "POT wasserstein_circle",
            lambda: transport.circular_wasserstein(angles, turned),
            lambda: _pot_circle(angles, turned),
        ),
        _row(
            "MMD, 200 permutations",
            "scikit-learn kernel, summed again",
            lambda: transport.mmd(x[:500], y[:500], 3.0).statistic,
            lambda: _mmd(x[:500], y[:500], 3.0, 200),
        ),
    ]


def _row(task: str, peer: str, ours: Callable[[], float], theirs: Callable[[], float]) -> dict[str, Any]:
    seconds, value = _timed(ours)
    peer_seconds, peer_value = _timed(theirs)
    return {
        "task": task,
        "peer": peer,
        "seconds": seconds,
        "peer seconds": peer_seconds,
        "peer / ours": peer_seconds / seconds,
        "value": value,
        "peer value": peer_value,
    }


def _timed(f: Callable[[], float], repeats: int = 3) -> tuple[float, float]:
    """The least of `repeats` durations, and the value."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        value = f()
        times.append(time.perf_counter() - start)
    return min(times), float(value)


def _pot(x: np.ndarray, y: np.ndarray) -> float:
    return float(ot.emd2(ot.unif(len(x)), ot.unif(len(y)), cdist(x, y), numItermax=10_000_000))


def _pot_dist(x: np.ndarray, y: np.ndarray) -> float:
    C = ot.dist(x, y, metric="euclidean")
    return float(ot.emd2(ot.unif(len(x)), ot.unif(len(y)), C, numItermax=10_000_000))


def _assign(x: np.ndarray, y: np.ndarray) -> float:
    C = cdist(x, y)
    return float(C[linear_sum_assignment(C)].mean())


def _pot_circle(theta: np.ndarray, phi: np.ndarray) -> float:
    turns = (np.mod(angle, 2 * np.pi) / (2 * np.pi) for angle in (theta, phi))
    return 2 * np.pi * float(np.ravel(ot.lp.wasserstein_circle(*turns, p=1))[0])


def _sliced_floor(x: np.ndarray, y: np.ndarray, n_permutations: int, n_projections: int) -> float:
    rng = np.random.default_rng(0)
    U = rng.normal(size=(x.shape[1], n_projections))
    lines = np.concatenate([x, y]) @ (U / np.linalg.norm(U, axis=0))
    null = []
    for _ in range(n_permutations):
        order = rng.permutation(len(lines))
        a, b = lines[order[: len(x)]], lines[order[len(x) :]]
        null.append(np.mean([wasserstein_distance(s, t) for s, t in zip(a.T, b.T, strict=True)]))
    return float(np.mean(null))


def _mmd(x: np.ndarray, y: np.ndarray, h: float, n_permutations: int) -> float:
    rng, n, m = np.random.default_rng(0), len(x), len(y)
    K = rbf_kernel(np.concatenate([x, y]), gamma=0.5 / h**2)

    def statistic(order: np.ndarray) -> float:
        a, b = order[:n], order[n:]
        kxx, kyy, kxy = K[np.ix_(a, a)], K[np.ix_(b, b)], K[np.ix_(a, b)]
        return (kxx.sum() - n) / (n * (n - 1)) + (kyy.sum() - m) / (m * (m - 1)) - 2 * kxy.mean()

    for _ in range(n_permutations):
        statistic(rng.permutation(n + m))
    return float(statistic(np.arange(n + m)))
