r"""Log-densities of noised data from their scores, along the probability flow.

A point x at noise level \sigma_min goes with dx / d\sigma = -\sigma s(x, \sigma) to \sigma_max, where the law is known
well enough, and its log-density changes on the way (Song et al. 2021, arXiv 2011.13456, section 4.3; Chen et al. 2018,
arXiv 1806.07366):

.. math:: \log p_{\sigma_{min}}(x) = \log p_{\sigma_{max}}(x_{max})
          - \int_{\sigma_{min}}^{\sigma_{max}} \sigma \, div \, s(x_\sigma, \sigma) \, d\sigma.

For data on a manifold of dimension d this is a number for every \sigma_min, and has no limit: it grows as
(D - d) \log 1 / \sigma_min.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from submanifold.checks import check_int, check_real
from submanifold.errors import InvalidInput, NonFiniteScore
from submanifold.geometry import divergence, divergence_along
from submanifold.models.diffusion.ode import integrate
from submanifold.models.latents import normal

__all__ = ["FlowLikelihood", "LikelihoodCurve", "diffusion_bound", "flow_log_prob", "likelihood_curve"]

ScoreField = Callable[[Tensor, Tensor], Tensor]
"""The score of points (n, D) under one noise level, (), (n, D)."""

_TOP = 0.3
"""The largest noise level of a curve, unless others are asked for."""
_FLAT = 0.1
"""A slope in nats that a network's errors can be the reason for."""


@dataclass(frozen=True)
class FlowLikelihood:
    """Log-densities of points under a noise level.

    Attributes:
        log_prob: in nats, (n,).
        error: standard errors of the estimated divergence, (n,); zero where it is exact.
        ends: where the points came to at the largest noise level, (n, D).
    """

    log_prob: Tensor
    error: Tensor
    ends: Tensor


def flow_log_prob(
    score: ScoreField,
    x: Tensor,
    sigma_min: float,
    sigma_max: float,
    log_prob_last: Callable[[Tensor], Tensor],
    *,
    directions: Tensor | None = None,
    tolerance: float = 1e-5,
    chunk_size: int | None = None,
) -> FlowLikelihood:
    r"""\log p_{\sigma_min}(x), with a solver of adaptive steps in \log \sigma (Dormand & Prince 1980, order 5).

    Args:
        score: of p_\sigma.
        x: points (n, D).
        sigma_min: the level at which they are scored.
        sigma_max: the level at which the law is known.
        log_prob_last: its log-density there, (n, D) to (n,).
        directions: random ones, (k, n, D), of mean 0 and covariance I, along which the divergence is estimated; None
            for the exact one, which takes D passes.
        tolerance: error of a step, relative to slopes in \log \sigma, and at least to \sigma_min in x and to 1 nat in
            the log-density; that of the worst point.
        chunk_size: coordinates or directions at a time, which bounds the memory.

    Raises:
        InvalidInput: for levels that are not 0 < sigma_min < sigma_max, or a tolerance that cannot be held.
        NonFiniteScore: where the score or its divergence is not a number.
    """
    low = check_real(sigma_min, name="sigma_min", open_low=True)
    high = check_real(sigma_max, name="sigma_max", low=low, open_low=True)
    D, count = x.shape[1], 1 if directions is None else len(directions)

    def slope(log_sigma: float, state: Tensor) -> Tensor:
        sigma = state.new_tensor(math.exp(log_sigma))
        y = state[:, :D]

        def field(y: Tensor) -> Tensor:
            return score(y, sigma)

        if directions is None:
            s, trace = divergence(field, y, chunk_size=chunk_size)
            traces = trace[None]
        else:
            s, traces = divergence_along(field, y, directions, chunk_size=chunk_size)
        for what, values in (("score", s), ("score's divergence", traces)):
            if not values.isfinite().all():
                raise NonFiniteScore(
                    f"the {what} is not finite at noise level {float(sigma):.4g} of the likelihood: give a larger "
                    "sigma_min, or a network that is smooth there"
                )
        return sigma.square() * torch.cat([-s, traces.mT], dim=1)

    start = torch.cat([x, x.new_zeros(len(x), count)], dim=1)
    end = integrate(
        slope,
        start,
        math.log(low),
        math.log(high),
        tolerance=tolerance,
        absolute=[tolerance * low, tolerance],  # errors of x matter in units of the noise
        parts=[D, count],
    )
    ends, gained = end[:, :D], end[:, D:]
    log_probs = log_prob_last(ends)[:, None] - gained
    error = log_probs.std(dim=1) / math.sqrt(count) if count > 1 else torch.zeros_like(log_probs[:, 0])
    return FlowLikelihood(log_probs.mean(dim=1), error, ends)


