"""The intrinsic dimension of a data set, by scale and by method, from one neighbour search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from submanifold.checks import check_int
from submanifold.data.dataset import Dataset
from submanifold.dimension.base import DimensionEstimator
from submanifold.dimension.catalogue import ESTIMATORS
from submanifold.dimension.caveats import caveats
from submanifold.dimension.duplicates import distinct_in_graph
from submanifold.dimension.mixture import Piece
from submanifold.dimension.neighborhood import NeighborEstimator
from submanifold.dimension.panel import PANEL, estimators_of, pooled, read_by_method, with_expected
from submanifold.dimension.parts import K_CURVE, classes_of, clusters_of, pieces_of, read_at
from submanifold.dimension.pointwise import local
from submanifold.dimension.result import DimensionEstimate
from submanifold.dimension.scale import scale_curve
from submanifold.dimension.space import Space, space_of
from submanifold.dimension.variance import graph_size
from submanifold.errors import InvalidInput
from submanifold.neighbors import NeighborGraph
from submanifold.neighbors.metrics import Metric

__all__ = ["PANEL", "estimate"]

_K_LOCAL = 20
_FEWEST_POINTS = 8


def estimate(
    X: Any,
    *,
    methods: Sequence[str] | None = None,
    k: int | None = None,
    labels: ArrayLike | None = None,
    graph: NeighborGraph | None = None,
    metric: Metric | None = None,
    n_jobs: int | None = None,
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

    The consensus is a function of distances alone, by whatever `metric`. Methods that need coordinates, for angles
    or spectra, are left out with a sentence where there are none or the distance is not Euclidean. Of a graph
    alone, classes, clusters and pieces are read as far as it knows neighbours inside each, and no scale beyond it.

    Copies of points, at distance 0, are dropped and reported. Of more than 20,000 points a random 20,000 are looked at,
    each with its neighbours among all points. Memory-mapped points are read by blocks.

    Args:
        X: points, images (flattened) or a `submanifold.data.Dataset`; distances (n, n) for `metric="precomputed"`; or
            a `NeighborGraph` alone, of distinct points.
        methods: names out of `submanifold.dimension.names()` to take the mean of; the consensus by scale by default.
        k: neighbours that fix the scale of the consensus, of the maximum likelihood estimate and of each class; by
            default the scale is chosen, and the maximum likelihood estimate takes 20 of them, or fewer where half of
            the points are fewer.
        labels: the class of each point, (n,); those of a `Dataset` by default.
        graph: neighbours of `X` that are known already, in place of the search: 100 for each point (n - 1 of fewer),
            and more where k or a method needs more. Without copies among the points it changes no number.
        metric: "euclidean", "precomputed", or another distance that `submanifold.neighbors.NeighborGraph` takes; by
            default that of the graph, if one is given, or "euclidean".
        n_jobs: threads of neighbour searches; all processors by default.
        seed: of the splits behind the intervals and of the choice of points in large data.
        progress: show how far the search is.

    Raises:
        InvalidInput: for data that `submanifold.neighbors.Points.of` refuses, a matrix that holds no distances (not
            square, not symmetric, negative, NaN, or not 0 on its diagonal), fewer than 8 distinct points, an unknown
            method, or only methods that need what is not known or that can tell nothing of the data, as where all
            distances tie, k or a seed out of range, labels of another length, or a graph with too few neighbours, with
            copies or of other points.
    """
    if labels is None and isinstance(X, Dataset):
        labels = X.labels
    given = space_of(X, graph=graph, metric=metric, n_jobs=n_jobs)
    n_given = len(given)
    classes = _check_labels(labels, n_given)
    check_int(seed, name="seed", low=0)
    if isinstance(methods, str):
        raise InvalidInput(f"methods={methods!r} is not accepted: give a list of names, such as [{methods!r}]")
    if methods is not None and not methods:
        raise InvalidInput(f"methods is empty: give one or more of {', '.join(ESTIMATORS)}")
    first, place = given.distinct()
    space = given if len(first) == n_given else _without_copies(given, first)
    estimators, neighbors = _searched(space, methods or PANEL, k, seed, progress)
    if space.metric != "euclidean" and (neighbors.distances[:, 0] == 0).any():  # between points that are no copies
        again, where = distinct_in_graph(neighbors)
        first, place, space = first[again], where[place], _without_copies(space, again)
        estimators, neighbors = _searched(space, methods or PANEL, k, seed, progress)
    n = len(space)

    by_method, left_out = read_by_method(estimators, neighbors, space, seed)
    curve = scale_curve(neighbors, space, k_max=min(K_CURVE, n - 1), also=k, seed=seed)
    reading = read_at(curve, k)
    found = local(None, min(_K_LOCAL, n // 2 - 1), graph=neighbors, seed=seed)
    pieces: tuple[Piece, ...] = ()
    if methods is None:
        pieces, untold = pieces_of(found, neighbors, space, first, seed)
        left_out += untold
        dimension, interval = reading.dimension, reading.interval
        by_method = by_method if pieces else with_expected(by_method, estimators, dimension, n)
    else:
        dimension, interval = pooled(by_method, left_out)
    if pieces:
        dimension, interval = float("nan"), (float("nan"), float("nan"))
    by_class = by_cluster = None
    if classes is not None:
        by_class, untold = classes_of(space, classes, place, k, seed)
        left_out += untold
    whole = len(neighbors) == n and bool((neighbors.rows == np.arange(n)).all())
    if whole and not pieces:
        by_cluster, untold = clusters_of(neighbors, space, k, seed)
        left_out += untold
    return DimensionEstimate(
        dimension=dimension,
        interval=interval,
        pooled=methods is not None,
        reading=reading,
        by_method=by_method,
        local=(
            found.take(place, np.arange(n_given))
            if whole
            else found.take(np.arange(len(neighbors)), first[neighbors.rows])
        ),
        scale_curve=curve,
        by_class=by_class,
        by_cluster=by_cluster,
        pieces=pieces,
        warnings=(
            *caveats(given, neighbors, reading, curve, pieces, by_method, by_class, found, pooled=methods is not None),
            *left_out,
        ),
        n=n_given,
        n_distinct=n,
        ambient_dim=neighbors.ambient_dim,
        metric=space.name,
        search=neighbors.method,
        recall=neighbors.recall,
        recall_interval=neighbors.recall_interval,
        true_dim=X.true_dim if isinstance(X, Dataset) else None,
    )


def _check_labels(labels: ArrayLike | None, n: int) -> NDArray[Any] | None:
    if labels is None:
        return None
    try:
        labels = np.asarray(labels)
    except ValueError:  # lists of unequal length
        raise InvalidInput(f"labels are a ragged list: give one for each of the {n} points") from None
    if labels.shape != (n,):
        raise InvalidInput(f"labels have shape {labels.shape}: give one for each of the {n} points")
    missing = [label is None or label != label for label in labels.tolist()]  # NaN differs from itself
    if any(missing):
        raise InvalidInput(f"labels are missing for {sum(missing)} of {n} points: give the class of each")
    return labels.astype(str) if labels.dtype == object else labels


def _without_copies(space: Space, first: NDArray[np.int64]) -> Space:
    if space.known is not None:
        raise InvalidInput(
            f"X holds {len(space) - len(first)} copies of other points among {len(space)}, for which graph has no "
            "place: give both without copies, or X alone"
        )
    return space.take(first)


def _searched(
    space: Space, methods: Sequence[str], k: int | None, seed: int, progress: bool
) -> tuple[Mapping[str, DimensionEstimator], NeighborGraph]:
    """The estimators, and one search that has enough neighbours for everything."""
    n = len(space)
    if n < _FEWEST_POINTS:
        by = "" if space.metric in ("euclidean", "precomputed") else f" by metric={space.name!r}"
        raise InvalidInput(f"X holds {n} distinct points{by}: give at least {_FEWEST_POINTS}")
    if k is not None:
        check_int(k, name="k", low=3, high=n // 2 - 1)
    estimators = estimators_of(methods, k, n, seed)
    needed = [one.graph_neighbors(n) for one in estimators.values() if isinstance(one, NeighborEstimator)]
    size = max(*needed, k or 0, graph_size(min(_K_LOCAL, n // 2 - 1), n), min(K_CURVE, n - 1))
    if space.known is not None and space.known.k < size:
        raise InvalidInput(f"graph holds {space.known.k} neighbours a point: give at least {size}")
    return estimators, space.graph(size, seed=seed, progress=progress)
