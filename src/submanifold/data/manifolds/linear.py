r"""A Gaussian on a linear subspace.

Notation: y ~ N(0, \Sigma) in R^d, x = F y with F the orthonormal frame (D, d).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from submanifold.checks import check_int, check_matrix
from submanifold.data.manifolds.base import MANIFOLDS, Array, Manifold
from submanifold.errors import InvalidInput

__all__ = ["Linear"]


@MANIFOLDS.register("linear")
class Linear(Manifold):
    r"""A Gaussian on a linear subspace.

    N(0, \Sigma) in d dimensions, embedded in R^D by a random frame.

    Args:
        dim: dimension d.
        scales: standard deviations along the frame, (d,) positive numbers; 1 if not given.
        covariance: \Sigma (d, d), symmetric and positive definite, instead of `scales`.
        ambient_dim: dimension of the space, at least d; None for d + 1.
        frame_seed: seed of the subspace's position when `ambient_dim` is larger than d.
    """

    name = "linear"

    def __init__(
        self,
        dim: int = 2,
        scales: ArrayLike | None = None,
        covariance: ArrayLike | None = None,
        *,
        ambient_dim: int | None = None,
        frame_seed: int = 0,
    ) -> None:
        dim = check_int(dim, name="dim")
        self.covariance = _covariance(dim, scales, covariance)
        self._factor = np.linalg.cholesky(self.covariance)  # Sigma = L L^T
        size = float(np.sqrt(np.trace(self.covariance) / dim))
        ambient_dim = dim + 1 if ambient_dim is None else ambient_dim
        super().__init__(dim, dim, size, ambient_dim=ambient_dim, frame_seed=frame_seed)

    def _sample(self, n: int, rng: np.random.Generator) -> Array:
        return rng.standard_normal((n, self.dim)) @ self._factor.T

    def _log_prob(self, y: Array) -> Array:
        white = np.linalg.solve(self._factor, y.T)  # (d, n)
        log_det = 2 * np.log(np.diag(self._factor)).sum()
        log_prob: Array = -0.5 * (np.square(white).sum(0) + log_det + self.dim * np.log(2 * np.pi))
        return log_prob

    def _project(self, y: Array) -> Array:
        return y


def _covariance(dim: int, scales: ArrayLike | None, covariance: ArrayLike | None) -> Array:
    """The covariance matrix (d, d) that the arguments describe."""
    if scales is not None and covariance is not None:
        raise InvalidInput("scales and covariance are both given: give one of them")
    if covariance is None:
        deviations = np.ones(dim) if scales is None else np.asarray(scales, dtype=np.float64)
        if deviations.shape != (dim,) or not (np.isfinite(deviations) & (deviations > 0)).all():
            raise InvalidInput(f"scales={scales!r} is not accepted: give {dim} positive numbers")
        return np.diag(np.square(deviations))
    matrix = check_matrix(covariance, name="covariance", min_rows=1)
    symmetric = matrix.shape == (dim, dim) and np.allclose(matrix, matrix.T)
    if not symmetric or np.linalg.eigvalsh(matrix)[0] <= 0:
        raise InvalidInput(
            f"covariance={covariance!r} is not accepted: give a symmetric positive definite matrix ({dim}, {dim})"
        )
    return matrix
