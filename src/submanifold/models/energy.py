r"""Energy-based models: p(x) = exp(-E(x)) / Z with E a network, so that Z is not known.

y is x after preprocessing, v the coordinates in which the data have mean 0 and covariance I. Energies are tiltings of
the Gaussian q of the data, E(y) = f(y) - \log q(y) with f a network that grows at most linearly, so that Z is finite
whatever the weights are, and a network that says nothing is a normalised density already.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from submanifold import nn
from submanifold.checks import check_choice, check_int, check_real
from submanifold.models.annealing import NormaliserEstimate, log_normaliser
from submanifold.models.base import LogProbKind, Measure, Model, Objective
from submanifold.models.critics import critic_network
from submanifold.models.langevin import equilibrate, jump, langevin, mala, value_and_gradient
from submanifold.models.latents import normal
from submanifold.models.reference import GaussianReference
from submanifold.models.registry import register
from submanifold.nn.given import NetworkLike

__all__ = ["EnergyBased", "EnergyModel"]


class EnergyBased(Model):
    """What models with an energy share: their density up to a constant, the constant, and samples by Langevin dynamics.

    A subclass says what is minimised. Points inside are `v`, (n, D).
    """

    measure: Measure = "ambient"
    log_prob_kind: LogProbKind = "unnormalised"
    networks = ("energy",)

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        hidden: Sequence[int],
        network: NetworkLike,
        preprocess: Sequence[str],
        sample_steps: int,
    ) -> None:
        super().__init__(data_shape, preprocess)
        self.sample_steps = check_int(sample_steps, name="sample_steps")
        given = nn.network_for(network, "energy", self.networks)
        self.tilt = critic_network(given, self.data_shape, hidden, level=False, role="energy")
        self.reference = GaussianReference(self.ambient_dim)

    def prepare(self, x: Tensor) -> None:
        super().prepare(x)
        self.reference.fit(self.preprocess(x).flatten(1))

    def log_prob(self, x: Tensor) -> Tensor:
        """-E(x), the log-density in nats up to one constant that is the same for all x, (n,); see `log_normaliser`."""
        y, log_det = self.preprocess.forward_and_log_det(self.receive(x))
        return self._log_density(y) + log_det

    def log_normaliser(
        self, *, chains: int = 256, temperatures: int = 100, generator: torch.Generator | None = None
    ) -> NormaliserEstimate:
        """log Z, by which `log_prob` is too large, by annealed importance sampling from the Gaussian of the data.

        The arguments are those of `submanifold.models.log_normaliser`.
        """
        self.preprocess.require_fitted()
        return log_normaliser(
            lambda v: self._log_density_of(v) + self.reference.log_det(),
            self.ambient_dim,
            chains=chains,
            temperatures=temperatures,
            generator=generator,
            mean=self.reference.mean.new_zeros(self.ambient_dim),
        )

    @torch.no_grad()
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` samples, (n, *data_shape), by `sample_steps` steps of Langevin dynamics."""
        self.preprocess.require_fitted()
        v = self._start(check_int(n, name="n"), generator)
        return self.preprocess.inverse(self._points(self._equilibrate(v, generator)))

    def _start(self, n: int, generator: torch.Generator | None) -> Tensor:
        """Where chains begin, v, (n, D): in the Gaussian of the data."""
        return normal((n, self.ambient_dim), self.reference.mean, generator)

    def _equilibrate(self, v: Tensor, generator: torch.Generator | None) -> Tensor:
        """The chains v, (n, D), after `sample_steps` transitions."""
        return equilibrate(self._log_density_of, v, steps=self.sample_steps, generator=generator)

    def _points(self, v: Tensor) -> Tensor:
        """y, (n, *data_shape), of v, (n, D)."""
        return self.reference.colour(v).reshape(len(v), *self.data_shape)

    def _log_density(self, y: Tensor) -> Tensor:
        """-E(y), (n,)."""
        tilt: Tensor = self.tilt(y)
        return self.reference.log_prob(y.flatten(1)) - tilt[:, 0]

    def _log_density_of(self, v: Tensor) -> Tensor:
        """-E as a function of v, (n,)."""
        return self._log_density(self._points(v))


