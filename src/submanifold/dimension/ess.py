r"""The expected simplex skewness of Johnsson, Soneson and Fontes.

In many dimensions two directions drawn at random are almost perpendicular. For the vectors $x_1, \dots, x_k$ from the
centroid of a neighbourhood to its points, and all sets $\sigma$ of d + 1 of them,

$$ s_a^{(d)} = \frac{\sum_\sigma \mathrm{vol}(x_i, i \in \sigma)}{\sum_\sigma \prod_{i \in \sigma} |x_i|}, \qquad
   s_b^{(1)} = \frac{\sum_{i<j} |\langle x_i, x_j \rangle|}{\sum_{i<j} |x_i| |x_j|}, $$

with vol the volume of the parallelotope. For isotropic vectors in n dimensions their expectations are

$$ s_a^{(d)}(n) = \frac{\Gamma(n/2)^{d+1}}{\Gamma((n+1)/2)^d\, \Gamma((n-d)/2)}, \qquad
   s_b^{(1)}(n) = \frac{\Gamma(n/2)}{\sqrt\pi\, \Gamma((n+1)/2)}, $$

which are inverted for n.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import combinations
from math import comb as binomial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from submanifold.checks import check_choice, check_int
from submanifold.dimension.averaging import LocalEstimator
from submanifold.dimension.patches import by_blocks, offsets
from submanifold.dimension.variance import Patches
from submanifold.errors import InvalidInput
from submanifold.neighbors import NeighborGraph

__all__ = ["ESS", "expected_skewness"]

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

_LARGEST = 2**14
_MOST_SIMPLICES = 5000


class ESS(LocalEstimator):
    r"""The expected-simplex-skewness estimator: dimension from the angles and volumes within a neighbourhood.

    The skewness of a neighbourhood is compared with its expectation for n = d, d + 1, ... and interpolated linearly
    between the two values of n that enclose it, as the paper does. Lengths weigh the directions, so that points near
    the centroid, whose direction noise decides, count little.

    `n_neighbors` is 20 by default and 100 in scikit-dimension: neighbourhoods of 20 follow a curved manifold more
    closely. Give 100 for the same numbers.

    References:
        Johnsson, Soneson and Fontes 2015, Low bias local intrinsic dimension estimation from expected simplex skewness,
        IEEE Transactions on Pattern Analysis and Machine Intelligence 37.

    Args:
        ver: "a" (volumes) or "b" (cosines, which need d = 1).
        d: vectors of each simplex less one, at least 1. Of more than 5000 simplices a random 5000 are looked at, the
            same in each neighbourhood, unless d = 1, where all pairs are.
        n_neighbors: k, at least d + 2.
        comb: how points are pooled: "mean", "median" or "mle" (harmonic mean).
        random_state: seed of the simplices and of the splits behind `interval_`.

    Attributes:
        dimension_pw_: local dimensions, (n,), in [d, 16384].
        essval_: the skewness of each neighbourhood, (n,).
    """

    n_splits = 10
    most_rows = 1000
    needs_points = True

    essval_: Vector

    def __init__(
        self, ver: str = "a", d: int = 1, *, n_neighbors: int = 20, comb: str = "mean", random_state: int = 0
    ) -> None:
        self.ver = ver
        self.d = d
        self.n_neighbors = n_neighbors
        self.comb = comb
        self.random_state = random_state

    def least_neighbors(self) -> int:
        return self.d + 2

    def required_neighbors(self) -> int:
        check_choice(self.ver, _SKEWNESS, name="ver")
        d = check_int(self.d, name="d")
        if self.ver == "b" and d != 1:
            raise InvalidInput(f"d={d} is not accepted with ver='b', which compares pairs: give d=1, or ver='a'")
        return super().required_neighbors()

    def _learn(self, graph: NeighborGraph) -> None:
        n, expected = _expected(self.ver, self.d)
        self.essval_ = np.interp(self.dimension_pw_, n, expected)  # undoes the interpolation

    def fit_once(self, X: Any, y: Any = None) -> Self:
        """Take all of `X` (n, D) as one neighbourhood: `dimension_` and `essval_` are its two numbers."""
        self._forget()
        points = self._validated(X)
        scale = np.abs(points - points[0]).max()
        skewness = self._skewness((points / scale - points[0] / scale)[None])
        self.n_features_in_ = points.shape[1]
        self.essval_ = skewness
        self.dimension_ = float(_dimension(skewness, self.ver, self.d)[0])
        self._interval_known = (0.0, float("inf"))
        return self

    def _local(self, patches: Patches, X: Matrix | None) -> Vector:
        assert X is not None
        k = patches.indices.shape[1]
        simplices = 0 if self.d == 1 else min(binomial(k, self.d + 1), _MOST_SIMPLICES)
        skewness = by_blocks(
            lambda rows: self._skewness(offsets(X, patches, rows)),
            (*patches.indices.shape, X.shape[1]),
            extra=simplices * (self.d + 1) ** 2,
        )
        return _dimension(skewness, self.ver, self.d)

    def _skewness(self, V: Matrix) -> Vector:
        V = V - V.mean(axis=1, keepdims=True)  # (b, k, D)
        G = V @ V.transpose(0, 2, 1)  # (b, k, k)
        if self.d > 1:
            return _volumes(G, _simplices(G.shape[1], self.d + 1, self.random_state))
        return _SKEWNESS[self.ver](G)


def expected_skewness(n: Vector, ver: str, d: int) -> Vector:
    r"""The skewness of isotropic vectors in n >= d dimensions, of n's shape: $s_a^{(d)}(n)$ or $s_b^{(1)}(n)$."""
    n = np.asarray(n, dtype=np.float64)
    step = gammaln(n / 2) - gammaln((n + 1) / 2)
    if ver == "b":
        return np.asarray(np.exp(step) / np.sqrt(np.pi))
    flat = n == d  # d + 1 vectors in d dimensions span no volume
    return np.where(flat, 0.0, np.exp(d * step + gammaln(n / 2) - gammaln(np.where(flat, 1.0, n - d) / 2)))


