r"""The torus in R^3, uniform by area.

Notation: R and r are the radii of the core circle and of the tube, \phi the angle around the axis, \theta around the
tube.
"""

from __future__ import annotations

import numpy as np

from submanifold.checks import check_real
from submanifold.data.manifolds.base import MANIFOLDS, Array, Manifold
from submanifold.errors import InvalidInput

__all__ = ["Torus"]


@MANIFOLDS.register("torus")
class Torus(Manifold):
    r"""A torus of revolution, uniform with respect to its area.

    Points are ((R + r \cos\theta) \cos\phi, (R + r \cos\theta) \sin\phi, r \sin\theta), of density 1 / (4 \pi^2 R r).
    The element of area is r (R + r \cos\theta) d\theta d\phi, so that \theta has density (R + r \cos\theta) / (2 \pi R)
    (Diaconis, Holmes, Shahshahani 2013, arXiv 1206.6913, section 2.2).

    Args:
        major_radius: R.
        minor_radius: r, less than R.
        ambient_dim: dimension of the space, at least 3.
        frame_seed: seed of the position of R^3 when `ambient_dim` is larger.
    """

    name = "torus"

    def __init__(
        self,
        major_radius: float = 2.0,
        minor_radius: float = 1.0,
        *,
        ambient_dim: int | None = None,
        frame_seed: int = 0,
    ) -> None:
        self.major_radius = check_real(major_radius, name="major_radius", open_low=True)
        self.minor_radius = check_real(minor_radius, name="minor_radius", open_low=True)
        if self.minor_radius >= self.major_radius:
            raise InvalidInput(
                f"minor_radius={minor_radius} is not accepted: give one below major_radius={major_radius}, "
                "or the torus crosses itself"
            )
        super().__init__(2, 3, self.major_radius, ambient_dim=ambient_dim, frame_seed=frame_seed)

    def _at(self, theta: Array, phi: Array) -> Array:
        rho = self.major_radius + self.minor_radius * np.cos(theta)
        return np.stack([rho * np.cos(phi), rho * np.sin(phi), self.minor_radius * np.sin(theta)], axis=-1)

    def _sample(self, n: int, rng: np.random.Generator) -> Array:
        phi = rng.uniform(-np.pi, np.pi, n)
        theta = rng.uniform(-np.pi, np.pi, n)
        # The law of theta is symmetric under theta -> pi - theta but for its cosine: reflecting a uniform theta with
        # probability (1 - (r/R) cos theta) / 2 gives density (R + r cos theta) / (2 pi R) without rejection.
        reflect = rng.uniform(size=n) < 0.5 * (1 - self.minor_radius / self.major_radius * np.cos(theta))
        return self._at(np.where(reflect, np.pi - theta, theta), phi)

    def _log_prob(self, y: Array) -> Array:
        return np.full(len(y), -np.log(4 * np.pi**2 * self.major_radius * self.minor_radius))

    def _project(self, y: Array) -> Array:
        rho = np.hypot(y[:, 0], y[:, 1])
        return self._at(np.arctan2(y[:, 2], rho - self.major_radius), np.arctan2(y[:, 1], y[:, 0]))
