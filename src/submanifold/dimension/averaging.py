r"""Estimators of the local dimension at each point, pooled over points.

Local estimates $\hat d(x_i)$ are inverses of averages, and skewed: their mean is too high by their variance, while
their harmonic mean

$$ \hat d = \Big[ \frac1n \sum_i \hat d(x_i)^{-1} \Big]^{-1} $$

is not. Where they maximise a likelihood it often maximises the likelihood of all points together (MacKay and Ghahramani
2005, Comments on "Maximum likelihood estimation of intrinsic dimension"), from which it has its name here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from submanifold.checks import check_choice, check_int
from submanifold.dimension.neighborhood import NeighborEstimator
from submanifold.dimension.variance import same_reach

__all__ = ["COMBINATIONS", "LocalEstimator"]

Vector = NDArray[np.float64]


def _mean(local: Vector) -> float:
    finite = local[np.isfinite(local)]
    return float(np.mean(finite)) if len(finite) else float("inf")


def _harmonic_mean(local: Vector) -> float:
    with np.errstate(divide="ignore"):
        return float(1 / np.mean(1 / local))


COMBINATIONS: dict[str, Callable[[Vector], float]] = {
    "mean": _mean,
    "median": lambda local: float(np.median(local)),
    "mle": _harmonic_mean,
}


class LocalEstimator(NeighborEstimator):
    """An estimator of the dimension at each point, of which `dimension_` is an average.

    A subclass computes local dimensions (m,) in `_local`, infinite where they are unbounded, as at a point whose
    neighbours are all equally far. Its constructor takes `n_neighbors`, k, and `comb`: "mean", which leaves infinite
    values out, "median", or "mle", the harmonic mean.
    """

    fewest: ClassVar[int] = 2  # neighbours with which the local dimension is defined

    n_neighbors: int
    comb: str

    def required_neighbors(self) -> int:
        check_choice(self.comb, COMBINATIONS, name="comb")
        return check_int(self.n_neighbors, name="n_neighbors", low=self.least_neighbors())

    def least_neighbors(self) -> int:
        return self.fewest

    def split_neighbors(self, n: int) -> int:
        return same_reach(self.required_neighbors(), n)

    def _pool(self, local: Vector) -> float:
        return COMBINATIONS[self.comb](local)

    def _pointwise(self, local: Vector) -> Vector:
        return local
