"""All estimators from neighbours over one search, against scikit-dimension's, each of which searches anew.

Processor seconds of one run on 10,000 points in 784 dimensions, near a flat of ten. "Pooled" is the one number for all
data as `submanifold.dimension.estimate` finds it: estimators of angles and spectra look at `most_rows` of the points,
each with its neighbours among all. "Everywhere" has the local dimension at every point, as scikit-dimension does. The
search is one exact `NeighborGraph` with as many neighbours as the neediest estimator wants; faiss's flat index, which
is exact up to float32, is given for scale.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
import skdim
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from submanifold.dimension import ESTIMATORS, DimensionEstimator
from submanifold.dimension.neighborhood import NeighborEstimator
from submanifold.neighbors import NeighborGraph

__all__ = ["run"]

PEERS: dict[str, Callable[[Any], Any]] = {
    "mle": lambda X: skdim.id.MLE().fit(X, n_neighbors=20, comb="mle"),
    "twonn": lambda X: skdim.id.TwoNN().fit(X),
    "gride": lambda X: skdim.id.GRIDE().fit(X),
    "mom": lambda X: skdim.id.MOM().fit(X),
    "mada": lambda X: skdim.id.MADA().fit(X),
    "mind_ml": lambda X: skdim.id.MiND_ML().fit(X),
    "corrint": lambda X: skdim.id.CorrInt().fit(X),
    "knn": lambda X: skdim.id.KNN().fit(X),
    "tle": lambda X: skdim.id.TLE().fit(X),
    "ess": lambda X: skdim.id.ESS().fit(X, n_neighbors=20),
    "lpca": lambda X: skdim.id.lPCA().fit_pw(X, n_neighbors=50),
}


def run() -> list[dict[str, Any]]:
    """One row for the search, one for each estimator, and the sums."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((10_000, 10)) @ rng.standard_normal((10, 784)) + 0.01 * rng.standard_normal((10_000, 784))
    names = [name for name, kind in ESTIMATORS.items() if issubclass(kind, NeighborEstimator)]
    for name in names:
        ESTIMATORS[name]().fit(X[:300])  # loads and tabulates what is needed on first use
    low_precision = X.astype(np.float32)
    flat, _ = _timed(lambda: _flat(low_precision))
    search, graph = _timed(lambda: NeighborGraph(X, 100))
    rows = [{"task": "exact search, k = 100 (peer: faiss flat)", "everywhere": search, "peer": flat}]
    pooled = ours = theirs = 0.0
    for name in names:
        make = ESTIMATORS[name]
        part = graph if make.most_rows is None else graph.take(np.sort(rng.choice(len(X), make.most_rows, False)))
        once, fitted = _timed(lambda make=make, part=part: _fitted(make(), part, X))
        everywhere, _ = _timed(lambda make=make: _fitted(make(), graph, X))
        rows.append({"task": name, "dimension": fitted.dimension_, "pooled": once, "everywhere": everywhere})
        pooled += once
        if name in PEERS:
            seconds, peer = _timed(lambda name=name: PEERS[name](X))
            ours, theirs = ours + everywhere, theirs + seconds
            of_peer = peer.dimension_ if np.ndim(peer.dimension_) == 0 else np.mean(peer.dimension_pw_)
            rows[-1].update({"peer": seconds, "peer dimension": float(of_peer)})
    rows.append({"task": f"search and all {len(names)}, over the search", "pooled": (search + pooled) / search})
    rows.append({"task": f"the {len(PEERS)} of the peer, search included", "everywhere": search + ours, "peer": theirs})
    return [_row(**row) for row in rows]


def _fitted(estimator: NeighborEstimator, graph: NeighborGraph, X: NDArray[np.float64]) -> DimensionEstimator:
    return estimator.fit(X if estimator.needs_points or estimator.uses_points else None, graph=graph)


def _flat(X: Any) -> None:
    index = faiss.IndexFlatL2(X.shape[1])
    index.add(X)
    index.search(X, 101)


def _timed(job: Callable[[], Any]) -> tuple[float, Any]:
    with threadpool_limits(1):  # idle threads of matrix products spin, which counts as processor time
        started = time.process_time()
        result = job()
        return time.process_time() - started, result


def _row(task: str, **values: float) -> dict[str, Any]:
    row: dict[str, Any] = {"task": task}
    for name in ("pooled", "everywhere", "peer"):
        row[f"{name}, cpu s"] = values.get(name, "")
    both = "everywhere" in values and "peer" in values
    row["times faster"] = values["peer"] / values["everywhere"] if both else ""
    return row | {name: values.get(name, "") for name in ("dimension", "peer dimension")}
