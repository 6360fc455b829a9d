r"""Langevin dynamics: a chain whose law tends to a density of which only the unnormalised logarithm is known.

.. math:: y' = y + \tfrac{h^2}{2} \nabla \log p(y) + h \, \epsilon, \qquad \epsilon \sim N(0, I),

is the discretisation, with step h, of a diffusion that leaves p invariant: noise and drift are tied, and a chain with
less noise than that draws from a sharper density than p. The step leaves an error of order h^2, which a Metropolis test
removes (MALA: Roberts & Tweedie 1996). Points are (n, D), each a chain of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from submanifold.models.latents import normal

__all__ = ["equilibrate", "jump", "langevin", "mala", "metropolis", "value_and_gradient"]

_TARGET = 0.574
"""Share of accepted proposals at which MALA moves fastest in many dimensions (Roberts & Rosenthal 1998)."""

_RATE = 0.1
_BETWEEN_JUMPS = 10


def value_and_gradient(log_density: Callable[[Tensor], Tensor], y: Tensor) -> tuple[Tensor, Tensor]:
    """log p(y), (n,), and its gradient, shaped like y; both detached, and no gradient reaches a parameter."""
    with torch.enable_grad():
        y = y.detach().requires_grad_()
        value = log_density(y)
        (gradient,) = torch.autograd.grad(value.sum(), y)
    return value.detach(), gradient


@torch.no_grad()
def langevin(
    score: Callable[[Tensor], Tensor],
    y: Tensor,
    *,
    step: float | Tensor,
    steps: int,
    generator: torch.Generator | None = None,
    clip: float | None = None,
) -> Tensor:
    """Where the chains that begin at y, (n, D), are after `steps` steps of unadjusted Langevin dynamics, (n, D).

    Args:
        score: the gradient of log p, (n, D) to (n, D).
        step: h.
        clip: drifts longer than this are shortened to it, which keeps chains from running away where p is steep, and
            leaves the law of the chain another than p there.
    """
    for _ in range(steps):
        drift = 0.5 * step**2 * score(y)
        if clip is not None:
            length = torch.linalg.vector_norm(drift, dim=1, keepdim=True)
            drift = drift * (clip / length.clamp(min=clip))
        y = y + drift + step * normal(y.shape, y, generator)
    return y


@torch.no_grad()
def mala(
    log_density: Callable[[Tensor], Tensor],
    y: Tensor,
    *,
    step: Tensor,
    steps: int,
    generator: torch.Generator | None = None,
    adapt: bool = False,
) -> tuple[Tensor, Tensor]:
    """Metropolis-adjusted Langevin dynamics: the chains (n, D) after `steps` steps, of which p is the invariant law.

    With `adapt` h follows the acceptance (Andrieu & Thoms 2008, eq. 20), and the law is p once h has settled.

    Returns:
        The chains, and the last h, ().
    """
    value, gradient = value_and_gradient(log_density, y)
    for _ in range(steps):
        proposal = y + 0.5 * step**2 * gradient + step * normal(y.shape, y, generator)
        new_value, new_gradient = value_and_gradient(log_density, proposal)
        forth = (proposal - y - 0.5 * step**2 * gradient).square().sum(dim=1)
        back = (y - proposal - 0.5 * step**2 * new_gradient).square().sum(dim=1)
        take, acceptance = metropolis(new_value - value + (forth - back) / (2 * step**2), generator)
        y = torch.where(take[:, None], proposal, y)
        gradient = torch.where(take[:, None], new_gradient, gradient)
        value = torch.where(take, new_value, value)
        if adapt:
            step = step * torch.exp(_RATE * (acceptance - _TARGET))
    return y, step


@torch.no_grad()
def jump(log_density: Callable[[Tensor], Tensor], y: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """The chains (n, D) after each was offered a point of the standard normal (Tierney 1994, section 2.3.3).

    p stays invariant. In few dimensions chains change modes so, which no gradient makes them do; in many all offers are
    refused.
    """
    offer = normal(y.shape, y, generator)
    log_ratio = log_density(offer) - log_density(y) + 0.5 * (offer.square() - y.square()).sum(dim=1)
    return torch.where(metropolis(log_ratio, generator)[0][:, None], offer, y)


@torch.no_grad()
def equilibrate(
    log_density: Callable[[Tensor], Tensor],
    y: Tensor,
    *,
    steps: int,
    step: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The chains (n, D) after `steps` steps of `mala` with a `jump` before every tenth.

    h begins at `step`, or D^(-1/6), and is found on the way.
    """
    step = y.new_tensor(y.shape[1] ** (-1 / 6)) if step is None else step
    for done in range(0, steps, _BETWEEN_JUMPS):
        y = jump(log_density, y, generator)
        between = min(_BETWEEN_JUMPS, steps - done)
        y, step = mala(log_density, y, step=step, steps=between, generator=generator, adapt=True)
    return y


def metropolis(log_ratio: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Which proposals are taken, (n,) bool, and the mean of the probabilities of that, ()."""
    probability = log_ratio.nan_to_num(nan=-math.inf).clamp(max=0).exp()  # (n,)
    u = torch.rand(len(log_ratio), generator=generator, device=log_ratio.device, dtype=log_ratio.dtype)
    return u < probability, probability.mean()
