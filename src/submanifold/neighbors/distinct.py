"""Copies of points, found by hashes and confirmed by comparison, block by block."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from submanifold.neighbors.points import Floats, Points

__all__ = ["distinct_rows"]

Index = NDArray[np.int64]


def distinct_rows(X: ArrayLike | Points) -> tuple[Index, Index]:
    """The distinct points of `X` (n, D): where each appears first, and for each point its place among them.

    Zero and minus zero are the same coordinate.

    Returns:
        `first` (m,), positions in ascending order, and `place` (n,), with `X[first][place] == X`.

    Raises:
        InvalidInput: for data that `Points.of` refuses.
    """
    points = Points.of(X, min_rows=1)
    hashes = _hashes(points)  # (n,)
    order = np.argsort(hashes, kind="stable")
    starts = np.empty(len(order), dtype=bool)
    starts[0] = True
    np.not_equal(hashes[order[1:]], hashes[order[:-1]], out=starts[1:])
    leader = np.empty(len(order), dtype=np.int64)  # the first point of the same hash
    leader[order] = order[np.flatnonzero(starts)[np.cumsum(starts) - 1]]
    _confirm(points, leader)
    first, place = np.unique(leader, return_inverse=True)
    return first, place.astype(np.int64)


def _hashes(points: Points) -> NDArray[np.uint64]:
    """A multilinear hash of the bits of each point: differing points collide with a chance of 2^-63."""
    D = points.shape[1]
    rng = np.random.default_rng(0x5EED)
    odd = rng.integers(0, 2**63, size=D, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    bits = np.dtype(np.uint32 if points.dtype == np.float32 else np.uint64)
    hashes = np.empty(len(points), dtype=np.uint64)
    for rows in points.blocks(2**23):
        words = (points.block(rows) + points.dtype.type(0)).view(bits).astype(np.uint64)  # adding 0 makes -0 a 0
        # High bits of a product depend on all lower ones: fold them down, so that every bit counts.
        words ^= words >> np.uint64(32)
        words *= np.uint64(0x9E3779B97F4A7C15)
        words ^= words >> np.uint64(29)
        hashes[rows] = words @ odd
    return hashes


def _confirm(points: Points, leader: Index) -> None:
    """Make each point that differs from its leader its own (or that of an earlier equal point), in place."""
    copies = np.flatnonzero(leader != np.arange(len(leader)))
    step = max(1, 2**22 // points.shape[1])
    unequal: list[int] = []
    for start in range(0, len(copies), step):
        some = copies[start : start + step]
        differ = (points.gather(some) != points.gather(leader[some])).any(axis=1)
        unequal.extend(some[differ].tolist())
    seen: dict[bytes, int] = {}
    for i in unequal:  # a collision of hashes: as good as never
        row: Floats = points.gather(i) + points.dtype.type(0)
        leader[i] = seen.setdefault(row.tobytes(), i)
