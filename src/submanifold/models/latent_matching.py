r"""Autoencoders whose latents are made to have a given law: a reconstruction and a discrepancy of latents.

For c(x, y) = \|x - y\|^2 the smallest reconstruction error over encoders with Q_Z = P_Z is the squared Wasserstein
distance W_2(P^*, g_\# P_Z)^2 (Tolstikhin et al. 2018, arXiv 1711.01558, theorem 1), and that Q_Z = P_Z is enforced
softly, by any discrepancy of samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from submanifold.checks import check_choice, check_real
from submanifold.models.base import Objective, check_batch
from submanifold.models.latents import CodingModel, NormalLatents
from submanifold.models.registry import preset, register
from submanifold.nn.given import NetworkLike
from submanifold.transport import DISCREPANCIES

__all__ = ["WassersteinAutoencoder"]


@register("wae-mmd")
class WassersteinAutoencoder(NormalLatents, CodingModel):
    r"""Minimises a relaxed Wasserstein distance between data and decoded N(0, I_d),

    .. math:: \min_{f, g} \; \tfrac1D \mathbb{E} \| y - g(f(y)) \|^2 + \lambda \, \mathcal{D}(f_\# P^*, N(0, I_d)),

    (Tolstikhin et al. 2018, arXiv 1711.01558, eq. 4), for a discrepancy \mathcal{D} of batches of latents: the maximum
    mean discrepancy there, the sliced Wasserstein distance (Kolouri et al. 2019, arXiv 1804.01947) or the Sinkhorn
    divergence (Patrini et al. 2019, arXiv 1810.01118). For one fitted by a critic see `AdversarialAutoencoder`.

    Args:
        data_shape: (D,) or (channels, height, width).
        latent_dim: number of latents d, below D; by default 2 \lfloor \sqrt{D} \rfloor or D - 1, the smaller.
        discrepancy: "mmd", "sliced" or "sinkhorn", see `submanifold.transport`.
        weight: \lambda.
        hidden: widths of the hidden layers of the encoder; the decoder mirrors them.
        network: a name of `submanifold.nn`, of which "auto" is convolutional for images from 16 x 16 on, or networks of
            your own in place of `networks`, see `submanifold.nn.given`.
        preprocess: names of the invertible maps applied first.
        full_latent: accept latent_dim = D.
    """

    family = "Wasserstein autoencoder, MMD"
    awareness = "aware"
    why = "it minimises an upper bound of a Wasserstein distance, which is finite between laws on different manifolds"

    def __init__(
        self,
        data_shape: Sequence[int],
        latent_dim: int | None = None,
        *,
        discrepancy: str = "mmd",
        weight: float = 1.0,
        hidden: Sequence[int] = (128, 128),
        network: NetworkLike = "auto",
        preprocess: Sequence[str] = ("scale",),
        full_latent: bool = False,
    ) -> None:
        super().__init__(
            data_shape, latent_dim, hidden=hidden, network=network, preprocess=preprocess, full_latent=full_latent
        )
        self.discrepancy = DISCREPANCIES[check_choice(discrepancy, DISCREPANCIES, name="discrepancy")]
        self.weight = check_real(weight, name="weight")

    def objectives(self) -> list[Objective]:
        return [Objective("autoencoder", list(self.parameters()), self.loss)]

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        """What is minimised, the reconstruction error per coordinate and the discrepancy of latents in it, each ().

        Raises:
            InvalidInput: for a single point, whose latent has no law to compare.
        """
        check_batch(x)
        y = self.preprocess(x)
        z = self.encoder(y)
        reconstruction = (y - self.decoder(z)).square().mean()
        mismatch = self.discrepancy(z, torch.randn_like(z))
        return {
            "loss": reconstruction + self.weight * mismatch,
            "reconstruction": reconstruction.detach(),
            "mismatch": mismatch.detach(),
        }


preset("sliced-wae", WassersteinAutoencoder, family="Wasserstein autoencoder, sliced", discrepancy="sliced")
preset("sinkhorn-autoencoder", WassersteinAutoencoder, family="Sinkhorn autoencoder", discrepancy="sinkhorn")
