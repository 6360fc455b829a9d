"""Charts of the analytic manifolds, written down independently of the library: parameters -> native space and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from submanifold.data import Manifold, manifold

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Chart:
    """A parametrisation of `manifold` by a box, up to a null set."""

    manifold: Manifold
    low: Sequence[float]
    high: Sequence[float]
    point: Callable[[Array], Array]
    parameters: Callable[[Array], Array]

    def grid(self, count: int) -> tuple[Array, float]:
        """Midpoints (count^d, d) of a regular grid on the box, the last axis running fastest, and the cell's volume."""
        low, high = np.array(self.low), np.array(self.high)
        steps = (high - low) / count
        axes = [a + s * (np.arange(count) + 0.5) for a, s in zip(low, steps, strict=True)]
        mesh = np.meshgrid(*axes, indexing="ij")
        return np.stack([m.ravel() for m in mesh], axis=1), float(np.prod(steps))

    def volume_element(self, t: Array, h: float = 1e-5) -> Array:
        """sqrt(det J^T J) of the embedded chart at parameters (n, d), by central differences in R^D."""
        columns = []
        for k in range(t.shape[1]):
            e = h * np.eye(t.shape[1])[k]
            ahead, behind = self.manifold.embed(self.point(t + e)), self.manifold.embed(self.point(t - e))
            columns.append((ahead - behind) / (2 * h))
        J = np.stack(columns, axis=2)  # (n, D, d)
        return np.sqrt(np.linalg.det(J.transpose(0, 2, 1) @ J))

    def mass(self, count: int) -> Array:
        """Probability (count^d,) of each cell of the grid according to `log_prob`, by the midpoint rule."""
        t, cell = self.grid(count)
        density = np.exp(self.manifold.log_prob(self.manifold.embed(self.point(t))))
        return density * self.volume_element(t) * cell


def _angle(y: Array) -> Array:
    return np.arctan2(y[:, 1], y[:, 0])


def _circle(**arguments: float) -> Chart:
    m = manifold("circle", **arguments)
    r = arguments.get("radius", 1.0)
    return Chart(
        m,
        [-np.pi],
        [np.pi],
        lambda t: r * np.concatenate([np.cos(t), np.sin(t)], axis=1),
        lambda y: _angle(y)[:, None],
    )


def _sphere2(**arguments: float) -> Chart:
    r = arguments.get("radius", 1.0)

    def point(t: Array) -> Array:
        a, b = t.T
        return r * np.stack([np.cos(a), np.sin(a) * np.cos(b), np.sin(a) * np.sin(b)], axis=1)

    def parameters(y: Array) -> Array:
        return np.stack([np.arccos(y[:, 0] / r), _angle(y[:, 1:])], axis=1)

    return Chart(manifold("sphere", dim=2, **arguments), [0, -np.pi], [np.pi, np.pi], point, parameters)


def _sphere3(**arguments: float) -> Chart:
    def point(t: Array) -> Array:
        a, b, c = t.T
        rest = [np.sin(a) * np.cos(b), np.sin(a) * np.sin(b) * np.cos(c), np.sin(a) * np.sin(b) * np.sin(c)]
        return np.stack([np.cos(a), *rest], axis=1)

    def parameters(y: Array) -> Array:
        b = np.arctan2(np.hypot(y[:, 2], y[:, 3]), y[:, 1])
        return np.stack([np.arccos(y[:, 0]), b, _angle(y[:, 2:])], axis=1)

    return Chart(manifold("sphere", dim=3, **arguments), [0, 0, -np.pi], [np.pi] * 3, point, parameters)


def _torus(R: float = 2.0, r: float = 1.0, **arguments: int) -> Chart:
    def point(t: Array) -> Array:
        a, b = t.T
        return np.stack([(R + r * np.cos(a)) * np.cos(b), (R + r * np.cos(a)) * np.sin(b), r * np.sin(a)], axis=1)

    def parameters(y: Array) -> Array:
        return np.stack([np.arctan2(y[:, 2], np.hypot(y[:, 0], y[:, 1]) - R), _angle(y)], axis=1)

    m = manifold("torus", major_radius=R, minor_radius=r, **arguments)
    return Chart(m, [-np.pi] * 2, [np.pi] * 2, point, parameters)


def _swiss_roll(**arguments: float) -> Chart:
    return Chart(
        manifold("swiss-roll", **arguments),
        [1.5 * np.pi, 0],
        [4.5 * np.pi, arguments.get("height", 21.0)],
        lambda t: np.stack([t[:, 0] * np.cos(t[:, 0]), t[:, 1], t[:, 0] * np.sin(t[:, 0])], axis=1),
        lambda y: np.stack([np.hypot(y[:, 0], y[:, 2]), y[:, 1]], axis=1),
    )


def _linear(scales: Sequence[float], **arguments: int) -> Chart:
    m = manifold("linear", dim=len(scales), scales=scales, **arguments)
    reach = 7 * np.array(scales)
    return Chart(m, list(-reach), list(reach), lambda t: t, lambda y: y)


def _segment() -> Chart:
    return Chart(
        manifold("ball", dim=1, radius=2.0, center=(1.0, 3.0), ambient_dim=4),
        [-2],
        [2],
        lambda t: np.concatenate([1 + t, np.full_like(t, 3.0)], axis=1),
        lambda y: y[:, :1] - 1,
    )


def _disc() -> Chart:
    return Chart(
        manifold("ball", dim=2, radius=1.5),
        [0, -np.pi],
        [1.5, np.pi],
        lambda t: np.stack([t[:, 0] * np.cos(t[:, 1]), t[:, 0] * np.sin(t[:, 1]), 0 * t[:, 0]], axis=1),
        lambda y: np.stack([np.hypot(y[:, 0], y[:, 1]), _angle(y)], axis=1),
    )


CHARTS: dict[str, Chart] = {
    "uniform circle": _circle(kappa=0.0),
    "circle": _circle(kappa=1.0),
    "sharp circle in R^7": _circle(kappa=25.0, mu=1.0, radius=3.0, ambient_dim=7),
    "uniform sphere": _sphere2(),
    "von Mises-Fisher sphere in R^6": _sphere2(kappa=4.0, radius=0.5, ambient_dim=6),
    "three-sphere": _sphere3(kappa=2.0),
    "torus": _torus(),
    "thick torus in R^10": _torus(1.0, 0.9, ambient_dim=10),
    "swiss roll": _swiss_roll(),
    "low swiss roll in R^5": _swiss_roll(height=3.0, ambient_dim=5),
    "line": _linear([2.0], ambient_dim=3),
    "plane": _linear([0.3, 4.0]),
    "segment in R^4": _segment(),
    "disc": _disc(),
}
