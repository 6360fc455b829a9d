"""The estimators from angles, spectra and separability against scikit-dimension: CPU-seconds of one thread, as ratios.

Run with OMP_NUM_THREADS=1. Ours without the interval, which scikit-dimension does not give.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import skdim

from submanifold.dimension import ESS, TLE, DANCo, FisherS, LocalPCA, lPCA

__all__ = ["run"]

_N, _D, _DIMENSION = 2_500, 20, 10
_FEW = 250  # points on which the peer is timed where it takes minutes; its time is proportional to their number


def run() -> list[dict[str, Any]]:
    """One row for each estimator: seconds, the peer's, their ratio, and both answers."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((_N, _DIMENSION)) @ np.linalg.qr(rng.standard_normal((_D, _DIMENSION)))[0].T
    X += 0.01 * rng.standard_normal(X.shape)
    peers = skdim.id
    size = f"n = {_N}, D = {_D}"
    DANCo().fit(X[:100])  # reads the table
    return [
        _row(f"TLE k = 20, {size}", lambda: TLE().fit(X), lambda: peers.TLE().fit(X, n_neighbors=20)),
        _row(f"ESS k = 20, {size}", lambda: ESS().fit(X), lambda: peers.ESS().fit(X, n_neighbors=20)),
        _row(
            f"ESS k = 100, {size}",
            lambda: ESS(n_neighbors=100).fit(X),
            lambda: peers.ESS().fit(X[:_FEW], n_neighbors=100),
            scale=_N / _FEW,
        ),
        _row(f"DANCo, {size}", lambda: DANCo().fit(X), lambda: peers.DANCo(random_state=0).fit(X)),
        _row(f"DANCo from a table, {size}", lambda: DANCo().fit(X), lambda: peers.DANCo(ver="DANCoFit").fit(X)),
        _row(f"FisherS, {size}", lambda: FisherS().fit(X), lambda: peers.FisherS().fit(X)),
        _row(
            f"local PCA k = 50, {size}",
            lambda: LocalPCA().fit(X),
            lambda: _Mean(peers.lPCA().fit_transform_pw(X, n_neighbors=50)),
        ),
        _row(
            f"lPCA.fit_pw k = 100, {size}",
            lambda: lPCA().fit_pw(X),
            lambda: _Mean(peers.lPCA().fit_transform_pw(X, n_neighbors=100)),
        ),
    ]


class _Mean:
    def __init__(self, local: Any) -> None:
        self.dimension_ = float(np.mean(local))


def _least(call: Callable[[], Any]) -> tuple[Any, float]:
    """What is returned, and the least processor time of five runs, or of as many as begin within ten seconds."""
    times: list[float] = []
    while len(times) < 5 and sum(times) < 10:
        started = time.process_time()
        found = call()
        times.append(time.process_time() - started)
    return found, min(times)


def _row(task: str, ours: Callable[[], Any], peer: Callable[[], Any], *, scale: float = 1.0) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mine, seconds = _least(ours)
        other, peer_seconds = _least(peer)
        peer_seconds *= scale
    return {
        "task": task,
        "peer": "scikit-dimension",
        "seconds": seconds,
        "peer seconds": peer_seconds,
        "times faster": peer_seconds / seconds,
        "dimension": mine.dimension_,
        "peer dimension": float(other.dimension_),
    }
