r"""The magnitude of a metric space, an effective number of points, and its growth.

With $\zeta_{ij} = e^{-t\,d(x_i, x_j)}$ the magnitude of n points at the scale t is the sum of the entries of the
inverse,

$$ |tX| = \mathbf 1^\top w, \qquad \zeta w = \mathbf 1 . $$

It rises from 1 (all points seen as one) to n (all told apart), in between as $t^d$ for points of a set of dimension d.
Since $\partial_t \zeta_{ij} = -d_{ij} \zeta_{ij}$, its growth rate is

$$ s(t) = \frac{\mathrm d \log |tX|}{\mathrm d \log t} = \frac{t\; w^\top (d \circ \zeta)\, w}{|tX|} . $$
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.optimize import minimize_scalar
from scipy.spatial.distance import squareform

from submanifold.dimension.cloud_distances import DistanceEstimator
from submanifold.neighbors.metrics import Metric

__all__ = ["MagnitudeDimension", "magnitude"]

Vector = NDArray[np.float64]

_FINEST = 5.0  # t, times the typical distance to the nearest neighbour: nearly all points are told apart
_STEP = 3.0  # at most, from one t to the next
_PRECISION = 0.02  # of log t, which leaves s(t) within 1e-4 of its maximum


class MagnitudeDimension(DistanceEstimator):
    r"""The magnitude dimension: the growth rate of magnitude where it is largest.

    $\hat d = \max_t s(t)$. The magnitude dimension of an infinite compact set in $\mathbb R^D$ is the limit of s(t) at
    infinity, and equals its Minkowski dimension. For n points s(t) falls to 0 both at small t (one point) and at large
    t (n points): the range between, in which s is neither flat nor saturated, is found as its maximum, which approaches
    the dimension slowly, but for closed curves from below: $|tX|$ has other powers of t besides $t^d$, and only n
    points to grow to. At the default size 1, 2 and 3 dimensions of a cube are seen as 0.97, 1.7 and 2.1, a circle as
    1.09, and the estimate grows ever slower than the dimension: it orders sets of few dimensions, and measures none of
    many.

    Its variance falls with n faster than 1/n on a sphere and slower on a Gaussian, so that halves would tell it badly:
    `interval_` leaves out a tenth of the points at a time (the jackknife, whose variance is on average no smaller than
    the true one; Efron and Stein 1981).

    References:
        Leinster and Meckes 2017, The magnitude of a metric space: from category theory to geometric measure theory,
        arXiv:1606.00095; Meckes 2015, Magnitude, diversity, capacities, and dimensions of metric
        spaces, Potential Analysis 42 (dimensions); O'Malley, Kalisnik and Otter 2023, Alpha magnitude, Journal of
        Pure and Applied Algebra 227; Efron and Stein 1981, The jackknife estimate of variance, Annals of Statistics 9.

    Args:
        n_points: the most points looked at, a random subset of more; time grows as its cube, memory as its square.
        metric: "euclidean"; "precomputed", for which X is the matrix of distances (n, n); another name that
            scikit-learn's `pairwise_distances` knows, or a function of two points.
        random_state: seed of the subset and of the parts left out for `interval_`.

    Attributes:
        scales_: values of t that were tried, (s,), ascending, per unit of the data.
        slopes_: s(t) at each.
        magnitudes_: |tX| at each.
    """

    n_splits = 10
    least_points = 4

    scales_: Vector
    slopes_: Vector
    magnitudes_: Vector

    def __init__(self, n_points: int = 1000, *, metric: Metric = "euclidean", random_state: int = 0) -> None:
        self.n_points = n_points
        self.metric = metric
        self.random_state = random_state

    def _estimate(self, X: Vector, rng: np.random.Generator) -> float:
        condensed, spread = self._distances(X, rng)
        distances = squareform(condensed)  # (n, n)
        np.fill_diagonal(distances, np.inf)
        unit = float(np.median(distances.min(axis=1)))
        np.fill_diagonal(distances, 0.0)
        distances /= unit
        coarsest = 1 / float(distances.max())  # all points are nearly one
        scales = np.linspace(np.log(coarsest), np.log(_FINEST), 2 + int(np.log(_FINEST / coarsest) / np.log(_STEP)))

        tried: dict[float, tuple[float, float]] = {}

        def slope(log_t: float) -> float:
            tried[log_t] = _growth(distances, float(np.exp(log_t)))
            return tried[log_t][1]

        best = int(np.argmax([slope(log_t) for log_t in scales.tolist()]))
        around = scales[[max(best - 1, 0), min(best + 1, len(scales) - 1)]]
        minimize_scalar(lambda at: -slope(float(at)), bounds=around, method="bounded", options={"xatol": _PRECISION})
        at = sorted(tried)
        self.scales_ = np.exp(at) / unit / spread
        self.magnitudes_, self.slopes_ = np.array([tried[log_t] for log_t in at]).T
        return float(self.slopes_.max())

    def _log_variance(self, X: Vector) -> tuple[float, int]:
        order = np.random.default_rng([self.random_state, 0]).permutation(len(X))[: self._looked_at(len(X))]
        parts = np.array_split(order, min(self.n_splits, len(order)))
        logs = [self._log_estimate(X, np.setdiff1d(order, part), [i]) for i, part in enumerate(parts)]
        return (len(logs) - 1) * float(np.var(logs)), len(logs) - 1


def magnitude(distances: Vector, t: float = 1.0) -> float:
    r"""$|tX|$ of points with the matrix `distances` (n, n), by a Cholesky decomposition.

    Raises:
        LinAlgError: where the matrix $\zeta$ is not positive definite, as between copies of a point.
    """
    return float(_weights(np.exp(-t * distances)).sum())


def _weights(zeta: Vector) -> Vector:
    return np.asarray(cho_solve(cho_factor(zeta, lower=True, check_finite=False), np.ones(len(zeta))))


def _growth(distances: Vector, t: float) -> tuple[float, float]:
    """|tX| and s(t); of no growth where rounding leaves no positive definite matrix, at small t."""
    zeta = np.exp(-t * distances)
    try:
        w = _weights(zeta)
    except LinAlgError:
        return float("nan"), 0.0
    total = float(w.sum())
    zeta *= distances
    return total, float(t * (w @ zeta @ w) / total)