@dataclass(frozen=True)
class LikelihoodCurve:
    r"""Mean log-likelihood under less and less noise.

    Slopes are against \log 1 / \sigma, in nats: the codimension D - d of data on a manifold, 0 where the data have a
    density and the levels are small enough to see it. Standard errors are over points: they count the chance in which
    points were drawn and directions for an estimated divergence, but not what the network gets wrong.

    Attributes:
        sigmas: noise levels, ascending, (m,).
        log_prob: mean over points at each, in nats, (m,).
        error: its standard error, (m,).
        slope: of the mean over all levels.
        slope_error: its standard error.
        fine_slope: of the mean over the finer half of the levels, two or more.
        fine_slope_error: its standard error.
    """

    sigmas: Tensor
    log_prob: Tensor
    error: Tensor
    slope: float
    slope_error: float
    fine_slope: float
    fine_slope_error: float

    @property
    def has_limit(self) -> bool:
        """Whether the log-likelihood may settle as the noise vanishes; False where there is no likelihood of the data.

        False where `fine_slope` is above a tenth of a nat by three standard errors and more: it still rises, as it does
        without end on a manifold of less than D dimensions, or where some of the data are on one. Data that are thin
        but have a density rise as well, down to noise below their thickness: give levels that are small enough. What is
        judged is the model's law: one that has not learned its least levels blurs the data there, and is flat.
        """
        return self.fine_slope - 3 * self.fine_slope_error <= _FLAT


class _Scored(Protocol):
    sigma_min: float
    sigma_max: float

    def log_prob_at(self, x: Tensor, sigma_min: float | None = None) -> FlowLikelihood: ...


