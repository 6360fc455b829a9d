"""The estimators against scikit-dimension: same data, same answer, time as a ratio.

Ours include the 95% interval, which scikit-dimension does not give.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import skdim

from submanifold.dimension import MLE, LocalPCA, TwoNN

__all__ = ["run"]


def run() -> list[dict[str, Any]]:
    """One row for each estimator and size: seconds, the peer's, their ratio, and both answers."""
    rows = []
    for n, D in ((5_000, 20), (5_000, 100)):
        rng = np.random.default_rng(0)
        X = rng.standard_normal((n, 10)) @ np.linalg.qr(rng.standard_normal((D, 10)))[0].T
        size = f"n = {n}, D = {D}"
        rows += [
            _row(f"MLE, {size}", lambda X=X: MLE().fit(X), lambda X=X: skdim.id.MLE().fit(X, n_neighbors=20)),
            _row(f"TwoNN, {size}", lambda X=X: TwoNN().fit(X), lambda X=X: skdim.id.TwoNN().fit(X)),
        ]
    few = X[:1000]
    rows.append(
        _row(
            f"local PCA, n = {len(few)}, D = {few.shape[1]}",
            lambda: LocalPCA().fit(few),
            lambda: _Mean(skdim.id.lPCA().fit_transform_pw(few, n_neighbors=50)),
        )
    )
    return rows


class _Mean:
    def __init__(self, local: Any) -> None:
        self.dimension_ = float(np.mean(local))


def _row(task: str, ours: Callable[[], Any], peer: Callable[[], Any]) -> dict[str, Any]:
    started = time.perf_counter()
    mine = ours()
    seconds = time.perf_counter() - started
    started = time.perf_counter()
    other = peer()
    peer_seconds = time.perf_counter() - started
    return {
        "task": task,
        "peer": "scikit-dimension",
        "seconds": seconds,
        "peer seconds": peer_seconds,
        "times faster": peer_seconds / seconds,
        "dimension": mine.dimension_,
        "interval": "[{:.2f}, {:.2f}]".format(*mine.interval_),
        "peer dimension": float(other.dimension_),
    }
