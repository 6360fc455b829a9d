r"""The sphere, uniform or with the von Mises-Fisher law.

Notation: the unit sphere S^d in R^p, p = d + 1; \kappa the concentration, I_\nu the Bessel function of order \nu = p/2
- 1.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import gammaln, ive
from scipy.stats import vonmises_fisher

from submanifold.checks import check_int, check_real
from submanifold.data.manifolds.base import MANIFOLDS, Array, Manifold

__all__ = ["Sphere", "log_bessel_ie"]


def log_bessel_ie(nu: float, x: float) -> float:
    r"""\log(e^{-x} I_\nu(x)) for \nu >= 0 and x > 0.

    Where SciPy's function underflows (large \nu) or gives up (x > 10^9), the uniform expansion of Abramowitz and Stegun
    9.7.7 takes over; to second order in p = 1 / \sqrt{\nu^2 + x^2} its error is of order p^3.
    """
    scaled = float(ive(nu, x))
    if scaled > 1e-250:
        return math.log(scaled)
    root = math.hypot(nu, x)
    p, t = 1 / root, nu / root
    exponent = nu * t / (1 + x / root) + nu * math.log(x / (nu + root))  # \sqrt{\nu^2 + x^2} - x + ...
    first = p * (3 - 5 * t**2) / 24
    second = p**2 * (81 - 462 * t**2 + 385 * t**4) / 1152
    return exponent - 0.5 * math.log(2 * math.pi * root) + math.log1p(first + second)


@MANIFOLDS.register("sphere")
class Sphere(Manifold):
    r"""A sphere, uniform or with the von Mises-Fisher density.

    Its dimension is d, its radius r, and the density C_p(\kappa) e^{\kappa \langle e_1, y/r \rangle} / r^d, where
    C_p(\kappa) = \kappa^\nu / ((2\pi)^{p/2} I_\nu(\kappa)), and 1 / area for \kappa = 0 (Mardia, Jupp 2000, eq. 9.3.4).

    Args:
        dim: dimension d, at least 1.
        kappa: concentration about the first axis of the frame, at least 0 (uniform).
        radius: radius r.
        ambient_dim: dimension of the space, at least d + 1.
        frame_seed: seed of the sphere's position when `ambient_dim` is larger than d + 1.
    """

    name = "sphere"

    def __init__(
        self,
        dim: int = 2,
        kappa: float = 0.0,
        radius: float = 1.0,
        *,
        ambient_dim: int | None = None,
        frame_seed: int = 0,
    ) -> None:
        dim = check_int(dim, name="dim")
        self.kappa = check_real(kappa, name="kappa")
        self.radius = check_real(radius, name="radius", open_low=True)
        super().__init__(dim, dim + 1, self.radius, ambient_dim=ambient_dim, frame_seed=frame_seed)

    def _log_peak(self) -> float:
        """Log-density at the mean direction, log C_p(kappa) + kappa - d log r, without cancellation."""
        p, nu, kappa = self.native_dim, self.native_dim / 2 - 1, self.kappa
        if kappa == 0:
            log_peak = float(gammaln(p / 2)) - math.log(2) - p / 2 * math.log(math.pi)
        else:
            log_peak = nu * math.log(kappa) - p / 2 * math.log(2 * math.pi) - log_bessel_ie(nu, kappa)
        return log_peak - self.dim * math.log(self.radius)

    def _sample(self, n: int, rng: np.random.Generator) -> Array:
        axis = np.eye(self.native_dim)[0]
        if self.kappa == 0:
            y = rng.standard_normal((n, self.native_dim))
            return np.asarray(self.radius * y / np.linalg.norm(y, axis=1, keepdims=True))
        points = np.reshape(vonmises_fisher(axis, self.kappa).rvs(n, random_state=rng), (n, -1))  # (n, p)
        return np.asarray(self.radius * points)

    def _log_prob(self, y: Array) -> Array:
        from_axis = np.square(y / self.radius - np.eye(self.native_dim)[0]).sum(1)  # 2 (1 - <e_1, y/r>)
        return np.asarray(self._log_peak() - 0.5 * self.kappa * from_axis)

    def _project(self, y: Array) -> Array:
        norm = np.linalg.norm(y, axis=1, keepdims=True)  # (n, 1)
        pole = self.radius * np.eye(self.native_dim)[0]
        return np.where(norm > 0, self.radius * y / np.where(norm > 0, norm, 1), pole)
