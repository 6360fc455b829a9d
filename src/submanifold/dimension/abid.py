r"""The angle-based estimator of Thordsen and Schubert.

The cosine C of the angle between two directions drawn at random in d dimensions has $\mathbb{E}\, C^2 = 1 / d$. For the
unit vectors $u_1, \dots, u_k$ from a point to its neighbours,

$$ \hat d_{ABID} = \frac{k^2}{\sum_{i,j} \langle u_i, u_j \rangle^2}, \qquad
   \hat d_{RABID} = \frac{k (k - 1)}{\sum_{i \ne j} \langle u_i, u_j \rangle^2} . $$
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from submanifold.checks import check_choice
from submanifold.dimension.averaging import LocalEstimator
from submanifold.dimension.patches import by_blocks, directions
from submanifold.dimension.variance import Patches

__all__ = ["ABID"]

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

_VERSIONS: dict[str, Callable[[Vector, int], Vector]] = {  # from the sum of squared cosines over all i and j
    "ABID": lambda total, k: k**2 / total,
    "RABID": lambda total, k: k * (k - 1) / np.maximum(total - k, 0.0),
}


class ABID(LocalEstimator):
    r"""Angle-based intrinsic dimension: the inverse of the mean squared cosine between directions to neighbours.

    Distances matter only in choosing the neighbours, so that the estimate does not presume how densely points lie at
    different distances. Pairs of a neighbour with itself, whose cosine is 1, bound "ABID" by k and stabilise it:
    $1/\hat d_{ABID} = 1/k + (1 - 1/k) / \hat d_{RABID}$ exactly. "RABID" leaves them out; its inverse is unbiased for
    isotropic directions, and `comb="mle"` averages inverses.

    $\hat d_{ABID}$ is also the participation ratio $(\mathrm{tr}\,M)^2 / \mathrm{tr}\,M^2$ of
    $M = \sum_i u_i u_i^\top$, by which it is computed where k > D.

    References:
        Thordsen and Schubert 2020, ABID: Angle based intrinsic dimensionality, Similarity Search and Applications,
        arXiv:2006.12880; the same 2022, ABID: Angle based intrinsic dimensionality - theory and analysis,
        Information Systems 108 (RABID).

    Args:
        n_neighbors: k, at least 3, and for "ABID" well above the dimension.
        ver: "ABID", with pairs of a direction and itself, or "RABID", without.
        comb: how points are pooled: "mean" (of finite values), "median" or "mle" (harmonic mean).
        random_state: seed of the splits behind `interval_`.

    Attributes:
        dimension_pw_: local dimensions, (n,); those of "RABID" are infinite where all directions are perpendicular.
    """

    n_splits = 10
    most_rows = 300
    needs_points = True
    fewest = 3

    def __init__(self, n_neighbors: int = 100, *, ver: str = "ABID", comb: str = "mean", random_state: int = 0) -> None:
        self.n_neighbors = n_neighbors
        self.ver = ver
        self.comb = comb
        self.random_state = random_state

    def required_neighbors(self) -> int:
        check_choice(self.ver, _VERSIONS, name="ver")
        return super().required_neighbors()

    def _local(self, patches: Patches, X: Matrix | None) -> Vector:
        assert X is not None
        k, D = patches.indices.shape[1], X.shape[1]

        def total_of(rows: slice) -> Vector:
            U = directions(X, patches, rows)  # (b, k, D)
            Ut = U.transpose(0, 2, 1)
            M = Ut @ U if k > D else U @ Ut  # both have the same sum of squares
            return np.asarray(np.einsum("bij,bij->b", M, M))

        total = by_blocks(total_of, (len(patches.rows), k, D))
        with np.errstate(divide="ignore"):
            return np.asarray(_VERSIONS[self.ver](total, k))
