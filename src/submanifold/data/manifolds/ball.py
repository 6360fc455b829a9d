"""Flat pieces: a point, a segment, a disc, a ball, uniform by volume."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import gammaln

from submanifold.checks import check_int, check_real
from submanifold.data.manifolds.base import MANIFOLDS, Array, Manifold

__all__ = ["Ball"]


@MANIFOLDS.register("ball")
class Ball(Manifold):
    r"""A solid ball, uniform.

    It has dimension d and radius r, about a centre, along the first d axes; the density is 1 / volume. The volume is
    \pi^{d/2} r^d / \Gamma(d/2 + 1): a segment for d = 1, a disc for d = 2, and for d = 0 a point, whose volume (that
    is, counting) measure is 1. Its border belongs to it.

    Args:
        dim: dimension d, at least 0.
        radius: radius r.
        center: centre, (m,) with m >= d; the origin of R^{d+1} if not given.
        ambient_dim: dimension of the space, at least m.
        frame_seed: seed of the position of R^m when `ambient_dim` is larger.
    """

    name = "ball"

    def __init__(
        self,
        dim: int = 2,
        radius: float = 1.0,
        center: Sequence[float] | None = None,
        *,
        ambient_dim: int | None = None,
        frame_seed: int = 0,
    ) -> None:
        dim = check_int(dim, name="dim", low=0)
        self.radius = check_real(radius, name="radius", open_low=True)
        self.center: Array = np.zeros(dim + 1) if center is None else np.array(center, dtype=float)
        check_int(self.center.size, name="the length of center", low=max(dim, 1))
        super().__init__(dim, self.center.size, self.radius, ambient_dim=ambient_dim, frame_seed=frame_seed)

    def _place(self, offset: Array) -> Array:
        """Points (n, m) at offsets (n, d) from the centre."""
        return self.center + np.pad(offset, ((0, 0), (0, self.native_dim - self.dim)))

    def _sample(self, n: int, rng: np.random.Generator) -> Array:
        # The first d coordinates of a uniform point of the sphere S^{d+1} are uniform in the ball.
        y = rng.standard_normal((n, self.dim + 2))
        y /= np.linalg.norm(y, axis=1, keepdims=True)
        return self._place(self.radius * y[:, : self.dim])

    def _log_prob(self, y: Array) -> Array:
        d = self.dim
        log_volume = d / 2 * math.log(math.pi) - gammaln(d / 2 + 1) + d * math.log(self.radius)
        return np.full(len(y), -float(log_volume))

    def _project(self, y: Array) -> Array:
        offset = (y - self.center)[:, : self.dim]  # (n, d)
        norm = np.linalg.norm(offset, axis=1, keepdims=True)
        return self._place(offset * (self.radius / np.maximum(norm, self.radius)))
