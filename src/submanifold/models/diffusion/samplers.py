r"""From noise to data by steps between noise levels: pure functions of a denoiser D(x, \sigma) = E[x_0 | x_0 + \sigma
\epsilon = x].

All of them follow, from the largest level to the least, the laws p_\sigma of noised data, along the probability-flow
differential equation dx / d\sigma = (x - D) / \sigma, or along a stochastic one with the same laws (Song et al. 2021,
arXiv 2011.13456; Karras et al. 2022, arXiv 2206.00364, eq. 4 and 6). x is (n, *data_shape), levels are (steps + 1,).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from submanifold.checks import check_real
from submanifold.errors import InvalidInput, NonFiniteScore
from submanifold.models.diffusion.ode import integrate
from submanifold.models.latents import normal

__all__ = [
    "FLOW_SAMPLERS",
    "SAMPLERS",
    "Denoiser",
    "Progress",
    "Sampler",
    "ancestral",
    "ddim",
    "dpm_solver",
    "euler",
    "euler_maruyama",
    "heun",
    "probability_flow",
]

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""D of points (n, *data_shape) and one noise level, (), shaped like the points."""


@dataclass(frozen=True)
class Progress:
    """What a sampler tells after each step: how many are done, the level it came to, points there, and denoised ones.

    `denoised` are those at the level before.
    """

    step: int
    sigma: float
    x: Tensor
    denoised: Tensor


_Look = Callable[[Tensor, float], Tensor]
"""A denoiser that refuses what is not finite, of points and a level."""


class Sampler(Protocol):
    """Takes points x of level sigmas[0] to points of level sigmas[-1]."""

    def __call__(
        self,
        denoise: Denoiser,
        x: Tensor,
        sigmas: Tensor,
        *,
        generator: torch.Generator | None = None,
        callback: Callable[[Progress], None] | None = None,
    ) -> Tensor: ...


def euler(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    generator: torch.Generator | None = None,
    callback: Callable[[Progress], None] | None = None,
) -> Tensor:
    """Steps of first order along the probability flow.

    Args:
        denoise: D(x, sigma).
        x: points at level sigmas[0], (n, *data_shape): mostly sigmas[0] times standard normal noise.
        sigmas: decreasing levels, see `noise_levels`; the last may be 0.
        generator: of the noise, where a sampler draws any.
        callback: called with `Progress` after each step.

    Returns:
        points at level sigmas[-1], (n, *data_shape).

    Raises:
        InvalidInput: for levels that do not decrease, or are not positive.
        NonFiniteScore: where the denoiser says something that is not a number.
    """
    return ddim(denoise, x, sigmas, eta=0.0, generator=generator, callback=callback)


def ddim(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
    callback: Callable[[Progress], None] | None = None,
) -> Tensor:
    r"""Denoising diffusion implicit models (Song et al. 2021, arXiv 2010.02502, eq. 12 and 16).

    From \sigma to \sigma', part of the noise stays and part is new,

    .. math:: x' = D + \tfrac{\sqrt{\sigma'^2 - s^2}}{\sigma} (x - D) + s \xi,
              \qquad s = \eta \, \tfrac{\sigma'}{\sigma} \sqrt{\sigma^2 - \sigma'^2}.

    With \eta = 0 these are Euler's steps along the probability flow, with \eta = 1 the ancestral steps of DDPM.
    See `euler` for the other arguments.
    """
    eta = check_real(eta, name="eta", high=1.0)
    for step in _steps(denoise, x, sigmas, callback):
        sigma, after = step.sigma, step.after
        new = eta * after / sigma * math.sqrt(sigma**2 - after**2)
        kept = math.sqrt(max(after**2 - new**2, 0.0)) / sigma
        x = step.denoised + kept * (step.x - step.denoised)
        if new:
            x = x + new * normal(x.shape, x, generator)
        step.x = x
    return x


