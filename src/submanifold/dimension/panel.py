"""What each method makes of the data, and what it would read in a ball of the consensus' dimension."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from submanifold.dimension.base import DimensionEstimator
from submanifold.dimension.catalogue import ESTIMATORS
from submanifold.dimension.neighborhood import NeighborEstimator
from submanifold.dimension.pooling import random_effects
from submanifold.dimension.reference import expected_mle
from submanifold.dimension.result import MethodEstimate
from submanifold.dimension.space import Space, spread
from submanifold.dimension.variance import log_interval
from submanifold.errors import InvalidInput
from submanifold.neighbors import NeighborGraph, Points

__all__ = ["PANEL", "estimators_of", "pooled", "read_by_method", "with_expected"]

PANEL = ("mle", "twonn", "lpca")
"""The methods that are shown beside the consensus."""

_MOST_CLOUD = 5_000  # points that an estimator of the whole cloud is given
_RESOLUTION = 1 / 12  # variance of rounding to whole numbers, which local PCA does at each point
_READS_SHORT: Mapping[str, int | None] = {"twonn": 2, "mle": None}
"""Of the panel, what reads too little in high dimension, with its neighbours (None: as many as it is told)."""


def estimators_of(names: Sequence[str], k: int | None, n: int, seed: int) -> dict[str, DimensionEstimator]:
    """The estimators called `names`, for n points; `k` is the number of neighbours of those that count likelihoods."""
    return {name: _estimator(name, k, n, seed) for name in names}


def _estimator(name: str, k: int | None, n: int, seed: int) -> DimensionEstimator:
    estimator = ESTIMATORS[name](random_state=seed)
    default = estimator.get_params().get("n_neighbors")
    if default is not None:
        wanted = k if name in ("mle", "calibrated") and k is not None else default
        estimator.set_params(n_neighbors=min(wanted, n // 2 - 1))
    return estimator


def read_by_method(
    estimators: Mapping[str, DimensionEstimator], graph: NeighborGraph, space: Space, seed: int
) -> tuple[dict[str, MethodEstimate], list[str]]:
    """The estimate of each method, and a sentence for each that cannot tell anything."""
    rng = np.random.default_rng(seed)
    found, left_out = {}, []
    for name, estimator in estimators.items():
        try:
            _check_serves(estimator, space)
            _fit(estimator, graph, space, rng)
        except InvalidInput as error:
            left_out.append(f"{name} was left out: {error}.")
            continue
        sampling = getattr(estimator, "sampling_interval_", None)
        found[name] = MethodEstimate(estimator.dimension_, estimator.interval_, sampling_interval=sampling)
    return found, left_out


def _check_serves(estimator: DimensionEstimator, space: Space) -> None:
    """Refuse an estimator that needs more than the space knows."""
    name = type(estimator).__name__
    if not isinstance(estimator, NeighborEstimator) and not space.searchable:
        raise InvalidInput(f"X is a graph of neighbours, and {name} looks at all points: give points as well")
    if estimator.needs_points and space.points is None:
        raise InvalidInput(f"X holds distances alone, and {name} needs the coordinates of points")
    if estimator.needs_points and not space.euclidean:
        raise InvalidInput(f"{name} measures in Euclidean space, not by metric={space.name!r}")


def _fit(estimator: DimensionEstimator, graph: NeighborGraph, space: Space, rng: np.random.Generator) -> None:
    if not isinstance(estimator, NeighborEstimator):
        if not estimator.needs_points:
            estimator.set_params(metric=space.metric)
        few = space.take(spread(len(space), min(_MOST_CLOUD, len(space)), rng))
        estimator.fit(few.array())
        return
    most = estimator.most_rows or len(graph)
    part = graph if len(graph) <= most else graph.take(spread(len(graph), most, rng))
    if estimator.needs_points and space.points is not None:
        if "n_reference" in estimator.get_params():
            estimator.set_params(n_reference=part.n_points)
        X, part = _near(part, space.points)
        estimator.fit(X, graph=part)
    elif estimator.uses_points and space.euclidean and len(part) == part.n_points:
        estimator.fit(space.array(), graph=part)
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


def with_expected(
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


def pooled(by_method: Mapping[str, MethodEstimate], left_out: list[str]) -> tuple[float, tuple[float, float]]:
    """The mean of the methods and its interval; refuses where all were left out."""
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
