"""Estimators from distances, and of whole clouds, against scikit-dimension: time on one thread and both answers.

The first time is that of a fit alone, the second that of a fit from a graph that the estimators share; the interval,
which scikit-dimension does not give, is timed by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import skdim

from submanifold.dimension import BID, GRIDE, KNN, MADA, MOM, PH, CorrInt, GeoMLE, MagnitudeDimension, MiND_ML
from submanifold.neighbors import NeighborGraph

__all__ = ["run"]

_N, _D = 2500, 50


def run() -> list[dict[str, Any]]:
    """One row for each estimator: CPU-seconds, the peer's, their ratio, and both answers on a 10-D cloud."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((_N, 10)) @ np.linalg.qr(rng.standard_normal((_D, 10)))[0].T
    started = time.process_time()
    graph = NeighborGraph(X, 250)
    rows = [_row("graph of 250 neighbours", time.process_time() - started)]
    pairs: list[tuple[Any, Callable[[], Any] | None]] = [
        (GRIDE(), lambda: skdim.id.GRIDE().fit(X)),
        (GRIDE(multiscale=True), lambda: skdim.id.GRIDE(multiscale=True).fit(X)),
        (MOM(), lambda: skdim.id.MOM().fit(X)),
        (MADA(), lambda: skdim.id.MADA().fit(X)),
        (CorrInt(), lambda: skdim.id.CorrInt().fit(X)),
        (KNN(), lambda: skdim.id.KNN(k=2, ps=[1250, 1500, 1750, 2000, 2250], M=3, random_state=0).fit(X)),
        (MiND_ML(), lambda: skdim.id.MiND_ML(D=_D).fit(X)),
        (GeoMLE(), None),
        # As many trees as by default here; the peer's default is 20 times as many.
        (PH(), lambda: skdim.id.PH(nsteps=10, subsamples=5, random_state=0).fit(X)),
        (MagnitudeDimension(), None),
    ]
    for estimator, peer in pairs:
        rows.append(_compare(estimator, X, graph if hasattr(estimator, "required_neighbors") else None, peer))
    for n in (3000, 20_000):
        rows.append(_compare(BID(), rng.random((n, 100)) < 0.5, None, None))
    return rows


def _compare(estimator: Any, X: Any, graph: NeighborGraph | None, peer: Callable[[], Any] | None) -> dict[str, Any]:
    seconds, shared, its = (_seconds(one) for one in (lambda: estimator.fit(X), _shared(estimator, X, graph), peer))
    interval = _seconds(lambda: estimator.interval_) if len(X) <= _N else (float("nan"), None)
    other = "" if its[1] is None else float(its[1].dimension_)
    return _row(f"{estimator}, n = {len(X)}", seconds[0], shared[0], interval[0], its[0], estimator.dimension_, other)


def _shared(estimator: Any, X: Any, graph: NeighborGraph | None) -> Callable[[], Any] | None:
    return None if graph is None else lambda: estimator.fit(X, graph=graph)


def _seconds(what: Callable[[], Any] | None) -> tuple[float, Any]:
    if what is None:
        return float("nan"), None
    started = time.process_time()
    value = what()
    return time.process_time() - started, value


def _row(task: str, seconds: float, *rest: Any) -> dict[str, Any]:
    nan = float("nan")
    shared, interval, peer, dimension, other = rest or (nan, nan, nan, "", "")
    return {
        "task": task,
        "peer": "scikit-dimension",
        "seconds": seconds,
        "from a graph": shared,
        "interval": interval,
        "peer seconds": peer,
        "times faster": peer / seconds,
        "dimension": dimension,
        "peer dimension": other,
    }
