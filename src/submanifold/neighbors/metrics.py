"""Neighbours by any distance: one that scikit-learn knows, a function of two points, or a matrix of distances."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from submanifold.checks import from_torch, nearest_match
from submanifold.errors import InvalidInput
from submanifold.neighbors.exact import smallest
from submanifold.neighbors.frame import blocks_of
from submanifold.neighbors.points import Points
from submanifold.neighbors.progress import Report
from submanifold.neighbors.threads import in_threads

__all__ = ["Metric", "check_distances", "check_metric", "name_of", "nearest_by", "nearest_of", "pairwise"]

Matrix = NDArray[np.float64]
Index = NDArray[np.int64]
Metric = str | Callable[[NDArray[Any], NDArray[Any]], float]

_BLOCK_BYTES = 2**25
_ROUNDING = 1e-6  # of single precision sums, relative to the largest distance


def check_metric(metric: Metric) -> Metric:
    """Refuse a name that scikit-learn's `pairwise_distances` does not know and what is no function of two points."""
    if isinstance(metric, str) and metric in ("euclidean", "precomputed"):
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
    return str(metric) if isinstance(metric, str) else str(getattr(metric, "__name__", type(metric).__name__))


def nearest_by(
    metric: Metric, ref: Points, queries: Points, k: int, own: Index | None, *, n_jobs: int, report: Report
) -> tuple[Matrix, Index]:
    """Distances and indices (m, k) of the points of `ref` (n, D) nearest to each of `queries` (m, D) by `metric`.

    Raises:
        InvalidInput: for a metric that gives something else than finite non-negative distances.
    """
    x = ref.array()
    distances, indices = np.empty((len(queries), k)), np.empty((len(queries), k), dtype=np.int64)

    def part(rows: slice) -> None:
        full = pairwise(metric, queries.block(rows), x)  # (b, n)
        distances[rows], indices[rows] = _least_of(full, None if own is None else own[rows], k)
        report(full.size)

    parts = blocks_of(len(queries), len(ref), _BLOCK_BYTES // 8)  # small: an interruption waits for those begun
    in_threads(part, list(parts), n_jobs)
    return distances, indices


def pairwise(metric: Metric, x: NDArray[Any], y: NDArray[Any] | None = None) -> Matrix:
    """Distances (m, n) by `metric` from the points `x` (m, D) to the points `y` (n, D), or between those of `x`.

    Raises:
        InvalidInput: for a metric that gives something else than finite non-negative distances.
    """
    from sklearn.metrics import pairwise_distances

    try:
        full = pairwise_distances(x, y, metric=metric)
    except (TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidInput(f"metric={name_of(metric)} cannot be used on these points: {reason}") from error
    full = np.array(full, dtype=np.float64)
    if not np.isfinite(full).all() or full.min() < -_ROUNDING * full.max():
        raise InvalidInput(f"metric={name_of(metric)} gives distances that are negative or not finite: give another")
    return np.asarray(np.maximum(full, 0))


def check_distances(X: Any, rows: ArrayLike | None) -> NDArray[Any]:
    """The distances as they were given, (n, n), or (m, n) for `rows` (m,) of n points.

    Raises:
        InvalidInput: for a matrix of another shape, distances that are negative, NaN or infinite, a point at a distance
            from itself, and a matrix that is not symmetric up to rounding.
    """
    raw: NDArray[Any] = from_torch(X) if hasattr(X, "detach") else np.asanyarray(X)
    if raw.ndim != 2 or raw.dtype.kind not in "biuf" or raw.size == 0:
        raise InvalidInput(f"X of shape {raw.shape} ({raw.dtype}) holds no distances: give real numbers (n, n)")
    if rows is None and raw.shape[0] != raw.shape[1]:
        raise InvalidInput(f"X has shape {raw.shape}: precomputed distances of all points are square, (n, n)")
    if rows is not None and len(np.asarray(rows)) != raw.shape[0] != raw.shape[1]:
        raise InvalidInput(f"X has shape {raw.shape}: give distances (m, n) from the m points of rows to all n")
    largest = 0.0
    for part in _row_blocks(raw):
        block = np.asarray(raw[part], dtype=np.float64)
        if not np.isfinite(block).all() or block.min() < 0:
            raise InvalidInput("X holds distances that are negative, NaN or infinite: give finite ones from 0")
        largest = max(largest, float(block.max()))
    if largest == 0:
        raise InvalidInput("X holds distances that are all 0: give distinct points")
    if raw.shape[0] == raw.shape[1]:
        if np.abs(np.asarray(np.diagonal(raw), dtype=np.float64)).max() > _ROUNDING * largest:
            raise InvalidInput("X holds distances with a diagonal that is not 0: give distances (n, n)")
        for part in _row_blocks(raw):
            gap = np.abs(np.asarray(raw[part], dtype=np.float64) - np.asarray(raw[:, part], dtype=np.float64).T)
            if gap.max() > _ROUNDING * largest:
                raise InvalidInput("X holds distances that are not symmetric: give d(x, y) = d(y, x)")
    return raw


def nearest_of(raw: NDArray[Any], k: int, own: Index) -> tuple[Matrix, Index]:
    """Distances and indices (m, k) of the nearest points by precomputed distances; see `check_distances`."""
    at = own if raw.shape[0] == raw.shape[1] else np.arange(len(own))
    distances, indices = np.empty((len(own), k)), np.empty((len(own), k), dtype=np.int64)
    for rows in blocks_of(len(own), raw.shape[1], _BLOCK_BYTES):
        full = np.array(raw[at[rows]], dtype=np.float64)  # (b, n)
        distances[rows], indices[rows] = _least_of(full, own[rows], k)
    return distances, indices


def _row_blocks(raw: NDArray[Any]) -> Iterator[slice]:
    return blocks_of(raw.shape[0], raw.shape[1], _BLOCK_BYTES)


def _least_of(full: Matrix, own: Index | None, k: int) -> tuple[Matrix, Index]:
    """The k least of each row (b, n), never the point itself; ties by index."""
    if own is not None:
        full[np.arange(len(full)), own] = np.inf
    near = np.argpartition(full, k - 1, axis=1)[:, :k]  # (b, k)
    limit = np.take_along_axis(full, near, 1).max(axis=1)
    # A tie at the limit goes to the lowest indices, whatever the partition took.
    tied = np.flatnonzero(np.count_nonzero(full <= limit[:, None], axis=1) > k)
    near[tied] = np.argsort(full[tied], axis=1, kind="stable")[:, :k]
    return smallest(np.take_along_axis(full, near, 1), near, k)
