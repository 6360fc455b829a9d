r"""The method of moments.

Near x, distances below w have the distribution function $(t/w)^d$, so that their mean is $\mathbb{E}\,T = w\,d/(d+1)$.
Solved for d, with the mean $\mu_1$ of the k nearest distances and $w = T_k$,

$$ \hat d(x) = \frac{\mu_1}{w - \mu_1}, \qquad \mu_1 = \frac1k \sum_{j=1}^{k} T_j(x). $$
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from submanifold.checks import check_choice, check_int
from submanifold.dimension.neighborhood import NeighborEstimator
from submanifold.dimension.variance import Patches

__all__ = ["MOM"]

Vector = NDArray[np.float64]

_POOLINGS: dict[str, Callable[[Vector], Any]] = {
    "mean": lambda inverse: np.mean(1 / inverse[inverse > 0]) if (inverse > 0).any() else np.inf,
    "median": lambda inverse: np.median(1 / inverse),
    "harmonic": lambda inverse: 1 / np.mean(inverse),
}


class MOM(NeighborEstimator):
    r"""Amsaleg and others' estimator of the local intrinsic dimensionality by the method of moments.

    The sum holds $T_k = w$ itself, as in scikit-dimension, although it is not a distance below w: the k - 1 others
    have the mean $w d/(d+1)$ exactly, so that $\hat d$ is too large by about $(d + 1)/(k - 1)$ of itself, which
    the default k = 100 keeps small.

    References:
        Amsaleg et al. 2018, Extreme-value-theoretic estimation of local intrinsic dimensionality, Data Mining and
        Knowledge Discovery 32, section 4.2.

    Args:
        n_neighbors: k, at least 2.
        comb: how points are pooled: "mean", "median" or "harmonic" (the mean of the inverses, inverted). The
            mean leaves out points whose neighbours are all equally far.
        random_state: seed of the splits behind `interval_`.

    Attributes:
        dimension_pw_: the local estimates, (n,); infinite at a point whose k neighbours are equally far.
    """

    def __init__(self, n_neighbors: int = 100, *, comb: str = "mean", random_state: int = 0) -> None:
        self.n_neighbors = n_neighbors
        self.comb = comb
        self.random_state = random_state

    def required_neighbors(self) -> int:
        check_choice(self.comb, _POOLINGS, name="comb")
        return check_int(self.n_neighbors, name="n_neighbors", low=2)

    def _local(self, patches: Patches, X: NDArray[np.float64] | None) -> Vector:
        relative = patches.distances / patches.distances[:, -1:]  # (m, k): T_j / w
        m1 = relative.mean(axis=1)
        return np.asarray((1 - relative).mean(axis=1) / m1)  # the inverse, (m,)

    def _pool(self, local: Vector) -> float:
        with np.errstate(divide="ignore"):
            return float(_POOLINGS[self.comb](local))

    def _pointwise(self, local: Vector) -> Vector:
        with np.errstate(divide="ignore"):
            return 1 / local
