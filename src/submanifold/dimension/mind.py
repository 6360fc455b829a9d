r"""The likelihood of the smallest of normalised distances.

Of k points uniform in the unit d-ball the nearest to its centre lies at a distance $\rho$ of density
$g(\rho) = k\,d\,\rho^{d-1} (1 - \rho^d)^{k-1}$. The k nearest neighbours of x, divided by the distance to the next, are
such points where the density is constant: $\rho = T_1 / T_{k+1}$.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from submanifold.checks import check_choice, check_int
from submanifold.dimension.gride import ratio_dimension
from submanifold.dimension.neighborhood import NeighborEstimator
from submanifold.dimension.variance import Patches

__all__ = ["MiND_ML", "likeliest_dimension"]

Vector = NDArray[np.float64]


class MiND_ML(NeighborEstimator):  # noqa: N801  # the name of the same estimator in scikit-dimension
    r"""Rozza and others' minimum neighbour distance estimator, by maximum likelihood.

    $$ \hat d = \arg\max_{1 \le d \le D} \; N \log(k d) + (d - 1) \sum_i \log \rho_i
                + (k - 1) \sum_i \log(1 - \rho_i^d) $$

    over real d with `ver="MLk"`, over integers with "MLi". The function is concave, so that the best integer is next to
    the best real number. It is the likelihood of the ratio $1/\rho$ in `GRIDE` with n1 = 1 and n2 = k + 1, whose root
    is found to the last digits here; scikit-dimension stops its optimiser at a relative error of 1e-5 or so.

    References:
        Rozza, Lombardi, Ceruti, Casiraghi and Campadelli 2012, Novel high intrinsic dimensionality estimators, Machine
        Learning 89.

    Args:
        k: the number of normalised distances; neighbours used are k + 1.
        D: the largest dimension considered; by default any. (scikit-dimension has 10 here, and gives 10 for all data
            of more dimensions.)
        ver: "MLk" or "MLi".
        random_state: seed of the splits behind `interval_`.
    """

    def __init__(self, k: int = 20, *, D: int | None = None, ver: str = "MLk", random_state: int = 0) -> None:
        self.k = k
        self.D = D
        self.ver = ver
        self.random_state = random_state

    def required_neighbors(self) -> int:
        check_choice(self.ver, ("MLk", "MLi"), name="ver")
        if self.D is not None:
            check_int(self.D, name="D")
        return check_int(self.k, name="k") + 1

    def _local(self, patches: Patches, X: NDArray[np.float64] | None) -> Vector:
        return np.asarray(np.log(patches.distances[:, -1]) - np.log(patches.distances[:, 0]))  # -log rho, (m,)

    def _pool(self, local: Vector) -> float:
        largest = float("inf") if self.D is None else float(self.D)
        return likeliest_dimension(local, self.k, largest=largest, integer=self.ver == "MLi")


def likeliest_dimension(s: Vector, k: int, *, largest: float, integer: bool) -> float:
    r"""The d in [1, `largest`] that maximises the likelihood of $s_i = -\log \rho_i$ (N,); NaN where all are 0.

    A ratio of 1, of neighbours that are all equally far, has likelihood 0 whatever d is, and is left out.
    """
    s = s[s > 0]
    d = ratio_dimension(s, 1, k + 1)
    if integer and np.isfinite(d):
        around = np.clip([np.floor(d), np.ceil(d)], 1, largest)
        d = max(around, key=lambda one: _log_likelihood(s, k, one))
    return float(np.clip(d, 1, largest))


def _log_likelihood(s: Vector, k: int, d: float) -> float:
    """Of -log rho `s` (N,), up to terms without d."""
    return float(len(s) * np.log(d) - d * s.sum() + (k - 1) * np.log(-np.expm1(-d * s)).sum())
