r"""The maximum mean discrepancy for a Gaussian kernel, k(x, y) = \exp(-\|x - y\|^2 / 2 h^2)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from submanifold.checks import check_choice, check_int, check_real
from submanifold.errors import InvalidInput
from submanifold.transport.samples import check_pair, pairwise_distances
from submanifold.transport.two_sample import TwoSampleTest

__all__ = ["mmd"]

_MAX_POINTS = 10_000


def mmd(
    x: ArrayLike | Any,
    y: ArrayLike | Any,
    bandwidth: float | str = "median",
    n_permutations: int = 200,
    seed: int = 0,
) -> TwoSampleTest:
    r"""The unbiased estimate of MMD^2 between x (n, D) and y (m, D), and its permutation null,

    \frac{1}{n(n-1)} \sum_{i \ne j} k(x_i, x_j) + \frac{1}{m(m-1)} \sum_{i \ne j} k(y_i, y_j)
    - \frac{2}{nm} \sum_{ij} k(x_i, y_j),

    which is negative about as often as not when the laws agree. Gretton et al. 2012, A Kernel
    Two-Sample Test, JMLR 13, equation 3; the median heuristic is in its section 8.

    Args:
        x: points (n, D), n >= 2.
        y: points (m, D), m >= 2.
        bandwidth: h, or "median" for the median distance within the pooled sample.
        n_permutations: size of the null.
        seed: of the permutations.

    Raises:
        InvalidInput: for points or a bandwidth that are not accepted, or more than 10000 points.
    """
    x, y = check_pair(x, y, min_rows=2)
    n_permutations = check_int(n_permutations, name="n_permutations")
    n, m = len(x), len(y)
    if n + m > _MAX_POINTS:
        raise InvalidInput(
            f"x and y hold {n + m} points: all pairs of at most {_MAX_POINTS} are kept; "
            "give a subsample, or use sliced_wasserstein_test"
        )
    pooled = np.concatenate([x, y])
    K = pairwise_distances(pooled, pooled)  # (N, N)
    h = _bandwidth(bandwidth, K)
    K *= K
    K *= -0.5 / h**2
    np.exp(K, out=K)
    np.fill_diagonal(K, 0.0)

    rng = np.random.default_rng(seed)
    in_x = np.repeat([1.0, 0.0], [n, m])
    S = np.stack([in_x, *(rng.permutation(in_x) for _ in range(n_permutations))], axis=1)
    KS = K @ S  # (N, 1 + B)
    k_xx = (S * KS).sum(axis=0)  # (1 + B,)
    k_xy = KS.sum(axis=0) - k_xx
    k_yy = K.sum() - k_xx - 2 * k_xy
    squared = k_xx / (n * (n - 1)) + k_yy / (m * (m - 1)) - 2 * k_xy / (n * m)
    return TwoSampleTest(float(squared[0]), squared[1:])


def _bandwidth(bandwidth: float | str, distances: NDArray[np.float64]) -> float:
    if not isinstance(bandwidth, str):
        return check_real(bandwidth, name="bandwidth", open_low=True)
    check_choice(bandwidth, ["median"], name="bandwidth")
    N = len(distances)
    off_diagonal = distances.ravel()[:-1].reshape(N - 1, N + 1)[:, 1:]  # a view: no copy of K
    h = float(np.median(off_diagonal))
    if h == 0:
        raise InvalidInput('bandwidth="median" is zero, since most points coincide: give a positive number')
    return h
