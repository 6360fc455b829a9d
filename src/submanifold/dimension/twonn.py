r"""The two-nearest-neighbours estimator of Facco and others.

Where the density is constant over the distance to the second neighbour, the ratios $\mu = r_2 / r_1$ follow the Pareto
law $F(\mu) = 1 - \mu^{-d}$, whatever that density is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from submanifold.checks import check_choice, check_real
from submanifold.dimension.neighborhood import NeighborEstimator
from submanifold.dimension.variance import Patches

__all__ = ["TwoNN"]

Vector = NDArray[np.float64]


class TwoNN(NeighborEstimator):
    r"""Facco, d'Errico, Rodriguez and Laio's estimator.

    With $x_i = \log \mu_{(i)}$, $i = 1, \dots, n$, in ascending order, of which the first m are kept:

    - `method="linear"`: the slope through the origin of $-\log(1 - i/n)$ against $x_i$, $i \le m$ and $i < n$;
    - `method="mle"`: $(m - 1) / (\sum_{i \le m} x_i + (n - m)\, x_m)$, the unbiased estimate of an exponential rate
      from a sample censored at its m-th value.

    References:
        Facco et al. 2017, Estimating the intrinsic dimension of datasets by a minimal neighborhood information,
        arXiv:1803.06992, Methods; Epstein and Sobel 1953, Life testing (the censored estimate).

    Args:
        discard_fraction: the fraction of the largest ratios that is discarded, in [0, 0.9]; two ratios are always kept.
        method: "linear" or "mle".
        random_state: seed of the splits behind `interval_`.
    """

    def __init__(self, discard_fraction: float = 0.1, *, method: str = "linear", random_state: int = 0) -> None:
        self.discard_fraction = discard_fraction
        self.method = method
        self.random_state = random_state

    def required_neighbors(self) -> int:
        check_choice(self.method, ("linear", "mle"), name="method")
        check_real(self.discard_fraction, name="discard_fraction", high=0.9)
        return 2

    def _local(self, patches: Patches, X: NDArray[np.float64] | None) -> Vector:
        return np.log(patches.distances[:, 1]) - np.log(patches.distances[:, 0])

    def _pool(self, local: Vector) -> float:
        n = len(local)
        m = max(int(n * (1 - self.discard_fraction)), min(n, 2))
        x = np.sort(local)[:m]
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.method == "mle":
                return float((m - 1) / (x.sum() + (n - m) * x[-1]))
            x = x[: n - 1]  # at i = n the empirical distribution is 1, its logarithm infinite
            y = -np.log1p(-np.arange(1, len(x) + 1) / n)
            return float((x @ y) / (x @ x))