def ancestral(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    generator: torch.Generator | None = None,
    callback: Callable[[Progress], None] | None = None,
) -> Tensor:
    """The steps of DDPM (Ho et al. 2020, arXiv 2006.11239, algorithm 2): `ddim` with eta = 1."""
    return ddim(denoise, x, sigmas, eta=1.0, generator=generator, callback=callback)


def heun(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    churn: float = 0.0,
    churn_range: tuple[float, float] = (0.0, math.inf),
    churn_noise: float = 1.0,
    generator: torch.Generator | None = None,
    callback: Callable[[Progress], None] | None = None,
) -> Tensor:
    r"""Steps of second order, with fresh noise before each if there is `churn`.

    Karras et al. 2022 (arXiv 2206.00364, algorithm 2): the noise is raised from \sigma to \sigma (1 + \gamma), \gamma =
    \min(churn / steps, \sqrt 2 - 1), for levels in `churn_range`, by noise that is scaled by `churn_noise`; and no
    higher than sigmas[0], beyond which a denoiser may know nothing. Two evaluations of the denoiser a step. See `euler`
    for the other arguments.
    """
    check_real(churn, name="churn")
    check_real(churn_noise, name="churn_noise")
    low, high = churn_range
    levels = _checked(sigmas)
    gamma = min(churn / (len(levels) - 1), math.sqrt(2) - 1)

    def raised(x: Tensor, sigma: float) -> tuple[Tensor, float]:
        to = min(sigma * (1 + gamma), levels[0])
        if to == sigma or not low <= sigma <= high:
            return x, sigma
        added = math.sqrt(to**2 - sigma**2)
        return x + churn_noise * added * normal(x.shape, x, generator), to

    for step in _steps(denoise, x, sigmas, callback, raised):
        sigma, after = step.sigma, step.after
        slope = (step.x - step.denoised) / sigma
        x = step.x + (after - sigma) * slope
        if after > 0:
            ahead = (x - step.look(x, after)) / after
            x = step.x + (after - sigma) * 0.5 * (slope + ahead)
        step.x = x
    return x


def dpm_solver(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    generator: torch.Generator | None = None,
    callback: Callable[[Progress], None] | None = None,
) -> Tensor:
    r"""DPM-Solver++(2M): second order by what was denoised one step before, one evaluation a step.

    The part of the flow that is linear in x is solved exactly, in the time -\log \sigma (Lu et al. 2022, arXiv
    2211.01095, algorithm 2). See `euler` for the arguments.
    """
    before: tuple[Tensor, float] | None = None
    for step in _steps(denoise, x, sigmas, callback):
        sigma, after, denoised = step.sigma, step.after, step.denoised
        if after == 0:
            x = denoised
        else:
            h = math.log(sigma / after)
            towards = denoised
            if before is not None:
                towards = denoised + 0.5 * h / before[1] * (denoised - before[0])
            x = (after / sigma) * step.x - math.expm1(-h) * towards
            before = denoised, h
        step.x = x
    return x


def euler_maruyama(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    generator: torch.Generator | None = None,
    callback: Callable[[Progress], None] | None = None,
) -> Tensor:
    r"""Steps of the reverse stochastic differential equation, in the time \sigma^2,

    .. math:: x' = x + (\sigma^2 - \sigma'^2) \, s(x, \sigma) + \sqrt{\sigma^2 - \sigma'^2} \, \xi, \qquad
              s = (D - x) / \sigma^2

    (Song et al. 2021, arXiv 2011.13456, eq. 6 and appendix E). It adds noise of the variance of its steps, which is why
    they should be short at the end. See `euler` for the arguments.
    """
    for step in _steps(denoise, x, sigmas, callback):
        fallen = step.sigma**2 - step.after**2
        x = step.x + fallen / step.sigma**2 * (step.denoised - step.x)
        if step.after > 0:
            x = x + math.sqrt(fallen) * normal(x.shape, x, generator)
        step.x = x
    return x


