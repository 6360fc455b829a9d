r"""How far a score is from the true one, across the manifold and along it.

x is a noised point, \pi the point of the manifold nearest to it, s the model's score at x, s^* the true one; P projects
on the tangent space at \pi. Data may have Gaussian noise of deviation \eta of their own: under noise \sigma they are
those of the manifold under noise \tau = \sqrt{\sigma^2 + \eta^2}.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from submanifold.data.manifolds import Manifold
from submanifold.lens.evidence import Array, mean_with_interval
from submanifold.lens.finding import Number
from submanifold.lens.score_curves import Field, field_of
from submanifold.models.base import Score
from submanifold.models.diffusion.oracles import CircleScore, SubspaceGaussian

__all__ = ["ScoreErrors", "exact_field", "exact_score", "score_errors"]

_NEAR = 0.1
"""Noise, as a fraction of the data's scale, up to which -(x - \\pi) / \\tau^2 stands in for the true normal part."""


def _circle_score(circle: Any) -> Score:
    score = CircleScore((circle.ambient_dim,), kappa=circle.kappa, mu=circle.mu, radius=circle.radius).double()
    score.circle = circle  # in its own plane
    return score


def _linear_score(linear: Any) -> Score:
    factor = linear.frame @ np.linalg.cholesky(linear.covariance)  # (D, d)
    return SubspaceGaussian.of(torch.zeros(linear.ambient_dim, dtype=torch.float64), torch.from_numpy(factor))


_EXACT: dict[str, Callable[[Any], Score]] = {"circle": _circle_score, "linear": _linear_score}


def exact_score(manifold: Manifold | None) -> Score | None:
    """The score of a manifold's noised law, where it is known in closed form."""
    return None if manifold is None or manifold.name not in _EXACT else _EXACT[manifold.name](manifold)


def exact_field(manifold: Manifold | None, *, noise: float = 0.0) -> Field | None:
    r"""s^* of data with noise \eta of their own as a function of points (n, D) and \sigma, where it is known."""
    score = exact_score(manifold)
    if manifold is None or score is None:
        return None
    field = field_of(score, (manifold.ambient_dim,))
    return lambda x, sigma: field(x, math.hypot(sigma, noise))


@dataclass(frozen=True, eq=False)
class ScoreErrors:
    r"""|s - s^*|^2 at L levels and n points, by direction, over natural scales.

    Attributes:
        sigmas: the levels, (L,).
        parts: by name, (L, n): "normal", \tau^2 |(I - P)(s - s^*)|^2 / (D - d), and "tangential", |P(s - s^*)|^2 over
            the larger of E|P s^*|^2 and d / scale^2, what a Gaussian as wide as the data has; or "total", over
            E|s^*|^2.
        scale: of the data, per intrinsic direction.
        natural: the root of the tangential scale, (L,), where that part is known.
    """

    sigmas: Array
    parts: dict[str, Array] = field(repr=False)
    scale: float
    natural: Array | None = None

    def at(self, part: str, sigma: float) -> Number:
        """The relative error, a root mean square with its interval over points, at the known level nearest to sigma."""
        row = int(np.abs(np.log(self.sigmas / sigma)).argmin())
        mean = mean_with_interval(self.parts[part][row])
        low, value, high = (math.sqrt(max(float(v or 0.0), 0.0)) for v in (mean.low, mean.value, mean.high))
        return Number(value, low, high)

    def drift(self) -> Number | None:
        r"""How far the tangential error carries points of the probability flow along M, at most, over the scale.

        The integral of \sigma times its root mean square, over noise up to the scale of the data.
        """
        rows = self.sigmas <= self.scale
        if self.natural is None or rows.sum() < 2:
            return None
        means = [mean_with_interval(values) for values in self.parts["tangential"][rows]]
        ends = (np.array([max(float(getattr(n, end)), 0.0) for n in means]) for end in ("value", "low", "high"))
        speeds = (self.sigmas[rows] * self.natural[rows] * np.sqrt(v) / self.scale for v in ends)
        value, low, high = (float(np.trapezoid(speed, self.sigmas[rows])) for speed in speeds)
        return Number(value, low, high)


def score_errors(
    score: Field,
    truth: Field | None,
    manifold: Manifold | None,
    x: Array,
    sigmas: Array,
    *,
    scale: float,
    noise: float = 0.0,
    seed: int,
) -> ScoreErrors | None:
    r"""The error of a score at points x (n, D), that have `noise` \eta of their own, under noise of levels (L,).

    Without the truth, its normal part is -(x - \pi) / \tau^2 to leading order, at \tau up to a tenth of the scale.
    Without a manifold there is one error only, and with neither, none.
    """
    if truth is None and manifold is None:
        return None
    rng = np.random.default_rng(seed)
    if truth is None:
        sigmas = sigmas[np.hypot(sigmas, noise) <= _NEAR * scale]
    if len(sigmas) == 0:
        return None
    rows: dict[str, list[Array]] = {}
    natural: list[float] = []
    for sigma in map(float, sigmas):
        noised = x + sigma * rng.standard_normal(x.shape)
        s = score(noised, sigma)
        if manifold is None:
            assert truth is not None
            right = truth(noised, sigma)
            rows.setdefault("total", []).append(_squares(s - right) / _squares(right).mean())
            continue
        at = manifold.project(noised)
        tau = math.hypot(sigma, noise)
        right = truth(noised, sigma) if truth is not None else (at - noised) / tau**2
        along = _tangential(manifold, at, s - right, step=1e-4 * scale)
        if manifold.dim < manifold.ambient_dim:
            codimension = manifold.ambient_dim - manifold.dim
            rows.setdefault("normal", []).append(tau**2 * _squares(s - right - along) / codimension)
        if truth is not None:
            own = float(_squares(_tangential(manifold, at, right, step=1e-4 * scale)).mean())
            natural.append(max(own, manifold.dim / scale**2))
            rows.setdefault("tangential", []).append(_squares(along) / natural[-1])
    return ScoreErrors(
        np.asarray(sigmas),
        {name: np.stack(values) for name, values in rows.items()},
        scale,
        np.sqrt(natural) if natural else None,
    )


def _squares(v: Array) -> Array:
    return np.asarray(np.square(v).sum(axis=1))


def _tangential(manifold: Manifold, at: Array, v: Array, *, step: float) -> Array:
    """The parts of v (n, D) that are tangent to M at its points `at`: the derivative of the projection on M there."""
    length = np.linalg.norm(v, axis=1, keepdims=True)
    moved = step * (v / np.where(length > 0, length, 1.0))  # an exact score leaves no error, which has no direction
    return np.asarray((manifold.project(at + moved) - manifold.project(at - moved)) / (2 * step) * length)
