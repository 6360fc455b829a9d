r"""What a score says of itself at every noise level.

x is held-out data, \epsilon standard normal, s the model's score at x + \sigma \epsilon, s^* the true one.

Since \sigma s^* = -E[\epsilon | x + \sigma \epsilon], a function of the noised point is as correlated with -\epsilon as
with \sigma s^*. So the two curves

.. math:: a(\sigma) = \sigma^2 \, E |s|^2, \qquad b(\sigma) = -\sigma \, E \, s^\top \epsilon

are one for the true score, the codimension D - d on a manifold under little noise. For any other, b / a is the factor
that would make it best, and D - 2 b + a = E|\epsilon + \sigma s|^2 is at least what the true score has, which is d.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from submanifold.errors import NonFiniteScore
from submanifold.lens.evidence import Z95, Array, mean_with_interval
from submanifold.lens.finding import Number
from submanifold.models.base import Score

__all__ = ["Curve", "Field", "Plateau", "field_of", "find_plateau", "score_curve"]

Field = Callable[[Array, float], Array]
"""The score at points (n, D) under one noise level, (n, D)."""

_BLOCK = 4096
_FLAT = 0.025
"""Deviation from its mean, as a fraction of the implied dimension (of 1 at least), up to which a curve is flat."""
_FEWEST = 4
"""Levels that a plateau has at least."""
_COARSE = 0.25
"""Half-width of the interval, in the same unit, up to which a plateau is one."""
_CALIBRATED, _LEFT = 0.05, 0.1
"""Deviations of a / b from 1, and of a from its plateau, up to which a score holds."""


def field_of(model: Score, shape: tuple[int, ...]) -> Field:
    """The model's score of flattened points, float64 in and out, in blocks.

    Raises:
        NonFiniteScore: where the model says something that is not a number.
    """
    device, dtype = getattr(model, "device", torch.device("cpu")), getattr(model, "dtype", torch.float32)

    def score(x: Array, sigma: float) -> Array:
        with torch.no_grad():
            blocks = [
                model.score(torch.from_numpy(block.reshape(-1, *shape)).to(device, dtype), sigma).double().cpu().numpy()
                for block in np.array_split(x, math.ceil(len(x) / _BLOCK))
            ]
        found: Array = np.concatenate(blocks).reshape(len(x), -1)
        if not np.isfinite(found).all():
            raise NonFiniteScore(
                f"the score is not finite at noise level {sigma:.4g}: give a model that was trained at this level"
            )
        return found

    return score


@dataclass(frozen=True, eq=False)
class Curve:
    """a and b at L noise levels, ascending, each averaged over the draws of noise on each of n points.

    Attributes:
        sigmas: the levels, (L,).
        sizes: a, (L, n).
        agreements: b, (L, n).
        ambient_dim: D.
    """

    sigmas: Array
    sizes: Array = field(repr=False)
    agreements: Array = field(repr=False)
    ambient_dim: int

    def size(self, level: int) -> Number:
        """a at one level, with its interval over points."""
        return mean_with_interval(self.sizes[level])

    def calibration(self, level: int) -> Number | None:
        """a / b at one level, with its interval by the delta method: 1 for the true score, c for c times it.

        None where b is not above 0 beyond chance, so that the score knows nothing of the noise.
        """
        a, b = self.sizes[level], self.agreements[level]
        if (mean_with_interval(b).low or 0.0) <= 0:
            return None
        ratio = float(a.mean() / b.mean())
        half = Z95 * float((a - ratio * b).std(ddof=1) / b.mean()) / math.sqrt(len(a))
        return Number(ratio, ratio - half, ratio + half)

    def calibrated(self) -> NDArray[np.bool_]:
        """At which levels a and b differ by no more than 5% of b, or than three standard errors, (L,)."""
        gap, b = self.sizes - self.agreements, self.agreements.mean(axis=1)
        error = gap.std(axis=1, ddof=1) / math.sqrt(gap.shape[1])
        return np.asarray(np.abs(gap.mean(axis=1)) <= _CALIBRATED * np.maximum(b, 0.0) + 3 * error)

    def smallest_reliable(self, plateau: Plateau | None = None) -> int | None:
        """The least level down to which, from the largest on, the score holds; None if it fails there already.

        It has to be calibrated, and once on a plateau, to stay within 10% of it (of 1 at least), or three standard
        errors: a network that sees no detail as small as the noise is calibrated and says less than the true score.
        """
        failing = ~self.calibrated()
        if plateau is not None:
            level = plateau.codimension.value
            error = self.sizes.std(axis=1, ddof=1) / math.sqrt(self.sizes.shape[1])
            left = np.abs(self.sizes.mean(axis=1) - level) > _LEFT * max(level, 1.0) + 3 * error
            failing |= left & (self.sigmas < plateau.low)
        last = np.flatnonzero(failing)
        if len(last) == 0:
            return 0
        return None if last[-1] == len(self.sigmas) - 1 else int(last[-1]) + 1


def score_curve(score: Field, x: Array, sigmas: Array, *, draws: int, seed: int) -> Curve:
    r"""a and b at the points x (n, D), `draws` noised selves of each, at levels (L,).

    |\epsilon|^2 - D, whose mean is zero, serves as control variate: of a score that is all noise, -\epsilon / \sigma,
    it leaves no variance.
    """
    rng = np.random.default_rng(seed)
    sizes, agreements = np.empty((2, len(sigmas), len(x)))
    for row, sigma in enumerate(sigmas):
        noise = rng.standard_normal((draws, *x.shape))
        s = sigma * score((x + sigma * noise).reshape(-1, x.shape[1]), float(sigma)).reshape(noise.shape)
        luck = np.square(noise).sum(axis=2).mean(axis=0) / x.shape[1] - 1  # (n,)
        for curve, values in ((sizes, s * s), (agreements, -s * noise)):
            each = values.sum(axis=2).mean(axis=0)
            curve[row] = each - each.mean() * luck
    return Curve(np.asarray(sigmas), sizes, agreements, x.shape[1])


@dataclass(frozen=True)
class Plateau:
    """Where a is flat in the logarithm of sigma, and what it is there.

    Attributes:
        low: the least of its levels.
        high: the largest.
        codimension: the mean of a over its levels.
        dimension: D minus that.
        unexplained: the mean of E|epsilon + sigma s|^2, at least d whatever the score.
    """

    low: float
    high: float
    codimension: Number
    dimension: Number
    unexplained: Number


def find_plateau(curve: Curve, *, low: float, high: float) -> Plateau | None:
    """The longest run of levels in [low, high] over which a is flat, the lower of two that are equally long.

    Flat means that each level, and the line through them at both ends, is within 2.5% of the implied dimension (of 1 at
    least) of the mean, or within three standard errors. None where no four levels in a row are, or where the mean is
    known no better than to a quarter of that dimension.
    """
    inside = np.flatnonzero((curve.sigmas >= low) & (curve.sigmas <= high))
    for length in range(len(inside), _FEWEST - 1, -1):
        for first in range(len(inside) - length + 1):
            rows = inside[first : first + length]
            unit = max(1.0, curve.ambient_dim - float(curve.sizes[rows].mean()))
            if _flat(curve.sizes[rows], np.log(curve.sigmas[rows]), _FLAT * unit):
                found = _plateau(curve, rows)
                assert found.codimension.high is not None
                return found if found.codimension.high - found.codimension.value <= _COARSE * unit else None
    return None


def _flat(sizes: Array, t: Array, tolerance: float) -> bool:
    """Whether values (levels, n) at t (levels,) have one mean, and no slope."""
    centred = t - t.mean()
    rises = (centred @ sizes) * centred[-1] / np.square(centred).sum()  # (n,): of the line, from its middle to its end
    deviations = np.vstack([sizes - sizes.mean(), rises])
    errors = deviations.std(axis=1, ddof=1) / math.sqrt(sizes.shape[1])
    return bool((np.abs(deviations.mean(axis=1)) <= tolerance + 3 * errors).all())


def _plateau(curve: Curve, rows: NDArray[np.int64]) -> Plateau:
    a, b, D = curve.sizes[rows].mean(axis=0), curve.agreements[rows].mean(axis=0), curve.ambient_dim
    low, high = float(curve.sigmas[rows[0]]), float(curve.sigmas[rows[-1]])
    where = f"for noise of {low:.2g} to {high:.2g}"
    return Plateau(
        low,
        high,
        codimension=mean_with_interval(a, meaning=f"sigma^2 E|s|^2 {where}: D - d for the true score"),
        dimension=mean_with_interval(D - a, meaning=f"D minus it, {where}"),
        unexplained=mean_with_interval(
            D - 2 * b + a, meaning=f"E|noise + sigma s|^2 {where}, which is at least d whatever the score"
        ),
    )
