r"""Generalised energy-based models: a generator says where the data are, an energy how much of them is where.

Latents z \sim \eta = N(0, I_d), y = g(z); q is the law of g(z), and p(dy) \propto e^{-E(y)} q(dy) has the same support.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from submanifold import nn
from submanifold.checks import check_int, check_real
from submanifold.errors import InvalidInput
from submanifold.models.base import Model, Objective, Stage
from submanifold.models.critics import critic_network
from submanifold.models.langevin import equilibrate
from submanifold.models.latents import NormalLatents, normal
from submanifold.models.registry import PRESETS, register
from submanifold.nn.given import NetworkLike, is_named

__all__ = ["GEBM"]


@register("gebm")
class GEBM(Model):
    r"""A generator of normal noise and, once that is trained, an energy that maximises

    .. math:: -\mathbb{E}_{y \sim data} [E(y)] - \mathbb{E}_{y \sim q} [e^{-E(y)}] + 1,

    the KL approximate lower-bound estimate, KALE (Arbel, Zhou & Gretton 2021, arXiv 2003.05033): KL(data || q) where
    that is finite, with minus the log-density ratio as E. A penalty on the slope of E keeps it finite between laws on
    different manifolds. Samples are g(z) with z from

    .. math:: \propto \eta(z) \, e^{-E(g(z))}

    by Langevin dynamics (their proposition 1): in as many dimensions as there are latents, whatever the data are.

    Args:
        base: a model whose samples are decoded normal noise, such as a GAN.
        hidden: widths of the hidden layers of the energy's network.
        network: a name of `submanifold.nn`, of which "auto" is convolutional for images from 16 x 16 on, or networks of
            your own as "energy", see `submanifold.nn.given`.
        smoothness: weight of the penalty E |\nabla E|^2 at data and generated points; with 0.1 the energy of images
            already grows beyond all numbers while a critic tells every sample from the data.
        sample_steps: steps of Langevin dynamics to a sample.
        train_base: whether training begins with the base, or takes it as it is.
    """

    family = "generalised energy-based model"
    awareness = "aware"
    networks: tuple[str, ...] = ("decoder", "critic", "energy")  # those of the base of `assemble` and its own
    why = "it reweights the law of a generator on its own support, by a divergence that is finite between manifolds"

    base: NormalLatents

    def __init__(
        self,
        base: Model,
        *,
        hidden: Sequence[int] = (128, 128),
        network: NetworkLike = "auto",
        smoothness: float = 1.0,
        sample_steps: int = 200,
        train_base: bool = True,
    ) -> None:
        noisy = getattr(type(base), "sample", None) is not NormalLatents.sample  # more than decoded latents
        if not isinstance(base, NormalLatents) or noisy:
            raise InvalidInput(
                f"base={type(base).__name__} is not accepted: give a model whose samples are decoded normal "
                "noise, such as a GAN"
            )
        super().__init__(base.data_shape, ("scale",))
        self.latent_dim = base.latent_dim
        self.smoothness = check_real(smoothness, name="smoothness")
        self.sample_steps = check_int(sample_steps, name="sample_steps")
        self.train_base = train_base
        self.base = base
        self.networks = _roles(type(base))
        given = nn.network_for(network, "energy", ("energy",))
        self.energy = critic_network(given, self.data_shape, hidden, role="energy")

    @classmethod
    def assemble(
        cls,
        data_shape: Sequence[int],
        *,
        base: str = "wgan-gp",
        latent_dim: int | None = None,
        hidden: Sequence[int] = (128, 128),
        network: NetworkLike = "auto",
        preprocess: Sequence[str] = ("scale",),
        smoothness: float = 1.0,
        sample_steps: int = 200,
    ) -> GEBM:
        """A model from the name of its base; the arguments are those of the base and of `GEBM`, and `network` is for
        the base and the energy."""
        from submanifold.models import catalogue  # deferred: it imports this module

        own, others = nn.network_for(network, "energy", _roles(PRESETS[base].model)), network
        if isinstance(network, Mapping) and not is_named(network):
            others = {role: given for role, given in network.items() if role != "energy"}
        made = catalogue.create(
            base, data_shape, latent_dim=latent_dim, hidden=hidden, network=others, preprocess=preprocess
        )
        return cls(made, hidden=hidden, network=own, smoothness=smoothness, sample_steps=sample_steps)

    def stages(self) -> list[Stage]:
        first = self.base.stages() if self.train_base else []
        return [
            *(replace(stage, name=f"base: {stage.name}") for stage in first),
            Stage("energy", [Objective("kale", list(self.energy.parameters()), self.loss)], prepare=self.prepare),
        ]

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        """-KALE in nats and the penalty, ()."""
        with torch.no_grad():
            made = self.base.decode(normal((len(x), self.latent_dim), x))
        y = self.preprocess(torch.cat([x, made])).requires_grad_()  # (2n, *data_shape)
        with torch.enable_grad():
            E = self.energy(y)[:, 0]
            (slope,) = torch.autograd.grad(E.sum(), y, create_graph=True)
        of_data, of_made = E.split(len(x))
        kale = 1 - of_data.mean() - (-of_made).exp().mean()
        return {"loss": self.smoothness * slope.flatten(1).square().sum(dim=1).mean() - kale, "kale": kale}

    def decode(self, z: Tensor) -> Tensor:
        """Data g(z) in their units, (n, *data_shape)."""
        return self.base.decode(z)

    def decode_bounds(self, low: Tensor, high: Tensor, *, parts: int = 4) -> tuple[Tensor, Tensor]:
        """Certified bounds, (n, *data_shape) each, of what `decode` says of latents in boxes (n, latent_dim).

        Raises:
            InvalidInput: as `LatentModel.decode_bounds`.
        """
        return self.base.decode_bounds(low, high, parts=parts)

    def decoder_lipschitz_bound(self) -> float:
        """A certified upper bound of the Lipschitz constant of `decode`; inf if the base knows none."""
        return self.base.decoder_lipschitz_bound()

    @torch.no_grad()
    def sample_latent(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` latents, (n, latent_dim), by `sample_steps` steps of Langevin dynamics from the base's own."""
        self.preprocess.require_fitted()
        z = self.base.sample_latent(check_int(n, name="n"), generator=generator)
        return equilibrate(self._log_density_of, z, steps=self.sample_steps, generator=generator)

    @torch.no_grad()
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` samples, (n, *data_shape): decoded latents."""
        return self.decode(self.sample_latent(n, generator=generator))

    def _log_density_of(self, z: Tensor) -> Tensor:
        """log eta(z) - E(g(z)) up to a constant, (n,)."""
        E: Tensor = self.energy(self.preprocess(self.base.decode(z)))
        return -0.5 * z.square().sum(dim=1) - E[:, 0]


def _roles(base: type[Model]) -> tuple[str, ...]:
    """The networks of a base, and the energy."""
    return (*base.networks, "energy")
