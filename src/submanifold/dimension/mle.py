r"""The maximum likelihood estimator of Levina and Bickel.

With $T_j(x)$ the distance from x to its j-th neighbour, distances near x behave as the points of a Poisson process of
dimension d, whose likelihood is largest at

$$ \hat m_k(x)^{-1} = \frac{1}{k-1} \sum_{j=1}^{k-1} \log \frac{T_k(x)}{T_j(x)} . $$
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from submanifold.dimension.averaging import LocalEstimator
from submanifold.dimension.variance import Patches

__all__ = ["MLE", "inverse_mle"]

Vector = NDArray[np.float64]


def inverse_mle(distances: Vector, *, loss: int = 1) -> Vector:
    r"""$\hat m_k(x)^{-1}$ for each row of `distances` (m, k); the sum is divided by k - `loss`."""
    log_t = np.log(distances)  # (m, k)
    k = log_t.shape[1]
    return np.asarray((k * log_t[:, -1] - log_t.sum(axis=1)) / (k - loss))


class MLE(LocalEstimator):
    r"""Levina and Bickel's estimator, pooled over points.

    $$ \hat m_k = \Big[ \frac1n \sum_i \hat m_k(x_i)^{-1} \Big]^{-1} $$

    with `comb="mle"`: the maximum of the joint likelihood, a harmonic mean.

    References:
        Levina and Bickel 2004, Maximum likelihood estimation of intrinsic dimension, NeurIPS, equation 8; MacKay and
        Ghahramani 2005, Comments on "Maximum likelihood estimation of intrinsic dimension" (the pooling).

    Args:
        n_neighbors: k, at least 3.
        unbiased: divide by k - 2 in place of k - 1, which makes each local estimate unbiased for a Poisson process;
            wanted with `comb="mean"`, not with "mle", whose pooled estimate is then biased instead.
        comb: how points are pooled: "mle" (harmonic mean), "mean" (of finite values) or "median".
        random_state: seed of the splits behind `interval_`.

    Attributes:
        dimension_pw_: $\hat m_k(x_i)$, (n,); infinite at a point whose k neighbours are equally far.
    """

    fewest = 3

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

    def _local(self, patches: Patches, X: NDArray[np.float64] | None) -> Vector:
        with np.errstate(divide="ignore"):
            return 1 / inverse_mle(patches.distances, loss=2 if self.unbiased else 1)
