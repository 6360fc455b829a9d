r"""Noise as a remedy: a density of noised data, x + \sigma \epsilon with \epsilon \sim N(0, I_D), instead of data.

Data on a manifold have no density on R^D; noised data have one, p_\sigma = p * N(0, \sigma^2 I), whose likelihood has a
maximum. s is the data's scale, the root mean square deviation per coordinate: levels of noise are said in units of it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from submanifold.checks import check_choice, check_int, check_real
from submanifold.errors import InvalidInput
from submanifold.models.base import Awareness, Density, Generator, LogProbKind, Measure, Model, Objective, Stage
from submanifold.models.diffusion.levels import SPACINGS
from submanifold.models.diffusion.probability_flow import ProbabilityFlow
from submanifold.models.registry import preset, register

__all__ = ["CORRECTIONS", "NOISES", "Noised"]

NOISES = ("fixed", "random", "annealed")
"""One level all the time, one for each point each time, or one that falls as training goes on."""

CORRECTIONS = ("none", "tweedie")
"""What is done to samples, which are of noised data."""

_ANNEALED = "its noise falls as training goes on, so that each step fits a density close to the last one's"

_UNBOUNDED = ("lattice", "logit")
"""Maps of values that lie on levels or between bounds, which noised ones do not."""


class _Base(Density, Generator, Protocol):
    """A model that scores and samples."""

    def stages(self) -> list[Stage]: ...


@register("noised")
class Noised(Model):
    r"""Any model with a density on R^D, trained on data to which Gaussian noise is added anew at every step.

    `noise` says of which level:

    - "fixed": \sigma. The likelihood is well posed, and its maximum the law of noised data p_\sigma.
    - "random": for each point one drawn evenly from [\sigma, \sigma_max]. The law that is learned is the mixture of the
      p_\sigma over these levels.
    - "annealed": at first \sigma_max, falling to \sigma over `anneal_steps` steps of each stage that is shown data,
      which is data mollification (Tran et al. 2023, arXiv 2305.18900, whose noise falls to nothing, with
      spacing="sigmoid"): a likelihood that is easy to maximise leads to one that is not. Stages that are shown what is
      made of data beforehand, such as a flow's own pairs, get it of data under \sigma.

    Held-out losses are under the noise with which training ends. `log_prob` is that of noised data at \sigma (with
    "random", of the mixture), of the base's kind, with respect to volume in R^D and in the units of the data: of clean
    data it says how well they fit the law of noised ones.

    Samples are of noised data too. With `correction="tweedie"` each is moved to the mean of what it was before the
    noise, see `posterior_mean`, which takes away most of the noise across a manifold (Meng et al. 2021, arXiv
    2103.15089; Loaiza-Ganem et al. 2024, arXiv 2404.02954, section 5.1).

    Noise is added before the base's preprocessing, which is fitted to noised data: they lie on no lattice even if the
    data do, so that "dequantise" has nothing to do.

    Args:
        base: a model that scores and samples, with a density on R^D.
        sigma: \sigma / s, above 0.
        noise: "fixed", "random" or "annealed".
        sigma_max: \sigma_max / s of the latter two.
        anneal_steps: steps over which the noise falls; when training ends earlier there is a warning.
        spacing: how it falls, a name of `submanifold.models.diffusion.levels.SPACINGS`: "log" halves it every so many
            steps, "sigma" takes as much off in each, "sigmoid" is slow at both ends.
        correction: what is done to samples, "none" or "tweedie".

    Raises:
        InvalidInput: for a base without a density on R^D, or one of values on levels or between bounds; for a
            correction with random noise, since the formula is that of one level, or of a base whose log-density has no
            gradients, such as that of a flow from noise to data.
    """

    family = "likelihood of noised data"
    awareness: Awareness = "unaware"
    why = "its law is that of data under a fixed level of noise, and the less noise the more it is as without"

    measure: Measure = "ambient"
    base: _Base
    step: Tensor

    def __init__(
        self,
        base: Model,
        *,
        sigma: float = 0.1,
        noise: str = "fixed",
        sigma_max: float = 1.0,
        anneal_steps: int = 1000,
        spacing: str = "log",
        correction: str = "none",
    ) -> None:
        checked = _checked(base)
        super().__init__(checked.data_shape, ("scale",))
        self.sigma = check_real(sigma, name="sigma", open_low=True)
        self.noise = check_choice(noise, NOISES, name="noise")
        if noise == "annealed":
            self.awareness, self.why = "aware", _ANNEALED
        self.sigma_max = self.sigma if noise == "fixed" else check_real(sigma_max, name="sigma_max", low=self.sigma)
        self.anneal_steps = check_int(anneal_steps, name="anneal_steps")
        self.spacing = check_choice(spacing, SPACINGS, name="spacing")
        self.correction = check_choice(correction, CORRECTIONS, name="correction")
        if correction == "tweedie" and noise == "random":
            raise InvalidInput(
                'correction="tweedie" is not accepted with noise="random": give noise="fixed" or "annealed", the '
                "formula is that of one level"
            )
        if correction == "tweedie":
            _require_gradients(base)
        self.base = checked
        self.register_buffer("step", torch.tensor(0))

    @classmethod
    def assemble(
        cls,
        data_shape: Sequence[int],
        *,
        base: str = "flow",
        options: Mapping[str, Any] | None = None,
        sigma: float = 0.1,
        noise: str = "fixed",
        sigma_max: float = 1.0,
        anneal_steps: int = 1000,
        spacing: str = "log",
        correction: str = "none",
    ) -> Noised:
        """A model from the name of its base and `options`, the arguments of that; the others are those of `Noised`."""
        from submanifold.models import catalogue  # deferred: it imports this module

        return cls(
            catalogue.create(base, data_shape, **(options or {})),
            sigma=sigma,
            noise=noise,
            sigma_max=sigma_max,
            anneal_steps=anneal_steps,
            spacing=spacing,
            correction=correction,
        )

    @property
    def log_prob_kind(self) -> LogProbKind:
        """What the base's log-likelihood is."""
        return self.base.log_prob_kind

    @property
    def level(self) -> Tensor:
        r"""\sigma / s of annealed noise after the steps that were taken, ()."""
        share = (self.step.double() / self.anneal_steps).clamp(max=1.0)
        return SPACINGS[self.spacing](share, self.sigma, self.sigma_max)

    def stages(self) -> list[Stage]:
        return [self._under_noise(stage, first=index == 0) for index, stage in enumerate(self.base.stages())]

    def noised(self, x: Tensor) -> Tensor:
        """Points x, (n, *data_shape), under the noise with which training ends, from torch's global generator."""
        if self.noise == "random":
            levels = torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device, dtype=x.dtype)  # (n, 1, ...)
            return self._with_noise(x, self.sigma + (self.sigma_max - self.sigma) * levels)
        return self._with_noise(x, self.sigma)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density of noised data in nats, (n,)."""
        return self.base.log_prob(x)

    @torch.no_grad()
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` samples, (n, *data_shape), of noised data, corrected if so chosen."""
        x = self.base.sample(n, generator=generator)
        return self.posterior_mean(x) if self.correction == "tweedie" else x

    def posterior_mean(self, x: Tensor) -> Tensor:
        r"""E[x_0 | x_0 + \sigma \epsilon = x] = x + \sigma^2 \nabla \log p_\sigma(x), shaped like x, without gradients.

        Tweedie's formula (Robbins 1956; Efron 2011, doi 10.1198/jasa.2011.tm11181, eq. 1.4), with the base's density.

        Raises:
            InvalidInput: for random noise, or a base whose log-density has no gradients.
        """
        if self.noise == "random":
            raise InvalidInput('noise="random" has no one level to take away: give noise="fixed" or "annealed"')
        sigma = self.sigma * self.preprocess.inverse_lipschitz()
        x = self.receive(x).detach().requires_grad_()
        with torch.enable_grad():
            log_prob = self.base.log_prob(x)
            if not log_prob.requires_grad:
                raise InvalidInput(f'base={type(self.base).__name__} has no gradients in x: give correction="none"')
            (score,) = torch.autograd.grad(log_prob.sum(), x)
        return x.detach() + sigma**2 * score

    def _under_noise(self, stage: Stage, *, first: bool) -> Stage:
        """A stage of the base as a stage of the whole: whatever it sees is noised."""
        transform, prepare, finish = stage.transform, stage.prepare, stage.finish
        # what is made of data beforehand, such as a flow's own pairs, is made under the noise with which training ends
        counted = bool(stage.objectives) and transform is None

        def on_noised(x: Tensor, *labels: Tensor | None) -> Tensor:
            assert transform is not None
            return transform(self.noised(x), *labels)

        def prepare_on_noised(x: Tensor) -> None:
            if first:
                self.prepare(x)
            if counted:
                self.step.zero_()
            if prepare is not None:
                prepare(x if transform else self.noised(x))

        def finish_on_noised(x: Tensor) -> None:
            if counted and self.noise == "annealed" and self.step < self.anneal_steps:
                warnings.warn(
                    f"training ended after {int(self.step)} of the {self.anneal_steps} steps over which the noise "
                    f"falls, at {float(self.level):.3g} of the data's scale instead of {self.sigma:.3g}: train longer, "
                    "or give a smaller anneal_steps",
                    stacklevel=2,
                )
            if finish is not None:
                finish(self.noised(x))

        objectives = [
            replace(objective, loss=self._loss_under_noise(objective, counts=index == 0))
            for index, objective in enumerate(stage.objectives)
        ]
        return replace(
            stage,
            objectives=stage.objectives if transform else objectives,
            transform=on_noised if transform else None,
            prepare=prepare_on_noised,
            finish=finish_on_noised,
        )

    def _loss_under_noise(self, objective: Objective, *, counts: bool) -> Callable[..., Tensor | Mapping[str, Tensor]]:
        """The objective's loss of noised points; while annealing, one of the losses counts the steps of training."""

        def loss(x: Tensor, *labels: Tensor) -> Tensor | Mapping[str, Tensor]:
            if self.noise != "annealed" or not self.training:  # the trainer measures held-out losses in evaluation
                return objective.loss(self.noised(x), *labels)
            level = self.level.to(x.dtype)
            if counts:
                self.step += 1
            return objective.loss(self._with_noise(x, level), *labels)

        return loss

    def _with_noise(self, x: Tensor, level: Tensor | float) -> Tensor:
        r"""x + \sigma \epsilon for \sigma / s, a number or one for each point."""
        return x + level * self.preprocess.inverse_lipschitz() * torch.randn_like(x)


