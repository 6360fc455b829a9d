r"""Dimensionality from angle and norm concentration, the estimator of Ceruti and others.

Distances to neighbours and angles between the directions to them are compared with those of points drawn uniformly from
balls of every dimension, by the Kullback-Leibler divergence between the laws fitted to either. Notation as in
`submanifold.dimension.danco_reference`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import comb, digamma, i0e, i1e

from submanifold.checks import check_choice, check_int
from submanifold.dimension.danco_reference import (
    LARGEST_DIMENSION,
    Reference,
    direction_statistics,
    mean_concentration,
)
from submanifold.dimension.gride import ratio_dimension
from submanifold.dimension.mind import likeliest_dimension
from submanifold.dimension.neighborhood import NeighborEstimator
from submanifold.dimension.patches import by_blocks, directions
from submanifold.dimension.variance import Patches
from submanifold.neighbors import NeighborGraph

__all__ = ["DANCo", "direction_divergence", "ratio_divergence"]

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

_LOG_RATIO, _ANGLE, _TAU, _NEIGHBORS, _POINTS, _COORDINATES = range(6)  # columns of the local statistic
_CLOSED_FORM = 12  # neighbours up to which the alternating sum keeps its digits
_NODES = 200
_STEP = 0.05
_NEAR_THE_END = 1.1  # the reference begins at dimension 1


class DANCo(NeighborEstimator):
    r"""DANCo: the dimension d whose ball has the most similar norms and angles.

    $$ \hat d = \arg\min_d\; KL\big(g(\cdot\,; k, \hat d_{data}) \,\|\, g(\cdot\,; k, \hat d_d)\big)
         + KL\big(q(\cdot\,; \hat\nu_{data}, \hat\tau_{data}) \,\|\, q(\cdot\,; \hat\nu_d, \hat\tau_d)\big), $$

    with g the density of the ratio of the distances to the first and the (k+1)-th neighbour, q that of von Mises, and
    the statistics with subscript d those of as many points in a d-ball. Both divergences are computed in closed form.

    - `ver="DANCo"` and "DANCoFit" are the same here: both hold the data against a table over n (16 to 102,400, the last
      for more points) and d for k = 10, and against simulations made on first use for other k, smooth in d.
    - "MIND_MLk" is $\hat d_{data}$ itself, without calibration, in [1, D]; "MIND_MLi" the integer of largest likelihood
      (`submanifold.dimension.mind.MiND_ML`).

    The reference ends at d = 120; a warning says so where the answer is that end.

    Spheres, which have no boundary, and Gaussian clouds, whose density falls slowly, are read a few percent too high.

    Where scikit-dimension differs: the ratio dimensions that it finds in simulated balls stop at k, so that above
    some 12 dimensions angles alone decide; its angle $\arctan(\bar S / \bar C)$ is that of a mean direction only where
    $\bar C > 0$, and averages directions on either side of the vertical to zero; its fractal answer interpolates
    simulation noise, which is here smoothed before.

    References:
        Ceruti, Bassis, Rozza, Lombardi, Casiraghi and Campadelli 2014, DANCo: An intrinsic dimensionality estimator
        exploiting angle and norm concentration, Pattern Recognition 47, arXiv:1206.3881;
        Rozza, Lombardi, Ceruti, Casiraghi and Campadelli 2012, Novel high intrinsic dimensionality estimators.

    Args:
        k: neighbours, at least 3; one more is searched for.
        D: the largest dimension considered; by default the number of coordinates.
        ver: "DANCo", "DANCoFit", "MIND_MLk" or "MIND_MLi".
        fractal: minimise over real d in place of integers.
        n_reference: the number of points in the balls, by default that of the data; for data that are the neighbours of
            some points of a larger set, the size of that set.
        random_state: seed of the splits behind `interval_`.
    """

    n_splits = 10
    most_rows = 1000
    needs_points = True

    def __init__(
        self,
        k: int = 10,
        D: int | None = None,
        *,
        ver: str = "DANCo",
        fractal: bool = True,
        n_reference: int | None = None,
        random_state: int = 0,
    ) -> None:
        self.k = k
        self.D = D
        self.ver = ver
        self.fractal = fractal
        self.n_reference = n_reference
        self.random_state = random_state

    def required_neighbors(self) -> int:
        check_choice(self.ver, _VERSIONS, name="ver")
        if self.D is not None:
            check_int(self.D, name="D")
        if self.n_reference is not None:
            check_int(self.n_reference, name="n_reference", low=2)
        return check_int(self.k, name="k", low=3) + 1

    def least_neighbors(self) -> int:
        return 4

    def _local(self, patches: Patches, X: Matrix | None) -> Vector:
        """Logarithm of the inverse distance ratio, mean angle, concentration, and the sizes k, n and D, (m, 6)."""
        assert X is not None
        k = patches.indices.shape[1] - 1
        near = Patches(patches.distances[:, :k], patches.indices[:, :k], patches.rows)
        local = np.empty((len(patches.rows), 6))
        local[:, _LOG_RATIO] = np.log(patches.distances[:, k]) - np.log(patches.distances[:, 0])
        local[:, [_ANGLE, _TAU]] = by_blocks(
            lambda rows: np.column_stack(direction_statistics(directions(X, near, rows))),
            (*near.indices.shape, X.shape[1]),
        )
        # Halves of the data behind the interval are held against the reference for all points too: its bias is theirs.
        local[:, _NEIGHBORS:] = k, self.n_reference or len(X), X.shape[1]
        return local

    def _interval(self, value: float, graph: NeighborGraph, X: Matrix | None) -> tuple[float, float]:
        low, high = super()._interval(value, graph, X)
        if value >= _NEAR_THE_END:
            return low, high
        # Halves that end at 1 hide how much they differ; ratios alone do not end there.
        ratios = _Ratios(self.k, random_state=self.random_state)
        least, most = NeighborEstimator._interval(ratios, value, graph, X)
        return min(low, least), max(high, most)

    def _pool(self, local: Vector) -> float:
        if len(local) == 0:
            return float("nan")
        k, D = int(local[0, _NEIGHBORS]), int(local[0, _COORDINATES])
        s = local[:, _LOG_RATIO]
        raw = ratio_dimension(s[s > 0], 1, k + 1)
        if not np.isfinite(raw):
            return float("nan")
        return _VERSIONS[self.ver](self, local, raw, D if self.D is None else self.D)

    def _calibrated(self, local: Vector, raw: float, most: int) -> float:
        k = int(local[0, _NEIGHBORS])
        reference = _reference(int(local[0, _POINTS]), k, most)
        last = min(float(most), reference.most)
        angle, tau = float(np.mean(local[:, _ANGLE])), mean_concentration(local[:, _TAU])

        def divergence(d: Vector) -> Vector:
            size, nu, concentration = reference.at(d)
            return ratio_divergence(raw, size, k) + direction_divergence(angle, tau, nu, concentration)

        if not self.fractal:
            integers = np.arange(1.0, last + 1)
            value = float(integers[np.argmin(divergence(integers))])
        else:
            grid = np.linspace(1.0, last, 1 + max(1, round((last - 1) / _STEP)))
            i = int(np.argmin(divergence(grid)))
            low, high = grid[max(i - 1, 0)], grid[min(i + 1, len(grid) - 1)]
            found = minimize_scalar(lambda d: float(divergence(np.array([d]))[0]), bounds=(low, high), method="bounded")
            value = float(found.x) if 0 < i < len(grid) - 1 else float(grid[i])
        if value >= LARGEST_DIMENSION and most > LARGEST_DIMENSION:
            warnings.warn(
                f"DANCo's reference ends at dimension {LARGEST_DIMENSION}, which it found: the dimension may be larger",
                stacklevel=2,
            )
        return value

    def _likeliest(self, local: Vector, raw: float, most: int) -> float:
        s, k = local[:, _LOG_RATIO], int(local[0, _NEIGHBORS])
        return likeliest_dimension(s, k, largest=most, integer=self.ver == "MIND_MLi")


class _Ratios(DANCo):
    """The dimension by ratios of distances alone, which may be below 1."""

    def _pool(self, local: Vector) -> float:
        s = local[:, _LOG_RATIO]
        return ratio_dimension(s[s > 0], 1, int(local[0, _NEIGHBORS]) + 1) if len(s) else float("nan")


def ratio_divergence(d: float, other: Vector, k: int) -> Vector:
    r"""$KL(g(\cdot\,; k, d) \| g(\cdot\,; k, d'))$ in nats for each d' of `other`.

    With $u = \rho^d$, of density $k (1 - u)^{k-1}$, and $a = d' / d$, $H_k$ the k-th harmonic number,

    $$ -\log a - (1 - a) H_k - \frac{k - 1}{k} - (k - 1)\, \mathbb{E} \log (1 - u^a), \qquad
       \mathbb{E} \log (1 - u^a) = \sum_{j=0}^{k} (-1)^j \binom kj \psi(1 + j / a), $$

    the sum up to k = 12, where its terms do not yet cancel, and a quadrature of the expectation beyond.
    """
    a = np.asarray(other, dtype=np.float64) / d
    harmonic = float(digamma(k + 1) - digamma(1))
    return -np.log(a) - (1 - a) * harmonic - (k - 1) / k - (k - 1) * _expected_log(a, k)


def _expected_log(a: Vector, k: int) -> Vector:
    if k <= _CLOSED_FORM:
        j = np.arange(k + 1)
        return np.asarray(digamma(1 + j / a[..., None]) @ ((-1.0) ** j * comb(k, j)))
    u, weight = _quadrature(k)
    return np.asarray(np.log(-np.expm1(a[..., None] * np.log(u))) @ weight)


@lru_cache(maxsize=16)
def _quadrature(k: int) -> tuple[Vector, Vector]:
    """Nodes u in (0, 1) and weights (200,) of the density $k (1 - u)^{k-1}$, good for logarithms at either end."""
    x, h = np.linspace(-3.5, 3.5, _NODES, retstep=True)  # u = (1 + tanh(pi/2 sinh x)) / 2, Takahasi and Mori 1974
    s = np.pi / 2 * np.sinh(x)
    u = 1 / (1 + np.exp(-2 * s))
    below = 1 / (1 + np.exp(2 * s))  # 1 - u
    weight = k * below ** (k - 1) * np.pi * np.cosh(x) * u * below * h
    return np.minimum(u, 1 - 1e-16), weight / weight.sum()


def direction_divergence(nu: float, tau: float, other_nu: Vector, other_tau: Vector) -> Vector:
    r"""KL divergence in nats between von Mises laws of mean direction $\nu$ and concentration $\tau$.

    $$ \log \frac{I_0(\tau')}{I_0(\tau)} + \frac{I_1(\tau)}{I_0(\tau)} \big(\tau - \tau' \cos(\nu - \nu')\big) . $$
    """
    ratio = i1e(tau) / i0e(tau)
    logs = np.log(i0e(other_tau)) + other_tau - np.log(i0e(tau)) - tau
    return np.asarray(logs + ratio * (tau - other_tau * np.cos(nu - other_nu)))


_VERSIONS: dict[str, Callable[[DANCo, Vector, float, int], float]] = {
    "DANCo": DANCo._calibrated,
    "DANCoFit": DANCo._calibrated,
    "MIND_MLk": DANCo._likeliest,
    "MIND_MLi": DANCo._likeliest,
}


@lru_cache(maxsize=64)
def _reference(n: int, k: int, most: int) -> Reference:
    return Reference.of(n, k, most)
