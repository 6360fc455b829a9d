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

Q knows nothing of n and k, and has a closed form on the sphere; on the ball and the Gaussian $F_x$ depends on the
distance of x from the centre alone, which leaves one integral. No simulation is needed, d may be any real number, and
n as large as one likes. In the limit $u \to 0$, $Q = \log(u)/d + \text{const}$ and L = d.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline, PchipInterpolator
from scipy.special import betainc, betaincinv, chndtr, gammaincinv

from submanifold.registry import Registry

__all__ = ["HIGHEST", "REFERENCES", "Calibration", "calibrate", "expected_mle"]

Vector = NDArray[np.float64]

HIGHEST = 200.0  # the largest dimension that is calibrated
_DIMENSIONS = np.concatenate([[0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5], np.geomspace(3.0, HIGHEST, 22)])
_LOG_U = np.linspace(np.log(1e-12), np.log(0.95), 140)
_RADII = 32  # nodes of the integral over the distance of x from the centre
_STEPS = 240  # nodes on which a distribution function of distances is inverted

REFERENCES: Registry[Callable[[float, Vector], Vector]] = Registry("reference law")
"""Laws by name; each maps a dimension d and log u (m,) to Q(u) (m,)."""


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
    return [CubicSpline(_LOG_U, REFERENCES[reference](float(d), _LOG_U)) for d in _DIMENSIONS]


@REFERENCES.register("sphere")
def _sphere(d: float, log_u: Vector) -> Vector:
    r"""Uniform on the sphere of d dimensions: a cap of chord r holds $F(r) = I_{r^2/4}(d/2, d/2)$."""
    return np.asarray(np.log(4 * betaincinv(d / 2, d / 2, np.exp(log_u))) / 2)


@REFERENCES.register("gaussian")
def _gaussian(d: float, log_u: Vector) -> Vector:
    r"""Standard normal: $\lVert X - x\rVert^2$ is noncentral $\chi^2_d$, and $\lVert x\rVert^2$ is $\chi^2_d$."""
    share, weights = _quadrature()
    squared = 2 * gammaincinv(d / 2, share)
    reach = np.log(np.sqrt(squared[-1]) + np.sqrt(2 * gammaincinv(d / 2, 1 - 1e-14)) + 8)
    return _mean_inverse(
        lambda log_r: np.stack([chndtr(np.exp(2 * log_r), d, s) for s in squared]), weights, d, reach, log_u
    )


@REFERENCES.register("ball")
def _ball(d: float, log_u: Vector) -> Vector:
    r"""Uniform in the unit ball: $F_x$ is the part of it in a ball about x, which two caps make up."""
    share, weights = _quadrature()
    rho = (share ** (1 / d))[:, None]

    def cdf(log_r: Vector) -> Vector:
        r = np.exp(log_r)[None, :]
        inner = (rho**2 + 1 - r**2) / (2 * rho)  # where the bounding spheres meet, from the centre
        outer = (rho**2 + r**2 - 1) / (2 * rho)  # and from x
        lens = _cap(d, inner) + np.exp(d * log_r) * _cap(d, outer / r)
        return np.where(r <= 1 - rho, np.exp(d * log_r), np.where(r >= 1 + rho, 1.0, lens))

    return _mean_inverse(cdf, weights, d, np.log(2.0), log_u)


def _cap(d: float, height: Vector) -> Vector:
    """The part of the unit d-ball beyond the plane at `height` from its centre."""
    height = np.clip(height, -1.0, 1.0)
    half = betainc((d + 1) / 2, 0.5, 1 - height**2) / 2
    return np.asarray(np.where(height >= 0, half, 1 - half))


def _quadrature() -> tuple[Vector, Vector]:
    """Gauss and Legendre's nodes and weights on [0, 1], (m,) each."""
    nodes, weights = np.polynomial.legendre.leggauss(_RADII)
    return (nodes + 1) / 2, weights / 2


def _mean_inverse(cdf: Callable[[Vector], Vector], weights: Vector, d: float, reach: float, log_u: Vector) -> Vector:
    """The average of the inverses of several distribution functions of log r, by inverse interpolation, (m,).

    Args:
        cdf: from log r (s,) to probabilities (len(weights), s).
        weights: of the average.
        d: dimension, by which small probabilities behave as r^d.
        reach: a log r that all points are within.
        log_u: logarithms of the wanted probabilities, (m,).
    """
    # Dense in log r where u is of order one, and wide enough for the smallest u.
    depth = 4.0 - float(log_u.min()) / d
    log_r = reach - depth * np.linspace(1, 0, _STEPS) ** 2
    log_F = np.maximum.accumulate(np.log(np.maximum(cdf(log_r), 1e-300)), axis=1)
    mean = np.zeros_like(log_u)
    for row, weight in zip(log_F, weights, strict=True):
        rising = np.concatenate([[True], np.diff(row) > 1e-12]) & (row > -650)
        mean += weight * PchipInterpolator(row[rising], log_r[rising], extrapolate=True)(log_u)
    return mean
