"""Optimal transport on the line: for every cost |x - y|^p, p >= 1, equal quantiles belong together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Entries", "monotone_coupling", "quantile_coupling", "uniform"]

Entries = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]
"""The non-zero entries of a coupling: rows, columns and mass, each (k,)."""


def uniform(n: int) -> NDArray[np.float64]:
    """Equal weights (n,) of sum 1."""
    return np.full(n, 1 / n)


def quantile_coupling(a: NDArray[np.float64], b: NDArray[np.float64]) -> Entries:
    """The coupling of sorted points with weights a (n,) and b (m,), each of sum 1, by quantiles."""
    A, B = np.minimum(np.cumsum(a), 1.0), np.minimum(np.cumsum(b), 1.0)
    A[-1] = B[-1] = 1.0
    levels = np.union1d(A, B)
    mass = np.diff(levels, prepend=0.0)
    levels, mass = levels[mass > 0], mass[mass > 0]
    return np.searchsorted(A, levels), np.searchsorted(B, levels), mass


def monotone_coupling(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    a: NDArray[np.float64],
    b: NDArray[np.float64],
) -> Entries:
    """The coupling by quantiles of points x (n,) and y (m,) in any order, with weights a and b."""
    i, j = np.argsort(x, kind="stable"), np.argsort(y, kind="stable")
    rows, columns, mass = quantile_coupling(a[i], b[j])
    return i[rows], j[columns], mass
