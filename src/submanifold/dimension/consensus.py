"""The intrinsic dimension of a data set, by scale and by method, from one neighbour search."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from submanifold.checks import check_int, points_of
from submanifold.data.dataset import Dataset
from submanifold.dimension.base import DimensionEstimator
from submanifold.dimension.catalogue import ESTIMATORS
from submanifold.dimension.caveats import caveats
from submanifold.dimension.mixture import LEAST_RATIO, Piece, separate
from submanifold.dimension.neighborhood import NeighborEstimator
from submanifold.dimension.pointwise import LocalDimension, local
from submanifold.dimension.pooling import random_effects
from submanifold.dimension.reference import expected_mle
from submanifold.dimension.result import DimensionEstimate, MethodEstimate
from submanifold.dimension.scale import Reading, ScaleCurve, scale_curve
from submanifold.dimension.variance import graph_size, log_interval
from submanifold.errors import InvalidInput
from submanifold.neighbors import NeighborGraph, Points, distinct_rows

__all__ = ["PANEL", "estimate"]

PANEL = ("mle", "twonn", "lpca")
"""The methods that are shown beside the consensus."""

_K_LOCAL = 20
_K_CURVE = 100
_PRECISION = 0.03  # relative error down to which finer scales are preferred
_MOST_ROWS = 20_000
_MOST_CLOUD = 5_000  # points that an estimator of the whole cloud is given
_FEWEST_POINTS = 8
_FEWEST_OF_PART = 42  # of a class, a cluster or a piece
_LEAST_SHARE = 0.02  # of a cluster
_RESOLUTION = 1 / 12  # variance of rounding to whole numbers, which local PCA does at each point
_READS_SHORT: Mapping[str, int | None] = {"twonn": 2, "mle": None}
"""Of the panel, what reads too little in high dimension, with its neighbours (None: as many as it is told)."""


def estimate(
    X: Any,
    *,
    methods: Sequence[str] | None = None,
    k: int | None = None,
    labels: ArrayLike | None = None,
    seed: int = 0,
    progress: bool = False,
) -> DimensionEstimate:
    """The intrinsic dimension of `X` (n, D) by scale and by method.

    The maximum likelihood estimate is read at all scales and corrected for what it misses on a uniform ball of equal n
    and k (`submanifold.dimension.scale`). The consensus is the corrected value at the finest scale that is free of
    noise and read to 3%: there curvature, boundary and gaps matter least. Its interval holds the sampling error, and
    what a ball, a cube, a Gaussian and a sphere would make of the same reading. Other methods are shown beside it, each
    with what it would read in a ball of the consensus' dimension, so that a method that reads too little everywhere is
    not taken for one that disagrees. Where the data are a union of pieces of different dimension there is no
    consensus, and the pieces are shown instead.

    With `methods` given, the consensus is the mean of exactly these, with a random effect for the method (DerSimonian
    and Laird 1986, see `submanifold.dimension.pooling`).

    Copies of points are dropped and reported. Of more than 20,000 points a random 20,000 are looked at, each with its
    neighbours among all points. Memory-mapped points are read by blocks.

    Args:
        X: points, images (flattened) or a `submanifold.data.Dataset`.
        methods: names out of `submanifold.dimension.names()` to take the mean of; the consensus by scale by default.
        k: neighbours that fix the scale of the consensus, of the maximum likelihood estimate and of each class; by
            default the scale is chosen, and the maximum likelihood estimate takes 20 of them, or fewer where half of
            the points are fewer.
        labels: the class of each point, (n,); those of a `Dataset` by default.
        seed: of the splits behind the intervals and of the choice of points in large data.
        progress: show how far the search is.

    Raises:
        InvalidInput: for data that `submanifold.neighbors.Points.of` refuses, fewer than 8 distinct points, an unknown
            method, k out of range, labels of another length, or distances that all tie.
    """
    if labels is None and isinstance(X, Dataset):
        labels = X.labels
    given = Points.of(points_of(X))
    n_given, D = given.shape
    classes = _check_labels(labels, n_given)
    if methods is not None and not methods:
        raise InvalidInput(f"methods is empty: give one or more of {', '.join(ESTIMATORS)}")
    first, place = distinct_rows(given)
    n = len(first)
    points = given if n == n_given else given.take(first)
    if n < _FEWEST_POINTS:
        raise InvalidInput(f"X holds {n} distinct points: give at least {_FEWEST_POINTS}")
    if k is not None:
        check_int(k, name="k", low=3, high=n // 2 - 1)

    estimators = {name: _estimator(name, k, n, seed) for name in methods or PANEL}
    graph = _graph(points, estimators, k, seed, progress)
    by_method, left_out = _by_method(estimators, graph, points, seed)
    curve = scale_curve(graph, points, k_max=min(_K_CURVE, n - 1), also=k, seed=seed)
    reading = _read(curve, k)
    found = local(None, min(_K_LOCAL, n // 2 - 1), graph=graph, seed=seed)
    pieces: tuple[Piece, ...] = ()
    if methods is None:
        pieces = _pieces(found, graph, points, first, seed)
        dimension, interval = reading.dimension, reading.interval
        by_method = by_method if pieces else _with_expected(by_method, estimators, dimension, n)
    else:
        dimension, interval = _pooled(by_method, left_out)
    if pieces:
        dimension, interval = float("nan"), (float("nan"), float("nan"))
    by_class, small = (None, []) if classes is None else _by_class(given, classes, k, seed)
    left_out += _too_small(small)
    whole = len(graph) == n
    return DimensionEstimate(
        dimension=dimension,
        interval=interval,
        pooled=methods is not None,
        reading=reading,
        by_method=by_method,
        local=found.take(place, np.arange(n_given)) if whole else found.take(np.arange(len(graph)), first[graph.rows]),
        scale_curve=curve,
        by_class=by_class,
        by_cluster=_by_cluster(graph, points, k, seed) if whole and not pieces else None,
        pieces=pieces,
        warnings=(
            *caveats(given, graph, reading, curve, pieces, by_method, by_class, found, pooled=methods is not None),
            *left_out,
        ),
        n=n_given,
        n_distinct=n,
        ambient_dim=D,
        search=graph.method,
        recall=graph.recall,
        recall_interval=graph.recall_interval,
    )


def _check_labels(labels: ArrayLike | None, n: int) -> NDArray[Any] | None:
    if labels is None:
        return None
    labels = np.asarray(labels)
    if labels.shape != (n,):
        raise InvalidInput(f"labels have shape {labels.shape}: give one for each of the {n} points")
    missing = [label is None or label != label for label in labels.tolist()]  # NaN differs from itself
    if any(missing):
        raise InvalidInput(f"labels are missing for {sum(missing)} of {n} points: give the class of each")
    return labels.astype(str) if labels.dtype == object else labels


def _estimator(name: str, k: int | None, n: int, seed: int) -> DimensionEstimator:
    estimator = ESTIMATORS[name](random_state=seed)
    default = estimator.get_params().get("n_neighbors")
    if default is not None:
        wanted = k if name in ("mle", "calibrated") and k is not None else default
        estimator.set_params(n_neighbors=min(wanted, n // 2 - 1))
    return estimator


def _graph(
    points: Points, estimators: Mapping[str, DimensionEstimator], k: int | None, seed: int, progress: bool
) -> NeighborGraph:
    """One search that has enough neighbours for everything."""
    n = len(points)
    needed = [one.graph_neighbors(n) for one in estimators.values() if isinstance(one, NeighborEstimator)]
    size = max(*needed, k or 0, graph_size(min(_K_LOCAL, n // 2 - 1), n), min(_K_CURVE, n - 1))
    rows = None if n <= _MOST_ROWS else _spread(n, _MOST_ROWS, np.random.default_rng(seed))
    return NeighborGraph(points, size, rows=rows, seed=seed, progress=progress)


def _by_method(
    estimators: Mapping[str, DimensionEstimator], graph: NeighborGraph, points: Points, seed: int
) -> tuple[dict[str, MethodEstimate], list[str]]:
    """The estimate of each method, and a sentence for each that cannot tell anything."""
    rng = np.random.default_rng(seed)
    found, left_out = {}, []
    for name, estimator in estimators.items():
        try:
            _fit(estimator, graph, points, rng)
        except InvalidInput as error:
            left_out.append(f"{name} was left out: {error}.")
            continue
        sampling = getattr(estimator, "sampling_interval_", None)
        found[name] = MethodEstimate(estimator.dimension_, estimator.interval_, sampling_interval=sampling)
    return found, left_out


def _fit(estimator: DimensionEstimator, graph: NeighborGraph, points: Points, rng: np.random.Generator) -> None:
    if not isinstance(estimator, NeighborEstimator):
        few = points.take(_spread(len(points), min(_MOST_CLOUD, len(points)), rng))
        estimator.fit(few.array())
        return
    most = estimator.most_rows or len(graph)
    part = graph if len(graph) <= most else graph.take(_spread(len(graph), most, rng))
    if estimator.needs_points:
        X, part = _near(part, points)
        estimator.fit(X, graph=part)
    else:
        estimator.fit(None, graph=part)


def _near(graph: NeighborGraph, points: Points) -> tuple[NDArray[Any], NeighborGraph]:
    """The points that the rows of `graph` have as neighbours, in memory, and the same graph of these alone."""
    if len(graph) == graph.n_points:
        return points.array(), graph
    known, position = np.unique(np.concatenate([graph.rows, graph.indices.ravel()]), return_inverse=True)
    rows, indices = position[: len(graph)], position[len(graph) :].reshape(graph.indices.shape)
    small = NeighborGraph.from_arrays(
        graph.distances, indices, rows=rows, n_points=len(known), ambient_dim=graph.ambient_dim, metric=graph.metric
    )
    return points.gather(known), small


def _read(curve: ScaleCurve, k: int | None) -> Reading:
    position = curve.finest(_PRECISION) if k is None else int(np.searchsorted(curve.ks, k))
    return curve.reading(position)


def _with_expected(
    by_method: Mapping[str, MethodEstimate], estimators: Mapping[str, DimensionEstimator], dimension: float, n: int
) -> dict[str, MethodEstimate]:
    """Each method with what it would read in a ball of `dimension` dimensions."""
    found = {}
    for name, one in by_method.items():
        expected = dimension
        if name in _READS_SHORT:
            neighbors = _READS_SHORT[name] or estimators[name].get_params()["n_neighbors"]
            expected = expected_mle(dimension, n, neighbors, "ball")
        found[name] = replace(one, expected=expected)
    return found


def _pooled(by_method: Mapping[str, MethodEstimate], left_out: list[str]) -> tuple[float, tuple[float, float]]:
    if not by_method:
        raise InvalidInput(" ".join(left_out))
    if len(by_method) == 1:
        (only,) = by_method.values()
        return only.dimension, only.interval
    dimension, variance = random_effects(
        [one.dimension for one in by_method.values()],
        [
            one.log_variance + (_RESOLUTION / one.dimension**2 if name == "lpca" else 0.0)
            for name, one in by_method.items()
        ],
    )
    return dimension, log_interval(dimension, variance)


def _part(points: Points, k: int | None, seed: int) -> MethodEstimate:
    """The consensus of some of the points by themselves; distinct ones."""
    n = len(points)
    rows = None if n <= _MOST_ROWS else _spread(n, _MOST_ROWS, np.random.default_rng(seed))
    graph = NeighborGraph(points, min(max(_K_CURVE, k or 0), n - 1), rows=rows, seed=seed)
    reading = _read(scale_curve(graph, k_max=min(_K_CURVE, n // 2 - 1), also=k, seed=seed), k)
    return MethodEstimate(reading.dimension, reading.interval, sampling_interval=reading.sampling_interval)


def _by_class(
    points: Points, labels: NDArray[Any], k: int | None, seed: int
) -> tuple[dict[int | str, MethodEstimate], list[Any]]:
    """The estimate among the points of each class, and the classes too small for it."""
    found: dict[int | str, MethodEstimate] = {}
    small = []
    names, which, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    fewest = max(_FEWEST_OF_PART, 2 * ((k or 0) + 1))
    for position, (label, size) in enumerate(zip(names, sizes, strict=True)):
        members = points.take(np.flatnonzero(which == position)) if size >= fewest else None
        first = np.array([]) if members is None else distinct_rows(members)[0]
        if members is None or len(first) < fewest:
            small.append(label)
            continue
        found[label.item()] = _part(members.take(first), k, seed)
    return found, small


def _too_small(labels: Sequence[Any], shown: int = 5) -> list[str]:
    """A sentence about the classes without an estimate, if there are any."""
    if not labels:
        return []
    named = ", ".join(map(str, labels[:shown])) + (f" and {len(labels) - shown:,} more" if len(labels) > shown else "")
    many = len(labels) > 1
    return [f"Class{'es' * many} {named} hold{'s' * (not many)} too few distinct points for an estimate."]


def _by_cluster(graph: NeighborGraph, points: Points, k: int | None, seed: int) -> dict[int, MethodEstimate] | None:
    """The estimate in each connected part of the graph of ten neighbours; None where they hang together."""
    near = min(10, graph.k)
    m = len(graph)
    links = csr_array(
        (np.ones(m * near, dtype=bool), graph.indices[:, :near].ravel(), np.arange(m + 1) * near), shape=(m, m)
    )
    _, cluster = connected_components(links, directed=False)
    sizes = np.bincount(cluster)
    large = np.flatnonzero(sizes >= max(_FEWEST_OF_PART, 2 * ((k or 0) + 1), _LEAST_SHARE * m))
    if len(large) < 2:
        return None
    order = large[np.argsort(-sizes[large], kind="stable")]
    return {int(i): _part(points.take(np.flatnonzero(cluster == c)), k, seed) for i, c in enumerate(order)}


def _pieces(
    found: LocalDimension, graph: NeighborGraph, points: Points, first: NDArray[np.int64], seed: int
) -> tuple[Piece, ...]:
    """The pieces of different dimension that the points are a union of; none where one dimension will do."""
    which = separate(found, graph)
    if which is None:
        return ()
    pieces = []
    for one in range(which.max() + 1):
        members = graph.rows[which == one]
        if len(members) < _FEWEST_OF_PART:
            continue
        alone = _part(points.take(members), None, seed)
        pieces.append(Piece(alone.dimension, alone.interval, len(members) / len(graph), first[members]))
    differ = all(_differ(lower, upper) for lower, upper in itertools.pairwise(pieces))
    return tuple(pieces) if len(pieces) > 1 and differ else ()


def _differ(lower: Piece, upper: Piece) -> bool:
    """Whether pieces that differ at the scale of local dimensions still do, each by itself at its finest scale."""
    return upper.dimension > LEAST_RATIO * lower.dimension and lower.interval[1] < upper.interval[0]


def _spread(n: int, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`size` of the numbers 0..n-1, drawn without replacement, ascending."""
    return np.sort(rng.choice(n, size, replace=False))
