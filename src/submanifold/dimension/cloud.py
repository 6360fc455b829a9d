"""Estimators that look at the whole cloud of points at once."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from submanifold.dimension.base import DimensionEstimator, Matrix
from submanifold.dimension.variance import log_interval
from submanifold.errors import InvalidInput
from submanifold.neighbors import NeighborGraph, distinct_rows

__all__ = ["CloudEstimator", "some_of"]


class CloudEstimator(DimensionEstimator):
    """An estimator of the intrinsic dimension that is one function of all points.

    A subclass computes the dimension of distinct points in `_estimate`. The interval comes from disjoint halves of
    the points (`submanifold.dimension.variance`), as for estimators from neighbours, unless it says otherwise.
    """

    n_splits = 10
    drops_copies: ClassVar[bool] = True
    least_points: ClassVar[int] = 4

    def fit(self, X: Any, y: Any = None, graph: NeighborGraph | None = None, *, n_jobs: int | None = None) -> Self:
        """Estimate the dimension of `X` (n, D): points or a `Dataset`.

        Args:
            X: the points; a graph of neighbours alone does not do.
            y: ignored.
            graph: ignored, as `n_jobs` is, so that all estimators are called alike: neighbours say too little of the
                cloud as a whole.
            n_jobs: ignored.

        Raises:
            InvalidInput: for data that scikit-learn refuses, too few distinct points, or points from which the
                estimator can tell nothing.
        """
        if X is None or isinstance(X, NeighborGraph):
            needed = "coordinates" if self.needs_points else "distances to all others"
            raise InvalidInput(
                f"X is {'None' if X is None else 'a NeighborGraph'}: {type(self).__name__} looks at all points at "
                f"once and needs their {needed}, give the points"
            )
        self._forget()
        points = self._validated(X)
        n, self.n_features_in_ = points.shape
        if self.drops_copies:
            points = self._part(points, self._distinct(points))
            self._warn_of_copies(n, len(points))
        if len(points) < self.least_points:
            raise InvalidInput(
                f"X holds {len(points)} distinct points: give {type(self).__name__} at least {self.least_points}"
            )
        self.dimension_ = self._estimate(points, np.random.default_rng(self.random_state))
        if not np.isfinite(self.dimension_):
            raise InvalidInput(f"X lets {type(self).__name__} tell nothing: give more points, or other parameters")
        value, as_is = self.dimension_, clone(self)
        self._remember(lambda: as_is._interval(value, points))
        return self

    def _distinct(self, X: Matrix) -> NDArray[np.int64]:
        """Where each distinct point appears first."""
        return distinct_rows(X)[0]

    @abstractmethod
    def _estimate(self, X: Matrix, rng: np.random.Generator) -> float:
        """The dimension of distinct points (n, D); NaN where they tell nothing."""

    def _looked_at(self, n: int) -> int:
        """How many of n points the estimate is made of; all, unless the estimator takes some at random."""
        return n

    def _interval(self, value: float, X: Matrix) -> tuple[float, float]:
        if len(X) // 2 < self.least_points or value <= 0:
            return 0.0, float("inf")
        try:
            with np.errstate(divide="ignore", invalid="ignore"):
                variance, degrees = self._log_variance(X)
        except InvalidInput:  # a part of the points tells nothing
            return 0.0, float("inf")
        return log_interval(value, variance, degrees) if np.isfinite(variance) else (0.0, float("inf"))

    def _log_variance(self, X: Matrix) -> tuple[float, int]:
        """The variance of the logarithm of the estimate, and the degrees of freedom of what it is told by."""
        half = len(X) // 2
        share = self._looked_at(half) / self._looked_at(len(X))  # 1/2 unless at least half of the points are left out
        squares = []
        for split in range(self.n_splits):
            order = np.random.default_rng([self.random_state, split]).permutation(len(X))
            first, second = (self._log_estimate(X, order[side * half :][:half], [split, side]) for side in (0, 1))
            squares.append((first - second) ** 2 / 2 * share)
        return float(np.mean(squares)), self.n_splits

    def _log_estimate(self, X: Matrix, rows: NDArray[np.int64], seed: list[int]) -> float:
        """The logarithm of the estimate of a part; of the same choices at random for equal seeds alone."""
        return float(np.log(self._estimate(self._part(X, rows), np.random.default_rng([self.random_state, *seed]))))


def some_of(X: Matrix, most: int, rng: np.random.Generator) -> Matrix:
    """At most `most` points, farthest from the mean first: the same ones however rows are ordered or turned."""
    V = X - X[0]
    V /= np.abs(V).max()  # squares stay inside float64
    X = X[np.argsort(-np.linalg.norm(V - V.mean(axis=0), axis=1), kind="stable")]
    return X if len(X) <= most else X[np.sort(rng.choice(len(X), most, replace=False))]
