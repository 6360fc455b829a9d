r"""What DANCo's statistics are for points spread uniformly in a ball, the yardstick data are held against.

The statistics of n points with k neighbours are, with $r_j$ the distance to the j-th neighbour,

- $\hat d$: the maximum of the likelihood of the ratios $\rho = r_1 / r_{k+1}$, whose density where points form
  a Poisson process of dimension d is $g(\rho; k, d) = k d \rho^{d-1} (1 - \rho^d)^{k-1}$;
- $\hat\nu, \hat\tau$: mean direction and concentration of the von Mises law of the angles between the directions to the
  first k neighbours, averaged over points.

None of them is what its formula says at finite n: in high dimensions most points are near the boundary and their
neighbours far away. The reference is therefore simulated. For k = 10 it ships as a table over n and d that
`build_table` made; for other k it is simulated when first asked for and kept for the life of the process.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.spatial import cKDTree
from scipy.special import i0e, i1e

from submanifold.dimension.gride import ratio_dimension

__all__ = [
    "LARGEST_DIMENSION",
    "Reference",
    "build_table",
    "concentration",
    "direction_statistics",
    "mean_concentration",
]

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

_DIMENSIONS = np.r_[1:13, 14:21:2, 24:41:4, 50:121:10]
_SIZES = np.array([16, 24, 36, 50, 75, 100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 102_400])
_TABLE_K = 10
LARGEST_DIMENSION = int(_DIMENSIONS[-1])

_LARGEST_RESULTANT = 1 - 5e-4  # a concentration of 1000: neighbours in one direction say no more than that
_ONE_SIDED = 0.9
_BLOCK_VALUES = 2**22
_TREE_DIMENSION = 6  # up to here neighbours are too near for squares of norms in single precision
_QUERIES = 8_000  # neighbourhoods simulated for each dimension where there is no table, at most
_SAMPLES = 50  # of as many points as the data, at most: their noise is then a seventh of that of the data
_TABLE_PAIRS = 3.0e8  # pairs of points looked at for each entry of the table, at most
_TABLE_QUERIES = 60_000
_SMOOTH = (7, 9)  # degrees in log n and log d


def concentration(resultant: Vector) -> Vector:
    r"""The concentration $\tau$ with $I_1(\tau) / I_0(\tau)$ = `resultant` in [0, 1], at most about 1000.

    By Newton's method from the approximation of Best and Fisher 1981, The bias of the maximum likelihood estimators of
    the von Mises-Fisher concentration parameters.
    """
    eta = np.clip(resultant, 0.0, _LARGEST_RESULTANT)
    tau = np.where(
        eta < 0.53,
        2 * eta + eta**3 + 5 * eta**5 / 6,
        np.where(
            eta < 0.85, -0.4 + 1.39 * eta + 0.43 / (1 - eta), 1 / (eta**3 - 4 * eta**2 + 3 * np.maximum(eta, 0.5))
        ),
    )
    for _ in range(4):
        ratio = i1e(tau) / i0e(tau)
        slope = np.where(tau > 1e-8, 1 - ratio**2 - ratio / np.maximum(tau, 1e-8), 0.5)
        tau = np.maximum(tau - (ratio - eta) / slope, 0.0)
    return tau


def direction_statistics(directions: Matrix) -> tuple[Vector, Vector]:
    r"""Mean angle $\nu$ (m,) and concentration $\tau$ (m,) of the angles between unit vectors (m, k, D).

    Of the angles $\theta \in [0, \pi]$ of all $k (k-1) / 2$ pairs: $\nu = \mathrm{atan2}(\bar S, \bar C)$ and
    $I_1(\tau) / I_0(\tau) = \sqrt{\bar C^2 + \bar S^2}$, with $\bar C$ and $\bar S$ the means of cosine and sine.
    Where all neighbours lie in one direction ($\bar C > 0.9$), as at the end of a curve, the likelihood grows without
    bound in $\tau$, which is NaN there.
    """
    k = directions.shape[1]
    cosine = np.clip(directions @ directions.transpose(0, 2, 1), -1.0, 1.0)  # (m, k, k)
    cosine[:, np.arange(k), np.arange(k)] = 1.0
    sine = np.sqrt(1 - cosine**2)
    C = (cosine.sum(axis=(1, 2)) - k) / (k * (k - 1))  # (m,)
    S = sine.sum(axis=(1, 2)) / (k * (k - 1))
    return np.arctan2(S, C), np.where(C > _ONE_SIDED, np.nan, concentration(np.hypot(C, S)))


def mean_concentration(taus: Vector) -> float:
    """The mean over neighbourhoods that have one; 0 if none has."""
    known = taus[~np.isnan(taus)]
    return float(np.mean(known)) if len(known) else 0.0


@dataclass(frozen=True, eq=False)
class Reference:
    """The expected statistics of n points in a ball of dimension d, smooth in d.

    Attributes:
        most: the largest d.
        curves: splines in log d of the logarithm of the ratio dimension, of the mean angle, and of the logarithm of
            the concentration.
    """

    most: float
    curves: tuple[CubicSpline, CubicSpline, CubicSpline]

    @classmethod
    def of(cls, n: int, k: int, most: int) -> Reference:
        """The reference for `n` points with `k` neighbours, for d from 1 to at least min(`most`, 120)."""
        fitting = _DIMENSIONS[: 1 + int(np.searchsorted(_DIMENSIONS, min(most, LARGEST_DIMENSION)))]
        fitting = _DIMENSIONS[: max(len(fitting), 4)]
        if k == _TABLE_K and _SIZES[0] <= n:
            values = _table()(np.log(min(n, _SIZES[-1])))[: len(fitting)]  # (d, 3)
        else:
            values = np.array([_simulated(int(d), min(n, int(_SIZES[-1])), k) for d in fitting])
        splines = [CubicSpline(np.log(fitting), column) for column in values.T]
        return cls(float(fitting[-1]), (splines[0], splines[1], splines[2]))

    def at(self, d: Vector) -> tuple[Vector, Vector, Vector]:
        """Ratio dimension, mean angle and concentration at dimensions d in [1, most], of d's shape."""
        size, angle, tau = (curve(np.log(d)) for curve in self.curves)
        return np.exp(size), angle, np.exp(tau)


