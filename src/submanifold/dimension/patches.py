"""Neighbourhoods as vectors about their own point, in units of their radius, a bounded number at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from submanifold.dimension.variance import Patches

__all__ = ["blocks", "directions", "offsets"]

Matrix = NDArray[np.float64]

_BLOCK_VALUES = 2**20


def blocks(patches: Patches, D: int, *, extra: int = 0) -> Iterator[slice]:
    """Slices of the neighbourhoods such that offsets, Gram matrices and `extra` values each fit a block."""
    k = patches.indices.shape[1]
    step = max(1, _BLOCK_VALUES // max(k * D, k * k, extra))
    for start in range(0, len(patches.rows), step):
        yield slice(start, min(start + step, len(patches.rows)))


def offsets(X: Matrix, patches: Patches, rows: slice) -> Matrix:
    """Neighbours minus their point over the radius, (b, k, D): inside float64 whatever the units of the data."""
    own = X[patches.rows[rows], None, :]  # (b, 1, D)
    return np.asarray((X[patches.indices[rows]] - own) / patches.distances[rows, -1, None, None])


def directions(X: Matrix, patches: Patches, rows: slice) -> Matrix:
    """Unit vectors from each point to its neighbours, (b, k, D)."""
    V = offsets(X, patches, rows)
    V /= np.abs(V).max(axis=2, keepdims=True)  # the squares of the nearest could underflow
    V /= np.linalg.norm(V, axis=2, keepdims=True)
    return V
