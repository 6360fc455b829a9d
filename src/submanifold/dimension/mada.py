r"""Manifold-adaptive dimension estimation: two radii around each point.

The ball around x that holds k of n points holds the mass $k/n \approx \eta\,T_k^d$, whatever the manifold's shape far
away. Of two such equations, for k and for half of it, the unknown $\eta$ drops out:

$$ \hat d(x) = \frac{\log 2}{\log(T_k(x) / T_{\lfloor k/2 \rfloor}(x))} . $$
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from submanifold.dimension.averaging import LocalEstimator
from submanifold.dimension.variance import Patches

__all__ = ["MADA"]

Vector = NDArray[np.float64]


class MADA(LocalEstimator):
    r"""Farahmand, Szepesvari and Audibert's estimator.

    On a Poisson process $\mathbb{E}\,\log(T_k/T_h) = (\psi(k) - \psi(h))/d$ with the digamma function $\psi$, which for
    $h = k/2$ is $\log 2 + 1/(2k) + \dots$: "mle" pooling is biased by -0.7/k, and the mean of ratios by
    their variance, about 2/k, besides. For odd k the radii hold $k$ and $(k - 1)/2$ points and $\log 2$ is too little.

    References:
        Farahmand, Szepesvari and Audibert 2007, Manifold-adaptive dimension estimation, ICML.

    Args:
        n_neighbors: k, at least 2.
        comb: how points are pooled: "mean" (of finite values, as in the paper), "median" or "mle" (harmonic mean).
        random_state: seed of the splits behind `interval_`.

    Attributes:
        dimension_pw_: the local estimates, (n,); infinite at a point where the two radii are equal.
    """

    def __init__(self, n_neighbors: int = 20, *, comb: str = "mean", random_state: int = 0) -> None:
        self.n_neighbors = n_neighbors
        self.comb = comb
        self.random_state = random_state

    def _local(self, patches: Patches, X: NDArray[np.float64] | None) -> Vector:
        k = patches.distances.shape[1]
        wide, near = patches.distances[:, -1], patches.distances[:, k // 2 - 1]
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(2) / (np.log(wide) - np.log(near)))  # (m,)
