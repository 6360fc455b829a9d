r"""Generative adversarial networks: a generator g, a critic h, and the game they play.

Latents z \sim N(0, I_d); data y in the coordinates of the model; a law on data is that of g(z), on a set of dimension d
at most.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from submanifold import nn
from submanifold.checks import check_choice, check_int, check_real
from submanifold.errors import InvalidInput
from submanifold.models.base import Awareness, Objective, check_batch
from submanifold.models.critics import DIVERGENCES, critic_network, gradient_penalty, normalise_spectrum
from submanifold.models.latents import NormalLatents, normal
from submanifold.models.registry import preset, register
from submanifold.nn.given import NetworkLike
from submanifold.transport import mmd_loss
from submanifold.transport.losses import kernel_matrix

__all__ = ["GAN", "MMDGAN", "PushForward"]

REGULARISERS = ("none", "gradient-penalty", "spectral-norm")
"""What keeps a critic smooth."""

WEAK = "it minimises a Wasserstein distance, which is finite, and has a slope, between laws on different manifolds"


class PushForward(NormalLatents):
    r"""A decoder of N(0, I), of D latents, but at most the larger of 8 and 2 \sqrt{D}, if it is not said how many."""

    networks: tuple[str, ...] = ("decoder",)

    def __init__(
        self,
        data_shape: Sequence[int],
        latent_dim: int | None,
        *,
        hidden: Sequence[int],
        network: NetworkLike,
        preprocess: Sequence[str],
    ) -> None:
        super().__init__(data_shape, preprocess)
        D = self.ambient_dim
        usual = min(D, max(8, 2 * math.isqrt(D)))
        self.latent_dim = usual if latent_dim is None else check_int(latent_dim, name="latent_dim")
        given = nn.network_for(network, "decoder", self.networks)
        self.decoder = nn.decoder(given, self.latent_dim, self.data_shape, tuple(hidden)[::-1])

    def _made(self, y: Tensor) -> Tensor:
        """As many points as y has, made from noise of torch's global generator."""
        made: Tensor = self.decoder(normal((len(y), self.latent_dim), y))
        return made


