r"""Autoencoders with a critic: of their latents, or of what they reconstruct.

y is x after preprocessing, of unit root mean square deviation per coordinate; d is the number of latents.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from submanifold import nn
from submanifold.checks import check_choice, check_real
from submanifold.models.base import Objective
from submanifold.models.critics import ADVERSARIAL_BETAS, DIVERGENCES, critic_loss, critic_network
from submanifold.models.latents import CodingModel, FittedLatents, NormalLatents, number_of_latents
from submanifold.models.mixture import GaussianMixture
from submanifold.models.posteriors import GaussianPosterior, gaussian_kl
from submanifold.models.registry import preset, register
from submanifold.nn.given import NetworkLike, is_named

__all__ = ["AdversarialAutoencoder", "AdversarialVAE"]

_MOST = 1e4
"""The largest weight of a critic that hardly pulls."""


@register("adversarial-autoencoder")
class AdversarialAutoencoder(NormalLatents, CodingModel):
    r"""Minimises the reconstruction error and a divergence of its latents from N(0, I_d) that a critic measures,

    .. math:: \min_{f, g} \max_c \; \tfrac1D \mathbb{E} \| y - g(z) \|^2 + \lambda \, \mathcal{D}_c(Q_Z, N(0, I_d)),

    with latents z \sim N(\mu(y), diag s(y)^2) (Makhzani et al. 2016, arXiv 1511.05644) or z = f(y), the Wasserstein
    autoencoder with a GAN penalty (Tolstikhin et al. 2018, arXiv 1711.01558, algorithm 1).

    Args:
        data_shape: (D,) or (channels, height, width).
        latent_dim: number of latents d, below D; by default 2 \lfloor \sqrt{D} \rfloor or D - 1, the smaller.
        divergence: what the critic measures, a key of `submanifold.models.critics.DIVERGENCES`.
        penalty: weight of the critic's gradient penalty; by default 10 with "wasserstein", which needs one, and else 0.
        weight: \lambda.
        stochastic: whether latents of a point are random.
        critic_hidden: widths of the critic's hidden layers.
        hidden: widths of the hidden layers of the encoder; the decoder mirrors them.
        network: a name of `submanifold.nn`, of which "auto" is convolutional for images from 16 x 16 on, or networks of
            your own in place of `networks`, see `submanifold.nn.given`.
        preprocess: names of the invertible maps applied first.
        full_latent: accept latent_dim = D.
    """

    family = "adversarial autoencoder"
    awareness = "aware"
    networks = ("encoder", "decoder", "critic")
    why = "it minimises an upper bound of a Wasserstein distance; its critic compares laws of latents, which fill R^d"

    def __init__(
        self,
        data_shape: Sequence[int],
        latent_dim: int | None = None,
        *,
        divergence: str = "non-saturating",
        penalty: float | None = None,
        weight: float = 1.0,
        stochastic: bool = True,
        critic_hidden: Sequence[int] = (128, 128),
        hidden: Sequence[int] = (128, 128),
        network: NetworkLike = "auto",
        preprocess: Sequence[str] = ("scale",),
        full_latent: bool = False,
    ) -> None:
        d = number_of_latents(latent_dim, data_shape, network)
        super().__init__(
            data_shape,
            d,
            hidden=hidden,
            network=network,
            preprocess=preprocess,
            full_latent=full_latent,
            features=2 * d if stochastic else d,
        )
        self.posterior = GaussianPosterior(self.latent_dim) if stochastic else None
        self.divergence = DIVERGENCES[check_choice(divergence, DIVERGENCES, name="divergence")]
        self.penalty = self.divergence.penalty(penalty)
        self.weight = check_real(weight, name="weight")
        given = nn.network_for({} if is_named(network) else network, "critic", self.networks)
        self.critic = critic_network(given, (self.latent_dim,), critic_hidden, level=self.divergence.level)

    def objectives(self) -> list[Objective]:
        coder = [*self.encoder.parameters(), *self.decoder.parameters()]
        return [
            Objective("autoencoder", coder, self.loss, betas=ADVERSARIAL_BETAS),
            Objective("critic", list(self.critic.parameters()), self.critic_loss, betas=ADVERSARIAL_BETAS),
        ]

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        """What encoder and decoder minimise, and the reconstruction error per coordinate in it, each ()."""
        y = self.preprocess(x)
        z = self._draw(y)
        reconstruction = (y - self.decoder(z)).square().mean()
        deceit = self.divergence.generator_loss(self.critic(z))
        return {"loss": reconstruction + self.weight * deceit, "reconstruction": reconstruction.detach()}

    def critic_loss(self, x: Tensor) -> dict[str, Tensor]:
        """What the critic minimises, and the penalty in it if any, each (): it tells N(0, I) from latents of data."""
        with torch.no_grad():
            z = self._draw(self.preprocess(x))
        return critic_loss(self.divergence, self.critic, torch.randn_like(z), z, penalty=self.penalty)

    def encode(self, x: Tensor) -> Tensor:
        """Latents, (n, latent_dim): f(x), or the means of random ones."""
        features = super().encode(x)
        return features if self.posterior is None else self.posterior.centre(features)

    def _draw(self, y: Tensor) -> Tensor:
        features: Tensor = self.encoder(y)
        if self.posterior is None:
            return features
        return self.posterior.draw(features, torch.randn_like(features[:, : self.latent_dim]))[0]


@register("adversarial-vae")
class AdversarialVAE(FittedLatents):
    r"""The autoencoder of latent diffusion: reconstructions that a critic cannot tell from data, latents of small KL,

    .. math:: \tfrac1D \| y - g(z) \|^2 + \beta \, \mathrm{KL}(q(z | y) \,\|\, N(0, I_d))
        + \gamma \, \mathcal{D}_c(g(z), y),

    with z \sim q(z | y), and \gamma set anew at every step such that the last term pulls at g(z) with `weight` times
    the force of the first (Esser et al. 2021, arXiv 2012.09841, eq. 7; Rombach et al. 2022, arXiv 2112.10752).
    The KL term only keeps latents in bounds: it does not make them normal. Their law is fitted afterwards.

    Args:
        data_shape: (D,) or (channels, height, width).
        latent_dim: number of latents d, below D; by default 2 \lfloor \sqrt{D} \rfloor or D - 1, the smaller.
        beta: weight of the KL-divergence.
        divergence: what the critic measures, a key of `submanifold.models.critics.DIVERGENCES`.
        penalty: weight of the critic's gradient penalty; by default 10 with "wasserstein", which needs one, and else 0.
        weight: of the critic's term.
        components: Gaussians of the law of latents, or "auto".
        hidden: widths of the hidden layers of the encoder, and of the critic; the decoder mirrors them.
        network: a name of `submanifold.nn`, of which "auto" is convolutional for images from 16 x 16 on, or networks of
            your own in place of `networks`, see `submanifold.nn.given`.
        preprocess: names of the invertible maps applied first.
        full_latent: accept latent_dim = D.
    """

    family = "adversarially regularised VAE"
    awareness = "aware"
    networks = ("encoder", "decoder", "critic")
    why = "the law of its latents is fitted in as many dimensions as the data have, after the decoder"

    def __init__(
        self,
        data_shape: Sequence[int],
        latent_dim: int | None = None,
        *,
        beta: float = 1e-6,
        divergence: str = "hinge",
        penalty: float | None = None,
        weight: float = 0.1,
        components: int | Literal["auto"] = "auto",
        hidden: Sequence[int] = (128, 128),
        network: NetworkLike = "auto",
        preprocess: Sequence[str] = ("scale",),
        full_latent: bool = False,
    ) -> None:
        d = number_of_latents(latent_dim, data_shape, network)
        super().__init__(
            data_shape,
            d,
            hidden=hidden,
            network=network,
            preprocess=preprocess,
            full_latent=full_latent,
            features=2 * d,
        )
        self.posterior = GaussianPosterior(self.latent_dim)
        self.beta = check_real(beta, name="beta")
        self.divergence = DIVERGENCES[check_choice(divergence, DIVERGENCES, name="divergence")]
        self.penalty = self.divergence.penalty(penalty)
        self.weight = check_real(weight, name="weight")
        given = nn.network_for(network, "critic", self.networks)
        self.critic = critic_network(given, self.data_shape, hidden, level=self.divergence.level)
        self.law = GaussianMixture((self.latent_dim,), components=components)

    def objectives(self) -> list[Objective]:
        coder = [*self.encoder.parameters(), *self.decoder.parameters()]
        return [
            Objective("autoencoder", coder, self.loss, betas=ADVERSARIAL_BETAS),
            Objective("critic", list(self.critic.parameters()), self.critic_loss, betas=ADVERSARIAL_BETAS),
        ]

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        """What encoder and decoder minimise, and the reconstruction error per coordinate and KL in it, each ()."""
        y = self.preprocess(x)
        decoded, kl = self._reconstruct(y)
        reconstruction = (y - decoded).square().mean()
        deceit = self.divergence.generator_loss(self.critic(decoded))
        return {
            "loss": reconstruction + self.beta * kl + self._balance(y, decoded) * deceit,
            "reconstruction": reconstruction.detach(),
            "kl": kl.detach(),
        }

    def critic_loss(self, x: Tensor) -> dict[str, Tensor]:
        """What the critic minimises, and the penalty in it if any, each (): it tells data from reconstructions."""
        y = self.preprocess(x)
        with torch.no_grad():
            decoded, _ = self._reconstruct(y)
        return critic_loss(self.divergence, self.critic, y, decoded, penalty=self.penalty)

    def encode(self, x: Tensor) -> Tensor:
        """The means of the latents, (n, latent_dim)."""
        return self.posterior.centre(super().encode(x))

    def _balance(self, y: Tensor, decoded: Tensor) -> Tensor:
        """What the critic's term is multiplied with, ()."""
        with torch.enable_grad():  # a held-out loss has gradients of its own
            at = decoded.detach().requires_grad_()
            (pull,) = torch.autograd.grad(self.divergence.generator_loss(self.critic(at)), at)
        force = 2 * torch.linalg.vector_norm(decoded.detach() - y) / y.numel()
        balance: Tensor = self.weight * force / (torch.linalg.vector_norm(pull) + 1e-12)
        return balance.clamp(max=_MOST)

    def _reconstruct(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Decoded random latents, (n, *data_shape), and the mean KL-divergence of their laws from N(0, I), ()."""
        features = self.encoder(y)
        z, _ = self.posterior.draw(features, torch.randn_like(features[:, : self.latent_dim]))
        return self.decoder(z), gaussian_kl(*self.posterior.moments(features)).sum(dim=1).mean()


preset("wae-gan", AdversarialAutoencoder, family="Wasserstein autoencoder, GAN penalty", stochastic=False)
