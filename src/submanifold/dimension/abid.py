r"""The angle-based estimator of Thordsen and Schubert.

The cosine C of the angle between two directions drawn at random in d dimensions has $\mathbb{E}\, C^2 = 1 / d$. For the
unit vectors $u_1, \dots, u_k$ from a point to its neighbours,

$$ \hat d_{ABID} = \frac{k^2}{\sum_{i,j} \langle u_i, u_j \rangle^2}, \qquad
   \hat d_{RABID} = \frac{k (k - 1)}{\sum_{i \ne j} \langle u_i, u_j \rangle^2} . $$
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from submanifold.checks import check_choice, check_int
from submanifold.dimension.neighborhood import NeighborEstimator
from submanifold.dimension.patches import blocks, offsets
from submanifold.dimension.variance import Patches

__all__ = ["ABID"]

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

_POOLINGS: dict[str, Callable[[Vector], Any]] = {
    "mean": lambda inverse: np.mean(1 / inverse),
    "median": lambda inverse: np.median(1 / inverse),
    "mle": lambda inverse: 1 / np.mean(inverse),
}
_INVERSES: dict[str, Callable[[Vector, int], Vector]] = {
    "ABID": lambda total, k: total / k**2,
    "RABID": lambda total, k: np.maximum(total - k, 0.0) / (k * (k - 1)),
}


class ABID(NeighborEstimator):
    r"""Angle-based intrinsic dimension: the inverse of the mean squared cosine between directions to neighbours.

    Distances matter only in choosing the neighbours, so that the estimate does not presume how densely points lie at
    different distances. Pairs of a neighbour with itself, whose cosine is 1, bound "ABID" by k and stabilise it:
    $1/\hat d_{ABID} = 1/k + (1 - 1/k) / \hat d_{RABID}$ exactly. "RABID" leaves them out; its inverse is unbiased for
    isotropic directions, and `comb="mle"` averages inverses.

    $\hat d_{ABID}$ is also the participation ratio $(\mathrm{tr}\,M)^2 / \mathrm{tr}\,M^2$ of
    $M = \sum_i u_i u_i^\top$, by which it is computed where k > D.

    References:
        Thordsen and Schubert 2020, ABID: Angle based intrinsic dimensionality, Similarity Search and Applications,
        arXiv:2006.12880, equation 8; the same 2022, ABID: Angle based intrinsic dimensionality - theory and analysis,
        Information Systems 108 (RABID).

    Args:
        n_neighbors: k, at least 3, and for "ABID" well above the dimension.
        ver: "ABID", with pairs of a direction and itself, or "RABID", without.
        comb: how points are pooled: "mean", "median" or "mle" (harmonic mean).
        random_state: seed of the splits behind `interval_`.

    Attributes:
        dimension_pw_: local dimensions, (n,); those of "RABID" are infinite where all directions are perpendicular.
    """

    n_splits = 10
    needs_points = True
    least_neighbors = 3

    def __init__(self, n_neighbors: int = 100, *, ver: str = "ABID", comb: str = "mean", random_state: int = 0) -> None:
        self.n_neighbors = n_neighbors
        self.ver = ver
        self.comb = comb
        self.random_state = random_state

    def required_neighbors(self) -> int:
        check_choice(self.ver, _INVERSES, name="ver")
        check_choice(self.comb, _POOLINGS, name="comb")
        return check_int(self.n_neighbors, name="n_neighbors", low=3)

    def _local(self, patches: Patches, X: Matrix | None) -> Vector:
        assert X is not None
        k, D = patches.indices.shape[1], X.shape[1]
        total = np.empty(len(patches.rows))
        for rows in blocks(patches, D):
            U = offsets(X, patches, rows)  # (b, k, D)
            U /= np.linalg.norm(U, axis=2, keepdims=True)
            Ut = U.transpose(0, 2, 1)
            M = Ut @ U if k > D else U @ Ut  # both have the same sum of squares
            total[rows] = np.einsum("bij,bij->b", M, M)
        return np.asarray(_INVERSES[self.ver](total, k))

    def _pool(self, local: Vector) -> float:
        with np.errstate(divide="ignore"):
            return float(_POOLINGS[self.comb](local))

    def _pointwise(self, local: Vector) -> Vector:
        with np.errstate(divide="ignore"):
            return np.asarray(1 / local)