class _Game(PushForward):
    """A generator and a critic in turns; see `GAN` for the arguments. `features` is how many scores a point has."""

    networks = ("decoder", "critic")
    one_sided: ClassVar[bool] = False
    """Whether a gradient penalty lets slopes below 1 pass."""

    def __init__(
        self,
        data_shape: Sequence[int],
        latent_dim: int | None,
        *,
        features: int,
        level: bool,
        regulariser: str,
        penalty: float,
        critic_steps: int,
        hidden: Sequence[int],
        network: NetworkLike,
        preprocess: Sequence[str],
    ) -> None:
        super().__init__(data_shape, latent_dim, hidden=hidden, network=network, preprocess=preprocess)
        self.regulariser = check_choice(regulariser, REGULARISERS, name="regulariser")
        self.penalty = check_real(penalty, name="penalty")
        self.critic_steps = check_int(critic_steps, name="critic_steps")
        given = nn.network_for(network, "critic", self.networks)
        self.critic = critic_network(given, self.data_shape, hidden, level=level, features=features)
        if regulariser == "spectral-norm":
            self.critic = normalise_spectrum(self.critic)

    def objectives(self) -> list[Objective]:
        betas = (0.0, 0.9)  # no momentum in a game (Gulrajani et al. 2017, algorithm 1)
        critic, maker = list(self.critic.parameters()), list(self.decoder.parameters())
        return [
            Objective("critic", critic, self.critic_loss, betas=betas),
            Objective("generator", maker, self.generator_loss, every=self.critic_steps, betas=betas),
        ]

    def critic_loss(self, x: Tensor) -> dict[str, Tensor]:
        """What the critic minimises, and beside it the divergence as the critic sees it and its penalty, each ()."""
        y = self.preprocess(x)
        with torch.no_grad():
            made = self._made(y)
        real, fake = self.critic(y), self.critic(made)
        terms = self._judged(real, fake)
        if self.regulariser == "gradient-penalty":
            terms["penalty"] = gradient_penalty(self._witness(real, fake), y, made, one_sided=self.one_sided)
            terms["loss"] = terms["loss"] + self.penalty * terms["penalty"]
        return terms

    @abstractmethod
    def generator_loss(self, x: Tensor) -> Tensor:
        """What the generator minimises, ()."""

    @abstractmethod
    def _judged(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """The critic's loss before any penalty, and what it tells, each (), of scores (n, features)."""

    @abstractmethod
    def _witness(self, real: Tensor, fake: Tensor) -> Callable[[Tensor], Tensor]:
        """The function of points whose slope a penalty holds to 1."""


@register("gan")
class GAN(_Game):
    r"""Plays a game with a critic, whose best loss is a divergence between the laws of data and of g(z),

    .. math:: \min_g \max_h \; V(h(y), h(g(z))),

    for V of `submanifold.models.critics.DIVERGENCES`: Goodfellow et al. 2014 (arXiv 1406.2661), with its non-saturating
    loss for the generator, the hinge loss, or the difference of means of Wasserstein GANs (Arjovsky et al. 2017, arXiv
    1701.07875). What the critic's loss tells of the divergence is among the terms of the history. The critic moves at
    every step, the generator at every `critic_steps`-th; the held-out loss, hence `patience`, is the critic's, and says
    little about the samples.

    Args:
        data_shape: (D,) or (channels, height, width).
        latent_dim: number of latents d; by default D, or for D > 8 the larger of 8 and 2 \lfloor \sqrt{D} \rfloor.
        divergence: "non-saturating", "hinge" or "wasserstein", which needs a regulariser.
        regulariser: of the critic: "none", "gradient-penalty" (Gulrajani et al. 2017, arXiv 1704.00028), or
            "spectral-norm" (Miyato et al. 2018, arXiv 1802.05957).
        penalty: weight of the gradient penalty.
        critic_steps: steps of the critic for each step of the generator.
        hidden: widths of the hidden layers of the critic; the generator mirrors them.
        network: a name of `submanifold.nn`, of which "auto" is convolutional for images from 16 x 16 on, or networks of
            your own in place of `networks`, see `submanifold.nn.given`.
        preprocess: names of the invertible maps applied first.

    Raises:
        InvalidInput: for arguments that are not accepted, or not together.
    """

    family = "generative adversarial network"
    awareness: Awareness = "unaware"
    why = "its divergence is constant between laws on manifolds that do not meet, although its law has any dimension"

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        latent_dim: int | None = None,
        divergence: str = "non-saturating",
        regulariser: str = "none",
        penalty: float = 1.0,
        critic_steps: int = 1,
        hidden: Sequence[int] = (128, 128),
        network: NetworkLike = "auto",
        preprocess: Sequence[str] = ("scale",),
    ) -> None:
        chosen = DIVERGENCES[check_choice(divergence, DIVERGENCES, name="divergence")]
        super().__init__(
            data_shape,
            latent_dim,
            features=1,
            level=chosen.level,
            regulariser=regulariser,
            penalty=penalty,
            critic_steps=critic_steps,
            hidden=hidden,
            network=network,
            preprocess=preprocess,
        )
        self.divergence = chosen
        if divergence == "wasserstein":
            self.awareness, self.why = "aware", WEAK
            if self.regulariser == "none" or (self.regulariser == "gradient-penalty" and not self.penalty):
                raise InvalidInput(
                    f'divergence="wasserstein" with regulariser={regulariser!r} and penalty={penalty!r} is not '
                    "accepted: a critic whose slope nothing holds tells no distance, give "
                    'regulariser="gradient-penalty" and a penalty above 0, or "spectral-norm"'
                )

    def generator_loss(self, x: Tensor) -> Tensor:
        """What the generator minimises, ()."""
        return self.divergence.generator_loss(self.critic(self._made(self.preprocess(x))))

    def _judged(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        loss = self.divergence.critic_loss(real, fake)
        return {"loss": loss, self.divergence.estimates: self.divergence.estimate(loss.detach())}

    def _witness(self, real: Tensor, fake: Tensor) -> Callable[[Tensor], Tensor]:
        return self.critic


@register("mmd-gan")
class MMDGAN(_Game):
    r"""Plays for the maximum mean discrepancy of features that a critic h chooses,

    .. math:: \min_g \max_h \; \mathrm{MMD}^2(h(y), h(g(z)))

    (Li et al. 2017, arXiv 1705.08584), unbiased, with a penalty on the slope of the witness function \mathrm{E}
    k(h(\cdot), h(y)) - \mathrm{E} k(h(\cdot), h(g(z))) (Bińkowski et al. 2018, arXiv 1801.01401, section 3). Kernels of
    several widths are summed, see `submanifold.transport.mmd_loss`. For the other arguments see `GAN`.

    The penalty is on slopes above 1 only. The witness vanishes where the laws agree, other than the critic of a
    Wasserstein GAN; to hold its slope at 1 there, features would have to grow until noise alone makes that slope.

    Args:
        features: coordinates of h.
    """

    family = "generative adversarial network, MMD of learned features"
    awareness = "aware"
    one_sided = True
    why = "a discrepancy of smooth features is finite, and has a slope, between laws on different manifolds"

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        latent_dim: int | None = None,
        features: int = 16,
        regulariser: str = "gradient-penalty",
        penalty: float = 10.0,
        critic_steps: int = 1,
        hidden: Sequence[int] = (128, 128),
        network: NetworkLike = "auto",
        preprocess: Sequence[str] = ("scale",),
    ) -> None:
        super().__init__(
            data_shape,
            latent_dim,
            features=check_int(features, name="features"),
            level=False,
            regulariser=regulariser,
            penalty=penalty,
            critic_steps=critic_steps,
            hidden=hidden,
            network=network,
            preprocess=preprocess,
        )

    def generator_loss(self, x: Tensor) -> Tensor:
        """The squared discrepancy of features, unbiased, ()."""
        y = self.preprocess(x)
        with torch.no_grad():
            real = self.critic(y)
        return self._discrepancy(real, self.critic(self._made(y)))

    def _judged(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        squared = self._discrepancy(real, fake)
        return {"loss": -squared, "squared_mmd": squared.detach()}

    def _witness(self, real: Tensor, fake: Tensor) -> Callable[[Tensor], Tensor]:
        def witness(x: Tensor) -> Tensor:
            features = self.critic(x)
            return kernel_matrix(features, real).mean(dim=1) - kernel_matrix(features, fake).mean(dim=1)

        return witness

    def _discrepancy(self, real: Tensor, fake: Tensor) -> Tensor:
        check_batch(real)
        squared: Tensor = mmd_loss(real, fake)
        return squared


preset("hinge-gan", GAN, family="generative adversarial network, hinge loss", divergence="hinge")
preset(
    "wgan-gp",
    GAN,
    family="Wasserstein GAN, gradient penalty",
    awareness="aware",
    why=WEAK,
    divergence="wasserstein",
    regulariser="gradient-penalty",
    critic_steps=3,
)
preset(
    "sn-wgan",
    GAN,
    family="Wasserstein GAN, spectral normalisation",
    awareness="aware",
    why=WEAK,
    divergence="wasserstein",
    regulariser="spectral-norm",
    critic_steps=3,
)
