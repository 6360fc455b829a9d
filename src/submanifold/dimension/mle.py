r"""The maximum likelihood estimator of Levina and Bickel.

With $T_j(x)$ the distance from x to its j-th neighbour, distances near x behave as the points of a Poisson process of
dimension d, whose likelihood is largest at

$$ \hat m_k(x)^{-1} = \frac{1}{k-1} \sum_{j=1}^{k-1} \log \frac{T_k(x)}{T_j(x)} . $$
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from submanifold.checks import check_choice, check_int
from submanifold.dimension.neighborhood import NeighborEstimator
from submanifold.dimension.variance import Patches

__all__ = ["MLE", "inverse_mle"]

Vector = NDArray[np.float64]

_POOLINGS: dict[str, Callable[[Vector], Any]] = {
    "mle": lambda inverse: 1 / np.mean(inverse),
    "mean": lambda inverse: np.mean(1 / inverse),
    "median": lambda inverse: np.median(1 / inverse),
}


def inverse_mle(distances: Vector, *, loss: int = 1) -> Vector:
    r"""$\hat m_k(x)^{-1}$ for each row of `distances` (m, k); the sum is divided by k - `loss`."""
    log_t = np.log(distances)  # (m, k)
    k = log_t.shape[1]
    return np.asarray((k * log_t[:, -1] - log_t.sum(axis=1)) / (k - loss))


class MLE(NeighborEstimator):
    r"""Levina and Bickel's estimator, pooled over points.

    $$ \hat m_k = \Big[ \frac1n \sum_i \hat m_k(x_i)^{-1} \Big]^{-1} $$

    with `comb="mle"`: the maximum of the joint likelihood, a harmonic mean.

    References:
        Levina and Bickel 2004, Maximum likelihood estimation of intrinsic dimension, NeurIPS, equations 8-9; MacKay and
        Ghahramani 2005, Comments on "Maximum likelihood estimation of intrinsic dimension" (the pooling).

    Args:
        n_neighbors: k, at least 3.
        unbiased: divide by k - 2 in place of k - 1, which makes each local estimate unbiased for a Poisson process;
            wanted with `comb="mean"`, not with "mle", whose pooled estimate is then biased instead.
        comb: how points are pooled: "mle" (harmonic mean), "mean" or "median".
        random_state: seed of the splits behind `interval_`.

    Attributes:
        dimension_pw_: $\hat m_k(x_i)$, (n,); infinite at a point whose k neighbours are equally far.
    """

    least_neighbors = 3

    def __init__(
        self,
        n_neighbors: int = 20,
        *,
        unbiased: bool = False,
        comb: str = "mle",
        random_state: int = 0,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.unbiased = unbiased
        self.comb = comb
        self.random_state = random_state

    def required_neighbors(self) -> int:
        check_choice(self.comb, _POOLINGS, name="comb")
        return check_int(self.n_neighbors, name="n_neighbors", low=3)

    def _local(self, patches: Patches, X: NDArray[np.float64] | None) -> Vector:
        return inverse_mle(patches.distances, loss=2 if self.unbiased else 1)

    def _pool(self, local: Vector) -> float:
        with np.errstate(divide="ignore"):
            return float(_POOLINGS[self.comb](local))

    def _pointwise(self, local: Vector) -> Vector:
        with np.errstate(divide="ignore"):
            return 1 / local
