r"""The Wasserstein distance on the circle, exactly.

Between angles \theta (n,) and \phi (m,) with uniform weights, and arc length as the ground distance,

W_p^p = \min_\alpha \int_0^1 |F^{-1}(u) - G^{-1}(u - \alpha)|^p du,

where F^{-1} and G^{-1} are the quantile functions on [0, 2\pi), continued by
G^{-1}(u + 1) = G^{-1}(u) + 2\pi (Delon, Salomon and Sobolevski 2010, arXiv 0902.3527). The integral
is convex in \alpha and, the quantile functions being steps, linear between the multiples of 1/L for
L = lcm(n, m): bisection over these ends at the exact minimum.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from submanifold.checks import check_matrix, check_real
from submanifold.errors import InvalidInput

__all__ = ["circular_wasserstein"]


def circular_wasserstein(theta: ArrayLike | Any, phi: ArrayLike | Any, p: float = 1.0) -> float:
    r"""W_p between angles theta (n,) and phi (m,), in radians along the unit circle, at most \pi.

    Angles count modulo 2 \pi.

    Raises:
        InvalidInput: if the angles are not finite real vectors, or p < 1.
    """
    p = check_real(p, name="p", low=1.0)
    x, y = _check_angles(theta, name="theta"), _check_angles(phi, name="phi")
    L = math.lcm(len(x), len(y))
    low, high = -L, L  # one turn each way
    while low < high:
        k = (low + high) // 2
        if _cost(x, y, k, p) <= _cost(x, y, k + 1, p):
            high = k
        else:
            low = k + 1
    return math.pow(_cost(x, y, low, p), 1 / p)


def _check_angles(angles: ArrayLike | Any, *, name: str) -> NDArray[np.float64]:
    matrix = check_matrix(angles, name=name, min_rows=1)
    if matrix.shape[1] != 1:
        raise InvalidInput(f"{name} has {matrix.shape[1]} coordinates for each point: give angles")
    return np.sort(np.mod(matrix[:, 0], 2 * np.pi))


def _cost(x: NDArray[np.float64], y: NDArray[np.float64], k: int, p: float) -> float:
    r"""\int_0^1 |F^{-1}(u) - G^{-1}(u - k/L)|^p du for sorted x (n,) and y (m,), L = lcm(n, m)."""
    n, m = len(x), len(y)
    L = math.lcm(n, m)
    jumps_x = np.arange(1, n + 1) * (L // n)  # of F^{-1}, in units of 1/L: integers are exact
    jumps_y = (np.arange(m) * (L // m) + k) % L  # of the shifted G^{-1}
    ends = np.union1d(jumps_x, jumps_y[jumps_y > 0])  # where a piece of constant gap ends
    i = (ends - 1) * n // L
    turns, j = np.divmod((ends - 1 - k) * m // L, m)
    gap = np.abs(x[i] - y[j] - 2 * np.pi * turns)
    return float(np.diff(ends, prepend=0) @ gap**p) / L
