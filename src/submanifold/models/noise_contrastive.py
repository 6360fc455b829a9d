r"""Noise-contrastive estimation: a density with its constant, from telling data and noise of a known density apart."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import softplus

from submanifold.checks import check_int
from submanifold.models.base import LogProbKind, Objective
from submanifold.models.energy import EnergyBased
from submanifold.models.registry import register
from submanifold.nn.given import NetworkLike

__all__ = ["NoiseContrastive"]


@register("nce")
class NoiseContrastive(EnergyBased):
    r"""Minimises the logistic loss of the classifier that knows the data from noise by the model's density p,

    .. math:: \mathbb{E}_{y \sim data} \log(1 + \nu e^{-G(y)}) + \nu \, \mathbb{E}_{y \sim q} \log(1 + e^{G(y)} / \nu),
              \qquad G(y) = \log p(y) - \log q(y),

    (Gutmann & Hyvarinen 2010, eq. 2-3; with \nu noise points for each of the data 2012, eq. 8), q the Gaussian of the
    data. p = e^{c - f} q, with c learned like the weights of f, so that at the optimum p is the density of the data and
    integrates to one; before, nearly. Where data and Gaussian do not overlap, as in many dimensions, the classifier is
    soon perfect and learns no more.

    Args:
        data_shape: (D,) or (channels, height, width).
        hidden: widths of the hidden layers of the network.
        network: a name of `submanifold.nn`, of which "auto" is convolutional for images from 16 x 16 on, or networks of
            your own in place of `networks`, see `submanifold.nn.given`.
        noise_ratio: \nu.
        sample_steps: steps of Langevin dynamics from the Gaussian to a sample.
        preprocess: names of the invertible maps applied first.
    """

    family = "noise-contrastive estimation"
    awareness = "unaware"
    why = "its density is above zero on all of R^D; data on a manifold are told from the noise ever more surely"

    log_prob_kind: LogProbKind = "estimate"

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        hidden: Sequence[int] = (128, 128),
        network: NetworkLike = "auto",
        noise_ratio: int = 4,
        sample_steps: int = 200,
        preprocess: Sequence[str] = ("scale",),
    ) -> None:
        super().__init__(data_shape, hidden=hidden, network=network, preprocess=preprocess, sample_steps=sample_steps)
        self.noise_ratio = check_int(noise_ratio, name="noise_ratio")
        self.constant = torch.nn.Parameter(torch.zeros(()))

    def objectives(self) -> list[Objective]:
        return [Objective("classification", list(self.parameters()), self.loss)]

    def loss(self, x: Tensor) -> Tensor:
        """The logistic loss in nats per point of data, ()."""
        y = self.preprocess.forward(x)
        noise = self.reference.sample(self.noise_ratio * len(y)).reshape(-1, *self.data_shape)
        log_ratio = math.log(self.noise_ratio)
        of_data, of_noise = self._tilted(y), self._tilted(noise)
        return softplus(log_ratio - of_data).mean() + self.noise_ratio * softplus(of_noise - log_ratio).mean()

    def _tilted(self, y: Tensor) -> Tensor:
        """G, (n,)."""
        tilt: Tensor = self.tilt(y)
        return self.constant - tilt[:, 0]

    def _log_density(self, y: Tensor) -> Tensor:
        return self._tilted(y) + self.reference.log_prob(y.flatten(1))
