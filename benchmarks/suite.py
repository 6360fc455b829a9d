"""Ten estimators from one neighbour search against scikit-dimension's, each of which searches anew.

Only those that work from distances alone: angles and spectra (ABID, DANCo, ESS, local PCA, TLE) need the points as well
and cost several searches more. Processor seconds of one run. The search is one exact `NeighborGraph` with as many
neighbours as the neediest estimator wants; faiss's flat index, which is exact up to float32, is given for scale.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
import skdim

from submanifold.dimension import ESTIMATORS
from submanifold.neighbors import NeighborGraph

__all__ = ["run"]

METHODS = ("mle", "twonn", "gride", "mom", "mada", "mind_ml", "corrint", "knn", "geomle", "calibrated")
"""Estimators from distances to neighbours."""

PEERS: dict[str, Callable[[Any], Any]] = {
    "mle": lambda X: skdim.id.MLE().fit(X, n_neighbors=20, comb="mle"),
    "twonn": lambda X: skdim.id.TwoNN().fit(X),
    "gride": lambda X: skdim.id.GRIDE().fit(X),
    "mom": lambda X: skdim.id.MOM().fit(X),
    "mada": lambda X: skdim.id.MADA().fit(X),
    "mind_ml": lambda X: skdim.id.MiND_ML().fit(X),
    "corrint": lambda X: skdim.id.CorrInt().fit(X),
    "knn": lambda X: skdim.id.KNN().fit(X),
}


def run() -> list[dict[str, Any]]:
    """One row for the search, one for each estimator, and the sums."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((10_000, 10)) @ rng.standard_normal((10, 784))
    ESTIMATORS["calibrated"]().fit(X[:500])  # loads and tabulates what is needed on first use
    low_precision = X.astype(np.float32)
    flat, _ = _timed(lambda: _flat(low_precision))
    graph_seconds, graph = _timed(lambda: NeighborGraph(X, 100))
    rows = [_row("exact search, k = 100 (peer: faiss flat)", graph_seconds, flat, None, None)]
    ours = theirs = shared = 0.0
    for name in METHODS:
        seconds, fitted = _timed(lambda name=name: ESTIMATORS[name]().fit(X, graph=graph))
        ours += seconds
        peer_seconds = peer_dimension = None
        if name in PEERS:
            peer_seconds, peer = _timed(lambda name=name: PEERS[name](X))
            theirs, shared = theirs + peer_seconds, shared + seconds
            peer_dimension = float(np.mean(peer.dimension_))
        rows.append(_row(name, seconds, peer_seconds, fitted.dimension_, peer_dimension))
    rows.append(_row(f"all {len(METHODS)}, over one search", (graph_seconds + ours) / graph_seconds, None, None, None))
    rows.append(
        _row(f"the {len(PEERS)} that the peer has, search included", graph_seconds + shared, theirs, None, None)
    )
    return rows


def _flat(X: Any) -> None:
    index = faiss.IndexFlatL2(X.shape[1])
    index.add(X)
    index.search(X, 101)


def _timed(job: Callable[[], Any]) -> tuple[float, Any]:
    started = time.process_time()
    result = job()
    return time.process_time() - started, result


def _row(
    task: str, seconds: float, peer_seconds: float | None, dimension: float | None, peer_dimension: float | None
) -> dict[str, Any]:
    return {
        "task": task,
        "cpu seconds": seconds,
        "peer cpu seconds": "" if peer_seconds is None else peer_seconds,
        "times faster": "" if peer_seconds is None else peer_seconds / seconds,
        "dimension": "" if dimension is None else dimension,
        "peer dimension": "" if peer_dimension is None else peer_dimension,
    }
