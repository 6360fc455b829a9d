"""Estimators that pool a statistic of the nearest neighbours of each point, all from one neighbour graph."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone

from submanifold.dimension.base import DimensionEstimator, Matrix, Vector
from submanifold.dimension.duplicates import drop_duplicates
from submanifold.dimension.variance import Patches, graph_size, half_size, largest_split, log_interval, split_variance
from submanifold.errors import InvalidInput
from submanifold.neighbors import NeighborGraph

__all__ = ["NeighborEstimator"]

_UNKNOWN = (0.0, float("inf"))
_EUCLIDEAN = ("euclidean", "l2", "precomputed")  # precomputed from the points that are given with them


class NeighborEstimator(DimensionEstimator):
    """An estimator of the intrinsic dimension that pools a local statistic of the k nearest neighbours.

    A subclass says how many neighbours it needs (`required_neighbors`), what it computes in each neighbourhood
    (`_local`), and how the local values make one dimension (`_pool`); what it tells besides, it learns in `_learn`.

    Copies of a point have no distance to measure between them: they are dropped, with a warning, before
    neighbours are searched, and share the local dimension of the point that is kept.

    Attributes:
        n_points_: the number of distinct points, n.
        n_neighbors_: the number of neighbours of each that were used, k.
    """

    n_points_: int
    n_neighbors_: int
    needs_points = False
    uses_points: ClassVar[bool] = False  # needs them where the graph's neighbours do not reach far enough

    def fit(
        self,
        X: Any,
        y: Any = None,
        graph: NeighborGraph | None = None,
        *,
        precomputed_knn_arrays: tuple[ArrayLike, ArrayLike] | None = None,
        smooth: bool | str = False,
        n_jobs: int | None = None,
        **settings: Any,
    ) -> Self:
        """Estimate the dimension of `X` (n, D).

        Args:
            X: points, a `Dataset`, or a `NeighborGraph` for estimators that need distances only.
            y: ignored.
            graph: neighbours of `X` that are known already, so that several estimators share one search. With fewer
                than `graph_neighbors(n)` of them the interval is wider than it need be.
            precomputed_knn_arrays: distances (n, k), ascending, and indices (n, k), in place of a graph.
            smooth: also average local dimensions over neighbourhoods, into `dimension_pw_smooth_`: "mean" (or True)
                or "harmonic".
            n_jobs: threads of the neighbour search; all processors by default.
            settings: parameters of the constructor, such as `n_neighbors` or `comb`, for this fit alone.

        Raises:
            InvalidInput: for data that scikit-learn refuses, fewer distinct points than neighbours, a graph with
                too few neighbours or with duplicates, or distances from which nothing can be told.
        """
        if settings:
            other = clone(self).set_params(**settings)
            arguments = {"precomputed_knn_arrays": precomputed_knn_arrays, "smooth": smooth, "n_jobs": n_jobs}
            return self._adopt(other.fit(X, y, graph, **arguments))
        self._forget()
        if isinstance(X, NeighborGraph):
            X, graph = None, X
        points = None if X is None else self._validated(X)
        if precomputed_knn_arrays is not None:
            D = None if points is None else points.shape[1]
            graph = NeighborGraph.from_arrays(*precomputed_knn_arrays, ambient_dim=D)
        k = self.required_neighbors()
        place: NDArray[np.int64] | None = None
        if graph is not None:
            self._check_graph(graph, points)
        elif points is not None:
            points, graph, place = self._graph(points, n_jobs)
        else:
            raise InvalidInput("X is None and no graph was given: give points or a NeighborGraph")
        if points is None and self.needs_points:
            raise InvalidInput(
                f"X is None: {type(self).__name__} needs the points themselves, not their distances alone"
            )
        if self.uses_points and graph.metric not in _EUCLIDEAN:
            points = None  # the distances between them are not those of the graph
        self.n_features_in_ = graph.ambient_dim or graph.n_points
        self.n_points_, self.n_neighbors_ = graph.n_points, k
        local = self._local(self._patches(graph), points)
        self.dimension_ = self._pool(local)
        if not np.isfinite(self.dimension_):
            raise InvalidInput(self._refusal(local))
        value, known, at, as_is = self.dimension_, graph, points, clone(self)  # whatever is changed before it is asked
        self._remember(lambda: as_is._interval(value, known, at))
        pointwise = self._pointwise(local)
        if pointwise is not None:
            self.dimension_pw_ = pointwise
            if smooth is not False:
                self._smooth(smooth, _rows_around(graph, k))
            if place is not None:
                self._spread(place)
        elif smooth is not False:
            raise InvalidInput(f"smooth={smooth!r} is not accepted: {type(self).__name__} has no local dimension")
        self._learn(graph)
        return self

    def fit_pw(self, X: Any, y: Any = None, **settings: Any) -> Self:
        """Fit, and keep the local dimensions; estimators without any are fitted in each neighbourhood by itself."""
        if type(self)._pointwise is NeighborEstimator._pointwise:
            return super().fit_pw(X, y, **settings)
        return self.fit(X, y, **settings)

    @abstractmethod
    def required_neighbors(self) -> int:
        """The number of neighbours that the local statistic needs; refuses arguments that make no sense."""

    def least_neighbors(self) -> int:
        """The fewest neighbours with which the local statistic is defined, where halves of the data have no more."""
        return self.required_neighbors()

    def split_neighbors(self, n: int) -> int:
        """The number of neighbours within halves of n points from which the interval is estimated."""
        return self.required_neighbors()

    def graph_neighbors(self, n: int) -> int:
        """The number of neighbours that a graph of n points needs for the estimate and its interval."""
        return max(self.required_neighbors(), graph_size(self.split_neighbors(n), n))

    def _patches(self, graph: NeighborGraph) -> Patches:
        """What `_local` looks at: the k nearest neighbours of each row."""
        return Patches.of(graph, self.required_neighbors())

    @abstractmethod
    def _local(self, patches: Patches, X: Matrix | None) -> Vector:
        """The local statistic of each neighbourhood, (m, ...)."""

    def _of_half(self, half: Patches, X: Matrix | None) -> Vector:
        """The local statistic of neighbourhoods within a half of the points."""
        return self._local(half, X)

    @abstractmethod
    def _pool(self, local: Vector) -> float:
        """The dimension that local statistics (m, ...) make together; not finite where they tell nothing."""

    def _refusal(self, local: Vector) -> str:
        """Why local statistics tell nothing."""
        return (
            "X has neighbours at equal distances only (values on a lattice): "
            f"{type(self).__name__} needs distances that vary, give data before it is rounded"
        )

    def _pointwise(self, local: Vector) -> Vector | None:
        """The local dimension at each point, (m,); None where a single point says nothing."""
        return None

    def _learn(self, graph: NeighborGraph) -> None:
        """What is told besides the dimension, once all else is known."""

    def _graph(self, X: Matrix, n_jobs: int | None) -> tuple[Matrix, NeighborGraph, NDArray[np.int64]]:
        """The distinct points of `X`, their neighbours, and for each row of `X` its place among them."""
        place = np.arange(len(X))
        graph = self._searched(X, n_jobs)
        if (graph.distances[:, 0] == 0).any():
            distinct, place = drop_duplicates(X)
            self._warn_of_copies(len(X), len(distinct))
            X, graph = distinct, self._searched(distinct, n_jobs)
        return X, graph, place

    def _searched(self, X: Matrix, n_jobs: int | None) -> NeighborGraph:
        k, n = self.required_neighbors(), len(X)
        if k >= n:
            raise InvalidInput(
                f"{k} neighbours were asked of {n} distinct points: give fewer neighbours or more points"
            )
        return NeighborGraph(X, self.graph_neighbors(n), n_jobs=n_jobs)

    def _check_graph(self, graph: NeighborGraph, X: Matrix | None) -> None:
        if X is not None and len(X) != graph.n_points:
            raise InvalidInput(f"graph was made of {graph.n_points} points: give X with as many, not {len(X)}")
        if graph.k < self.required_neighbors():
            raise InvalidInput(f"graph holds {graph.k} neighbours a point: give at least {self.required_neighbors()}")
        if (graph.distances[:, 0] == 0).any():
            raise InvalidInput("graph holds copies of points, at distance 0: make it of distinct points only")

    def _interval(self, value: float, graph: NeighborGraph, X: Matrix | None) -> tuple[float, float]:
        """A graph with few neighbours gives halves with fewer, whose larger variance makes the interval wider."""
        k = min(half_size(self.split_neighbors(graph.n_points), graph.n_points), largest_split(graph.k, graph.n_points))
        if k < self.least_neighbors() or value <= 0:
            return _UNKNOWN

        def log_dimension(half: Patches) -> float:
            return float(np.log(self._pool(self._of_half(half, X))))

        with np.errstate(divide="ignore", invalid="ignore"):  # a half in which all distances tie tells nothing
            variance = float(split_variance(graph, k, log_dimension, n_splits=self.n_splits, seed=self.random_state))
        # Averaging over splits is worth about one degree of freedom a split, as simulation shows.
        return log_interval(value, variance, self.n_splits) if np.isfinite(variance) else _UNKNOWN

    def _spread(self, place: NDArray[np.int64]) -> None:
        """Give each row of X the local dimension of its distinct point."""
        for name in ("dimension_pw_", "dimension_pw_smooth_"):
            if name in vars(self):
                setattr(self, name, getattr(self, name)[place])


def _rows_around(graph: NeighborGraph, k: int) -> NDArray[np.int64]:
    """Positions (m, k + 1) among the graph's rows of each point and its neighbours; the point where one is no row."""
    position = np.full(graph.n_points, -1)
    position[graph.rows] = np.arange(len(graph))
    own = np.arange(len(graph))[:, None]
    around = position[graph.indices[:, :k]]
    return np.concatenate([own, np.where(around < 0, own, around)], axis=1)