def _dimension(skewness: Vector, ver: str, d: int) -> Vector:
    n, expected = _expected(ver, d)
    rising = 1 if ver == "a" else -1
    return np.asarray(np.interp(rising * skewness, rising * expected, n))


@lru_cache(maxsize=16)
def _expected(ver: str, d: int) -> tuple[Vector, Vector]:
    n = np.arange(d, _LARGEST + 1, dtype=np.float64)
    return n, expected_skewness(n, ver, d)


def _sines(G: Matrix) -> Vector:
    square = np.einsum("bii->bi", G)  # (b, k)
    products = square[:, :, None] * square[:, None, :]  # (b, k, k)
    areas = np.sqrt(np.maximum(products - G**2, 0.0))
    areas[:, np.arange(G.shape[1]), np.arange(G.shape[1])] = 0.0
    return np.asarray(areas.sum(axis=(1, 2)) / _pairs(square))


def _cosines(G: Matrix) -> Vector:
    square = np.einsum("bii->bi", G)
    return np.asarray((np.abs(G).sum(axis=(1, 2)) - square.sum(axis=1)) / _pairs(square))


def _pairs(square: Vector) -> Vector:
    """The sum of |x_i| |x_j| over ordered pairs i != j, (b,)."""
    return np.asarray(np.sqrt(square).sum(axis=1) ** 2 - square.sum(axis=1))


_SKEWNESS: dict[str, Callable[[Matrix], Vector]] = {"a": _sines, "b": _cosines}


def _volumes(G: Matrix, simplices: NDArray[np.int64]) -> Vector:
    square = np.einsum("bii->bi", G)
    minors = G[:, simplices[:, :, None], simplices[:, None, :]]  # (b, s, d + 1, d + 1)
    lengths = np.sqrt(square[:, simplices].prod(axis=2))  # (b, s)
    volumes = np.sqrt(np.maximum(np.linalg.det(minors), 0.0))
    return np.asarray(volumes.sum(axis=1) / lengths.sum(axis=1))


@lru_cache(maxsize=16)
def _simplices(k: int, size: int, seed: int) -> NDArray[np.int64]:
    """All sets of `size` of k points where they are few, a random 5000 sets where not, (s, size)."""
    if binomial(k, size) <= _MOST_SIMPLICES:
        return np.array(list(combinations(range(k), size)))
    rng = np.random.default_rng(seed)
    return np.asarray(rng.random((_MOST_SIMPLICES, k)).argpartition(size, axis=1)[:, :size])
