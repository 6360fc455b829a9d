r"""The Fréchet distance between samples: W_2^2 between the Gaussians that have their means and covariances,

\|\mu_x - \mu_y\|^2 + \mathrm{tr}(C_x) + \mathrm{tr}(C_y) - 2\,\mathrm{tr}\,(C_x^{1/2} C_y C_x^{1/2})^{1/2}

(Dowson, Landau 1982). In the features of a network it is the usual measure of the quality of images (Heusel et al.
2017, arXiv 1706.08500, equation 6), where it is called FID without a root being taken, as here.

With C = R^T R the last trace is the sum of the singular values of R_x R_y^T: no root of a matrix is taken, so that
covariances without full rank, of fewer points than coordinates, are as good as others.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from submanifold.transport.floor import Floor, floor_between_parts
from submanifold.transport.samples import check_pair

__all__ = ["frechet", "frechet_floor"]


def frechet(x: ArrayLike | Any, y: ArrayLike | Any) -> float:
    """The squared Fréchet distance between samples x (n, D) and y (m, D), in squared units of the data.

    It sees nothing but means and covariances, with the denominators n - 1 and m - 1, and is biased upwards for few
    points: compare it at equal sizes, with `frechet_floor`.

    Raises:
        InvalidInput: for points that are not accepted, or fewer than two of them.
    """
    x, y = check_pair(x, y, min_rows=2)
    means = float(((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum())
    R_x, R_y = _factor(x), _factor(y)
    overlap = float(np.linalg.svd(R_x @ R_y.T, compute_uv=False).sum())
    return max(0.0, means + float((R_x**2).sum() + (R_y**2).sum()) - 2 * overlap)


def _factor(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """R, (min(n, D), D), with R^T R the covariance of x (n, D)."""
    return np.asarray(np.linalg.qr(x - x.mean(axis=0), mode="r")) / math.sqrt(len(x) - 1)


def frechet_floor(x: ArrayLike | Any, n: int, repeats: int = 10, seed: int = 0) -> Floor:
    """`frechet` between two disjoint samples of n points each of x (N, D), over random draws.

    Raises:
        InvalidInput: if x has fewer than 2 n points, or as `frechet`.
    """
    return floor_between_parts(frechet, x, n, repeats=repeats, seed=seed)
