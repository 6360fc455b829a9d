"""Neighbours by any distance that scikit-learn knows, or a function of two points."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from submanifold.checks import nearest_match
from submanifold.errors import InvalidInput
from submanifold.neighbors.exact import smallest
from submanifold.neighbors.frame import blocks_of
from submanifold.neighbors.points import Points
from submanifold.neighbors.progress import Report

__all__ = ["Metric", "check_metric", "least_of", "name_of", "nearest_by"]

Matrix = NDArray[np.float64]
Index = NDArray[np.int64]
Metric = str | Callable[[NDArray[Any], NDArray[Any]], float]

_BLOCK_BYTES = 2**26
_ROUNDING = 1e-6  # of single precision sums, relative to the largest distance


def check_metric(metric: Metric) -> Metric:
    """Refuse a name that scikit-learn's `pairwise_distances` does not know and what is no function of two points."""
    if metric in ("euclidean", "precomputed"):
        return metric
    if callable(metric):
        try:
            inspect.signature(metric).bind(None, None)
        except TypeError:
            raise InvalidInput(f"metric={name_of(metric)} is not accepted: give a function of two points") from None
        except ValueError:  # built-in functions have no signature to look at
            pass
        return metric
    from sklearn.metrics import pairwise
    from sklearn.metrics.pairwise import PAIRWISE_DISTANCE_FUNCTIONS

    known = {*PAIRWISE_DISTANCE_FUNCTIONS, *pairwise._VALID_METRICS} - {"haversine", "nan_euclidean", "wminkowski"}
    if not isinstance(metric, str) or metric not in known:
        raise InvalidInput(f"metric={metric!r} is unknown: {nearest_match(str(metric), known)}, or give a function")
    return metric


def name_of(metric: Metric) -> str:
    """The name of a distance."""
    return metric if isinstance(metric, str) else str(getattr(metric, "__name__", type(metric).__name__))


def nearest_by(
    metric: Metric, ref: Points, queries: Points, k: int, own: Index | None, *, n_jobs: int, report: Report
) -> tuple[Matrix, Index]:
    """Distances and indices (m, k) of the points of `ref` (n, D) nearest to each of `queries` (m, D) by `metric`.

    Raises:
        InvalidInput: for a metric that gives something else than finite non-negative distances.
    """
    from sklearn.metrics import pairwise_distances

    x = ref.array()
    distances, indices = np.empty((len(queries), k)), np.empty((len(queries), k), dtype=np.int64)
    for rows in blocks_of(len(queries), len(ref), _BLOCK_BYTES):
        try:
            full = pairwise_distances(queries.block(rows), x, metric=metric, n_jobs=n_jobs)
        except (TypeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise InvalidInput(f"metric={name_of(metric)} cannot be used on these points: {reason}") from error
        full = np.array(full, dtype=np.float64)  # (b, n)
        if not np.isfinite(full).all() or full.min() < -_ROUNDING * full.max():
            raise InvalidInput(
                f"metric={name_of(metric)} gives distances that are negative or not finite: give another"
            )
        distances[rows], indices[rows] = least_of(np.maximum(full, 0), None if own is None else own[rows], k)
        report(full.size)
    return distances, indices


def least_of(full: Matrix, own: Index | None, k: int) -> tuple[Matrix, Index]:
    """The k least of each row (b, n), never the point itself; ties by index."""
    if own is not None:
        full[np.arange(len(full)), own] = np.inf
    near = np.argpartition(full, k - 1, axis=1)[:, :k]  # (b, k)
    limit = np.take_along_axis(full, near, 1).max(axis=1)
    # A tie at the limit goes to the lowest indices, whatever the partition took.
    tied = np.flatnonzero(np.count_nonzero(full <= limit[:, None], axis=1) > k)
    near[tied] = np.argsort(full[tied], axis=1, kind="stable")[:, :k]
    return smallest(np.take_along_axis(full, near, 1), near, k)
