"""What enters this package: two samples as centred float64 matrices, and distances between them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist

from submanifold.checks import check_matrix
from submanifold.errors import InvalidInput

__all__ = ["check_pair", "pairwise_distances"]

_DIRECT = 24
"""Up to this many coordinates, differences are as fast as a matrix product, and exact."""


def check_pair(
    x: ArrayLike | Any, y: ArrayLike | Any, *, min_rows: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Samples (n, D) and (m, D), both minus the mean of x: a common offset costs no digits.

    Raises:
        InvalidInput: for samples that `check_matrix` refuses, fewer than `min_rows` points, or
            different numbers of coordinates.
    """
    pair = []
    for sample, name in ((x, "x"), (y, "y")):
        matrix = check_matrix(sample, name=name, min_rows=1)  # copies of one point are a law too
        if len(matrix) < min_rows:
            raise InvalidInput(f"{name} holds {len(matrix)} points: give at least {min_rows}")
        pair.append(matrix)
    if pair[0].shape[1] != pair[1].shape[1]:
        raise InvalidInput(
            f"y has {pair[1].shape[1]} coordinates and x has {pair[0].shape[1]}: give points of one space"
        )
    centre = pair[0].mean(axis=0)
    return pair[0] - centre, pair[1] - centre


def pairwise_distances(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Euclidean distances (n, m) between the rows of centred x (n, D) and y (m, D).

    In many dimensions by |x|^2 - 2 x \cdot y + |y|^2, and by differences where that cancels.
    """
    if x.shape[1] <= _DIRECT:
        return np.asarray(cdist(x, y), dtype=np.float64)
    scale = np.add.outer((x * x).sum(axis=1), (y * y).sum(axis=1))  # (n, m)
    squared: NDArray[np.float64] = scale - 2 * (x @ y.T)
    close = squared <= 1e-6 * scale
    for i in np.flatnonzero(close.any(axis=1)):
        squared[i, close[i]] = ((y[close[i]] - x[i]) ** 2).sum(axis=1)
    return np.sqrt(squared, out=squared)
