r"""What models of scores share: one language of noise levels, in the units of the data.

y is x after preprocessing, a similarity, so that noise of one size in y is noise of one size in x.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from submanifold.errors import InvalidInput
from submanifold.models.base import Model
from submanifold.models.diffusion.levels import LEVEL_ROUNDING

__all__ = ["ScoreModel", "require_similarity"]

Field = Callable[[Tensor, Tensor], Tensor]
"""A function of points (n, D) under noise (n,), (n, D)."""


def require_similarity(model: Model) -> None:
    """Refuse preprocessing under which noise of one size in the data is of several sizes afterwards."""
    names = model.preprocess.names
    unequal = [name for name in names if name not in ("scale", "dequantise")]
    if unequal:
        raise InvalidInput(
            f'preprocess={list(names)!r} is not accepted: {unequal[0]} makes noise unequal, give ("scale",), or '
            '("dequantise", "scale") for values on levels'
        )


def _between(low: float, high: float) -> str:
    """Where levels lie, of which neither 0 nor infinity is one."""
    return f"in {'[' if low > 0 else '('}{low:.4g}, {high:.4g}{']' if math.isfinite(high) else ')'}"


class ScoreModel(Model):
    r"""Knows the score of p_\sigma = p * N(0, \sigma^2 I) at all noise levels of a range, by `_score`.

    Attributes:
        sigma_min: the least noise level, in units of y; 0, which is none itself, for a law known at all of them.
        sigma_max: the largest; infinity likewise.
    """

    sigma_min: float
    sigma_max: float

    def __init__(self, data_shape: Sequence[int], preprocess: Sequence[str] = ()) -> None:
        super().__init__(data_shape, preprocess)
        require_similarity(self)

    @property
    def sigma_range(self) -> tuple[float, float]:
        """The least and the largest noise level at which the score is known, in the units of the data."""
        unit = self.preprocess.inverse_lipschitz()
        return self.sigma_min * unit, self.sigma_max * unit

    def score(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        r"""\nabla \log p_\sigma(x), shaped like x, in the units of the data.

        Args:
            x: points (n, *data_shape).
            sigma: noise level in the units of the data, a number or (n,).

        Raises:
            InvalidInput: for a level outside `sigma_range`, or levels of another shape.
        """
        return self._scored(x, sigma, self._score)

    def denoise(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        r"""E[x_0 | x_0 + \sigma \epsilon = x] = x + \sigma^2 \nabla \log p_\sigma(x), shaped like x.

        Tweedie's formula (Robbins 1956; Efron 2011, doi 10.1198/jasa.2011.tm11181, eq. 1.4). See `score` for arguments
        and errors.
        """
        return self._denoised_by(x, sigma, self._score)

    def _scored(self, x: Tensor, sigma: Tensor | float, score: Field) -> Tensor:
        """Any score of preprocessed points, in the units of the data."""
        x, level, unit = self._received(x, sigma)
        y = self.preprocess.forward(x).flatten(1)
        return score(y, level).reshape(x.shape) / unit

    def _denoised_by(self, x: Tensor, sigma: Tensor | float, score: Field) -> Tensor:
        """Tweedie's formula with any score of preprocessed points, in the units of the data."""
        x, level, unit = self._received(x, sigma)
        y = self.preprocess.forward(x).flatten(1)
        step = level.square()[:, None] * score(y, level)
        return x + unit * step.reshape(x.shape)

    @abstractmethod
    def _score(self, y: Tensor, sigma: Tensor) -> Tensor:
        """The score of preprocessed points (n, D) under noise (n,), (n, D)."""

    def _denoise(self, y: Tensor, sigma: Tensor) -> Tensor:
        """The mean of what preprocessed points (n, D) are under noise of one level (), (n, D)."""
        return y + sigma.square() * self._score(y, sigma.expand(len(y)))

    def _received(self, x: Tensor, sigma: Tensor | float) -> tuple[Tensor, Tensor, float]:
        """Checked points, levels in units of y, (n,), and dx/dy."""
        x = self.receive(x)
        unit = self.preprocess.inverse_lipschitz()
        level = torch.as_tensor(sigma, device=self.device, dtype=self.dtype) / unit
        if level.shape not in ((), (len(x),)):
            raise InvalidInput(
                f"sigma has shape {tuple(level.shape)}: give a number or ({len(x)},), one for each point"
            )
        values = torch.func.debug_unwrap(level, recurse=True)
        low, high = (1 - LEVEL_ROUNDING) * self.sigma_min, (1 + LEVEL_ROUNDING) * self.sigma_max
        if not ((values >= low) & (values <= high) & (values > 0) & values.isfinite()).all():
            low, high = self.sigma_range
            raise InvalidInput(f"sigma={sigma!r} is not accepted: give a noise level {_between(low, high)}")
        return x, level.expand(len(x)), unit
