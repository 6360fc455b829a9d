"""Data with a name of their own: scikit-learn's digits, and manifolds of known dimension."""

from __future__ import annotations

from typing import Any

import numpy as np

from submanifold.checks import check_int
from submanifold.data.benchmarks.catalogue import benchmark
from submanifold.data.door import Raw
from submanifold.data.manifolds.base import Manifold
from submanifold.data.manifolds.catalogue import manifold
from submanifold.data.noise import add_noise, noise_sigma
from submanifold.data.rendered import image_manifold

__all__ = ["read_benchmark", "read_digits", "read_image_manifold", "read_manifold"]


def read_digits(source: str, limit: int | None) -> Raw:
    """1797 handwritten digits of 8 x 8 pixels with values 0 to 16, as float32 (Alpaydin, Kaynak 1998, UCI
    repository)."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = digits.images.astype(np.float32)[:, None]  # (n, 1, 8, 8)
    return Raw(x, "digits", digits.target.astype(np.int64), lattice=1.0)


def read_manifold(
    source: str | Manifold, limit: int | None, *, n: int = 5000, seed: int = 0, noise: float = 0.0, **arguments: Any
) -> Raw:
    """`n` points of a manifold, or of the one called `source` with its own `arguments`; `noise` as in `data.noise`."""
    known = source if isinstance(source, Manifold) else manifold(source, **arguments)
    x = known.sample(n, check_int(seed, name="seed", low=0))  # (n, D)
    sigma = noise_sigma(noise, x.shape[1], known.sample)
    return Raw(add_noise(x, sigma, seed), known.name, manifold=known, noise_sigma=sigma)


def read_benchmark(source: str, limit: int | None, *, n: int = 5000, seed: int = 0, noise: float = 0.0) -> Raw:
    """`n` points of the benchmark manifold called `source`."""
    known = benchmark(source)
    return Raw(known.sample(n, seed, noise), source, true_dim=known.dim)


def read_image_manifold(
    source: str, limit: int | None, *, n: int = 5000, seed: int = 0, noise: float = 0.0, **arguments: Any
) -> Raw:
    """`n` images of the image manifold called `source`, with its own `arguments`."""
    known = image_manifold(source, **arguments)
    return Raw(known.sample(n, seed, noise), source, true_dim=known.dim)
