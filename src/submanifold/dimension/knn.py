r"""The growth of the total length of the nearest-neighbour graph.

The graph that joins each of p points to its k nearest neighbours has the length

$$ L(p) = \sum_i \sum_{j \le k} T_j(x_i)^\gamma \;\sim\; c\, p^{(d - \gamma)/d}, $$

so that a line through $\log L(p)$ against $\log p$ at several sizes of random subsets has the slope
$a = (d - \gamma)/d$, and $\hat d = \gamma / (1 - a)$.

The average over *all* random subsets needs none to be drawn. Let each point be kept with probability q. The j-th
nearest kept neighbour of x is its r-th nearest of all with probability $\binom{r-1}{j-1} q^j (1-q)^{r-j}$, whence

$$ \mathbb{E}\,L(qn) = q \sum_i \sum_r w_r(q)\, T_r(x_i)^\gamma, \qquad
   w_r(q) = \sum_{j \le k} \binom{r-1}{j-1} q^j (1-q)^{r-j} . $$
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import nbinom

from submanifold.checks import check_int, check_real
from submanifold.dimension.neighborhood import NeighborEstimator
from submanifold.dimension.variance import Patches
from submanifold.errors import InvalidInput

__all__ = ["KNN", "thinned_weights"]

Vector = NDArray[np.float64]

_FRACTIONS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_TIE = 1 + 1e-9  # of distances that are equal up to rounding, as between points of a lattice
_TAIL = 1e-4  # probability that a kept neighbour lies beyond those that are searched


class KNN(NeighborEstimator):
    r"""Costa and Hero's estimator, by the growth of the k-nearest-neighbour graph.

    Bootstrap averages of $L(p)$ are replaced by their expectation over all subsets (see the module), so that the
    estimate has no randomness of its own, and scikit-dimension's parameter M, the number of subsets, is not needed.
    scikit-dimension looks at subsets of 3 to 6 points by default, which tell nothing; here they are fractions of the
    data. Its gamma is 2, which gives more weight to the sparse regions of the data than 1 does.

    On a homogeneous Poisson process $\mathbb{E}\,L(qn)/q$ is proportional to $q^{-\gamma/d}$ exactly. Boundaries and
    curvature within reach of the k/q-th neighbour bias the estimate down, as they do all estimators from distances:
    more so for larger k and gamma.

    Where gamma is as large as the dimension and the law has no end, as a Gaussian on a line, the longest edges make up
    the length and its variance does not fall as 1/n: `interval_` covers 92% there in place of 95% at n = 500,
    and 85% at n = 5000.

    References:
        Costa and Hero 2004, Geodesic entropic graphs for dimension and entropy estimation in manifold learning, IEEE
        Transactions on Signal Processing 52; Costa, Girotra and Hero 2005, Estimating local intrinsic dimension with
        k-nearest neighbor graphs; Carter, Raich and Hero 2010, On local intrinsic dimension estimation and its
        applications.

    Args:
        k: neighbours that each point is joined to.
        ps: at least two fractions of the data in (0, 1], 0.5 to 1 by default; a smaller one needs more neighbours.
        gamma: the power of lengths, above 0.
        integer: the whole number of which the slope is nearest to the one found, as in the papers, instead of the
            number that the slope itself gives.
        random_state: seed of the splits behind `interval_`.
    """

    def __init__(
        self,
        k: int = 2,
        ps: Sequence[float] | None = None,
        *,
        gamma: float = 1.0,
        integer: bool = False,
        random_state: int = 0,
    ) -> None:
        self.k = k
        self.ps = ps
        self.gamma = gamma
        self.integer = integer
        self.random_state = random_state

    def required_neighbors(self) -> int:
        k, q = check_int(self.k, name="k"), self._fractions()
        check_real(self.gamma, name="gamma", open_low=True)
        return k + int(nbinom.ppf(1 - _TAIL, k, q.min()))

    def least_neighbors(self) -> int:
        return self.k + 1

    def _fractions(self) -> Vector:
        ps = _FRACTIONS if self.ps is None else self.ps
        q = np.array([check_real(p, name="ps", high=1.0, open_low=True) for p in ps])
        if len(np.unique(q)) < 2:
            raise InvalidInput(f"ps={ps} is not accepted: give at least two different fractions in (0, 1]")
        return q

    def _local(self, patches: Patches, X: NDArray[np.float64] | None) -> Vector:
        T = patches.distances  # (m, K)
        if (T[:, min(2 * self.k, T.shape[1]) - 1] <= T[:, 0] * _TIE).mean() > 0.5:  # a lattice: length grows in steps
            return np.full((len(T), len(self._fractions())), np.nan)
        # In units of the largest radius; the smallest would let powers of the others overflow.
        lengths = (T / T[:, -1].max()) ** self.gamma
        weights = np.stack([thinned_weights(q, self.k, T.shape[1]) for q in self._fractions()], axis=1)  # (K, s)
        return np.asarray(lengths @ weights)  # (m, s): length at each point over subsets that hold it

    def _pool(self, local: Vector) -> float:
        x, y = np.log(self._fractions()), np.log(local.mean(axis=0))
        x = x - x.mean()
        slope = float(-(x @ y) / (x @ x))  # gamma / d
        if not slope > 1e-12:  # rounding, where all distances tie
            return float("inf")
        d = self.gamma / slope
        if not self.integer:
            return d
        around = [max(1.0, np.floor(d)), max(1.0, np.ceil(d))]
        return float(min(around, key=lambda whole: abs(self.gamma / whole - slope)))


def thinned_weights(q: float, k: int, K: int) -> Vector:
    """The expected number of the k nearest kept neighbours that are the r-th of all, r = 1..K, each kept by chance q.

    The part of each that falls beyond K is spread over the others, so that the sum is k.
    """
    r, j = np.arange(1, K + 1)[:, None], np.arange(1, min(k, K) + 1)
    weights = nbinom.pmf(r - j, j, q)  # (K, k)
    return np.asarray((weights / weights.sum(axis=0)).sum(axis=1))
