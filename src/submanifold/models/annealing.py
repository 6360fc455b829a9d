r"""Annealed importance sampling: the normalising constant of a density that is known up to that constant.

Neal 2001 (arXiv physics/9803008). Between the Gaussian q = N(m, S S^\top) and the unnormalised density f lie p_\beta
\propto q^{1-\beta} f^\beta, 0 = \beta_0 < \dots < \beta_K = 1. A chain v_0, v_1, ... starts in q and moves by
transitions of which p_{\beta_k} is the invariant law; its weight

.. math:: w = \prod_{k=1}^{K} \left( \frac{f(v_{k-1})}{q(v_{k-1})} \right)^{\beta_k - \beta_{k-1}}

has mean Z = \int f, exactly, whether or not the chain has mixed. Transitions are Hamiltonian (Neal 2011, arXiv
1206.1901). Where the temperatures lie and how long steps are is read off other chains beforehand: weights of chains
that tune themselves would be biased. Points v are in coordinates in which q is the standard normal.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from submanifold.checks import check_int
from submanifold.errors import InvalidInput
from submanifold.models.langevin import metropolis, value_and_gradient
from submanifold.models.latents import normal

__all__ = ["NormaliserEstimate", "log_normaliser"]

_LEAPFROG = 5
_TARGET = 0.8
"""Share of accepted proposals to which steps are tuned; Hamiltonian chains do best between 0.6 and 0.9."""
_RATE = 0.5
_PILOTS, _PILOT_CHAINS, _PILOT_TEMPERATURES = 2, 128, 20
_FEWEST = 0.1
"""Effective share of the chains below which the spread of the weights is not known from the weights."""


@dataclass(frozen=True)
class NormaliserEstimate:
    """log Z with what it takes to judge it.

    Attributes:
        log_z: the estimate, in nats.
        standard_error: of `log_z`, from the spread of the weights of independent chains.
        effective_sample_size: how many equal weights would be as good as these, at most `chains`.
        chains: number of weights.
        acceptance: mean probability with which transitions were accepted.
    """

    log_z: float
    standard_error: float
    effective_sample_size: float
    chains: int
    acceptance: float

    @property
    def reliable(self) -> bool:
        """Whether the weights are even enough for their spread to be known.

        Mass that no chain has found, such as a mode far out of the Gaussian, leaves no trace in them.
        """
        return math.isfinite(self.log_z) and self.effective_sample_size >= _FEWEST * self.chains

    def __str__(self) -> str:
        said = f"log Z = {self.log_z:.4f} +- {self.standard_error:.2g} nats"
        if self.reliable:
            return said
        return (
            f"{said}, not reliable: the {self.chains} chains are worth {self.effective_sample_size:.1f}, "
            "give more temperatures"
        )


def log_normaliser(
    log_density: Callable[[Tensor], Tensor],
    dim: int,
    *,
    mean: Tensor | None = None,
    scale: Tensor | float = 1.0,
    chains: int = 256,
    temperatures: int = 100,
    generator: torch.Generator | None = None,
) -> NormaliserEstimate:
    r"""log \int f, f = exp(log_density), by annealed importance sampling from N(m, S S^T).

    Args:
        log_density: maps points (n, D) to log f in nats, (n,), differentiably.
        dim: D.
        mean: m, (D,), 0 if not given; the chains have its device and dtype.
        scale: S: a number, deviations (D,), or a matrix (D, D). The Gaussian should be near f, and not the narrower.
        chains: independent weights; the error falls with the square root of their number.
        temperatures: K; the more there are, the more even the weights.
        generator: of the chains' noise.

    Raises:
        InvalidInput: for fewer than 2 chains or temperatures, a mean or scale of another shape, a mean that is not
            of floating numbers, or a singular scale.

    Example:
        >>> import torch
        >>> from submanifold.models import log_normaliser
        >>> generator = torch.Generator().manual_seed(0)
        >>> estimate = log_normaliser(lambda x: -x.square().sum(1) / 8, 2, generator=generator)  # log 8 pi = 3.2242
        >>> abs(estimate.log_z - 3.2242) < 3 * estimate.standard_error
        True
    """
    path = _path(log_density, check_int(dim, name="dim"), mean, scale)
    check_int(chains, name="chains", low=2)
    betas = torch.linspace(0, 1, _PILOT_TEMPERATURES + 1, dtype=torch.float64)
    steps = torch.full_like(betas, 0.5 * path.dim**-0.25)
    sizes = [*[_PILOT_TEMPERATURES] * (_PILOTS - 1), check_int(temperatures, name="temperatures", low=2)]
    for size in sizes:
        pilot = _anneal(path, _PILOT_CHAINS, betas, steps, generator, tune=True)
        placed = _even(betas, pilot.deviations, size)
        betas, steps = placed, _interpolated(placed, betas, pilot.steps)
    run = _anneal(path, chains, betas, steps, generator, tune=False)
    w = run.log_weights  # (chains,)
    log_z = float(w.logsumexp(dim=0)) - math.log(chains)
    size_effective = float((2 * w.logsumexp(dim=0) - (2 * w).logsumexp(dim=0)).exp()) if math.isfinite(log_z) else 0.0
    error = math.sqrt(max(chains / size_effective - 1, 0) / (chains - 1)) if size_effective else math.inf
    return NormaliserEstimate(log_z, error, size_effective, chains, run.acceptance)


@dataclass(frozen=True)
class _Path:
    """From the standard normal of v to f: `log_density` is log f |det S| as a function of v, (n,)."""

    log_density: Callable[[Tensor], Tensor]
    dim: int
    like: Tensor


@dataclass(frozen=True)
class _Run:
    """What annealed chains leave behind: log w (chains,); at every temperature the deviation of log f/q and a step."""

    log_weights: Tensor
    deviations: Tensor
    steps: Tensor
    acceptance: float


def _path(log_density: Callable[[Tensor], Tensor], D: int, mean: Tensor | None, scale: Tensor | float) -> _Path:
    m = torch.zeros(D) if mean is None else mean
    S = torch.as_tensor(scale, device=m.device, dtype=m.dtype)
    S = S if S.ndim == 2 else torch.diag(S.expand(D)) if S.shape in ((), (D,)) else S[:0]
    if m.shape != (D,) or S.shape != (D, D):
        raise InvalidInput(
            f"mean has shape {tuple(m.shape)} and scale {tuple(torch.as_tensor(scale).shape)}: give ({D},), and a "
            f"number, ({D},) or ({D}, {D})"
        )
    if not m.is_floating_point():
        raise InvalidInput(f"mean has dtype {m.dtype}: give floating numbers")
    log_det = torch.linalg.slogdet(S).logabsdet
    if not log_det.isfinite():
        raise InvalidInput("scale is singular or not finite: give a Gaussian with a density")
    return _Path(lambda v: log_density(m + v @ S.mT) + log_det, D, m)


@torch.no_grad()
def _anneal(
    path: _Path, chains: int, betas: Tensor, steps: Tensor, generator: torch.Generator | None, *, tune: bool
) -> _Run:
    """Chains from q to f; with `tune` the step of each temperature comes of the acceptance at those before it."""
    state = _State.at(path, normal((chains, path.dim), path.like, generator))
    log_weights = torch.zeros(chains, dtype=torch.float64, device=path.like.device)
    deviations, used, acceptances = [], [], []
    step = float(steps[1])
    for k in range(1, len(betas)):
        ratio = state.log_f.double() - _log_normal(state.v).double()  # (chains,)
        log_weights += float(betas[k] - betas[k - 1]) * ratio
        finite = ratio[ratio.isfinite()]
        deviations.append(float(finite.std()) if len(finite) > 1 else 0.0)
        step = step if tune else float(steps[k])
        used.append(step)
        if tune or k < len(betas) - 1:  # no weight comes after the last transition
            state, acceptance = _hamiltonian(path, state, float(betas[k]), step, generator)
            acceptances.append(acceptance)
            step *= math.exp(_RATE * (acceptance - _TARGET))
    return _Run(
        log_weights,
        torch.tensor([*deviations, deviations[-1]], dtype=betas.dtype),
        torch.tensor([used[0], *used], dtype=betas.dtype),
        sum(acceptances) / len(acceptances),
    )


@dataclass(frozen=True)
class _State:
    """Chains at v, (n, D), with log f there, (n,), and its gradient, (n, D)."""

    v: Tensor
    log_f: Tensor
    gradient: Tensor

    @classmethod
    def at(cls, path: _Path, v: Tensor) -> _State:
        return cls(v, *value_and_gradient(path.log_density, v))

    def log_p(self, beta: float) -> Tensor:
        """log p_beta up to a constant, (n,)."""
        return (1 - beta) * _log_normal(self.v) + beta * self.log_f

    def slope(self, beta: float) -> Tensor:
        """Gradient of log p_beta, (n, D)."""
        return beta * self.gradient - (1 - beta) * self.v


def _hamiltonian(
    path: _Path, start: _State, beta: float, step: float, generator: torch.Generator | None
) -> tuple[_State, float]:
    """One transition that leaves p_beta invariant, and the mean probability of its acceptance."""
    n, like = len(start.v), start.v
    jitter = torch.rand(n, 1, generator=generator, device=like.device, dtype=like.dtype)
    h = step * (0.8 + 0.4 * jitter)  # equal steps would meet orbits that close
    p0 = normal(start.v.shape, like, generator)
    state, p = start, p0 + 0.5 * h * start.slope(beta)
    for i in range(_LEAPFROG):
        state = _State.at(path, state.v + h * p)
        p = p + (h if i < _LEAPFROG - 1 else 0.5 * h) * state.slope(beta)
    log_ratio = state.log_p(beta) - start.log_p(beta) + 0.5 * (p0.square() - p.square()).sum(dim=1)
    take, acceptance = metropolis(log_ratio, generator)
    chosen = _State(
        torch.where(take[:, None], state.v, start.v),
        torch.where(take, state.log_f, start.log_f),
        torch.where(take[:, None], state.gradient, start.gradient),
    )
    return chosen, float(acceptance)


def _log_normal(v: Tensor) -> Tensor:
    return -0.5 * (v.square().sum(dim=1) + v.shape[1] * math.log(2 * math.pi))


def _even(betas: Tensor, deviations: Tensor, temperatures: int) -> Tensor:
    r"""Temperatures 0 = \beta_0 < ... < \beta_K = 1 between which log f/q, of standard deviation s, changes alike.

    That is \int s d\beta the same between each two, the spacing for which the weights vary least (Gelman & Meng 1998).
    """
    s = deviations + 0.1 * deviations.mean() + 1e-12  # a pilot's zero is no reason to leave a gap
    length = torch.cat([s.new_zeros(1), (0.5 * (s[1:] + s[:-1]) * betas.diff()).cumsum(dim=0)])
    even = torch.linspace(0, float(length[-1]), temperatures + 1, dtype=torch.float64)
    placed = _interpolated(even, length, betas)
    placed[0], placed[-1] = 0.0, 1.0
    return placed


def _interpolated(at: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """The piecewise linear function that has `values` at `knots`, at other points."""
    import numpy as np

    return torch.as_tensor(np.interp(at.numpy(), knots.numpy(), values.numpy()))
