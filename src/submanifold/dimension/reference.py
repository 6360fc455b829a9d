r"""What neighbour statistics of finite samples are worth on laws of known dimension, exactly.

A maximum likelihood estimate takes the density to be constant over a neighbourhood. With n points in d dimensions the
neighbourhood has a radius of the order of $(k/n)^{1/d}$, which in ten dimensions is no longer small: it meets the
boundary, and the estimate is too low. How much too low is known on *reference laws*. Let $F_x(r)$ be the
probability that a second point lies within r of x. The volumes $F_x(T_j)$ of the balls that reach to the j-th of n - 1
other points are uniform order statistics whatever the law, $F_x(T_j) \sim \mathrm{Beta}(j, n - j)$, so that with

$$ Q(u) = \mathbb{E}_x \log F_x^{-1}(u) $$

the inverse of the estimate of Levina and Bickel has the expectation

$$ \frac{1}{L(n, k)} = \mathbb{E}\Big[\frac{1}{k-1}\sum_{j<k} \log\frac{T_k}{T_j}\Big]
   = \int_0^1 w_{n,k}(u)\, Q(u)\, du, \qquad
   w_{n,k} = \mathrm{Beta}_{k, n-k} - \frac{1}{k-1}\sum_{j<k} \mathrm{Beta}_{j, n-j} . $$

Q knows nothing of n and k: one small table of it (`submanifold.dimension.reference_laws`) serves all, n may be as large
and d as fractional as one likes, and nothing is simulated. In the limit $u \to 0$, $Q = \log(u)/d + \text{const}$ and
L = d.
"""

from __future__ import annotations

from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline, PchipInterpolator
from scipy.special import betainc

from submanifold.dimension.reference_laws import LAWS

__all__ = ["HIGHEST", "REFERENCES", "Calibration", "build_table", "calibrate", "expected_mle"]

Vector = NDArray[np.float64]

HIGHEST = 200.0  # the largest dimension that is calibrated
_DIMENSIONS = np.concatenate([[0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5], np.geomspace(3.0, HIGHEST, 22)])
_LOG_U = np.linspace(np.log(1e-12), np.log(0.95), 140)

REFERENCES = tuple(LAWS)
"""The names of the reference laws."""


class Calibration(NamedTuple):
    r"""The dimension of a reference law that would read the same, and $d \log d / d \log L$ there."""

    dimension: Any
    elasticity: Any


def calibrate(raw: ArrayLike, n: int, k: int, reference: str) -> Calibration:
    """The dimension d of the reference law of which n points would read `raw` with k neighbours.

    Args:
        raw: maximum likelihood estimates pooled over points, positive, any shape.
        n: number of points they were made from, above k.
        k: number of neighbours, at least 2.
        reference: a name out of `REFERENCES`.
    """
    log_d, log_raw = _curve(n, k, reference)
    y = np.log(np.asarray(raw, dtype=np.float64))
    inside = np.clip(y, log_raw[0], log_raw[-1])
    inverse = PchipInterpolator(log_raw, log_d)
    # Below the curve's range the bias is nothing; above it, nothing is known.
    return Calibration(np.exp(inverse(inside) + np.minimum(y - log_raw[0], 0.0)), inverse.derivative()(inside))


def expected_mle(d: float, n: int, k: int, reference: str) -> float:
    """L(n, k): what n points of a d-dimensional reference law read with k neighbours, pooled harmonically."""
    log_d, log_raw = _curve(n, k, reference)
    return float(np.exp(PchipInterpolator(log_d, log_raw)(np.clip(np.log(d), log_d[0], log_d[-1]))))


@lru_cache(maxsize=512)
def _curve(n: int, k: int, reference: str) -> tuple[Vector, Vector]:
    """log d and log L(n, k), (m,) each, both increasing."""
    log_u, weights = _weights(n, k)
    inverse = _log_quantiles(reference, log_u) @ weights  # (m,)
    log_raw = np.maximum.accumulate(-np.log(inverse))
    rising = np.concatenate([[True], np.diff(log_raw) > 1e-9])  # beyond the largest value that n points can read: flat
    return np.log(_DIMENSIONS)[rising], log_raw[rising]


def _weights(n: int, k: int) -> tuple[Vector, Vector]:
    """Nodes log u (m,) and weights (m,) such that sums over them are the integrals of w_{n,k}."""
    ends = np.linspace(np.log(1e-5 / n), min(np.log((k + 12 * np.sqrt(k) + 20) / n), np.log(0.95)), 800)
    j = np.arange(1, k + 1)[:, None]
    mass = np.diff(betainc(j, n - j, np.exp(ends)), axis=1, prepend=0.0, append=1.0)  # (k, m + 1)
    coefficients = np.append(np.full(k - 1, -1 / (k - 1)), 1.0)
    nodes = np.concatenate([ends[:1], (ends[1:] + ends[:-1]) / 2, ends[-1:]])
    return nodes, coefficients @ mass


def _log_quantiles(reference: str, log_u: Vector) -> Vector:
    """Q at each dimension of the grid, (dimensions, m); beyond the tabulated u by its limit."""
    rows = []
    for d, spline in zip(_DIMENSIONS, _splines(reference), strict=True):
        rows.append(spline(np.maximum(log_u, _LOG_U[0])) + np.minimum(log_u - _LOG_U[0], 0.0) / d)
    return np.stack(rows)


@cache
def _splines(reference: str) -> list[CubicSpline]:
    return [CubicSpline(_LOG_U, row) for row in _table()[REFERENCES.index(reference)]]


@cache
def _table() -> Vector:
    """Q at every law, dimension and u of the grid, (laws, dimensions, m)."""
    with files("submanifold.dimension").joinpath("tables/reference.npz").open("rb") as file, np.load(file) as table:
        return np.asarray(table["values"], dtype=np.float64)


def build_table(path: str | Path) -> None:
    """Compute Q on the grid and write it to `path`, a small npz: some seconds."""
    values = np.array([[LAWS[name](float(d), _LOG_U) for d in _DIMENSIONS] for name in REFERENCES])
    np.savez_compressed(path, values=values.astype(np.float32))
