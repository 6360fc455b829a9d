r"""Noise around a manifold, measured on the scale of the data.

Notation: X is a point of the noise-free law in R^D, \mu its mean, and r = \sqrt{E |X - \mu|^2} the spread of the law.
The noise level is \eta = \sqrt{E |\varepsilon|^2} / r, the length of the noise over the spread of the points. With
\varepsilon ~ N(0, \sigma^2 I_D) this is

    \sigma = \eta r / \sqrt{D},

\eta times the root mean square over the coordinates of their standard deviations. A level changes neither with the
units of the data, nor with the ambient space that the manifold is embedded in.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from submanifold.checks import check_int, check_real

__all__ = ["add_noise", "noise_sigma", "spread"]

Array = NDArray[np.float64]

_REFERENCE = 4096  # points that the spread is measured on; its relative error is about half a percent


def spread(sample: Callable[[int, int], Array]) -> float:
    """r, the root mean square distance from the mean, of the law that `sample(n, seed)` draws (n, *data_shape) from.

    It belongs to the law and not to the points drawn, so that a single point gets the same noise as many.
    """
    x = sample(_REFERENCE, 0).reshape(_REFERENCE, -1)  # (n, D)
    return math.sqrt(float(x.var(axis=0).sum()))


def noise_sigma(noise: float, dim: int, sample: Callable[[int, int], Array]) -> float:
    r"""\sigma, the standard deviation in each of `dim` coordinates of noise of level `noise`, in units of the points.

    Args:
        noise: root mean square length of the noise, as a fraction of the spread of the law.
        dim: D, the number of coordinates.
        sample: draws n points from a seed.

    Raises:
        InvalidInput: for a negative level.
    """
    level = check_real(noise, name="noise")
    return level * spread(sample) / math.sqrt(dim) if level else 0.0


def add_noise(x: Array, sigma: float, seed: int) -> Array:
    r"""Points x (n, *data_shape) with Gaussian noise of deviation \sigma in each coordinate; x itself without noise.

    Args:
        x: the points without noise.
        sigma: \sigma, such as `noise_sigma` of a level.
        seed: of the noise; the same number may be the seed of the points, from which the noise is independent.

    Raises:
        InvalidInput: for a negative seed.
    """
    if sigma == 0:
        return x
    rng = np.random.default_rng(check_int(seed, name="seed", low=0)).spawn(1)[0]
    return x + sigma * rng.standard_normal(x.shape)
