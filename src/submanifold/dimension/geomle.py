r"""Maximum likelihood estimates at several radii, extrapolated to radius zero.

On a curved manifold, or under a density that varies, the estimate of Levina and Bickel at the mean distance $R_k$ to
the k-th neighbour expects

$$ \hat m_k = d + \theta_1 R_k + \theta_2 R_k^2 + \dots, $$

where $\theta_1$ comes from boundaries alone: inside a smooth manifold, odd powers cancel. A polynomial fitted over
$k = k_1, \dots, k_2$, with weights proportional to k as the variance of $\hat m_k$ is to 1/k, has $\hat d$ as its value
at zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import nbinom

from submanifold.checks import check_int, check_ints, check_real
from submanifold.dimension.neighborhood import NeighborEstimator
from submanifold.dimension.variance import Patches
from submanifold.errors import InvalidInput

__all__ = ["GeoMLE"]

Vector = NDArray[np.float64]

_TIE = 1e-12  # inverse estimates that are zero up to rounding
_TAIL = 1e-4  # probability that a kept neighbour lies beyond those that are searched


class GeoMLE(NeighborEstimator):
    r"""Gomtsyan, Mokrov, Panov and Yanovich's geometry-aware estimator.

    What differs from the paper, and the defaults, were chosen on the 24 benchmark manifolds at n = 2500, on which this
    estimator is therefore flattered:

    - one polynomial is fitted to the estimates pooled over points (harmonic mean), not one at each point, where the
      few neighbours leave little to extrapolate from;
    - neighbours from 3 to 20, not 10 to 40, and the power 2 alone, not 1 and 2 with a ridge penalty (which would
      depend on the units of the data);
    - estimates over bootstrap samples are replaced by their expectation, at `fraction` = 0.632 (the distinct points of
      a bootstrap sample), and are not used by default: a thinner sample has larger radii to extrapolate from.

    Extrapolation trades bias for variance: the interval is about three times as wide as that of `MLE`. Among 500 points
    in 10 or 20 dimensions it is a tenth too narrow, and covers 93% in place of 95%.

    References:
        Gomtsyan, Mokrov, Panov and Yanovich 2019, Geometry-aware maximum likelihood estimation of intrinsic dimension,
        ACML, arXiv:1904.06151.

    Args:
        k1: the fewest neighbours, at least 2.
        k2: the most, above k1 by at least the number of powers.
        degree: powers of the radius in the polynomial, besides the constant.
        fraction: the part of the points that a random subset keeps, in (0, 1]; estimates are averaged over all subsets.
        random_state: seed of the splits behind `interval_`.
    """

    def __init__(
        self,
        k1: int = 3,
        k2: int = 20,
        *,
        degree: Sequence[int] = (2,),
        fraction: float = 1.0,
        random_state: int = 0,
    ) -> None:
        self.k1 = k1
        self.k2 = k2
        self.degree = degree
        self.fraction = fraction
        self.random_state = random_state

    def required_neighbors(self) -> int:
        degree = check_ints(self.degree, name="degree")
        if not degree or len(set(degree)) < len(degree):
            raise InvalidInput(f"degree={self.degree} is not accepted: give one or more different powers")
        k2 = check_int(self.k2, name="k2", low=check_int(self.k1, name="k1", low=2) + len(degree))
        q = check_real(self.fraction, name="fraction", high=1.0, open_low=True)
        return k2 + int(nbinom.ppf(1 - _TAIL, k2, q))

    def least_neighbors(self) -> int:
        return self.k2

    def _local(self, patches: Patches, X: NDArray[np.float64] | None) -> Vector:
        log_t = np.log(patches.distances)  # (m, K)
        K, j = log_t.shape[1], np.arange(1, self.k2 + 1)
        # The j-th nearest of the points kept is the r-th nearest of all with these probabilities.
        chance = nbinom.pmf(np.arange(1, K + 1)[:, None] - j, j, self.fraction)  # (K, k2)
        return np.asarray(log_t @ (chance / chance.sum(axis=0)))  # (m, k2)

    def _pool(self, local: Vector) -> float:
        log_t = local.mean(axis=0)  # (k2,): the pooled inverse is linear in it
        k = np.arange(self.k1, self.k2 + 1)
        inverse = self._inverse_estimates(log_t)
        if not (inverse > _TIE).all():
            return float("nan")
        R = np.exp(log_t[k - 1] - log_t[-1])  # mean radii in units of the largest
        powers = R[:, None] ** np.array([0, *self.degree])  # (s, 1 + p)
        root = np.sqrt(k)
        at_zero = float(np.linalg.lstsq(powers * root[:, None], root / inverse, rcond=None)[0][0])
        return at_zero if at_zero > 0 else float("nan")

    def _inverse_estimates(self, log_t: Vector) -> Vector:
        """The inverses of the estimates with k1 to k2 neighbours from mean logarithms of distances (k2,)."""
        k = np.arange(self.k1, self.k2 + 1)
        return np.asarray(log_t[k - 1] - np.cumsum(log_t)[k - 2] / (k - 1))

    def _refusal(self, local: Vector) -> str:
        if not (self._inverse_estimates(local.mean(axis=0)) > _TIE).all():
            return super()._refusal(local)
        return (
            f"X has estimates from {self.k1} to {self.k2} neighbours that fall so fast towards small radii that GeoMLE "
            "extrapolates them to 0 or below: give more points, or a larger k2"
        )