@register("ebm")
class EnergyModel(EnergyBased):
    r"""Maximises the likelihood by its gradient,

    .. math:: \nabla_\theta \, \mathbb{E} \log p(x)
              = -\mathbb{E}_{x \sim data} \nabla_\theta E(x) + \mathbb{E}_{x \sim p} \nabla_\theta E(x),

    with the second expectation over Langevin chains that go on from step to step (persistent contrastive divergence:
    Tieleman 2008; with a replay buffer: Du & Mordatch 2019, arXiv 1903.08689, algorithm 1). Each step of training takes
    as many chains out of the buffer as the batch has points, at random, moves them and puts them back.

    "mala" chains have p as their law, so that what is learned is the data's density: they pass Metropolis tests, find
    their own step, and are offered a new beginning each time. "langevin" chains pass no test and some of them begin
    anew each time: what is learned is an energy whose chains, of this step and length, look like data.

    `log_prob` is unnormalised: it compares points with each other, not models; see `log_normaliser`.

    Args:
        data_shape: (D,) or (channels, height, width).
        hidden: widths of the hidden layers of the network.
        network: a name of `submanifold.nn`, of which "auto" is convolutional for images from 16 x 16 on, or networks of
            your own in place of `networks`, see `submanifold.nn.given`.
        transition: "mala" or "langevin".
        steps: transitions of each chain per step of training.
        buffer: number of chains.
        magnitude: \alpha in the penalty \alpha (f(x)^2 + f(x')^2) of data and chains, which keeps f from drifting.
        step: h of "langevin", in deviations of the data.
        fresh: share of "langevin" chains that begin anew, in the Gaussian of the data.
        clip: drifts of "langevin" longer than this are shortened to it; None leaves them.
        sample_steps: transitions by which a sample is taken away from its chain of the buffer.
        preprocess: names of the invertible maps applied first.
    """

    family = "energy-based model"
    awareness = "unaware"
    why = "exp(-E) is above zero everywhere; on a manifold the likelihood grows without bound as E gets ever steeper"

    chains: Tensor
    step: Tensor

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        hidden: Sequence[int] = (128, 128),
        network: NetworkLike = "auto",
        transition: str = "mala",
        steps: int = 5,
        buffer: int = 1024,
        magnitude: float = 1e-3,
        step: float = 0.1,
        fresh: float = 0.05,
        clip: float | None = None,
        sample_steps: int = 100,
        preprocess: Sequence[str] = ("scale",),
    ) -> None:
        super().__init__(data_shape, hidden=hidden, network=network, preprocess=preprocess, sample_steps=sample_steps)
        self.transition = check_choice(transition, ("mala", "langevin"), name="transition")
        self.steps = check_int(steps, name="steps")
        self.magnitude = check_real(magnitude, name="magnitude")
        self.fresh = check_real(fresh, name="fresh", high=1.0)
        self.clip = None if clip is None else check_real(clip, name="clip", open_low=True)
        fixed = check_real(step, name="step", open_low=True)
        self.first_step = fixed if transition == "langevin" else self.ambient_dim ** (-1 / 6)
        self.register_buffer("step", torch.tensor(self.first_step))
        self.register_buffer("chains", torch.zeros(check_int(buffer, name="buffer"), self.ambient_dim))

    def prepare(self, x: Tensor) -> None:
        super().prepare(x)
        self.chains.copy_(normal(self.chains.shape, self.chains))
        self.step.fill_(self.first_step)

    def objectives(self) -> list[Objective]:
        return [Objective("contrast", list(self.parameters()), self.loss)]

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        """The contrast f(data) - f(chains), whose gradient is that of -log p, and the loss with the penalty, ()."""
        y = self.preprocess.forward(x)
        f, f_chains = self.tilt(y)[:, 0], self.tilt(self._points(self._advanced(len(y))))[:, 0]
        contrast = f.mean() - f_chains.mean()
        penalty = self.magnitude * (f.square() + f_chains.square()).mean()
        return {"loss": contrast + penalty, "contrast": contrast, "langevin_step": self.step.clone()}

    @torch.no_grad()
    def _advanced(self, n: int) -> Tensor:
        """Chains v, (n, D), moved on; kept while the model is trained."""
        keys = torch.rand(max(n, len(self.chains)), device=self.chains.device)
        places = keys.argsort()[:n] % len(self.chains)  # each chain once, unless there are fewer than n
        v = self.chains[places]
        if self.transition == "mala":
            v = jump(self._log_density_of, v)
            v, step = mala(self._log_density_of, v, step=self.step, steps=self.steps, adapt=True)
        else:
            anew = torch.rand(n, 1, device=v.device) < self.fresh
            v, step = self._unadjusted(torch.where(anew, normal(v.shape, v), v), self.steps), self.step
        if self.training:
            self.chains[places] = v
            self.step.copy_(step)
        return v

    def _start(self, n: int, generator: torch.Generator | None) -> Tensor:
        """Where samples begin, v, (n, D): at chains of the buffer."""
        return self.chains[torch.randint(len(self.chains), (n,), generator=generator, device=self.chains.device)]

    def _equilibrate(self, v: Tensor, generator: torch.Generator | None) -> Tensor:
        if self.transition == "mala":
            return equilibrate(self._log_density_of, v, step=self.step, steps=self.sample_steps, generator=generator)
        return self._unadjusted(v, self.sample_steps, generator)

    def _unadjusted(self, v: Tensor, steps: int, generator: torch.Generator | None = None) -> Tensor:
        """The chains v, (n, D), after `steps` transitions without a test."""

        def score(v: Tensor) -> Tensor:
            return value_and_gradient(self._log_density_of, v)[1]

        return langevin(score, v, step=self.step, steps=steps, generator=generator, clip=self.clip)
