r"""The von Mises law on a circle, and the closed form of its density after Gaussian noise.

Notation: \theta is the angle, r the radius, \mu the mean angle, \kappa the concentration, I_0 the Bessel function.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import i0e

from submanifold.checks import check_real
from submanifold.data.manifolds.base import MANIFOLDS, Array, Manifold

__all__ = ["Circle"]


@MANIFOLDS.register("circle")
class Circle(Manifold):
    r"""A circle in the plane, uniform or with the von Mises density.

    The density at the angle \theta on the circle of radius r is e^{\kappa \cos(\theta - \mu)} / (2 \pi r I_0(\kappa)).

    References:
        Mardia, Jupp 2000, *Directional Statistics*, section 3.5.4.

    Args:
        kappa: concentration, at least 0 (uniform).
        mu: mean angle in radians.
        radius: radius.
        ambient_dim: dimension of the space, at least 2.
        frame_seed: seed of the plane's position when `ambient_dim` is larger than 2.
    """

    name = "circle"

    def __init__(
        self,
        kappa: float = 1.0,
        mu: float = 0.0,
        radius: float = 1.0,
        *,
        ambient_dim: int | None = None,
        frame_seed: int = 0,
    ) -> None:
        self.kappa = check_real(kappa, name="kappa")
        self.mu = check_real(mu, name="mu", low=-np.inf)
        self.radius = check_real(radius, name="radius", open_low=True)
        super().__init__(1, 2, self.radius, ambient_dim=ambient_dim, frame_seed=frame_seed)

    def angle(self, x: ArrayLike) -> Array:
        """Angle in (-pi, pi] of the projections of points (n, D), (n,)."""
        y = self.native(x)
        return np.arctan2(y[:, 1], y[:, 0])

    def at(self, angle: ArrayLike) -> Array:
        """Points (n, D) of the circle at angles (n,)."""
        return self.embed(self._at(np.asarray(angle, dtype=np.float64)))

    def _at(self, angle: Array) -> Array:
        return self.radius * np.stack([np.cos(angle), np.sin(angle)], axis=-1)

    def _sample(self, n: int, rng: np.random.Generator) -> Array:
        return self._at(rng.vonmises(self.mu, self.kappa, n))

    def _log_prob(self, y: Array) -> Array:
        angle = np.arctan2(y[:, 1], y[:, 0])
        # i0e(kappa) = e^{-kappa} I_0(kappa) does not overflow, and cos - 1 = -2 sin^2(./2) does not cancel.
        from_mean = 2 * np.square(np.sin(0.5 * (angle - self.mu)))
        return np.asarray(-self.kappa * from_mean - np.log(2 * np.pi * self.radius * i0e(self.kappa)))

    def _project(self, y: Array) -> Array:
        return self._at(np.arctan2(y[:, 1], y[:, 0]))  # the centre goes to angle 0

    def log_prob_smoothed(self, x: ArrayLike, sigma: float) -> Array:
        r"""Log-density (n,) of the law convolved with N(0, \sigma^2 I_D), with respect to volume in R^D.

        With x at radius \rho and angle \phi in the plane and at distance h from it, and b = r \rho / \sigma^2,

        \log p_\sigma(x) = -\frac{D}{2} \log 2\pi\sigma^2 - \frac{h^2 + \rho^2 + r^2}{2\sigma^2}
            + \log I_0(|\kappa e_\mu + b e_\phi|) - \log I_0(\kappa),

        since both factors of the convolution are von Mises in \theta.
        """
        sigma = check_real(sigma, name="sigma", open_low=True)
        x = self._points(x)
        y = x @ self.frame  # (n, 2)
        normal = np.square(x - self.embed(y)).sum(1)
        rho, phi = np.hypot(y[:, 0], y[:, 1]), np.arctan2(y[:, 1], y[:, 0])
        kappa, b = self.kappa, self.radius * rho / sigma**2
        a = np.hypot(kappa * np.cos(self.mu) + b * np.cos(phi), kappa * np.sin(self.mu) + b * np.sin(phi))
        # a - b - kappa, without cancellation: a^2 - (b + kappa)^2 = 2 kappa b (cos - 1)
        excess = 2 * kappa * b * (np.cos(phi - self.mu) - 1) / np.maximum(a + b + kappa, 1e-300)
        quadratic = (normal + np.square(rho - self.radius)) / (2 * sigma**2)
        log_prob: Array = (
            -0.5 * self.ambient_dim * np.log(2 * np.pi * sigma**2)
            - quadratic
            + excess
            + np.log(i0e(a))
            - np.log(i0e(kappa))
        )
        return log_prob
