"""Points moved and scaled so that float32 products serve, and their distances in float64."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from submanifold.errors import InvalidInput
from submanifold.neighbors.candidates import Single, extended
from submanifold.neighbors.points import Points
from submanifold.neighbors.threads import in_threads

__all__ = ["RELATIVE_ERROR", "Framed", "blocks_of"]

Matrix = NDArray[np.float64]
Index = NDArray[np.int64]

RELATIVE_ERROR = 5e-11
"""Largest relative error of a distance."""

_LARGEST_NORM = 1e15  # its square, and sums of such squares, are far from float32's overflow at 3e38
_WIDEST = 1e140  # times the typical distance from the centre, from where on squares leave the range of float64
_PLAIN = 1e-6  # coordinates between it and its inverse, not far off the origin, are left as they are
_HELD_BYTES = 3 * 2**28  # of copies that are kept in memory for the duration of a search
_BLOCK_BYTES = 2**25
_CACHE_BYTES = 2**21


class Framed:
    """Points in a frame of reference: a robust centre, and a power of two that brings the typical norm to order one.

    Multiplication by a power of two is exact. Medians keep the frame on the bulk when a few points lie far out.

    Args:
        points: the points, (n, D).
        like: framed points whose frame is used; by default that of the points themselves.

    Raises:
        InvalidInput: for points some of which lie 1e140 times as far out as most.
    """

    def __init__(self, points: Points, like: Framed | None = None) -> None:
        self.points = points
        self.shape = points.shape
        self.center: Matrix
        self.scale: float
        self.center, self.scale = _frame(points) if like is None else (like.center, like.scale)
        n, D = points.shape
        self.in_memory = n * D * 8 <= _HELD_BYTES

    def __len__(self) -> int:
        return self.shape[0]

    def check_reach(self, queries: Points) -> None:
        """Refuse queries that lie too far out for float64 to hold squares of their distances."""
        _check_spread(_largest(queries, self.center), 1 / self.scale)

    @cached_property
    def held(self) -> Matrix:
        """All centred points in float64, where they are few enough; the data themselves where they need no frame."""
        if self.scale == 1 and not self.center.any():
            return self.points.array().astype(np.float64, copy=False)
        centred = np.empty(self.shape)
        for rows in self.points.blocks():
            np.multiply(self.points.block(rows), np.float64(self.scale), out=centred[rows])
            centred[rows] -= self.center * self.scale
        return centred

    @cached_property
    def held_single(self) -> Single:
        """All extended points in float32, where they are few enough."""
        single = np.empty((len(self), self.shape[1] + 2), dtype=np.float32)
        for rows in blocks_of(len(self), self.shape[1], _BLOCK_BYTES):
            single[rows] = extended(self.block(rows))
        return single

    def scaled(self, index: Index) -> Matrix:
        """The points at `index` (...), scaled and where they are, (..., D)."""
        return np.asarray(self.points.gather(index).astype(np.float64) * self.scale)

    def centred(self, index: Index) -> Matrix:
        """The points at `index` (...), centred, (..., D)."""
        return self.held[index] if self.in_memory else self._centred(self.points.gather(index))

    def block(self, rows: slice) -> Matrix:
        """The centred points of a slice, (b, D)."""
        return self.held[rows] if self.in_memory else self._centred(self.points.block(rows))

    def extended_blocks(self) -> Iterator[tuple[slice, Single]]:
        """Slices and their extended points, that cover all points."""
        for rows in blocks_of(len(self), self.shape[1] + 2, _BLOCK_BYTES):
            yield rows, self.held_single[rows] if self.in_memory else extended(self.block(rows))

    @cached_property
    def norms(self) -> Matrix:
        """The norms of the centred points, (n,)."""
        norms = np.empty(len(self))
        for rows in blocks_of(len(self), self.shape[1], _BLOCK_BYTES):
            norms[rows] = np.linalg.norm(self.block(rows), axis=1)
        return norms

    def distances(self, other: Framed, found: Index, n_jobs: int) -> Matrix:
        r"""Distances in the frame (m, s) from each point (m, D) to the points `found` (m, s) of `other`; inf at -1.

        They come from $\lVert x\rVert^2 + \lVert y\rVert^2 - 2 x \cdot y$ in float64, and where that loses digits
        from the differences themselves.
        """
        exact, known = np.empty(found.shape), np.maximum(found, 0)
        D = self.shape[1]
        least = (D + 8) * 2.0**-53 / (2 * RELATIVE_ERROR)  # of a squared distance over (|x| + |y|)^2 to keep its digits

        def part(rows: slice) -> None:
            x, near = self.block(rows), known[rows]  # (b, D), (b, s)
            products = np.empty(near.shape)
            for few in blocks_of(len(x), near.shape[1] * D, _CACHE_BYTES):
                np.matmul(other.centred(near[few]), x[few, :, None], out=products[few, :, None])
            squares = self.norms[rows, None] ** 2 + other.norms[near] ** 2  # (b, s)
            squared = squares - 2 * products
            lossy = squared < 2 * least * squares
            if lossy.any():
                i, j = np.nonzero(lossy)
                squared[i, j] = self.squares_between(i + rows.start, other, near[i, j])
            exact[rows] = np.sqrt(squared)

        _ = self.norms, other.norms  # once, before threads ask for them
        in_threads(part, [slice(i, min(i + 512, len(found))) for i in range(0, len(found), 512)], n_jobs)
        exact[found < 0] = np.inf
        return exact

    def squares_between(self, i: Index, other: Framed, j: Index) -> Matrix:
        """Squared distances (p,) between points `i` (p,) and points `j` (p,) of `other`, by differences."""
        squared = np.empty(len(i))
        for pairs in blocks_of(len(i), 3 * self.shape[1], _CACHE_BYTES):
            difference = self.scaled(i[pairs]) - other.scaled(j[pairs])  # (b, D)
            squared[pairs] = np.einsum("bd,bd->b", difference, difference)
        return squared

    def _centred(self, block: NDArray[np.floating]) -> Matrix:
        centred = block * np.float64(self.scale)
        centred -= self.center * self.scale
        return np.asarray(centred)


def _frame(points: Points) -> tuple[Matrix, float]:
    n = len(points)
    sample = points.gather(np.arange(0, n, max(1, n // 1000))).astype(np.float64)
    center = np.median(sample / 2, axis=0) * 2  # halves: two values near the largest float must not overflow
    away = np.abs(sample / 4 - center / 4).max(axis=1)
    typical = float(np.median(away[away > 0])) if away.any() else 0.0
    largest = _largest(points, center)
    _check_spread(largest, typical)
    if typical > _PLAIN and largest < 1 / _PLAIN:
        spread = float(np.median(np.linalg.norm(sample - center, axis=1)))
        if np.linalg.norm(center) < 2 * spread:
            return np.zeros_like(center), 1.0
    typical = max(typical, largest / _LARGEST_NORM)
    exponent = -int(np.frexp(typical)[1]) - 2
    return center, float(np.ldexp(1.0, min(exponent, 1000)))


def _largest(points: Points, center: Matrix) -> float:
    """A quarter of the largest coordinate about `center`; a quarter, as nothing but sums may overflow."""
    largest = 0.0
    for rows in points.blocks():
        block = points.block(rows)
        low, high = block.min(axis=0) / np.float64(4), block.max(axis=0) / np.float64(4)  # (D,) each
        largest = max(largest, float(np.maximum(high - center / 4, center / 4 - low).max()))
    return largest


def _check_spread(largest: float, typical: float) -> None:
    if typical > 0 and largest / _WIDEST > typical:
        raise InvalidInput("some points lie over 1e140 times as far out as most: remove them, or rescale the data")


def blocks_of(n: int, row_size: int, memory: int) -> Iterator[slice]:
    """Slices of 0..n such that a block of float64 rows of `row_size` fits `memory` bytes."""
    size = max(1, min(8192, memory // (8 * row_size)))
    return (slice(start, min(start + size, n)) for start in range(0, n, size))
