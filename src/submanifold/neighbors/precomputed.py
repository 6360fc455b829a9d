"""Neighbours by distances that were computed elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from submanifold.errors import InvalidInput
from submanifold.neighbors.frame import blocks_of
from submanifold.neighbors.metrics import least_of

__all__ = ["check_distances", "nearest_of"]

Matrix = NDArray[np.float64]
Index = NDArray[np.int64]

_BLOCK_BYTES = 2**26
_ROUNDING = 1e-6  # of single precision sums, relative to the largest distance


def check_distances(X: Any, rows: ArrayLike | None) -> NDArray[Any]:
    """The distances as they were given, (n, n), or (m, n) for `rows` (m,) of n points.

    Raises:
        InvalidInput: for a matrix of another shape, distances that are negative, NaN or infinite, a point at a distance
            from itself, and a matrix that is not symmetric up to rounding.
    """
    raw: NDArray[Any] = np.asanyarray(X.detach().cpu() if hasattr(X, "detach") else X)
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
        distances[rows], indices[rows] = least_of(full, own[rows], k)
    return distances, indices


def _row_blocks(raw: NDArray[Any]) -> Iterator[slice]:
    return blocks_of(raw.shape[0], raw.shape[1], _BLOCK_BYTES)
