"""Neighbourhoods as vectors about their own point, in units of their radius, a bounded number at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from submanifold.dimension.spectrum_nulls import eigenvalues
from submanifold.dimension.spectrum_rules import Spectra
from submanifold.dimension.variance import Patches
from submanifold.neighbors.threads import limited

__all__ = ["by_blocks", "directions", "local_spectra", "offsets"]

Matrix = NDArray[np.float64]

_BLOCK_VALUES = 2**18  # 2 MiB, which stay in the cache of one processor while they are worked on
_LEAST_SQUARE = 1e-280


def by_blocks(function: Callable[[slice], Matrix], shape: tuple[int, ...], *, extra: int = 0) -> Matrix:
    """`function` of slices of m neighbourhoods, one below the other: (m, ...); `shape` is that of all, (m, k, D).

    Offsets (b, k, D), Gram matrices (b, k, k) and `extra` values a neighbourhood each fit a block of b. Products as
    small as these are only slowed down by further threads.
    """
    m, k, D = shape
    step = max(1, _BLOCK_VALUES // max(k * D, k * k, extra))
    with limited(1):
        return np.concatenate([function(slice(start, min(start + step, m))) for start in range(0, max(m, 1), step)])


def offsets(X: Matrix, patches: Patches, rows: slice) -> Matrix:
    """Neighbours minus their point over the radius, (b, k, D): inside float64 whatever the units of the data."""
    V = X[patches.indices[rows]]  # (b, k, D)
    V -= X[patches.rows[rows], None, :]
    V /= patches.distances[rows, -1, None, None]
    return V


def directions(X: Matrix, patches: Patches, rows: slice) -> Matrix:
    """Unit vectors from each point to its neighbours, (b, k, D)."""
    V = offsets(X, patches, rows)
    square = np.einsum("bkd,bkd->bk", V, V)
    if not square.min(initial=1.0) > _LEAST_SQUARE:  # neighbours next to the point, whose squares underflow
        V /= np.abs(V).max(axis=2, keepdims=True)
        square = np.einsum("bkd,bkd->bk", V, V)
    V /= np.sqrt(square)[:, :, None]
    return V


def local_spectra(X: Matrix, around: NDArray[np.int64]) -> Spectra:
    """Spectra of the covariances of the points `around` (m, n), each with n - 1 degrees of freedom.

    The largest coordinate offset in a neighbourhood is its unit, so that squares stay inside float64.
    """
    m, n = around.shape
    D = X.shape[1]
    unit = np.empty(m)

    def spectra_of(rows: slice) -> Matrix:
        P = X[around[rows]]  # (b, n, D)
        P -= P[:, :1].copy()
        scale = np.maximum(np.maximum(P.max(axis=(1, 2)), -P.min(axis=(1, 2))), np.finfo(np.float64).tiny)
        P /= scale[:, None, None]
        P -= P.mean(axis=1, keepdims=True)
        with np.errstate(over="ignore", under="ignore"):
            unit[rows] = scale**2
        return eigenvalues(P, n - 1)

    return Spectra(by_blocks(spectra_of, (m, n, D)), n, D, unit=unit)
