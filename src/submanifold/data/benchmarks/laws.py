"""The laws of the benchmark: parameters drawn from boxes and other distributions, and points without one chart."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from submanifold.data.benchmarks.base import Array

__all__ = ["beta", "box", "burr", "cube_surface", "normal", "sphere"]

Law = Callable[[int, np.random.Generator], Array]


def box(low: float | list[float], high: float | list[float], dim: int) -> Law:
    """The uniform law on a box of dimension `dim`, with the same or a different side in each direction."""
    return lambda n, rng: rng.uniform(low, high, (n, dim))


def normal(dim: int) -> Law:
    """N(0, I)."""
    return lambda n, rng: rng.standard_normal((n, dim))


def beta(a: float, b: float, dim: int) -> Law:
    """Independent Beta(a, b) variates."""
    return lambda n, rng: rng.beta(a, b, (n, dim))


def burr(dim: int) -> Law:
    r"""p_i = 1 / (1 + s_i) with s_i = E_i / G and independent E_1, ..., E_d, G ~ Exp(1).

    s has the multivariate Burr law with survival function 1 / (1 + \sum_i s_i), so that each p_i is uniform on (0, 1).

    References:
        Cook, Johnson 1981, "A family of distributions for modelling non-elliptically symmetric multivariate data",
        with \alpha = 1.
    """

    def draw(n: int, rng: np.random.Generator) -> Array:
        e, g = rng.standard_exponential((n, dim)), rng.standard_exponential((n, 1))
        return np.asarray(g / (g + e))

    return draw


def sphere(dim: int) -> Law:
    """The uniform law on the unit sphere of dimension `dim` in R^{dim + 1}: the direction of a Gaussian."""

    def draw(n: int, rng: np.random.Generator) -> Array:
        x = rng.standard_normal((n, dim + 1))
        return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))

    return draw


def cube_surface(dim: int) -> Law:
    """The uniform law on the surface of the unit cube in R^{dim + 1}: one of its 2 (dim + 1) faces, each as likely as
    any other, and a uniform point on it."""

    def draw(n: int, rng: np.random.Generator) -> Array:
        x = rng.uniform(size=(n, dim + 1))
        axis, side = rng.integers(dim + 1, size=n), rng.integers(2, size=n)
        x[np.arange(n), axis] = side
        return x

    return draw