def likelihood_curve(
    model: _Scored, x: Tensor, sigmas: Sequence[float] | None = None, *, levels: int = 6
) -> LikelihoodCurve:
    r"""How the log-likelihood of data changes with the noise level under which they are scored.

    On data of a manifold there is no likelihood in the limit: the curve rises by D - d nats each time the noise falls
    by a factor e (Loaiza-Ganem et al. 2024, arXiv 2404.02954, section 4).

    Args:
        model: a flow with `log_prob_at`, such as `Diffusion`.
        x: points (n, *data_shape), two or more.
        sigmas: noise levels in units of preprocessed data, as the model's `sigma_min`, two or more; by default `levels`
            of them from the model's least to three tenths, or to half of its largest if that is less, evenly in their
            logarithm.
        levels: how many, where `sigmas` are not given.

    Raises:
        InvalidInput: for fewer levels or points, levels that the model does not know, or none where its own least level
            is too high for the default ones.
    """
    if sigmas is None:
        low, top = model.sigma_min, min(_TOP, model.sigma_max / 2)
        count = check_int(levels, name="levels", low=2)
        if top <= low:
            raise InvalidInput(
                f"sigmas=None asks for levels from the model's least, {low:.4g}, to {top:.4g}, which is not above it: "
                f"give sigmas= in [{low:.4g}, {model.sigma_max:.4g}]"
            )
        sigmas = torch.logspace(math.log10(low), math.log10(top), count, dtype=torch.float64).tolist()
    at = torch.tensor(sorted(set(sigmas)), dtype=torch.float64)
    if len(at) < 2 or len(x) < 2:
        raise InvalidInput(f"sigmas={list(sigmas)!r} for {len(x)} points: give at least two levels and two points")
    each = torch.stack([model.log_prob_at(x, sigma).log_prob.double().cpu() for sigma in at.tolist()])  # (m, n)
    fine = max(2, len(at) // 2)
    return LikelihoodCurve(
        at,
        each.mean(dim=1),
        each.std(dim=1) / math.sqrt(len(x)),
        *_mean_slope(at, each),
        *_mean_slope(at[:fine], each[:fine]),
    )


def _mean_slope(sigmas: Tensor, each: Tensor) -> tuple[float, float]:
    r"""Of values (m, n) at levels (m,) against \log 1 / \sigma, the mean over n points, and its standard error."""
    t = -sigmas.log()
    weights = (t - t.mean()) / (t - t.mean()).square().sum()
    slopes = weights @ each  # (n,)
    return float(slopes.mean()), float(slopes.std()) / math.sqrt(len(slopes))


def diffusion_bound(
    score: ScoreField,
    x: Tensor,
    sigma_min: float,
    sigma_max: float,
    log_prob_last: Callable[[Tensor], Tensor],
    *,
    levels: int = 32,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    r"""A lower bound of the log-density of x under the reverse diffusion that begins at the law of the largest level.

    .. math:: \log p(x) \ge -\tfrac D2 \log 2 \pi e \sigma_{min}^2 - KL(N(x, \sigma_{max}^2 I) \| p_{\sigma_{max}})
              - \int \sigma^{-2} \, \mathbb{E} |x - D(x + \sigma \epsilon, \sigma)|^2 \, d \log \sigma

    for the model whose last step is N(x_{\sigma_{min}}, \sigma_{min}^2 I) (Kingma et al. 2021, arXiv 2107.00630, eq. 12
    and 15; Song et al. 2021, arXiv 2101.09258, theorem 3). The integral is estimated at two random levels in each of
    `levels` strata, even in \log \sigma. They are the same for all points, whose errors have that part in common: the
    mean over many points is made better by more levels.

    Args:
        score: of p_\sigma.
        x: points (n, D).
        sigma_min: the least level.
        sigma_max: the largest.
        log_prob_last: log-density at that level, (n, D) to (n,).
        levels: strata, two evaluations of the score each.
        generator: of the noise.

    Returns:
        the bound in nats and its standard error, (n,) each.

    Raises:
        InvalidInput: for levels that are not 0 < sigma_min < sigma_max.
    """
    low = check_real(sigma_min, name="sigma_min", open_low=True)
    high = check_real(sigma_max, name="sigma_max", low=low, open_low=True)
    strata, width = check_int(levels, name="levels", low=2), math.log(high / low) / levels

    def missed(stratum: int) -> Tensor:
        u = float(torch.rand((), generator=generator, dtype=torch.float64))
        sigma = x.new_tensor(low * math.exp(width * (stratum + u)))
        noise = normal(x.shape, x, generator)
        # x - D is sigma times what the network misses of the noise
        return (noise + sigma * score(x + sigma * noise, sigma)).square().sum(dim=1)

    with torch.no_grad():
        pairs = torch.stack([torch.stack([missed(k), missed(k)]) for k in range(strata)])  # (levels, 2, n)
        ends = torch.stack([log_prob_last(x + high * normal(x.shape, x, generator)) for _ in range(strata)])
    D = x.shape[1]
    last = ends.mean(dim=0) + 0.5 * D * math.log(2 * math.pi * math.e * high**2)
    bound = last - width * pairs.mean(dim=1).sum(dim=0) - 0.5 * D * math.log(2 * math.pi * math.e * low**2)
    variance = width**2 * (pairs[:, 0] - pairs[:, 1]).square().sum(dim=0) / 4 + ends.var(dim=0) / strata
    return bound, variance.sqrt()
