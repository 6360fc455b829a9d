"""Data with a name of their own: scikit-learn's digits, and the analytic manifolds."""

from __future__ import annotations

from typing import Any

import numpy as np

from submanifold.data.door import Raw
from submanifold.data.manifolds.base import Manifold
from submanifold.data.manifolds.catalogue import manifold

__all__ = ["read_digits", "read_manifold"]


def read_digits(source: str, limit: int | None) -> Raw:
    """1797 handwritten digits of 8 x 8 pixels with values 0 to 16, as float32 (Alpaydin, Kaynak 1998, UCI
    repository)."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = digits.images.astype(np.float32)[:, None]  # (n, 1, 8, 8)
    return Raw(x, "digits", digits.target.astype(np.int64), lattice=1.0)


def read_manifold(source: str | Manifold, limit: int | None, *, n: int = 5000, seed: int = 0, **arguments: Any) -> Raw:
    """`n` points of a manifold, or of the one called `source` with its own `arguments`."""
    known = source if isinstance(source, Manifold) else manifold(source, **arguments)
    return Raw(known.sample(n, seed), known.name, manifold=known)
