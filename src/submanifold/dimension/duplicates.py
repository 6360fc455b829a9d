"""Two ways in which data are not a sample of a density: copies of points, and values on a lattice."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

__all__ = ["drop_duplicates", "lattice_spacing"]

_MOST_LEVELS = 2**16


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


def lattice_spacing(X: NDArray[np.float64]) -> float | None:
    """The spacing of which all values of `X` are multiples, up to a common offset; None for continuous data.

    Spacings that divide the range of the values into more than 65,536 levels are not told from rounding.
    """
    rows = X[:: max(1, len(X) // 2000)]
    levels = np.unique(rows)
    spread = float(levels[-1] - levels[0])
    gaps = np.diff(levels)
    gaps = gaps[gaps > 1e-9 * spread]
    if len(gaps) == 0 or spread / gaps.min() > _MOST_LEVELS:
        return None
    steps = (X - levels[0]) / gaps.min()
    return float(gaps.min()) if np.abs(steps - np.rint(steps)).max() < 1e-3 else None
