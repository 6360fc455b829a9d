"""What an estimate looks at: points with a distance between them, a matrix of distances, or a graph alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from submanifold.checks import check_dense, points_of
from submanifold.dimension.duplicates import distinct_by_distance
from submanifold.errors import InvalidInput
from submanifold.neighbors import NeighborGraph, Points, distinct_rows
from submanifold.neighbors.metrics import Metric, check_distances, check_metric, name_of, pairwise
from submanifold.neighbors.threads import check_n_jobs

__all__ = ["DistanceSpace", "GraphSpace", "PointSpace", "Space", "space_of", "spread"]

Index = NDArray[np.int64]
Matrix = NDArray[np.float64]

_MOST_ROWS = 20_000
_FEWEST_ROWS = 8
_CHECKED = 16  # points whose distances in a graph are compared with those of the data
_TOLERANCE = 0.05  # of such distances, for searches in single precision
_LEAST_INSIDE, _MISSED = 10, 0.05  # neighbours known inside a part, and points that know fewer


class Space(ABC):
    """n points and the distances between them.

    Attributes:
        metric: the distance, a name or a function; "precomputed" where only a matrix is known.
        points: the coordinates of the points, or None where distances alone are known.
        known: a graph of their neighbours that was given, in place of a search.
        searchable: whether the neighbours among any part of the points can be found.
    """

    searchable: ClassVar[bool] = True

    metric: Metric
    points: Points | None = None
    known: NeighborGraph | None = None

    @property
    def name(self) -> str:
        """The name of the distance."""
        return name_of(self.metric)

    @property
    def euclidean(self) -> bool:
        """Whether the points have coordinates and the distance is the Euclidean one: angles and spectra make sense."""
        return self.points is not None and self.metric == "euclidean"

    def graph(self, k: int, *, seed: int = 0, progress: bool = False) -> NeighborGraph:
        """The `k` nearest neighbours of all points, or of 20,000 random ones of more; of a known graph what it has."""
        if self.known is not None:
            known = self.known.nearest(min(k, self.known.k))
            rows = _some_of(len(known), seed)
            return known if rows is None else known.take(rows)
        return self._search(k, _some_of(len(self), seed), seed, progress)

    def part(self, index: Index, least: int) -> Space | None:
        """The points at the positions `index` by themselves; None where not so much as `least` neighbours are known."""
        return self.take(index)

    def array(self) -> NDArray[Any]:
        """What estimators of the whole cloud are fitted to: points (n, D), or distances (n, n)."""
        raise InvalidInput("X is a graph of neighbours: give points, or the distances between all of them")

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def take(self, index: Index) -> Space:
        """The points at the positions `index` alone."""

    @abstractmethod
    def distinct(self) -> tuple[Index, Index]:
        """Where each distinct point appears first, ascending, and the place of every point among these."""

    def between(self, index: Index) -> Matrix | None:
        """The distances between the few points at the positions `index` (m,), (m, m); None where not all are known."""
        return None

    def _search(self, k: int, rows: Index | None, seed: int, progress: bool) -> NeighborGraph:
        raise InvalidInput("X is a graph of neighbours: no others are known")


class PointSpace(Space):
    """Points with a distance."""

    points: Points

    def __init__(self, points: Points, metric: Metric = "euclidean", n_jobs: int | None = None) -> None:
        self.points = points
        self.metric = metric
        self.n_jobs = n_jobs

    def __len__(self) -> int:
        return len(self.points)

    def take(self, index: Index) -> PointSpace:
        return PointSpace(self.points.take(index), self.metric, self.n_jobs)

    def distinct(self) -> tuple[Index, Index]:
        return distinct_rows(self.points)

    def array(self) -> NDArray[Any]:
        return self.points.array()

    def between(self, index: Index) -> Matrix:
        x = self.points.gather(index).astype(np.float64)  # (m, D)
        if self.metric != "euclidean":
            return pairwise(self.metric, x)
        apart = x[:, None] - x  # (m, m, D)
        scale = max(float(np.abs(apart).max()), np.finfo(np.float64).tiny)  # squares stay inside float64
        return np.asarray(scale * np.linalg.norm(apart / scale, axis=2))

    def _search(self, k: int, rows: Index | None, seed: int, progress: bool) -> NeighborGraph:
        return NeighborGraph(
            self.points, k, rows=rows, metric=self.metric, n_jobs=self.n_jobs, seed=seed, progress=progress
        )


class DistanceSpace(Space):
    """A matrix of distances (n, n)."""

    metric = "precomputed"

    def __init__(self, distances: NDArray[Any]) -> None:
        self.distances = distances

    def __len__(self) -> int:
        return len(self.distances)

    def take(self, index: Index) -> DistanceSpace:
        return DistanceSpace(self.distances[np.ix_(index, index)])

    def distinct(self) -> tuple[Index, Index]:
        return distinct_by_distance(self.distances)

    def array(self) -> NDArray[Any]:
        return self.distances

    def between(self, index: Index) -> Matrix:
        return np.asarray(self.distances[np.ix_(index, index)], dtype=np.float64)

    def _search(self, k: int, rows: Index | None, seed: int, progress: bool) -> NeighborGraph:
        return NeighborGraph(self.distances, k, rows=rows, metric="precomputed")


class GraphSpace(Space):
    """Neighbours alone: nothing is known of other distances."""

    searchable = False

    known: NeighborGraph

    def __init__(self, graph: NeighborGraph) -> None:
        self.known = graph
        self.metric = graph.metric

    def __len__(self) -> int:
        return self.known.n_points

    def take(self, index: Index) -> GraphSpace:
        found = self.part(index, 1)
        if found is None:
            raise InvalidInput(f"graph knows no neighbours among {len(index)} of its points: give points or distances")
        return found

    def part(self, index: Index, least: int) -> GraphSpace | None:
        """Neighbours within a part are the nearest ones of all that belong to it, as many as 95% of its points know.

        Points that know fewer are left out, and the whole part where that leaves less than ten neighbours or `least`.
        """
        graph = self.known
        position = np.full(graph.n_points, -1)
        position[index] = np.arange(len(index))
        own = np.flatnonzero(position[graph.rows] >= 0)
        near = position[graph.indices[own]]  # (m, K)
        rank = np.cumsum(near >= 0, axis=1)
        k = int(np.quantile(rank[:, -1], _MISSED, method="lower")) if len(own) else 0
        if k < max(least, _LEAST_INSIDE):
            return None
        enough = rank[:, -1] >= k
        own, near, rank = own[enough], near[enough], rank[enough]
        kept = (near >= 0) & (rank <= k)
        return GraphSpace(
            NeighborGraph.from_arrays(
                graph.distances[own][kept].reshape(-1, k),
                near[kept].reshape(-1, k),
                rows=position[graph.rows[own]],
                n_points=len(index),
                ambient_dim=graph.ambient_dim,
                metric=graph.metric,
            )
        )

    def distinct(self) -> tuple[Index, Index]:
        return np.arange(len(self)), np.arange(len(self))


def space_of(
    X: Any, *, graph: NeighborGraph | None = None, metric: Metric | None = None, n_jobs: int | None = None
) -> Space:
    """The space that `X`, a `graph` of it and a `metric` describe; see `submanifold.dimension.estimate`.

    Raises:
        InvalidInput: for data, distances or a metric that are refused, and a graph that is not that of X.
    """
    check_n_jobs(n_jobs)
    if graph is not None and not isinstance(graph, NeighborGraph):
        raise InvalidInput(f"graph is of type {type(graph).__name__}: give a NeighborGraph")
    if isinstance(X, NeighborGraph) or X is None:
        return _graph_alone(X, graph, metric)
    metric = _metric_of(graph, metric)
    if isinstance(metric, str) and metric == "precomputed":
        distances = points_of(X)
        check_dense(distances, name="X")
        space: PointSpace | DistanceSpace = DistanceSpace(check_distances(distances, None))
    else:
        space = PointSpace(Points.of(points_of(X)), metric, n_jobs)
    if graph is not None:
        _check_graph(graph)
        _compare(graph, space)
        space.known = graph
    return space


def spread(n: int, size: int, rng: np.random.Generator) -> Index:
    """`size` of the numbers 0..n-1, drawn without replacement, ascending."""
    return np.sort(rng.choice(n, size, replace=False))


def _graph_alone(X: NeighborGraph | None, graph: NeighborGraph | None, metric: Metric | None) -> GraphSpace:
    if X is not None and graph is not None:
        raise InvalidInput("graph is not accepted where X is a graph itself: give one of them, or the points as X")
    one = graph if X is None else X
    if one is None:
        raise InvalidInput("X is None and no graph was given: give points, distances or a NeighborGraph")
    if metric is not None and name_of(metric) != one.metric:
        raise InvalidInput(
            f"metric={name_of(metric)!r} is not that of the graph, {one.metric!r}: leave it out, or give the points"
        )
    _check_graph(one)
    return GraphSpace(one)


def _metric_of(graph: NeighborGraph | None, metric: Metric | None) -> Metric:
    """The metric asked for, else that of the graph where it has a name, else the Euclidean one."""
    if metric is None and graph is not None and graph.metric != "precomputed":
        try:
            metric = check_metric(graph.metric)
        except InvalidInput:
            raise InvalidInput(
                f"graph was made with metric={graph.metric!r}, which is a name of no distance: give metric= as well"
            ) from None
    metric = check_metric("euclidean" if metric is None else metric)
    return "euclidean" if metric == "l2" else metric


def _check_graph(graph: NeighborGraph) -> None:
    if (graph.distances[:, 0] == 0).any():
        raise InvalidInput("graph holds copies of points, at distance 0: make it of distinct points only")
    if len(graph) < _FEWEST_ROWS:
        raise InvalidInput(f"graph holds the neighbours of {len(graph)} points: give those of {_FEWEST_ROWS} at least")


def _compare(graph: NeighborGraph, space: PointSpace | DistanceSpace) -> None:
    """Refuse a graph whose distances are not those of the space, as some of them tell."""
    if graph.n_points != len(space):
        raise InvalidInput(f"graph was made of {graph.n_points} points: give one of the {len(space)} points of X")
    for i in np.unique(np.linspace(0, len(graph) - 1, _CHECKED).astype(np.int64)):
        at, near, far = ends = np.array([graph.rows[i], graph.indices[i, 0], graph.indices[i, -1]])
        here, there = space.between(ends)[0, 1:], graph.distances[i, [0, -1]]
        if not (np.abs(here - there) <= _TOLERANCE * max(here.max(), there.max())).all():
            raise InvalidInput(
                f"graph has point {at} at distances {there[0]:.4g} from {near} and {there[1]:.4g} from {far}, which "
                f"are {here[0]:.4g} and {here[1]:.4g} in X by metric={space.name!r}: make the graph of X"
            )


def _some_of(n: int, seed: int) -> Index | None:
    """A random 20,000 of more rows; None for all."""
    return None if n <= _MOST_ROWS else spread(n, _MOST_ROWS, np.random.default_rng(seed))
