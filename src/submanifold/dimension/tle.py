r"""The estimator from tight localities of Amsaleg and others: all pairs within a neighbourhood bear witness.

Let q be a point, V its k nearest neighbours, r the distance to the last of them. For v in the ball of radius r about q,
the balls with centre $v + t (q - v)$ and radius $t r$, $0 \le t \le 1$, grow from v to the whole ball. A point w of it
lies on the sphere of one of them, whose radius is

$$ d_{q,r}(v, w) = r\,\frac{\sqrt{\langle q-v, w-v\rangle^2 + |w-v|^2 (r^2 - |q-v|^2)} - \langle q-v, w-v\rangle}
                        {r^2 - |q-v|^2}, $$

with limit $r |w-v|^2 / (2 \langle q-v, w-v \rangle)$ where $|q-v| = r$.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from submanifold.checks import check_real
from submanifold.dimension.averaging import LocalEstimator
from submanifold.dimension.patches import by_blocks, offsets
from submanifold.dimension.variance import Patches

__all__ = ["TLE"]

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


class TLE(LocalEstimator):
    r"""The tight-locality estimator of local intrinsic dimension.

    $$ \hat m(q)^{-1} = -\frac{1}{N} \sum_{v \ne w \in V \cup \{q\}}
         \Big[ \log \frac{d_{q,r}(v, w)}{r} + \log \frac{d_{q,r}(2q - v, w)}{r} \Big], $$

    where $2q - v$ is v mirrored at q and N the number of terms. Terms in which a distance is below $\epsilon r$ are
    left out, as their logarithm would outweigh all others.

    Every pair of a neighbourhood contributes, so that with few neighbours the variance is about that of MLE with
    several times as many, and the bias by curvature, which grows with the radius, is small.

    `epsilon` is a part of the neighbourhood's radius, here; in scikit-dimension it is a distance, on which the unit of
    the data has an effect (in units of 1e-10 it calls everything 0-dimensional). Both are the same where no distance
    inside a neighbourhood is below either.

    References:
        Amsaleg, Chelly, Houle, Kawarabayashi, Radovanovic and Treeratanajaru 2019, Intrinsic dimensionality estimation
        within tight localities, SIAM International Conference on Data Mining.

    Args:
        n_neighbors: k, at least 3.
        epsilon: terms with a distance below this part of the radius are left out, in [0, 0.1].
        comb: how points are pooled: "mean" (of finite values), "median" or "mle" (harmonic mean).
        random_state: seed of the splits behind `interval_`.

    Attributes:
        dimension_pw_: $\hat m(x_i)$, (n,).
    """

    n_splits = 10
    most_rows = 1000
    needs_points = True
    fewest = 3

    def __init__(
        self, epsilon: float = 1e-4, *, n_neighbors: int = 20, comb: str = "mean", random_state: int = 0
    ) -> None:
        self.epsilon = epsilon
        self.n_neighbors = n_neighbors
        self.comb = comb
        self.random_state = random_state

    def required_neighbors(self) -> int:
        check_real(self.epsilon, name="epsilon", high=0.1)
        return super().required_neighbors()

    def _local(self, patches: Patches, X: Matrix | None) -> Vector:
        assert X is not None

        def local_of(rows: slice) -> Vector:
            V = offsets(X, patches, rows)  # (b, k, D)
            G = V @ V.transpose(0, 2, 1)  # (b, k, k)
            t = patches.distances[rows] / patches.distances[rows, -1:]  # (b, k)
            return _tight(G, t, max(self.epsilon, 1e-12))

        return by_blocks(local_of, (*patches.indices.shape, X.shape[1]))


def _tight(G: Matrix, t: Vector, epsilon: float) -> Vector:
    """The estimates (b,) from inner products (b, k, k) and norms (b, k) of neighbours about q, in units of r."""
    k = t.shape[1]
    square = t**2
    apart = np.maximum(square[:, :, None] + square[:, None, :] - 2 * G, 0.0)  # |w - v|^2, (b, k, k)
    mirrored = square[:, :, None] + square[:, None, :] + 2 * G  # |w + v|^2
    S = _radii(square, apart)
    T = _radii(square, np.maximum(mirrored, 0.0))
    kept = np.minimum(S, T) >= epsilon
    kept[:, np.arange(k), np.arange(k)] = False
    logs = np.log(np.where(kept, S, 1.0)) + np.log(np.where(kept, T, 1.0))
    central = t >= epsilon
    total = logs.sum(axis=(1, 2)) + 2 * np.log(np.where(central, t, 1.0)).sum(axis=1)  # (b,)
    terms = 2.0 * (kept.sum(axis=(1, 2)) + central.sum(axis=1))
    with np.errstate(divide="ignore"):
        return np.asarray(terms / np.abs(total))  # no logarithm is positive; all are 0 where all are equally far


def _radii(square: Vector, apart: Matrix) -> Matrix:
    """d_{q,r}(v, w) / r for all v (first axis) and w, (b, k, k), from squared norms and squared distances."""
    inner = (square[:, :, None] + apart - square[:, None, :]) / 2  # <q - v, w - v>
    free = np.maximum(1 - square, 0.0)[:, :, None]
    root = np.sqrt(inner**2 + apart * free)
    # Of the two forms of the root of the quadratic the one without cancellation, which holds on the sphere too.
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(inner > 0, apart / (root + inner), (root - inner) / free)
    # On the sphere itself no such ball exists unless w is inside it: w = v, or w on the sphere across.
    return np.where(np.isfinite(value), np.minimum(value, 1.0), 1.0)
