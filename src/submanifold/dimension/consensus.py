"""The intrinsic dimension of a data set, by several methods from one neighbour search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from submanifold.checks import check_int, check_matrix
from submanifold.data.dataset import Dataset
from submanifold.dimension.base import DimensionEstimator
from submanifold.dimension.catalogue import ESTIMATORS
from submanifold.dimension.caveats import caveats
from submanifold.dimension.duplicates import drop_duplicates
from submanifold.dimension.mle import MLE
from submanifold.dimension.pooling import random_effects
from submanifold.dimension.result import DimensionEstimate, MethodEstimate
from submanifold.dimension.scale import scale_curve
from submanifold.dimension.variance import log_interval
from submanifold.errors import InvalidInput
from submanifold.neighbors import NeighborGraph

__all__ = ["estimate"]

_K_MLE = 20
_K_CURVE = 100
_MOST_ROWS = 20_000
_FEWEST_POINTS = 8
_RESOLUTION = 1 / 12  # variance of rounding to whole numbers, which local PCA does at each point


def estimate(
    X: Any,
    *,
    methods: Sequence[str] = ("mle", "twonn", "lpca"),
    k: int | None = None,
    labels: ArrayLike | None = None,
    seed: int = 0,
) -> DimensionEstimate:
    """The intrinsic dimension of `X` (n, D), by several methods and at several scales.

    The estimates of the methods are pooled on the logarithmic scale with a random effect for the method
    (DerSimonian and Laird 1986, see `submanifold.dimension.pooling`), so that methods that disagree widen the interval.
    Copies of points are dropped and reported. Of more than 20,000 points a random 20,000 are looked at, each with its
    neighbours among all points.

    Args:
        X: points, images (flattened) or a `submanifold.data.Dataset`.
        methods: names out of `submanifold.dimension.names()`.
        k: neighbours of the maximum likelihood estimate, for the whole and for each class; 20 by default, or fewer
            where half of the points are fewer.
        labels: the class of each point, (n,); those of a `Dataset` by default.
        seed: of the splits behind the intervals and of the choice of points in large data.

    Raises:
        InvalidInput: for data that `submanifold.checks.check_matrix` refuses, fewer than 8 distinct points, an unknown
            method, k out of range, labels of another length, or distances that all tie.
    """
    if labels is None and isinstance(X, Dataset):
        labels = X.labels
    X = check_matrix(X.x if isinstance(X, Dataset) else X)
    n_given, D = X.shape
    classes = _check_labels(labels, n_given)
    if not methods:
        raise InvalidInput(f"methods is empty: give one or more of {', '.join(ESTIMATORS)}")
    points, place = drop_duplicates(X)
    n = len(points)
    if n < _FEWEST_POINTS:
        raise InvalidInput(f"X holds {n} distinct points: give at least {_FEWEST_POINTS}")
    k = min(_K_MLE, n // 2 - 1) if k is None else check_int(k, name="k", low=3, high=n // 2 - 1)

    estimators = {name: _estimator(name, k, n, seed) for name in methods}
    rng = np.random.default_rng(seed)
    rows = None if n <= _MOST_ROWS else _spread(n, _MOST_ROWS, rng)
    needed = [estimator.graph_neighbors(n) for estimator in estimators.values()]
    graph = NeighborGraph(points, max(*needed, min(_K_CURVE, n - 1)), rows=rows)

    by_method, left_out = {}, []
    for name, estimator in estimators.items():
        most = estimator.most_rows or len(graph)
        part = graph if len(graph) <= most else graph.take(_spread(len(graph), most, rng))
        try:
            estimator.fit(points, graph=part)
        except InvalidInput as error:
            left_out.append(f"{name} was left out: {error}.")
            continue
        by_method[name] = MethodEstimate(estimator.dimension_, estimator.interval_)
    if not by_method:
        raise InvalidInput(" ".join(left_out))
    dimension, variance = random_effects(
        [one.dimension for one in by_method.values()],
        [
            one.log_variance + (_RESOLUTION / one.dimension**2 if name == "lpca" else 0.0)
            for name, one in by_method.items()
        ],
    )
    by_class = None
    if classes is not None:
        by_class, small = _by_class(X, classes, k, seed)
        left_out += [f"Class {label} holds too few distinct points for {k} neighbours." for label in small]
    pointwise = _smoothed(graph, k)
    return DimensionEstimate(
        dimension=dimension,
        interval=log_interval(dimension, variance),
        by_method=by_method,
        pointwise=pointwise[place] if rows is None else pointwise,
        rows=np.arange(n_given) if rows is None else _first_places(place, n)[rows],
        scale_curve=scale_curve(graph, k_max=min(_K_CURVE, n - 1), seed=seed),
        by_class=by_class,
        warnings=(*caveats(X, n, dimension, by_method, by_class, pointwise), *left_out),
        n=n_given,
        ambient_dim=D,
    )


def _check_labels(labels: ArrayLike | None, n: int) -> NDArray[Any] | None:
    if labels is None:
        return None
    labels = np.asarray(labels)
    if labels.shape != (n,):
        raise InvalidInput(f"labels have shape {labels.shape}: give one for each of the {n} points")
    return labels


def _estimator(name: str, k: int, n: int, seed: int) -> DimensionEstimator:
    estimator = ESTIMATORS[name](random_state=seed)
    default = estimator.get_params().get("n_neighbors")
    if default is not None:
        estimator.set_params(n_neighbors=k if name == "mle" else min(default, n // 2 - 1))
    return estimator


def _by_class(
    X: NDArray[np.float64], labels: NDArray[Any], k: int, seed: int
) -> tuple[dict[int | str, MethodEstimate], list[Any]]:
    """The maximum likelihood estimate among the points of each class, and the classes too small for it."""
    found: dict[int | str, MethodEstimate] = {}
    small = []
    for label in np.unique(labels):
        members, _ = drop_duplicates(X[labels == label])
        if len(members) < 2 * (k + 1):
            small.append(label)
            continue
        mle = MLE(k, random_state=seed).fit(members)
        found[label.item()] = MethodEstimate(mle.dimension_, mle.interval_)
    return found, small


def _spread(n: int, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`size` of the numbers 0..n-1, drawn without replacement, ascending."""
    return np.sort(rng.choice(n, size, replace=False))


def _smoothed(graph: NeighborGraph, k: int) -> NDArray[np.float64]:
    """Harmonic mean of the local estimates of each row and of those of its k neighbours that are rows too, (m,)."""
    log_t = np.log(graph.distances[:, :k])
    inverse = np.full(graph.n_points, np.nan)
    inverse[graph.rows] = (log_t[:, -1:] - log_t[:, :-1]).sum(axis=1) / (k - 1)
    around = np.concatenate([graph.rows[:, None], graph.indices[:, :k]], axis=1)  # (m, k + 1)
    with np.errstate(divide="ignore"):
        return np.asarray(1 / np.nanmean(inverse[around], axis=1))


def _first_places(place: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """For each distinct point the first row of X that holds it, (n,)."""
    _, first = np.unique(place, return_index=True)
    return np.asarray(first[:n])
