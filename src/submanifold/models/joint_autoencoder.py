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
from submanifold.errors import InvalidInput
from submanifold.models.base import Objective
from submanifold.models.critics import ADVERSARIAL_BETAS, DIVERGENCES, critic_loss, critic_network
from submanifold.models.latents import CodingModel, NormalLatents, normal
from submanifold.models.posteriors import gaussian_log_prob
from submanifold.models.registry import register
from submanifold.nn.given import NetworkLike, OneNetwork

__all__ = ["AVB", "BiGAN"]
_DRAWS = 32
"""By which the moments of a posterior without a density are told."""
_NARROWEST = 1e-4
"""Of their deviations, in those of the prior."""


def _some(hidden: Sequence[int]) -> tuple[int, ...]:
    """The widths, of which a network that sees points and latents together needs one."""
    widths = tuple(check_ints(hidden, name="hidden"))
    if not widths:
        raise InvalidInput("hidden=() is not accepted: give the width of at least one layer")
    return widths


class _PairCritic(torch.nn.Module):
    """Scores (n, 1) of pairs of y (n, *data_shape) and z (n, latent_dim); see `critic_network` for `level`."""

    def __init__(
        self,
        network: OneNetwork,
        data_shape: Sequence[int],
        latent_dim: int,
        hidden: Sequence[int],
        *,
        level: bool = True,
    ) -> None:
        super().__init__()
        first, *others = _some(hidden)
        self.features = nn.encoder(network, data_shape, first, [first], role="critic")
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
        latent_dim: number of latents d, below D; by default 2 \lfloor \sqrt{D} \rfloor or D - 1, the smaller.
        divergence: what the critic measures, a key of `submanifold.models.critics.DIVERGENCES`.
        penalty: weight of the critic's gradient penalty, above 0 with "wasserstein".
        reconstruction: \rho; 0 leaves the inverse to the critic alone.
        critic_steps: steps of the critic for one of encoder and decoder.
        hidden: widths of the hidden layers of the encoder, and of the critic; the decoder mirrors them.
        network: a name of `submanifold.nn`, of which "auto" is convolutional for images from 16 x 16 on, or networks of
            your own in place of `networks`, see `submanifold.nn.given`. The critic's maps y to as many features
            as `hidden` begins with, which a dense network judges together with z.
        preprocess: names of the invertible maps applied first.
        full_latent: accept latent_dim = D.
    """

    family = "bidirectional GAN"
    awareness = "aware"
    networks = ("encoder", "decoder", "critic")
    why = "its critic estimates a Wasserstein distance of pairs, which is finite between laws on different manifolds"

    def __init__(
        self,
        data_shape: Sequence[int],
        latent_dim: int | None = None,
        *,
        divergence: str = "wasserstein",
        penalty: float = 10.0,
        reconstruction: float = 10.0,
        critic_steps: int = 2,
        hidden: Sequence[int] = (128, 128),
        network: NetworkLike = "auto",
        preprocess: Sequence[str] = ("scale",),
        full_latent: bool = False,
    ) -> None:
        super().__init__(
            data_shape, latent_dim, hidden=hidden, network=network, preprocess=preprocess, full_latent=full_latent
        )
        self.divergence = DIVERGENCES[check_choice(divergence, DIVERGENCES, name="divergence")]
        self.penalty = self.divergence.penalty(penalty)
        self.reconstruction = check_real(reconstruction, name="reconstruction")
        self.critic_steps = check_int(critic_steps, name="critic_steps")
        given = nn.network_for(network, "critic", self.networks)
        self.critic = _PairCritic(given, self.data_shape, self.latent_dim, hidden, level=self.divergence.level)

    def objectives(self) -> list[Objective]:
        coder = [*self.encoder.parameters(), *self.decoder.parameters()]
        return [
            Objective("autoencoder", coder, self.loss, every=self.critic_steps, betas=ADVERSARIAL_BETAS),
            Objective("critic", list(self.critic.parameters()), self.critic_loss, betas=ADVERSARIAL_BETAS),
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
        """What the critic minimises, and the penalty in it if any, each (): it tells the two kinds of pairs apart."""
        y = self.preprocess(x)
        with torch.no_grad():
            z = self.encoder(y)
            noise = torch.randn_like(z)
            made = self.decoder(noise)
        return critic_loss(self.divergence, self.critic, (y, z), (made, noise), penalty=self.penalty)


@register("avb")
class AVB(NormalLatents, CodingModel):
    r"""A Gaussian VAE whose posterior has no density: its latents are a network's outputs for data and noise.

    The divergence in the evidence lower bound is in part known: r(z | y), the Gaussian of the moments that q(z | y)
    has, as 32 draws tell them, has a density. The rest is read off a critic T of pairs that tells q from r,

    .. math:: \max_{f, g} \; \mathbb{E} \, \log N(y; g(z), \sigma^2 I) - T(y, z) - \log \frac{r(z | y)}{N(z; 0, I)},
        \qquad z = f(y, \epsilon)

    (Mescheder et al. 2017, arXiv 1701.04722, eqs. 3.3, 3.7 and, for r, section 4: without it the critic has to learn
    all of a divergence that grows as q gets narrow). The bound is that of a VAE, with its fate on a manifold:
    \sigma \to 0.

    Args:
        data_shape: (D,) or (channels, height, width).
        latent_dim: number of latents d, below D; by default 2 \lfloor \sqrt{D} \rfloor or D - 1, the smaller.
        noise_dim: coordinates of \epsilon.
        hidden: widths of the hidden layers of the encoder, and of the critic; the decoder mirrors them.
        network: a name of `submanifold.nn`, of which "auto" is convolutional for images from 16 x 16 on, or networks of
            your own in place of `networks`, see `submanifold.nn.given`. The critic's maps y to as many features
            as `hidden` begins with, which a dense network judges together with z.
        preprocess: names of the invertible maps applied first.
        full_latent: accept latent_dim = D.
    """

    family = "adversarial variational Bayes"
    awareness = "unaware"
    networks = ("encoder", "decoder", "critic")
    why = "its decoder noise gives a density on all of R^D, whose likelihood grows without bound as the noise shrinks"

    draws: Tensor

    def __init__(
        self,
        data_shape: Sequence[int],
        latent_dim: int | None = None,
        *,
        noise_dim: int = 16,
        hidden: Sequence[int] = (128, 128),
        network: NetworkLike = "auto",
        preprocess: Sequence[str] = ("scale",),
        full_latent: bool = False,
    ) -> None:
        *_, width = _some(hidden)
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
        self.register_buffer("draws", torch.randn(_DRAWS, self.noise_dim))  # ever the same, so that y alone decides r
        self.mix = nn.MLP([width + self.noise_dim, width, self.latent_dim])
        self.log_scale = Parameter(torch.zeros(()))
        given = nn.network_for(network, "critic", self.networks)
        self.critic = _PairCritic(given, self.data_shape, self.latent_dim, hidden)
        self.divergence = DIVERGENCES["non-saturating"]

    def objectives(self) -> list[Objective]:
        critic = list(self.critic.parameters())
        coder = [*self.encoder.parameters(), *self.mix.parameters(), *self.decoder.parameters(), self.log_scale]
        return [
            Objective("elbo", coder, self.loss),
            Objective("critic", critic, self.critic_loss, betas=ADVERSARIAL_BETAS),
        ]

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        """An estimate of -ELBO in nats, its parts (reconstruction + kl) and sigma in preprocessed units, each ()."""
        y, log_det = self.preprocess.forward_and_log_det(x)
        z, mean, deviation = self._posterior(y)
        scale = self.log_scale.exp().expand(self.ambient_dim)
        log_likelihood = gaussian_log_prob(y.flatten(1), self.decoder(z).flatten(1), scale)
        reconstruction = -(log_likelihood + log_det).mean()
        known = gaussian_log_prob(z, mean, deviation) - gaussian_log_prob(z, torch.zeros_like(z), torch.ones_like(z))
        kl = self.critic(y, (z - mean) / deviation).mean() + known.mean()
        return {
            "loss": reconstruction + kl,
            "reconstruction": reconstruction.detach(),
            "kl": kl.detach(),
            "scale": self.log_scale.detach().exp(),
        }

    def critic_loss(self, x: Tensor) -> Tensor:
        """What the critic minimises, of latents in units of r: its optimum is log q - log r, ()."""
        y = self.preprocess(x)
        with torch.no_grad():
            z, mean, deviation = self._posterior(y)
        return self.divergence.critic_loss(self.critic(y, (z - mean) / deviation), self.critic(y, torch.randn_like(z)))

    def encode(self, x: Tensor) -> Tensor:
        """The latents of no noise, (n, latent_dim)."""
        features = self.encoder(self.preprocess(self.receive(x)))
        return self._latents(features, features.new_zeros(len(features), self.noise_dim))

    @torch.no_grad()
    def sample(self, n: int, *, generator: torch.Generator | None = None, noise: bool = True) -> Tensor:
        """`n` samples, (n, *data_shape); without `noise`, decoder means g(z), which lie on g's image."""
        y: Tensor = self.decoder(self.sample_latent(n, generator=generator))
        if noise:
            y = y + self.log_scale.exp() * normal(y.shape, y, generator)
        return self.preprocess.inverse(y)

    def _posterior(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        r"""z \sim q(z | y), and mean and deviation of r, of which no gradient is needed, (n, latent_dim) each.

        Where r stands does not matter to the divergence, as long as the critic is the best one.
        """
        features = self.encoder(y)
        z = self._latents(features, normal((len(y), self.noise_dim), y))
        with torch.no_grad():
            eps = self.draws[:, None].expand(-1, len(y), -1)
            others = self._latents(features.expand(_DRAWS, -1, -1), eps)
            deviation, mean = torch.std_mean(others, dim=0)
        return z, mean, deviation.clamp(min=_NARROWEST)

    def _latents(self, features: Tensor, eps: Tensor) -> Tensor:
        """f(y, eps), (..., latent_dim), of features (..., width) and noise (..., noise_dim)."""
        latents: Tensor = self.mix(torch.cat([features, eps], dim=-1))
        return latents
