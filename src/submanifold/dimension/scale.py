"""The dimension as a function of the scale at which the data are looked at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from submanifold.dimension.variance import Patches, graph_size, split_variance
from submanifold.neighbors import NeighborGraph

__all__ = ["ScaleCurve", "scale_curve"]

Vector = NDArray[np.float64]

_Z = 1.959963984540054
_LEAST_INVERSE = 1e-12  # dimensions beyond 1e12 stand for neighbours that are all equally far


@dataclass(frozen=True, eq=False)
class ScaleCurve:
    """The pooled maximum likelihood estimate against the number of neighbours.

    Noise raises the small end of the curve, curvature and boundaries bend the large end; a plateau between them is the
    dimension.

    Attributes:
        ks: numbers of neighbours, (s,), on a geometric grid.
        radii: median distance to the k-th neighbour, (s,), in the units of the data.
        dimension: the estimate at each k, (s,).
        low, high: ends of the 95% interval at each k, (s,). Beyond the largest k that halves of the data can provide,
            the relative error of that k is kept, which is too wide rather than too narrow.
    """

    ks: NDArray[np.int64]
    radii: Vector
    dimension: Vector
    low: Vector
    high: Vector

    def to_json(self) -> dict[str, list[float]]:
        """The curve as JSON-able lists."""
        return {name: getattr(self, name).tolist() for name in ("ks", "radii", "dimension", "low", "high")}


def scale_curve(graph: NeighborGraph, *, k_max: int, n_splits: int = 20, seed: int = 0) -> ScaleCurve:
    """Levina and Bickel's estimate, pooled as MacKay and Ghahramani do, for k from 2 to `k_max`, from one graph."""
    k_max = min(k_max, graph.k)
    ks = np.unique(np.rint(np.geomspace(2, k_max, 16)).astype(np.int64)) if k_max > 2 else np.array([2])
    dimension = np.exp(_log_dimensions(Patches.of(graph, k_max), ks))

    split_ks = ks[[graph.k >= graph_size(int(k), graph.n_points) and k < graph.n_points // 2 for k in ks]]
    variance = np.full(len(ks), np.inf)
    if len(split_ks):
        known = split_variance(
            graph,
            int(split_ks[-1]),
            lambda patches: _log_dimensions(patches, split_ks),
            n_splits=n_splits,
            seed=seed,
        )
        variance = np.concatenate([known, np.full(len(ks) - len(split_ks), known[-1])])
    width = np.exp(_Z * np.sqrt(variance))
    return ScaleCurve(
        ks=ks,
        radii=np.median(graph.distances[:, ks - 1], axis=0),
        dimension=dimension,
        low=dimension / width,
        high=dimension * width,
    )


def _log_dimensions(patches: Patches, ks: NDArray[np.int64]) -> Vector:
    r"""$\log \hat m_k$ for each k, from running sums of $\log T_j$ over j < k."""
    log_t = np.log(patches.distances).mean(axis=0)  # (K,): the inverse is linear in the log-distances
    inverse = log_t[ks - 1] - np.cumsum(log_t)[ks - 2] / (ks - 1)  # (s,)
    # On a lattice all distances may tie; rounding then leaves either sign of zero.
    return np.asarray(-np.log(np.maximum(inverse, _LEAST_INVERSE)))
