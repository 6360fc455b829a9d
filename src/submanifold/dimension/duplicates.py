"""Copies of points, between which there is no distance to measure."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

__all__ = ["drop_duplicates"]


def drop_duplicates(
    X: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The distinct rows of `X` (n, D) in order of first appearance, and for each row of `X` its place among them."""
    seen: dict[bytes, int] = {}
    # Rows are told apart by 128-bit digests; adding 0.0 makes one of 0.0 and -0.0.
    digests = (blake2b(row + 0.0, digest_size=16).digest() for row in X)
    place = np.fromiter((seen.setdefault(digest, len(seen)) for digest in digests), np.int64, len(X))
    if len(seen) == len(X):
        return X, place
    _, first = np.unique(place, return_index=True)
    return X[first], place
