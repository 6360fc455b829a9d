"""What all estimators of the intrinsic dimension share: neighbours in, a dimension with its interval out."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from submanifold.checks import check_matrix
from submanifold.data.dataset import Dataset
from submanifold.dimension.duplicates import drop_duplicates
from submanifold.dimension.variance import (
    Patches,
    graph_size,
    half_size,
    log_interval,
    split_variance,
)
from submanifold.errors import InvalidInput
from submanifold.neighbors import NeighborGraph

__all__ = ["DimensionEstimator"]

Vector = NDArray[np.float64]


class DimensionEstimator(BaseEstimator, ABC):  # type: ignore[misc]
    """An estimator of the intrinsic dimension that pools a local statistic of the k nearest neighbours.

    A subclass says how many neighbours it needs (`required_neighbors`), what it computes in each neighbourhood
    (`_local`), and how the local values make one dimension (`_pool`).

    Copies of a point have no distance to measure between them: they are dropped, with a warning, before
    neighbours are searched, and share the local dimension of the point that is kept.

    Attributes:
        dimension_: the estimate.
        interval_: 95% interval of the estimator about its own mean over samples of this size, from the differences
            between halves of the data (`submanifold.dimension.variance`). It accounts for overlapping neighbourhoods;
            it cannot account for the bias of an estimator, which grows with the dimension.
        dimension_pw_: the local dimension at each point of X, (n,), or at each row of the graph given in its
            place, where the estimator has one.
        n_features_in_: the number of coordinates, D.
    """

    random_state: int
    n_splits: ClassVar[int] = 20
    most_rows: ClassVar[int | None] = None  # points looked at by `estimate`, where each is costly

    dimension_: float
    interval_: tuple[float, float]
    dimension_pw_: Vector
    n_features_in_: int

    def fit(self, X: Any, y: Any = None, graph: NeighborGraph | None = None) -> Self:
        """Estimate the dimension of `X` (n, D).

        Args:
            X: points, a `Dataset`, or a `NeighborGraph` for estimators that need distances only.
            y: ignored.
            graph: neighbours of `X` that are known already, at least `graph_neighbors(n)` of them, so that several
                estimators share one search.

        Raises:
            InvalidInput: for data that scikit-learn refuses, fewer distinct points than neighbours, a graph with
                too few neighbours or with duplicates, or distances that all tie.
        """
        if isinstance(X, NeighborGraph):
            X, graph = None, X
        points = None if X is None else self._validated(X)
        place: NDArray[np.int64] | None = None
        if graph is not None:
            self._check_graph(graph, points)
        elif points is not None:
            points, graph, place = self._graph(points)
        else:
            raise InvalidInput("X is None and no graph was given: give points or a NeighborGraph")
        self.n_features_in_ = graph.ambient_dim

        k = self.required_neighbors()
        local = self._local(Patches.of(graph, k), points)
        self.dimension_ = self._pool(local)
        if not np.isfinite(self.dimension_):
            raise InvalidInput(
                "X has neighbours at equal distances only (values on a lattice): "
                f"{type(self).__name__} needs distances that vary, give data before it is rounded"
            )
        self.interval_ = self._interval(graph, points)
        pointwise = self._pointwise(local)
        if pointwise is not None:
            self.dimension_pw_ = pointwise if place is None else pointwise[place]
        return self

    @abstractmethod
    def required_neighbors(self) -> int:
        """The number of neighbours that the local statistic needs; refuses arguments that make no sense."""

    def split_neighbors(self) -> int:
        """The number of neighbours within halves of the data from which the interval is estimated."""
        return self.required_neighbors()

    def graph_neighbors(self, n: int) -> int:
        """The number of neighbours that a graph of n points needs for the estimate and its interval."""
        return max(self.required_neighbors(), graph_size(self.split_neighbors(), n))

    @abstractmethod
    def _local(self, patches: Patches, X: NDArray[np.float64] | None) -> Vector:
        """The local statistic of each neighbourhood, (m,)."""

    @abstractmethod
    def _pool(self, local: Vector) -> float:
        """The dimension that local statistics (m,) make together."""

    def _pointwise(self, local: Vector) -> Vector | None:
        """The local dimension at each point, (m,); None where a single point says nothing."""
        return None

    def _validated(self, X: Any) -> NDArray[np.float64]:
        if isinstance(X, Dataset):
            X = X.flat()
        elif hasattr(X, "detach"):
            X = X.detach().cpu().numpy()
        try:
            X = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        except ValueError as error:
            raise InvalidInput(str(error).splitlines()[0]) from error
        return check_matrix(X)

    def _graph(self, X: NDArray[np.float64]) -> tuple[NDArray[np.float64], NeighborGraph, NDArray[np.int64]]:
        """The distinct points of `X`, their neighbours, and for each row of `X` its place among them."""
        place = np.arange(len(X))
        graph = self._searched(X)
        if (graph.distances[:, 0] == 0).any():
            distinct, place = drop_duplicates(X)
            warnings.warn(
                f"X holds {len(X) - len(distinct)} copies of other points among {len(X)}: they were dropped",
                stacklevel=3,
            )
            X, graph = distinct, self._searched(distinct)
        return X, graph, place

    def _searched(self, X: NDArray[np.float64]) -> NeighborGraph:
        k, n = self.required_neighbors(), len(X)
        if k >= n:
            raise InvalidInput(
                f"{k} neighbours were asked of {n} distinct points: give fewer neighbours or more points"
            )
        return NeighborGraph(X, self.graph_neighbors(n))

    def _check_graph(self, graph: NeighborGraph, X: NDArray[np.float64] | None) -> None:
        n = graph.n_points
        needed = self.graph_neighbors(n)
        if X is not None and len(X) != n:
            raise InvalidInput(f"graph was made of {n} points: give X with as many, not {len(X)}")
        if graph.k < needed:
            raise InvalidInput(
                f"graph holds {graph.k} neighbours a point: give {needed}, "
                f"so that halves of the data have {self.split_neighbors()}"
            )
        if (graph.distances[:, 0] == 0).any():
            raise InvalidInput("graph holds copies of points, at distance 0: make it of distinct points only")

    def _interval(self, graph: NeighborGraph, X: NDArray[np.float64] | None) -> tuple[float, float]:
        k = self.split_neighbors()
        if half_size(k, graph.n_points) < 2:
            return 0.0, float("inf")

        def log_dimension(patches: Patches) -> float:
            return float(np.log(self._pool(self._local(patches, X))))

        variance = float(split_variance(graph, k, log_dimension, n_splits=self.n_splits, seed=self.random_state))
        if not np.isfinite(variance):  # all distances of some half tie
            return 0.0, float("inf")
        # Averaging over splits is worth about one degree of freedom a split, as simulation shows.
        return log_interval(self.dimension_, variance, self.n_splits)