def _checked(base: object) -> _Base:
    """The base, if its law can be one of noised data."""
    word = repr(base) if isinstance(base, str) else type(base).__name__
    if not (isinstance(base, Model) and isinstance(base, Density) and isinstance(base, Generator)):
        raise InvalidInput(f"base={word} is not accepted: give a model with log_prob and sample")
    if base.measure != "ambient":
        raise InvalidInput(
            f"base={word} is a density on a manifold, which noised data leave: give one on all of R^D, such as a flow"
        )
    unbounded = [name for name in base.preprocess.names if name in _UNBOUNDED]
    if unbounded:
        raise InvalidInput(
            f"base={word} with preprocess={list(base.preprocess.names)!r} is not accepted: {unbounded[0]} is a map of "
            'values on levels or between bounds, which noised ones leave, so give a model with preprocess=("scale",)'
        )
    return base


def _require_gradients(base: Model) -> None:
    """Refuse, before training, models whose log-density is solved for without gradients, wherever in the base."""
    if any(isinstance(part, ProbabilityFlow) for part in base.modules()):
        raise InvalidInput(
            f'correction="tweedie" is not accepted with base={type(base).__name__}, whose log-density has no gradients '
            'in x: give correction="none"'
        )


preset("noised-flow", Noised, family="normalizing flow of noised data", base="flow", correction="tweedie")
preset(
    "mollified-flow",
    Noised,
    family="normalizing flow by data mollification",
    awareness="aware",
    why=_ANNEALED,
    base="flow",
    noise="annealed",
    sigma=0.01,
    correction="tweedie",
)
