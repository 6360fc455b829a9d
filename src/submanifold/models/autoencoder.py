r"""Autoencoders: f: R^D -> R^d and g: R^d -> R^D with g(f(x)) = x on the data, smooth by what they are penalised for.

y is x after preprocessing, of unit root mean square deviation per coordinate; all terms of a loss are per coordinate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from submanifold.checks import check_real
from submanifold.models.base import Objective
from submanifold.models.latents import CodingModel, FittedLatents
from submanifold.models.mixture import GaussianMixture
from submanifold.models.registry import preset, register
from submanifold.nn.given import NetworkLike

__all__ = ["Autoencoder", "RegularisedAutoencoder"]


@register("autoencoder")
class Autoencoder(CodingModel):
    r"""Minimises the squared reconstruction error,

    .. math:: \min_{f, g} \; \mathbb{E} \, \| x - g(f(x)) \|^2 .

    With perfect reconstruction f restricted to the manifold is an embedding; what g does to latents off f(M) is
    arbitrary (Loaiza-Ganem et al. 2024, arXiv 2404.02954, section 3.1). The first half of a `TwoStep` model.

    Args:
        data_shape: (D,) or (channels, height, width).
        latent_dim: number of latents d, below D; by default 2 \lfloor \sqrt{D} \rfloor or D - 1, the smaller.
        hidden: widths of the hidden layers of the encoder; the decoder mirrors them.
        network: a name of `submanifold.nn`, of which "auto" is convolutional for images from 16 x 16 on, or networks of
            your own in place of `networks`, see `submanifold.nn.given`.
        preprocess: names of the invertible maps applied before the encoder and undone after the decoder.
        full_latent: accept latent_dim = D.
    """

    family = "autoencoder"
    awareness = "n/a"
    why = "it learns the manifold but no distribution; give its latents a law with two-step"

    def __init__(
        self,
        data_shape: Sequence[int],
        latent_dim: int | None = None,
        *,
        hidden: Sequence[int] = (128, 128),
        network: NetworkLike = "auto",
        preprocess: Sequence[str] = ("scale",),
        full_latent: bool = False,
    ) -> None:
        super().__init__(
            data_shape, latent_dim, hidden=hidden, network=network, preprocess=preprocess, full_latent=full_latent
        )

    def objectives(self) -> list[Objective]:
        return [Objective("reconstruction", list(self.parameters()), self.loss)]

    def loss(self, x: Tensor) -> Tensor:
        """Mean squared error per coordinate, in preprocessed units, ()."""
        y = self.preprocess(x)
        error: Tensor = y - self.decoder(self.encoder(y))
        return error.square().mean()


@register("rae")
class RegularisedAutoencoder(FittedLatents):
    r"""An autoencoder that is penalised for roughness, with a law of its latents that is fitted when it is trained.

    It minimises the mean over the coordinates of

    .. math:: \| y - g(z) \|^2 + \kappa \| J_{g \circ f}(y) \|_F^2 + \beta \| z \|^2 + \lambda \| J_g(z) \|_F^2,
        \qquad z = f(y + \sigma \epsilon):

    the denoising autoencoder (\sigma; Vincent et al. 2008), which learns to project noise onto the manifold; the
    contractive one (\kappa; of the reconstruction, which cannot be made small by a change of units of the latents:
    Alain & Bengio 2014, arXiv 1211.4246, section 3), its limit for little noise; the regularised deterministic one
    (\beta, \lambda; Ghosh et al. 2020, arXiv 1903.12436, section 3.3). The squared norms of Jacobians are estimated by
    one random direction a point. Afterwards the latents get a law (ibid., section 4), which makes it a two-step model.

    Args:
        data_shape: (D,) or (channels, height, width).
        latent_dim: number of latents d, below D; by default 2 \lfloor \sqrt{D} \rfloor or D - 1, the smaller.
        corruption: \sigma, the noise on what is encoded, in preprocessed units.
        contraction: \kappa.
        latent_penalty: \beta.
        decoder_penalty: \lambda.
        components: Gaussians of the law of latents, or "auto".
        hidden, network, preprocess, full_latent: see `Autoencoder`.
    """

    family = "regularised autoencoder"
    awareness = "aware"
    why = "the law of its latents is fitted in as many dimensions as the data have, after the decoder"

    def __init__(
        self,
        data_shape: Sequence[int],
        latent_dim: int | None = None,
        *,
        corruption: float = 0.0,
        contraction: float = 0.0,
        latent_penalty: float = 1e-3,
        decoder_penalty: float = 1e-3,
        components: int | Literal["auto"] = "auto",
        hidden: Sequence[int] = (128, 128),
        network: NetworkLike = "auto",
        preprocess: Sequence[str] = ("scale",),
        full_latent: bool = False,
    ) -> None:
        super().__init__(
            data_shape, latent_dim, hidden=hidden, network=network, preprocess=preprocess, full_latent=full_latent
        )
        self.corruption = check_real(corruption, name="corruption")
        self.contraction = check_real(contraction, name="contraction")
        self.latent_penalty = check_real(latent_penalty, name="latent_penalty")
        self.decoder_penalty = check_real(decoder_penalty, name="decoder_penalty")
        self.law = GaussianMixture((self.latent_dim,), components=components)

    def objectives(self) -> list[Objective]:
        return [Objective("autoencoder", list(self.parameters()), self.loss)]

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        """What is minimised, and the reconstruction error in it, per coordinate in preprocessed units, each ()."""
        y = self.preprocess(x)
        z = self.encoder(y + self.corruption * torch.randn_like(y) if self.corruption else y)
        reconstruction = (y - self.decoder(z)).square().mean()
        loss = reconstruction + self.latent_penalty * z.square().sum(dim=1).mean() / self.ambient_dim
        if self.contraction:
            loss = loss + self.contraction * _squared_jacobian(lambda y: self.decoder(self.encoder(y)), y)
        if self.decoder_penalty:
            loss = loss + self.decoder_penalty * _squared_jacobian(self.decoder, z)
        return {"loss": loss, "reconstruction": reconstruction.detach()}


def _squared_jacobian(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    r"""An unbiased estimate of \| J_function \|_F^2 at the rows of `at`, mean over them and over outputs, ()."""
    trains = torch.is_grad_enabled()
    with torch.enable_grad():  # a held-out loss has gradients of its own
        inputs = at if at.requires_grad else at.detach().requires_grad_()
        outputs = function(inputs)
        (pulled,) = torch.autograd.grad(outputs, inputs, torch.randn_like(outputs), create_graph=trains)
    return pulled.square().sum() / outputs.numel()


preset(
    "denoising-autoencoder",
    RegularisedAutoencoder,
    family="denoising autoencoder",
    corruption=0.1,
    latent_penalty=0.0,
    decoder_penalty=0.0,
)
preset(
    "contractive-autoencoder",
    RegularisedAutoencoder,
    family="contractive autoencoder",
    contraction=0.01,
    latent_penalty=0.0,
    decoder_penalty=0.0,
)
