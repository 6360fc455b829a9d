r"""The generalised ratios estimator, and the likelihood of a ratio of two neighbour distances.

Where the density is constant over the distance to the $n_2$-th neighbour, $\mu = T_{n_2} / T_{n_1}$ has the density

$$ f(\mu) = \frac{d\,(\mu^d - 1)^{n_2 - n_1 - 1}}{B(n_2 - n_1, n_1)\,\mu^{(n_2 - 1) d + 1}}, \qquad \mu > 1, $$

with B the beta function. With $s = \log \mu$ and $w = n_2 - n_1 - 1$, the derivative of N log-likelihoods times d is

$$ g(d) = N - n_1 d \sum_i s_i + w \sum_i \phi(d s_i), \qquad \phi(x) = x / (e^x - 1). $$

$\phi$ falls from 1 to 0 and is convex, so that g is decreasing and convex: Newton's method from any point left of the
root rises to it without ever passing it. $N / (n_1 \sum s_i)$ is such a point, and the root itself where w = 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from submanifold.checks import check_int
from submanifold.dimension.neighborhood import NeighborEstimator
from submanifold.dimension.variance import Patches, graph_size, largest_split, log_interval, split_variance
from submanifold.neighbors import NeighborGraph

__all__ = ["GRIDE", "ratio_dimension", "ratio_error"]

Vector = NDArray[np.float64]

_LARGEST = 700.0  # exp of more is near the end of float64
_SERIES = 1e-3  # below it the derivative of phi is -1/2 + x/6 to 1e-10
_STEPS = 200


def ratio_dimension(s: Vector, n1: int, n2: int, count: float | None = None) -> float:
    r"""The maximum of the likelihood of logarithms of ratios `s` (N,), all positive; infinite where none is.

    Args:
        s: $\log(T_{n_2} / T_{n_1})$.
        n1, n2: the neighbours that the ratios are of, 1 <= n1 < n2.
        count: the factor of $\log d$ in place of N; N - 1 makes the estimate unbiased where n2 = n1 + 1 = 2.
    """
    N, w = (float(len(s)) if count is None else count), n2 - n1 - 1
    total = n1 * float(s.sum())
    if total <= 0 or N <= 0:
        return float("inf") if N > 0 else float("nan")
    d = N / total
    if w == 0:
        return d
    for _ in range(_STEPS):
        phi, slope = _phi(d * s)
        g = N - total * d + w * float(phi.sum())
        change = -g / (-total + w * float(slope @ s))
        d += change
        if abs(change) <= 1e-13 * d:
            break
    return d


def ratio_error(s: Vector, n1: int, n2: int, d: float) -> float:
    r"""The standard error of `ratio_dimension` from the observed Fisher information, as if points were independent."""
    N, w = len(s), n2 - n1 - 1
    x = np.clip(d * s, 1e-300, _LARGEST)
    information = N + w * float(((x / np.expm1(x)) ** 2 * np.exp(x)).sum())  # times d squared
    return d / float(np.sqrt(information))


class GRIDE(NeighborEstimator):
    r"""Denti, Doimo, Laio and Mira's estimator, maximum likelihood of ratios of distances at any scale.

    The ratios are $\mu_i = T_{n_2}(x_i) / T_{n_1}(x_i)$. A larger $n_1$ looks at a larger scale, where noise no longer
    hides the manifold, without leaving points out; with `multiscale` all scales $n_1 = 1, 2, 4, \dots$, $n_2 = 2 n_1$
    are estimated.

    As in DADApy and scikit-dimension, $\log d$ counts N - 1 times, which makes the estimate unbiased where
    $n_2 = n_1 + 1 = 2$; pairs at equal distances ($\mu = 1$) are left out, and so are ratios above
    $q_{50} + 20 (q_{95} - q_{50})$, q their quantiles, which come from points that nearly coincide.

    References:
        Denti, Doimo, Laio and Mira 2022, The generalized ratios intrinsic dimension estimator, Scientific Reports 12.

    Args:
        n1: order of the nearer neighbour.
        n2: order of the farther one, above n1; 2 * n1 by default.
        multiscale: also estimate all scales, into the attributes `..._scales_`.
        range_max: the largest n2 of these scales.
        random_state: seed of the splits behind `interval_`.

    Attributes:
        error_: standard error from the Fisher information, of independent points; `interval_` accounts for overlap.
        scales_: n1 of each scale, (s,).
        dimension_scales_, error_scales_: the estimate and its `error_` at each scale, (s,).
        radius_scales_: mean distance to the n2-th neighbour at each scale, (s,), in the units of the data.
        interval_scales_: 95% interval at each scale, (s, 2), accounting for overlap like `interval_`.
    """

    error_: float
    scales_: NDArray[np.int64]
    dimension_scales_: Vector
    error_scales_: Vector
    radius_scales_: Vector
    interval_scales_: Vector

    def __init__(
        self,
        n1: int = 1,
        n2: int | None = None,
        *,
        multiscale: bool = False,
        range_max: int = 64,
        random_state: int = 0,
    ) -> None:
        self.n1 = n1
        self.n2 = n2
        self.multiscale = multiscale
        self.range_max = range_max
        self.random_state = random_state

    def required_neighbors(self) -> int:
        check_int(self.range_max, name="range_max", low=2)
        return self._orders()[1]

    def graph_neighbors(self, n: int) -> int:
        widest = graph_size(min(self.range_max, n - 1), n) if self.multiscale else 1
        return max(super().graph_neighbors(n), widest)

    def _orders(self) -> tuple[int, int]:
        n1 = check_int(self.n1, name="n1")
        return n1, 2 * n1 if self.n2 is None else check_int(self.n2, name="n2", low=n1 + 1)

    def _local(self, patches: Patches, X: NDArray[np.float64] | None) -> Vector:
        return _log_ratios(patches.distances, *self._orders())

    def _pool(self, local: Vector) -> float:
        kept = _kept(local)
        return ratio_dimension(kept, *self._orders(), count=len(kept) - 1) if len(kept) > 1 else float("nan")

    def _learn(self, graph: NeighborGraph) -> None:
        self.error_ = _estimate(graph.distances, *self._orders())[1]
        if self.multiscale:
            self._learn_scales(graph)

    def _learn_scales(self, graph: NeighborGraph) -> None:
        """Every scale of which the graph holds the neighbours; where it holds too few for halves, no interval."""
        scales = 2 ** np.arange(int(np.log2(min(self.range_max, graph.k) // 2)) + 1)
        both = np.array([_estimate(graph.distances, n1, 2 * n1) for n1 in scales.tolist()])  # (s, 2)
        self.scales_ = scales
        self.dimension_scales_, self.error_scales_ = both.T
        self.radius_scales_ = graph.distances[:, 2 * scales - 1].mean(axis=0)

        k = largest_split(graph.k, graph.n_points)
        split = scales[2 * scales <= k]
        intervals = [(0.0, float("inf"))] * len(scales)
        if len(split):
            variance = split_variance(
                graph,
                int(2 * split[-1]),
                lambda half: np.log([_estimate(half.distances, n1, 2 * n1)[0] for n1 in split.tolist()]),
                n_splits=self.n_splits,
                seed=self.random_state,
            )
            known = zip(self.dimension_scales_.tolist(), variance.tolist(), strict=False)
            intervals[: len(split)] = [log_interval(d, v, self.n_splits) for d, v in known if np.isfinite(v)]
        self.interval_scales_ = np.array(intervals)  # (s, 2)


def _estimate(distances: Vector, n1: int, n2: int) -> tuple[float, float]:
    s = _kept(_log_ratios(distances, n1, n2))
    if len(s) < 2:
        return float("nan"), float("inf")
    d = ratio_dimension(s, n1, n2, len(s) - 1)
    return d, ratio_error(s, n1, n2, d)


def _log_ratios(distances: Vector, n1: int, n2: int) -> Vector:
    return np.asarray(np.log(distances[:, n2 - 1]) - np.log(distances[:, n1 - 1]))


def _kept(s: Vector) -> Vector:
    """The ratios between distances that differ, without those of points that nearly coincide."""
    s = s[s > 0]
    if len(s) == 0:
        return s
    # Quantiles of the ratios themselves, which overflow where points are apart by more than 1e308 of the nearest.
    mu = np.exp(np.minimum(s, _LARGEST))
    q50, q95 = np.quantile(mu, [0.5, 0.95])
    return np.asarray(s[mu <= q50 + 20 * (q95 - q50)])


def _phi(x: Vector) -> tuple[Vector, Vector]:
    """phi and its derivative at x > 0."""
    x = np.clip(x, 1e-300, _LARGEST)
    phi = x / np.expm1(x)
    return phi, np.where(x < _SERIES, x / 6 - 0.5, phi * (1 - phi - x) / x)
