r"""Laws of known dimension, and how far their points are from each other.

Each law maps a dimension d and $\log u$ to

$$ Q(u) = \mathbb{E}_x \log F_x^{-1}(u), $$

with $F_x(r)$ the probability that a second point of the law lies within r of x. On the sphere all x are alike and Q is
a closed form; on the ball and the Gaussian $F_x$ is one, and depends on the distance of x from the centre alone, which
leaves one integral; on the cube $F_x$ has an approximation that is exact in the limit that matters. No simulation is
needed, and d may be any positive real number.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.special import betainc, betaincinv, chndtr, erf, erfcx, gammaincinv, ndtr
from scipy.stats import qmc

from submanifold.registry import Registry

__all__ = ["LAWS"]

Vector = NDArray[np.float64]

LAWS: Registry[Callable[[float, Vector], Vector]] = Registry("reference law")
"""By name; each maps a dimension d and log u (m,) to Q(u) (m,)."""

_RADII = 32  # nodes of the integral over the distance of x from the centre
_POINTS = 64  # over which the cube is averaged
_NEAR_MEAN = 0.2  # standard deviations, within which the saddlepoint's formula is a difference of large numbers
_STEPS = 240  # nodes on which a distribution function of distances is inverted


@LAWS.register("sphere")
def _sphere(d: float, log_u: Vector) -> Vector:
    r"""Uniform on the sphere of d dimensions: a cap of chord r holds $F(r) = I_{r^2/4}(d/2, d/2)$."""
    return np.asarray(np.log(4 * betaincinv(d / 2, d / 2, np.exp(log_u))) / 2)


@LAWS.register("gaussian")
def _gaussian(d: float, log_u: Vector) -> Vector:
    r"""Standard normal: $\lVert X - x\rVert^2$ is noncentral $\chi^2_d$, and $\lVert x\rVert^2$ is $\chi^2_d$."""
    share, weights = _quadrature()
    squared = 2 * gammaincinv(d / 2, share)
    reach = np.log(np.sqrt(squared[-1]) + np.sqrt(2 * gammaincinv(d / 2, 1 - 1e-14)) + 8)
    return _mean_inverse(
        lambda log_r: np.stack([chndtr(np.exp(2 * log_r), d, s) for s in squared]), weights, d, reach, log_u
    )


@LAWS.register("ball")
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


@LAWS.register("cube")
def _cube(d: float, log_u: Vector) -> Vector:
    r"""Uniform in $[-1, 1]^d$: with $M_c(s) = \mathbb{E}\, e^{-s (Y - c)^2}$ known, $F_x$ by its saddlepoint formula.

    The squared distance is a sum over coordinates, so that its cumulant function is $K(t) = \sum_i \log M_{x_i}(-t)$.
    At $r^2 = K'(t)$, $w = -\sqrt{2 (t r^2 - K)}$ and $v = t \sqrt{K''}$, Lugannani and Rice 1980, Saddle point
    approximation for the distribution of the sum of independent random variables, Advances in Applied Probability 12,
    give $F = \Phi(w) + \phi(w) (1/w - 1/v)$. Its relative error tends to a constant as $r \to 0$, and
    Q is wanted up to a constant only. The average over x is one over low-discrepancy points; the last coordinate counts
    in part where d is no whole number. Expectations are off by up to 3% where k > n/20 in few dimensions, elsewhere by
    less than 1%.
    """
    if d <= 1:
        return _ball(d, log_u)  # the same interval; the formula is for sums
    whole = int(np.ceil(d))
    x = 2 * qmc.Halton(whole, scramble=True, rng=0).random(_POINTS) - 1  # (m, ceil(d))
    share = np.minimum(d - np.arange(whole), 1.0)[:, None]  # (ceil(d), 1)
    # From so strong a tilt that the smallest u is passed to next to none, and on to where nearly all points are within.
    s = np.exp(np.linspace(2 * (-log_u.min() / d + np.log(d) / 2 + 3.0), np.log(0.02), _STEPS // 2))
    t = np.geomspace(0.02, 8.0, _STEPS // 8) / np.sqrt(d)
    mean = np.zeros_like(log_u)
    for c in x:
        below = [(share * part).sum(axis=0) for part in _tilted_down(c[:, None], s)]  # (s,) each
        above = [(share * part).sum(axis=0) for part in _tilted_up(c[:, None], t)]  # (t,) each
        log_F = np.concatenate([_lower_tail(-s, *below), _upper_part(t, *above)])
        log_r = np.log(np.concatenate([below[1], above[1]])) / 2
        rising = np.isfinite(log_F) & (
            np.diff(np.maximum.accumulate(np.nan_to_num(log_F, nan=-np.inf)), prepend=-1e9) > 0
        )
        mean += PchipInterpolator(log_F[rising], log_r[rising], extrapolate=True)(log_u) / len(x)
    return mean


def _lower_tail(t: Vector, K: Vector, r2: Vector, variance: Vector) -> Vector:
    """log F at tilts t < 0, without cancellation however small F is; NaN next to the mean."""
    w = np.sqrt(np.maximum(2 * (t * r2 - K), 0.0))
    mills = np.sqrt(np.pi / 2) * erfcx(w / np.sqrt(2))
    with np.errstate(divide="ignore", invalid="ignore"):
        tail = mills - 1 / w - 1 / (t * np.sqrt(variance))
        return np.asarray(np.where(w > _NEAR_MEAN, -(w**2) / 2 - np.log(2 * np.pi) / 2 + np.log(tail), np.nan))


def _upper_part(t: Vector, K: Vector, r2: Vector, variance: Vector) -> Vector:
    """log F at tilts t > 0; NaN next to the mean."""
    w = np.sqrt(np.maximum(2 * (t * r2 - K), 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        F = ndtr(w) + np.exp(-(w**2) / 2) / np.sqrt(2 * np.pi) * (1 / w - 1 / (t * np.sqrt(variance)))
        return np.asarray(np.where(w > _NEAR_MEAN, np.log(np.minimum(F, 1.0)), np.nan))


def _tilted_down(c: Vector, s: Vector) -> tuple[Vector, Vector, Vector]:
    r"""$\log M_c(s)$, and mean and variance of the squared distance under the law tilted by it, (m, s) each."""
    near, far, root = 1 - c, 1 + c, np.sqrt(np.pi * s)
    near_end, far_end = near * np.exp(-s * near**2), far * np.exp(-s * far**2)
    total = erf(np.sqrt(s) * near) + erf(np.sqrt(s) * far)
    lost = (near_end + far_end) / (root * total)
    log_M = np.log(np.sqrt(np.pi) / 4 * total) - np.log(s) / 2
    variance = 1 / (2 * s**2) - (near**2 * near_end + far**2 * far_end) / (root * total) - lost / (2 * s) - lost**2
    return log_M, 1 / (2 * s) - lost, variance


def _tilted_up(c: Vector, t: Vector) -> tuple[Vector, Vector, Vector]:
    r"""The same for tilts $e^{t (Y - c)^2}$ with t > 0, by quadrature."""
    share, weights = _quadrature()
    squared = (2 * share - 1 - c[..., None]) ** 2  # (m, 1, nodes)
    tilted = weights * np.exp(t[:, None] * squared)  # (m, t, nodes)
    M = tilted.sum(axis=-1)
    mean = (tilted * squared).sum(axis=-1) / M
    return np.log(M), mean, (tilted * squared**2).sum(axis=-1) / M - mean**2
