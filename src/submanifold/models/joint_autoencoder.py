r"""Autoencoders with a critic of pairs (x, z): of points with their latents against latents with their points.

y is x after preprocessing, of unit root mean square deviation per coordinate; d is the number of latents.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

from submanifold import nn
from submanifold.checks import check_choice, check_int, check_ints, check_real
from submanifold.models.base import Objective
from submanifold.models.critics import DIVERGENCES, critic_network, gradient_penalty
from submanifold.models.latents import CodingModel, NormalLatents, normal
from submanifold.models.posteriors import gaussian_log_prob
from submanifold.models.registry import register

__all__ = ["AVB", "BiGAN"]

_BETAS = (0.5, 0.999)


class _PairCritic(torch.nn.Module):
    """Scores (n, 1) of pairs of y (n, *data_shape) and z (n, latent_dim); see `critic_network` for `level`."""

    def __init__(
        self, network: str, data_shape: Sequence[int], latent_dim: int, hidden: Sequence[int], *, level: bool = True
    ) -> None:
        super().__init__()
        first, *others = check_ints(hidden, name="hidden")
        self.features = nn.encoder(network, data_shape, first, [first])
        self.score = critic_network("mlp", [first + latent_dim], [*others, first], level=level)

    def forward(self, y: Tensor, z: Tensor) -> Tensor:
        scores: Tensor = self.score(torch.cat([self.features(y), z], dim=1))
        return scores


@register("bigan")
class BiGAN(NormalLatents, CodingModel):
    r"""Makes pairs (y, f(y)) of data and pairs (g(z), z) of latents z \sim N(0, I_d) alike to a critic of pairs,

    .. math:: \min_{f, g} \max_c \; \mathcal{D}_c\big((Y, f(Y)), (g(Z), Z)\big)
        + \tfrac{\rho}{D} \mathbb{E} \| Y - g(f(Y)) \|^2 .

    Where they agree, f and g are inverses of each other (Donahue et al. 2017, arXiv 1605.09782; Dumoulin et al. 2017,
    arXiv 1606.00704). With the Wasserstein distance, the default, the divergence is finite for laws on manifolds.

    Args:
        data_shape: (D,) or (channels, height, width).
        latent_dim: number of latents d, below D.
        divergence: what the critic measures, a key of `submanifold.models.critics.DIVERGENCES`.
        penalty: weight of the critic's gradient penalty.
        reconstruction: \rho; 0 leaves the inverse to the critic alone.
        critic_steps: steps of the critic for one of encoder and decoder.
        hidden: widths of the hidden layers of the encoder, and of the critic; the decoder mirrors them.
        network: which network, a name of `submanifold.nn`; "auto" is convolutional for images.
        preprocess: names of the invertible maps applied first.
        full_latent: accept latent_dim = D.
    """

    family = "bidirectional GAN"
    awareness = "aware"
    why = "its critic estimates a Wasserstein distance of pairs, which is finite between laws on different manifolds"

    def __init__(
        self,
        data_shape: Sequence[int],
        latent_dim: int,
        *,
        divergence: str = "wasserstein",
        penalty: float = 10.0,
        reconstruction: float = 1.0,
        critic_steps: int = 2,
        hidden: Sequence[int] = (128, 128),
        network: str = "auto",
        preprocess: Sequence[str] = ("scale",),
        full_latent: bool = False,
    ) -> None:
        super().__init__(
            data_shape, latent_dim, hidden=hidden, network=network, preprocess=preprocess, full_latent=full_latent
        )
        self.divergence = DIVERGENCES[check_choice(divergence, DIVERGENCES, name="divergence")]
        self.penalty = check_real(penalty, name="penalty")
        self.reconstruction = check_real(reconstruction, name="reconstruction")
        self.critic_steps = check_int(critic_steps, name="critic_steps")
        self.critic = _PairCritic(network, self.data_shape, self.latent_dim, hidden, level=self.divergence.level)

    def objectives(self) -> list[Objective]:
        coder = [*self.encoder.parameters(), *self.decoder.parameters()]
        return [
            Objective("autoencoder", coder, self.loss, every=self.critic_steps, betas=_BETAS),
            Objective("critic", list(self.critic.parameters()), self.critic_loss, betas=_BETAS),
        ]

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        """What encoder and decoder minimise, and the reconstruction error per coordinate, each ()."""
        y = self.preprocess(x)
        z = self.encoder(y)
        error = (y - self.decoder(z)).square().mean()
        noise = torch.randn_like(z)
        of_data, of_latents = self.critic(y, z), self.critic(self.decoder(noise), noise)
        deceit = self.divergence.generator_loss(of_latents) + self.divergence.generator_loss(-of_data)
        return {"loss": deceit + self.reconstruction * error, "reconstruction": error.detach()}

    def critic_loss(self, x: Tensor) -> dict[str, Tensor]:
        """What the critic minimises, and the penalty in it, each (): it tells pairs of data from pairs of latents."""
        y = self.preprocess(x)
        with torch.no_grad():
            z = self.encoder(y)
            noise = torch.randn_like(z)
            made = self.decoder(noise)
        loss = self.divergence.critic_loss(self.critic(y, z), self.critic(made, noise))
        penalty = gradient_penalty(self.critic, (y, z), (made, noise))
        return {"loss": loss + self.penalty * penalty, "penalty": penalty.detach()}


@register("avb")
class AVB(NormalLatents, CodingModel):
    r"""A Gaussian VAE whose posterior has no density: its latents are a network's outputs for data and noise.

    The divergence in the evidence lower bound is read off a critic T of pairs, which tells q(z | y) from N(0, I_d),

    .. math:: \max_{f, g} \; \mathbb{E} \, \log N(y; g(z), \sigma^2 I) - T(y, z), \qquad z = f(y, \epsilon)

    (Mescheder et al. 2017, arXiv 1701.04722, eqs. 3.3 and 3.7). The bound is that of a VAE, with its fate on a
    manifold: \sigma \to 0.

    Args:
        data_shape: (D,) or (channels, height, width).
        latent_dim: number of latents d, below D.
        noise_dim: coordinates of \epsilon.
        hidden: widths of the hidden layers of the encoder, and of the critic; the decoder mirrors them.
        network: which network, a name of `submanifold.nn`; "auto" is convolutional for images.
        preprocess: names of the invertible maps applied first.
        full_latent: accept latent_dim = D.
    """

    family = "adversarial variational Bayes"
    awareness = "unaware"
    why = "its decoder noise gives a density on all of R^D, whose likelihood grows without bound as the noise shrinks"

    def __init__(
        self,
        data_shape: Sequence[int],
        latent_dim: int,
        *,
        noise_dim: int = 16,
        hidden: Sequence[int] = (128, 128),
        network: str = "auto",
        preprocess: Sequence[str] = ("scale",),
        full_latent: bool = False,
    ) -> None:
        *_, width = check_ints(hidden, name="hidden")
        super().__init__(
            data_shape,
            latent_dim,
            hidden=hidden,
            network=network,
            preprocess=preprocess,
            full_latent=full_latent,
            features=width,
        )
        self.noise_dim = check_int(noise_dim, name="noise_dim")
        self.mix = nn.MLP([width + self.noise_dim, width, self.latent_dim])
        self.log_scale = Parameter(torch.zeros(()))
        self.critic = _PairCritic(network, self.data_shape, self.latent_dim, hidden)
        self.divergence = DIVERGENCES["non-saturating"]

    def objectives(self) -> list[Objective]:
        critic = list(self.critic.parameters())
        coder = [*self.encoder.parameters(), *self.mix.parameters(), *self.decoder.parameters(), self.log_scale]
        return [Objective("elbo", coder, self.loss), Objective("critic", critic, self.critic_loss, betas=_BETAS)]

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        """An estimate of -ELBO in nats, its parts (reconstruction + kl) and sigma in preprocessed units, each ()."""
        y, log_det = self.preprocess.forward_and_log_det(x)
        z = self._latents(y, normal((len(y), self.noise_dim), y))
        scale = self.log_scale.exp().expand(self.ambient_dim)
        log_likelihood = gaussian_log_prob(y.flatten(1), self.decoder(z).flatten(1), scale)
        reconstruction, kl = -(log_likelihood + log_det).mean(), self.critic(y, z).mean()
        return {
            "loss": reconstruction + kl,
            "reconstruction": reconstruction.detach(),
            "kl": kl.detach(),
            "scale": self.log_scale.detach().exp(),
        }

    def critic_loss(self, x: Tensor) -> Tensor:
        """What the critic minimises: its optimum is log q(z | y) - log N(z; 0, I), ()."""
        y = self.preprocess(x)
        with torch.no_grad():
            z = self._latents(y, normal((len(y), self.noise_dim), y))
        return self.divergence.critic_loss(self.critic(y, z), self.critic(y, torch.randn_like(z)))

    def encode(self, x: Tensor) -> Tensor:
        """The latents of no noise, (n, latent_dim)."""
        y = self.preprocess(self.receive(x))
        return self._latents(y, y.new_zeros(len(y), self.noise_dim))

    @torch.no_grad()
    def sample(self, n: int, *, generator: torch.Generator | None = None, noise: bool = True) -> Tensor:
        """`n` samples, (n, *data_shape); without `noise`, decoder means g(z), which lie on g's image."""
        y: Tensor = self.decoder(self.sample_latent(n, generator=generator))
        if noise:
            y = y + self.log_scale.exp() * normal(y.shape, y, generator)
        return self.preprocess.inverse(y)

    def _latents(self, y: Tensor, eps: Tensor) -> Tensor:
        latents: Tensor = self.mix(torch.cat([self.encoder(y), eps], dim=1))
        return latents
