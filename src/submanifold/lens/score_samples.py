"""Samples of a score by the equation without noise and by the one with noise, and what they should have in common."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from submanifold.checks import check_matrix
from submanifold.errors import InvalidInput
from submanifold.lens.evidence import TOLERANCE, Array, Setting, mean_distance
from submanifold.models.base import Score
from submanifold.models.diffusion.levels import noise_levels
from submanifold.models.diffusion.samplers import Sampler, ancestral, heun
from submanifold.transport import TwoSampleTest, sliced_wasserstein_test

__all__ = ["Drawn", "draw_both", "known_levels"]

_NARROWEST, _WIDEST = 1e-3, 30.0
"""Noise levels, as fractions of the data's scale, beyond which nobody looks, whatever the model knows."""
_FEWER = 4
"""Steps of the stochastic equation for one of the flow: its error is of first order, that of Heun's of second."""


def known_levels(model: Score, scale: float) -> tuple[float, float]:
    """The least and the largest noise level that the model knows, as far as they are of use for data of this scale.

    Raises:
        InvalidInput: where there are none.
    """
    low, high = getattr(model, "sigma_range", (0.0, math.inf))
    low, high = max(float(low), _NARROWEST * scale), min(float(high), _WIDEST * scale)
    if not low < high:
        raise InvalidInput(
            f"model knows no noise levels near the data's scale, {scale:.3g}: give data in the units it was trained on"
        )
    return low, high


@dataclass(frozen=True, eq=False)
class Drawn:
    """Samples of both equations at the least level, and how far from the manifold they are.

    Attributes:
        flow: distances of samples of the probability flow, (m,).
        noisy: of samples of the stochastic equation, (m,).
        data: of held-out data under noise of the least level, (n,).
        denoised: samples of the probability flow after a last step to the mean, (m, D).
        gap: test of equality of the two laws.
        spread: mean distance of two held-out points.
        sigma: the least level.
    """

    flow: Array
    noisy: Array
    data: Array
    denoised: Array
    gap: TwoSampleTest
    spread: float
    sigma: float

    @property
    def gapes(self) -> bool:
        """Whether the laws differ, beyond chance and by more than 2.5% of the spread."""
        return bool(self.gap.p_value < 0.01 and self.gap.excess > TOLERANCE * self.spread)


def draw_both(
    model: Score, data: Setting, shape: tuple[int, ...], sigmas: Array, *, count: int, steps: int, seed: int
) -> Drawn:
    """Both kinds of samples, from known points under the largest noise: what they are by the true score's law."""
    device, dtype = getattr(model, "device", torch.device("cpu")), getattr(model, "dtype", torch.float32)
    low, high = float(sigmas[0]), float(sigmas[-1])
    known, rng = check_matrix(data.known, name="reference"), np.random.default_rng(seed)

    def run(sampler: Sampler, steps: int) -> torch.Tensor:
        start = known[rng.integers(len(known), size=count)] + high * rng.standard_normal((count, known.shape[1]))
        x = torch.from_numpy(start.reshape(count, *shape)).to(device, dtype)
        generator = torch.Generator(device).manual_seed(int(rng.integers(2**31)))
        with torch.no_grad():
            return sampler(model.denoise, x, noise_levels(steps, low, high), generator=generator)

    flow, noisy = run(heun, steps), run(ancestral, _FEWER * steps)
    with torch.no_grad():
        denoised = model.denoise(flow, low)
    y, z, ends = (v.double().cpu().numpy().reshape(count, -1) for v in (flow, noisy, denoised))
    blurred = data.x + low * rng.standard_normal(data.x.shape)
    gap = sliced_wasserstein_test(y, z, seed=seed)
    return Drawn(
        flow=data.manifold.project(y).distance,
        noisy=data.manifold.project(z).distance,
        data=data.manifold.project(blurred).distance,
        denoised=ends,
        gap=gap,
        spread=mean_distance(data.x, seed=seed),
        sigma=low,
    )
