"""Copies of points, between which there is no distance to measure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from submanifold.neighbors.distinct import distinct_rows

__all__ = ["drop_duplicates"]


def drop_duplicates(
    X: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The distinct rows of `X` (n, D) in order of first appearance, and for each row of `X` its place among them."""
    first, place = distinct_rows(X)
    return (X if len(first) == len(X) else X[first]), place
