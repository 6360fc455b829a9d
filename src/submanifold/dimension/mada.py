r"""Manifold-adaptive dimension estimation: two radii around each point.

The ball around x that holds k of n points holds the mass $k/n \approx \eta\,T_k^d$, whatever the manifold's shape far
away. Of two such equations, for k and for half of it, the unknown $\eta$ drops out:

$$ \hat d(x) = \frac{\log 2}{\log(T_k(x) / T_{\lfloor k/2 \rfloor}(x))} . $$
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from submanifold.checks import check_choice, check_int
from submanifold.dimension.neighborhood import NeighborEstimator
from submanifold.dimension.variance import Patches

__all__ = ["MADA"]

Vector = NDArray[np.float64]

_POOLINGS: dict[str, Callable[[Vector], Any]] = {
    "mean": lambda inverse: np.mean(1 / inverse[inverse > 0]) if (inverse > 0).any() else np.inf,
    "median": lambda inverse: np.median(1 / inverse),
    "harmonic": lambda inverse: 1 / np.mean(inverse),
}


class MADA(NeighborEstimator):
    r"""Farahmand, Szepesvari and Audibert's estimator.

    On a Poisson process $\mathbb{E}\,\log(T_k/T_h) = (\psi(k) - \psi(h))/d$ with the digamma function $\psi$, which for
    $h = k/2$ is $\log 2 + 1/(2k) + \dots$: "harmonic" pooling is biased by -0.7/k, and the mean of ratios by
    their variance, about 2/k, besides. For odd k the radii hold $k$ and $(k - 1)/2$ points and $\log 2$ is too little.

    References:
        Farahmand, Szepesvari and Audibert 2007, Manifold-adaptive dimension estimation, ICML, equation 2.

    Args:
        n_neighbors: k, at least 2.
        comb: how points are pooled: "mean" (the paper's first aggregation), "median", or "harmonic" (the mean of the
            inverses, inverted). The mean leaves out points whose two radii are equal.
        random_state: seed of the splits behind `interval_`.

    Attributes:
        dimension_pw_: the local estimates, (n,); infinite at a point where the two radii are equal.
    """

    def __init__(self, n_neighbors: int = 20, *, comb: str = "mean", random_state: int = 0) -> None:
        self.n_neighbors = n_neighbors
        self.comb = comb
        self.random_state = random_state

    def required_neighbors(self) -> int:
        check_choice(self.comb, _POOLINGS, name="comb")
        return check_int(self.n_neighbors, name="n_neighbors", low=2)

    def _local(self, patches: Patches, X: NDArray[np.float64] | None) -> Vector:
        k = patches.distances.shape[1]
        wide, near = patches.distances[:, -1], patches.distances[:, k // 2 - 1]
        return np.asarray((np.log(wide) - np.log(near)) / np.log(2))  # the inverse, (m,)

    def _pool(self, local: Vector) -> float:
        with np.errstate(divide="ignore"):
            return float(_POOLINGS[self.comb](local))

    def _pointwise(self, local: Vector) -> Vector:
        with np.errstate(divide="ignore"):
            return 1 / local
