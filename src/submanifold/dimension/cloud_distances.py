"""Estimators of the whole cloud that are functions of the distances between all points, by any metric."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform

from submanifold.checks import check_int
from submanifold.dimension.base import Matrix, Vector
from submanifold.dimension.cloud import CloudEstimator, some_of
from submanifold.dimension.duplicates import distinct_by_distance
from submanifold.errors import InvalidInput
from submanifold.neighbors import NeighborGraph
from submanifold.neighbors.metrics import Metric, check_distances, check_metric, name_of, pairwise

__all__ = ["DistanceEstimator"]


class DistanceEstimator(CloudEstimator):
    """An estimator of the whole cloud that needs distances alone.

    Its constructor takes a `metric`: "euclidean"; "precomputed", for which X is the matrix of distances (n, n);
    another name that scikit-learn's `pairwise_distances` knows, or a function of two points. At most `n_points` points
    are looked at.
    """

    needs_points = False

    metric: Metric
    n_points: int

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = tags.input_tags.positive_only = self._precomputed
        return tags

    @property
    def _precomputed(self) -> bool:
        return isinstance(self.metric, str) and self.metric == "precomputed"

    def _validated(self, X: Any) -> Matrix:
        check_metric(self.metric)
        points = super()._validated(X)
        if self._precomputed:
            if len(points) == points.shape[1] and (points < 0).any():  # in the words that scikit-learn expects
                raise InvalidInput("Negative values in data given as distances X: give finite ones from 0")
            check_distances(points, None)
        return points

    def _distinct(self, X: Matrix) -> NDArray[np.int64]:
        return distinct_by_distance(X)[0] if self._precomputed else super()._distinct(X)

    def _nearest(self, X: Matrix, k: int) -> NDArray[np.int64]:
        return NeighborGraph(X, k, metric=self.metric).indices

    def _part(self, X: Matrix, rows: NDArray[np.int64]) -> Matrix:
        return np.asarray(X[np.ix_(rows, rows)]) if self._precomputed else super()._part(X, rows)

    def _looked_at(self, n: int) -> int:
        return min(n, self.n_points)

    def _distances(self, X: Matrix, rng: np.random.Generator) -> tuple[Vector, float]:
        """Condensed distances between at most `n_points` points, (n (n - 1) / 2,), and their unit.

        Points are in the order of their mean square distance from all others, the farthest first: of Euclidean
        distances it is the order by distance from the mean.
        """
        most = check_int(self.n_points, name="n_points", low=self.least_points)
        if self.metric == "euclidean":
            X = some_of(X, most, rng)
            spread = float(np.abs(X / 2 - X[0] / 2).max())  # squares stay inside float64
            return np.asarray(pdist((X - X[0]) / spread)), spread
        if not self._precomputed:
            X = pairwise(self.metric, X if len(X) <= most else some_of(X, most, rng))
            first, _ = distinct_by_distance(X)  # distinct points may be at distance 0 by another metric
            X = X[np.ix_(first, first)]
        if len(X) < self.least_points:
            raise InvalidInput(
                f"metric={name_of(self.metric)} tells {len(X)} points of X apart: give {type(self).__name__} at least "
                f"{self.least_points}"
            )
        unit = float(X.max())
        scaled = X / unit
        order = np.argsort(-np.square(scaled).mean(axis=1), kind="stable")
        if len(order) > most:
            order = order[np.sort(rng.choice(len(order), most, replace=False))]
        return np.asarray(squareform(scaled[np.ix_(order, order)], checks=False)), unit
