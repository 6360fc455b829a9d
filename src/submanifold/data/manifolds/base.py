r"""What a ground truth is: a law on a d-dimensional submanifold M of R^D, of which everything is known in closed form.

Notation: M_0 is the manifold in its native space R^m, F an orthonormal frame (D, m), M = F M_0. The embedding y -> F y
is an isometry, so that volumes, densities and distances on M are those on M_0, and the nearest point to x on M is F
times the nearest point to F^T x on M_0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from submanifold.checks import check_int, check_matrix
from submanifold.errors import InvalidInput
from submanifold.registry import Registry

__all__ = ["MANIFOLDS", "Array", "Manifold"]

Array = NDArray[np.float64]


class Manifold(ABC):
    """A probability law on a submanifold M of R^D.

    A subclass describes M in its native space by `_sample`, `_log_prob` and `_project`; this class embeds it.

    Attributes:
        name: the word for it in code, command line and reports.
        dim: dimension d of M.
        ambient_dim: dimension D of the space around it.
        frame: the orthonormal columns (D, m) that span the native space within R^D.
        tolerance: distance up to which a point counts as lying on M, 10^{-5} of the size of M: the rounding of float32
            data, with a margin.

    Args:
        native_dim: dimension m of the native space.
        size: a length typical of M.
        ambient_dim: dimension of the space to embed in, at least m; None for m itself.
        frame_seed: seed of the random orthonormal frame; not used when the ambient space is the native one.
    """

    name: str = "manifold"

    def __init__(self, dim: int, native_dim: int, size: float, *, ambient_dim: int | None, frame_seed: int) -> None:
        self.dim = dim
        self.native_dim = native_dim
        self.tolerance = 1e-5 * size
        self.ambient_dim = (
            native_dim if ambient_dim is None else check_int(ambient_dim, name="ambient_dim", low=native_dim)
        )
        self.frame: Array = np.eye(native_dim)
        if self.ambient_dim > native_dim:
            noise = np.random.default_rng(frame_seed).standard_normal((self.ambient_dim, native_dim))
            self.frame = np.linalg.qr(noise)[0]  # (D, m)

    @abstractmethod
    def _sample(self, n: int, rng: np.random.Generator) -> Array:
        """`n` points in the native space, (n, m)."""

    @abstractmethod
    def _log_prob(self, y: Array) -> Array:
        """Log-density with respect to volume at points (n, m) of M_0, (n,)."""

    @abstractmethod
    def _project(self, y: Array) -> Array:
        """The nearest points of M_0, (n, m)."""

    def sample(self, n: int, seed: int = 0) -> Array:
        """`n` independent points, (n, D)."""
        check_int(n, name="n")
        return self._sample(n, np.random.default_rng(seed)) @ self.frame.T  # (n, D)

    def native(self, x: ArrayLike) -> Array:
        """Coordinates (n, m) in the native space of the orthogonal projections of points (n, D)."""
        return self._points(x) @ self.frame  # (n, m)

    def embed(self, y: ArrayLike) -> Array:
        """Points (n, D) with native coordinates (n, m)."""
        return np.asarray(y, dtype=np.float64) @ self.frame.T  # (n, D)

    def project(self, x: ArrayLike) -> Array:
        """The point of M nearest to each x, (n, D); where several are, one of them."""
        return self.embed(self._project(self.native(x)))

    def distance(self, x: ArrayLike) -> Array:
        """Euclidean distance to M, (n,)."""
        x = self._points(x)
        distance: Array = np.linalg.norm(x - self.project(x), axis=1)
        return distance

    def log_prob(self, x: ArrayLike) -> Array:
        """Log-density in nats with respect to d-dimensional volume on M, (n,); -inf farther from M than `tolerance`."""
        x = self._points(x)
        y = self._project(self.native(x))
        on_manifold = np.linalg.norm(x - self.embed(y), axis=1) <= self.tolerance
        return np.where(on_manifold, self._log_prob(y), -np.inf)

    def _points(self, x: ArrayLike) -> Array:
        points: Array = check_matrix(x, name="x", min_rows=1)
        if points.shape[1] != self.ambient_dim:
            raise InvalidInput(f"x has {points.shape[1]} coordinates: {self.name} lives in R^{self.ambient_dim}")
        return points

    def __repr__(self) -> str:
        return f"{type(self).__name__}(dim={self.dim}, ambient_dim={self.ambient_dim})"


MANIFOLDS: Registry[Callable[..., Manifold]] = Registry("manifold")