def build_table(path: str, *, seed: int = 0) -> None:
    """Simulate the reference for k = 10 and write it to `path`, a few kilobytes of npz: a quarter of an hour.

    Each entry rests on up to 60,000 neighbourhoods (3,000 where n is 100,000); what noise they leave is smoothed over n
    and d, after which entries are within 0.3% (1% where n > 20,000) of their expectation.
    """
    values = np.empty((len(_SIZES), len(_DIMENSIONS), 3))
    for i, n in enumerate(_SIZES):
        queries = _table_queries(n)
        for j, d in enumerate(_DIMENSIONS):
            values[i, j] = _simulate(int(d), int(n), _TABLE_K, queries, np.random.default_rng([seed, n, d]))
    np.savez(path, sizes=_SIZES, dimensions=_DIMENSIONS, values=_smoothed(values).astype(np.float32))


def _table_queries(n: int) -> int:
    return int(min(_TABLE_QUERIES, _TABLE_PAIRS / n))


def _smoothed(values: Vector) -> Vector:
    """The table (n, d, 3) with each statistic replaced by a Chebyshev polynomial in log n and log d.

    d = 1, where neighbours have two directions only, is not continuous with the rest and gets a polynomial of its own.
    """
    out = values.copy()
    weight = np.sqrt([_table_queries(n) for n in _SIZES])
    for dimensions, degrees in ((slice(0, 1), (_SMOOTH[0], 0)), (slice(1, None), _SMOOTH)):
        x = _unit(np.log(_SIZES))
        y = _unit(np.log(_DIMENSIONS[dimensions]))
        basis = chebyshev.chebvander2d(*np.meshgrid(x, y, indexing="ij"), degrees)
        basis = basis.reshape(len(x) * len(y), -1)
        w = np.repeat(weight, len(y))[:, None]
        part = values[:, dimensions].reshape(len(basis), 3)
        coefficients = np.linalg.lstsq(basis * w, part * w, rcond=None)[0]
        out[:, dimensions] = (basis @ coefficients).reshape(out[:, dimensions].shape)
    return out


def _unit(x: Vector) -> Vector:
    """x mapped to [-1, 1]."""
    return np.asarray(2 * (x - x[0]) / max(x[-1] - x[0], 1.0) - 1)


@lru_cache(maxsize=1)
def _table() -> CubicSpline:
    """The table for k = 10 as a spline in log n with values (d, 3)."""
    with files("submanifold.dimension").joinpath("tables/danco.npz").open("rb") as file:
        stored = np.load(file, allow_pickle=False)
        return CubicSpline(np.log(stored["sizes"]), stored["values"].astype(np.float64))


@lru_cache(maxsize=4096)
def _simulated(d: int, n: int, k: int) -> tuple[float, float, float]:
    return _simulate(d, n, k, min(_QUERIES, _SAMPLES * n), np.random.default_rng([n, d, k]))


def _simulate(d: int, n: int, k: int, queries: int, rng: np.random.Generator) -> tuple[float, float, float]:
    """Logarithm of ratio dimension, mean angle, and logarithm of concentration, from about `queries` neighbourhoods."""
    ratios, angles, taus = [], [], []
    while queries > 0:
        m = min(n, queries)
        X: NDArray[Any] = _ball(n, d, rng).astype(np.float32 if d > _TREE_DIMENSION else np.float64)  # (n, d)
        tree = cKDTree(X) if d <= _TREE_DIMENSION else None
        for start in range(0, m, max(1, _BLOCK_VALUES // n)):
            rows = np.arange(start, min(m, start + max(1, _BLOCK_VALUES // n)))
            near = _nearest(X, tree, rows, k + 1)  # (b, k + 1)
            V = X[near].astype(np.float64) - X[rows, None]  # (b, k + 1, d)
            r = np.linalg.norm(V, axis=2)  # (b, k + 1)
            order = np.argsort(r, axis=1)
            r = np.take_along_axis(r, order, axis=1)
            V = np.take_along_axis(V, order[:, :k, None], axis=1) / r[:, :k, None]  # (b, k, d)
            angle, tau = direction_statistics(V)
            ratios.append(np.log(r[:, k] / r[:, 0]))
            angles.append(angle)
            taus.append(tau)
        queries -= m
    return (
        float(np.log(ratio_dimension(np.concatenate(ratios), 1, k + 1))),
        float(np.mean(np.concatenate(angles))),
        float(np.log(mean_concentration(np.concatenate(taus)))),
    )


def _ball(n: int, d: int, rng: np.random.Generator) -> Matrix:
    X = rng.standard_normal((n, d))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    return X * rng.random((n, 1)) ** (1 / d)


def _nearest(X: NDArray[Any], tree: cKDTree | None, rows: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    if tree is not None:
        return np.asarray(tree.query(X[rows], k + 1)[1][:, 1:])
    squares = np.einsum("ij,ij->i", X, X)
    distances = squares - 2 * (X[rows] @ X.T)  # (b, n), up to a constant of the row
    distances[np.arange(len(rows)), rows] = np.inf
    return np.asarray(np.argpartition(distances, k - 1, axis=1)[:, :k])
