r"""Denoising score matching at all noise levels: the scores of p_\sigma = p * N(0, \sigma^2 I), \sigma_1 to \sigma_L.

y is x after preprocessing, a similarity, so that noise of one size in y is noise of one size in x.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from submanifold import nn
from submanifold.checks import check_int, check_real
from submanifold.models.base import LogProbKind, Measure, Objective
from submanifold.models.critics import critic_network
from submanifold.models.diffusion.score_model import ScoreModel
from submanifold.models.langevin import langevin
from submanifold.models.latents import normal
from submanifold.models.reference import GaussianReference
from submanifold.models.registry import register
from submanifold.models.score_matching import denoising_objective
from submanifold.nn.given import NetworkLike, OneNetwork

__all__ = ["DenoisingScoreMatching", "NoiseConditionalScore"]

_STEP = 0.45
"""Langevin step over sigma: its square is the 0.2 of Song & Ermon 2019, section 5."""


class _NoisedScores(ScoreModel):
    """What the two share: objective and annealed sampling."""

    networks = ("score",)

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        hidden: Sequence[int] = (128, 128, 128),
        network: NetworkLike = "auto",
        sigma_min: float = 0.01,
        sigma_max: float = 5.0,
        levels: int = 20,
        sample_steps: int = 10,
        preprocess: Sequence[str] = ("scale",),
    ) -> None:
        super().__init__(data_shape, preprocess)
        self.sigma_min = check_real(sigma_min, name="sigma_min", open_low=True)
        self.sigma_max = check_real(sigma_max, name="sigma_max", low=self.sigma_min, open_low=True)
        self.levels = check_int(levels, name="levels", low=2)
        self.sample_steps = check_int(sample_steps, name="sample_steps")
        self.reference = GaussianReference(self.ambient_dim)
        given = nn.network_for(network, "score", self.networks)
        self.correction = self._network(given, (self.data_shape[0] + 1, *self.data_shape[1:]), hidden)

    def prepare(self, x: Tensor) -> None:
        super().prepare(x)
        self.reference.fit(self.preprocess(x).flatten(1))

    def objectives(self) -> list[Objective]:
        return [Objective("denoising", list(self.parameters()), self.loss)]

    def loss(self, x: Tensor) -> Tensor:
        r"""E \sigma^2 (1 + \sigma^2) |s(y + \sigma \epsilon, \sigma) + \epsilon / \sigma|^2 / D, ().

        The weight, that of Karras et al. 2022 (arXiv 2206.00364, table 1) for scores, is the one under which a network
        has as much to say at all levels. Levels are denser in their logarithm towards the least, which is the hardest:
        an error of the network becomes one of the score that is larger by 1 / \sigma.
        """
        y = self.preprocess.forward(x).flatten(1)
        u = torch.rand(len(y), device=y.device, dtype=y.dtype)
        sigma = self.sigma_min * (self.sigma_max / self.sigma_min) ** u.square()
        errors = denoising_objective(lambda noised: self._score(noised, sigma), y, sigma)
        return (2 * sigma.square() * (1 + sigma.square()) * errors).mean() / self.ambient_dim

    @torch.no_grad()
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        r"""`n` samples, (n, *data_shape), by annealed Langevin dynamics (Song & Ermon 2019, algorithm 1).

        The last step is to the mean of y given its noised self (Jolicoeur-Martineau et al. 2020, arXiv 2009.05475).
        """
        self.preprocess.require_fitted()
        y = self.reference.sample(check_int(n, name="n"), generator)
        y = y + self.sigma_max * normal(y.shape, y, generator)
        sigmas = torch.logspace(math.log10(self.sigma_max), math.log10(self.sigma_min), self.levels).tolist()
        for sigma in sigmas:
            y = langevin(
                partial(self._score, sigma=y.new_full((n,), sigma)),
                y,
                step=_STEP * sigma,
                steps=self.sample_steps,
                generator=generator,
            )
        y = y + self.sigma_min**2 * self._score(y, y.new_full((n,), self.sigma_min))
        return self.preprocess.inverse(y.reshape(n, *self.data_shape))

    @abstractmethod
    def _network(self, network: OneNetwork, shape: Sequence[int], hidden: Sequence[int]) -> torch.nn.Module:
        """What corrects the score of the Gaussian, for inputs of `shape`, see `_with_level`."""

    def _with_level(self, y: Tensor, sigma: Tensor) -> Tensor:
        """What networks see: y in units of its spread, and the logarithm of the noise as one more channel."""
        y = (y / (1 + sigma.square()).sqrt()[:, None]).reshape(-1, *self.data_shape)
        level = 0.5 * sigma.log().view(-1, *[1] * len(self.data_shape)).expand_as(y[:, :1])
        return torch.cat([y, level], dim=1)


@register("denoising-score-matching")
class DenoisingScoreMatching(_NoisedScores):
    r"""Minimises, over noise levels, the error with which the score points from noised data to data,

    .. math:: \mathbb{E} \, | s(y + \sigma \epsilon, \sigma) + \epsilon / \sigma |^2,
              \qquad s(y, \sigma) = -\nabla_y E(y, \sigma)

    (Vincent 2011; all levels at once: Song & Ermon 2019, arXiv 1907.05600, eq. 5-6), which is least for the score of
    p_\sigma. E is the energy of the Gaussian of the data under as much noise, and a network. `log_prob` is that of
    p_\sigma at \sigma_min, unnormalised.

    Args:
        data_shape: (D,) or (channels, height, width).
        hidden: widths of the hidden layers of the network.
        network: a name of `submanifold.nn`, of which "auto" is convolutional for images from 16 x 16 on, or networks of
            your own in place of `networks`, see `submanifold.nn.given`. It sees the logarithm of the noise as
            one more channel, or coordinate.
        sigma_min: the least noise level, in deviations of the data.
        sigma_max: the largest.
        levels: noise levels between these, evenly in their logarithm, of the sampler.
        sample_steps: its steps of Langevin dynamics at each level.
        preprocess: names of the invertible maps applied first; they have to be similarities.
    """

    family = "denoising score matching"
    awareness = "aware"
    why = "noised data have a density, whose score it learns at all noise levels down to one near zero"

    measure: Measure = "ambient"
    log_prob_kind: LogProbKind = "unnormalised"

    def _network(self, network: OneNetwork, shape: Sequence[int], hidden: Sequence[int]) -> torch.nn.Module:
        return critic_network(network, shape, hidden, level=False, role="score")

    def log_prob(self, x: Tensor) -> Tensor:
        """-E(x) at the least noise level, the log-density in nats up to one constant, (n,)."""
        y, log_det = self.preprocess.forward_and_log_det(self.receive(x))
        return self._log_density(y.flatten(1), y.new_full((len(y),), self.sigma_min)) + log_det

    def _log_density(self, y: Tensor, sigma: Tensor) -> Tensor:
        """-E(y, sigma), (n,)."""
        tilt: Tensor = self.correction(self._with_level(y, sigma))
        return self.reference.log_prob(y, sigma) - tilt[:, 0] / sigma

    def _score(self, y: Tensor, sigma: Tensor) -> Tensor:
        score: Tensor = torch.func.grad(lambda y: self._log_density(y, sigma).sum())(y)
        return score


@register("ncsn")
class NoiseConditionalScore(_NoisedScores):
    """The same with a network that says the score itself, which need not be a gradient: faster, and without a density.

    Song & Ermon 2019 (arXiv 1907.05600); see `DenoisingScoreMatching` for the arguments.
    """

    family = "noise-conditional score network"
    awareness = DenoisingScoreMatching.awareness
    why = DenoisingScoreMatching.why

    def _network(self, network: OneNetwork, shape: Sequence[int], hidden: Sequence[int]) -> torch.nn.Module:
        correction: torch.nn.Module = nn.encoder(network, shape, self.ambient_dim, hidden, role="score")
        return correction

    def _score(self, y: Tensor, sigma: Tensor) -> Tensor:
        of_gaussian = self.reference.score(y, sigma)
        weight = (sigma * (1 + sigma.square()).sqrt())[:, None]
        score: Tensor = of_gaussian - self.correction(self._with_level(y, sigma)) / weight
        return score
