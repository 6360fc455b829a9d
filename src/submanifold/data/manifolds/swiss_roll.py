r"""The Swiss roll: a strip rolled up along an Archimedean spiral.

Notation: t in [3\pi/2, 9\pi/2] is the angle along the spiral \gamma(t) = t (\cos t, \sin t), h the position across the
strip.
"""

from __future__ import annotations

import numpy as np

from submanifold.checks import check_real
from submanifold.data.manifolds.base import MANIFOLDS, Array, Manifold

__all__ = ["SwissRoll"]

T_LOW, T_HIGH = 1.5 * np.pi, 4.5 * np.pi


@MANIFOLDS.register("swiss-roll")
class SwissRoll(Manifold):
    r"""A rolled-up strip, as scikit-learn's `make_swiss_roll` draws it.

    Points are (t \cos t, h, t \sin t) with t and h uniform, h in [0, height]. The element of area is \sqrt{1 + t^2} dt
    dh, so that the density with respect to area is 1 / (3 \pi \cdot height \cdot \sqrt{1 + t^2}): denser in the centre.

    Args:
        height: width of the strip.
        ambient_dim: dimension of the space, at least 3.
        frame_seed: seed of the position of R^3 when `ambient_dim` is larger.
    """

    name = "swiss-roll"

    def __init__(self, height: float = 21.0, *, ambient_dim: int | None = None, frame_seed: int = 0) -> None:
        self.height = check_real(height, name="height", open_low=True)
        super().__init__(2, 3, T_HIGH, ambient_dim=ambient_dim, frame_seed=frame_seed)

    @staticmethod
    def _at(t: Array, h: Array) -> Array:
        return np.stack([t * np.cos(t), h, t * np.sin(t)], axis=-1)

    def _sample(self, n: int, rng: np.random.Generator) -> Array:
        return self._at(rng.uniform(T_LOW, T_HIGH, n), rng.uniform(0, self.height, n))

    def _log_prob(self, y: Array) -> Array:
        t = np.hypot(y[:, 0], y[:, 2])
        log_prob: Array = -np.log((T_HIGH - T_LOW) * self.height * np.hypot(1, t))
        return log_prob

    def _project(self, y: Array) -> Array:
        return self._at(_nearest_angle(y[:, 0], y[:, 2]), np.clip(y[:, 1], 0, self.height))


def _nearest_angle(a: Array, b: Array) -> Array:
    r"""The t that minimises |\gamma(t) - (a, b)|, (n,).

    With (a, b) at radius \rho and angle \alpha, half the derivative of the squared distance is g(t) = t - \rho
    \cos(t-\alpha) + t \rho \sin(t-\alpha). A minimum lies where g changes from negative to positive, at most once per
    turn and there within a quarter turn of \alpha, or at an end of the spiral. All turns are bisected at once.
    """
    rho, alpha = np.hypot(a, b)[:, None], np.arctan2(b, a)[:, None]  # (n, 1)
    turns = alpha + 2 * np.pi * np.array([1, 2])  # (n, 2)
    low = np.clip(turns - np.pi / 2, T_LOW, T_HIGH)
    high = np.clip(turns + np.pi / 2, T_LOW, T_HIGH)
    for _ in range(52):  # down to the spacing of float64
        t = 0.5 * (low + high)
        falls = t - rho * np.cos(t - alpha) + t * rho * np.sin(t - alpha) < 0
        low, high = np.where(falls, t, low), np.where(falls, high, t)
    ends = np.broadcast_to([T_LOW, T_HIGH], (len(rho), 2))
    t = np.concatenate([0.5 * (low + high), ends], axis=1)  # (n, 4)
    square = np.square(t) - 2 * t * rho * np.cos(t - alpha)
    nearest: Array = np.take_along_axis(t, square.argmin(1)[:, None], axis=1)[:, 0]
    return nearest