def probability_flow(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    tolerance: float = 1e-4,
    generator: torch.Generator | None = None,
    callback: Callable[[Progress], None] | None = None,
) -> Tensor:
    r"""The probability flow in the time \log \sigma, by steps that adapt to an error (Dormand & Prince 1980, order 5).

    Levels are where it stops to tell. `tolerance` is the relative error of a step, and in units of the least level the
    absolute one. See `euler` for the other arguments.
    """
    least = min(sigma for sigma in _checked(sigmas) if sigma > 0)
    shape = x.shape
    for step in _steps(denoise, x, sigmas, callback):
        if step.after == 0:
            step.x = step.denoised
        else:
            look = step.look

            def slope(log_sigma: float, y: Tensor, look: _Look = look) -> Tensor:
                return y - look(y.reshape(shape), math.exp(log_sigma)).flatten(1)

            ends = integrate(
                slope,
                step.x.flatten(1),
                math.log(step.sigma),
                math.log(step.after),
                tolerance=tolerance,
                absolute=tolerance * least,
            )
            step.x = ends.reshape(shape)
        x = step.x
    return x


FLOW_SAMPLERS: dict[str, Sampler] = {
    "euler": euler,
    "heun": heun,
    "ddim": ddim,
    "dpm-solver++": dpm_solver,
    "adaptive": probability_flow,
}
r"""By name, those that follow the flow dx / d\sigma = (x - D) / \sigma, whatever D is."""

SAMPLERS: dict[str, Sampler] = {
    **FLOW_SAMPLERS,
    "heun-churn": partial(heun, churn=40.0, churn_range=(0.05, 50.0), churn_noise=1.003),
    "ancestral": ancestral,
    "euler-maruyama": euler_maruyama,
}
"""By name, all of them; those that add noise need a D that is the mean of the data. "heun-churn" has the settings of
Karras et al. 2022, table 5, for ImageNet."""


@dataclass
class _Step:
    """One step from level `sigma` to `after`; whoever takes it sets `x`."""

    look: _Look
    x: Tensor
    sigma: float
    after: float

    def __post_init__(self) -> None:
        self.denoised = self.look(self.x, self.sigma)


def _steps(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    callback: Callable[[Progress], None] | None,
    raised: Callable[[Tensor, float], tuple[Tensor, float]] | None = None,
) -> Iterator[_Step]:
    """The steps between levels, one after the other, each from where the one before led.

    `raised` may move points to a higher level before a step.
    """
    levels = _checked(sigmas)
    for index, (sigma, after) in enumerate(pairwise(levels)):

        def look(x: Tensor, sigma: float, index: int = index) -> Tensor:
            denoised = denoise(x, torch.tensor(sigma, device=x.device, dtype=x.dtype))
            if not denoised.isfinite().all():
                raise NonFiniteScore(
                    f"the score is not finite at step {index + 1} of {len(levels) - 1}, at noise level {sigma:.4g}: "
                    "give a larger sigma_min, more steps, or a model that was trained at this level"
                )
            return denoised

        if raised is not None:
            x, sigma = raised(x, sigma)
        step = _Step(look, x, sigma, after)
        yield step
        x = step.x
        if callback is not None:
            callback(Progress(index + 1, after, x, step.denoised))


def _checked(sigmas: Tensor) -> list[float]:
    """Levels as numbers, decreasing, positive but for a last one of 0."""
    levels = torch.as_tensor(sigmas).double()
    fine = levels.ndim == 1 and len(levels) > 1 and bool(levels.isfinite().all())
    if not fine or not ((levels.diff() < 0).all() and levels[-2] > 0 and levels[-1] >= 0):
        raise InvalidInput(
            f"sigmas={levels.tolist()!r} is not accepted: give at least two decreasing noise levels above 0, the last "
            "may be 0"
        )
    return levels.tolist()
