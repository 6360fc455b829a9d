"""The floor of a plug-in distance: what it is between two samples of one law."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from submanifold.checks import check_int
from submanifold.errors import InvalidInput
from submanifold.transport.samples import check_pair

__all__ = ["Floor", "floor_between_parts"]


@dataclass(frozen=True)
class Floor:
    """A distance between two samples of n points of one law: mean and standard deviation over draws."""

    mean: float
    sd: float
    n: int
    repeats: int

    def __float__(self) -> float:
        return self.mean


def floor_between_parts(
    distance: Callable[[NDArray[np.float64], NDArray[np.float64]], float],
    x: ArrayLike | Any,
    n: int,
    *,
    repeats: int,
    seed: int,
) -> Floor:
    """`distance` between two disjoint samples of n points each of x (N, D), over random draws.

    The draws come from one pool and overlap: `sd` is the spread of one distance, and the mean is
    surer than that, but by less than a factor sqrt(repeats).

    Raises:
        InvalidInput: if x has fewer than 2 n points, or is not accepted as points.
    """
    x, _ = check_pair(x, x)
    n = check_int(n, name="n")
    repeats = check_int(repeats, name="repeats", low=2)
    if 2 * n > len(x):
        raise InvalidInput(f"n={n} is not accepted with {len(x)} points: give 2 n of them or more")
    rng = np.random.default_rng(seed)
    draws = (rng.choice(len(x), 2 * n, replace=False) for _ in range(repeats))
    values = [distance(x[draw[:n]], x[draw[n:]]) for draw in draws]
    return Floor(float(np.mean(values)), float(np.std(values, ddof=1)), n, repeats)
