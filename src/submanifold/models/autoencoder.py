r"""The autoencoder: f: R^D -> R^d and g: R^d -> R^D with g(f(x)) = x on the data, and no law of its latents."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from submanifold import nn
from submanifold.geometry import lipschitz_upper_bound
from submanifold.models.base import Model, Objective
from submanifold.models.latents import check_latent_dim
from submanifold.models.registry import register

__all__ = ["Autoencoder"]


@register("autoencoder")
class Autoencoder(Model):
    r"""Minimises the squared reconstruction error,

    .. math:: \min_{f, g} \; \mathbb{E} \, \| x - g(f(x)) \|^2 .

    With perfect reconstruction f restricted to the manifold is an embedding; what g does to latents off f(M) is
    arbitrary (Loaiza-Ganem et al. 2024, arXiv 2404.02954, section 3.1). The first half of a `TwoStep` model.

    Args:
        data_shape: (D,) or (channels, height, width).
        latent_dim: number of latents d, below D.
        hidden: widths of the hidden layers of the encoder; the decoder mirrors them.
        network: which network, a name of `submanifold.nn`; "auto" is convolutional for images.
        preprocess: names of the invertible maps applied before the encoder and undone after the decoder.
        full_latent: accept latent_dim = D.
    """

    family = "autoencoder"
    awareness = "n/a"
    why = "it learns the manifold but no distribution; give its latents a law with two-step"

    def __init__(
        self,
        data_shape: Sequence[int],
        latent_dim: int,
        *,
        hidden: Sequence[int] = (128, 128),
        network: str = "auto",
        preprocess: Sequence[str] = ("scale",),
        full_latent: bool = False,
    ) -> None:
        super().__init__(data_shape, preprocess)
        self.latent_dim = check_latent_dim(latent_dim, self.ambient_dim, full_latent=full_latent)
        self.encoder = nn.encoder(network, self.data_shape, self.latent_dim, hidden)
        self.decoder = nn.decoder(network, self.latent_dim, self.data_shape, tuple(hidden)[::-1])

    def objectives(self) -> list[Objective]:
        return [Objective("reconstruction", list(self.parameters()), self.loss)]

    def loss(self, x: Tensor) -> Tensor:
        """Mean squared error per coordinate, in preprocessed units, ()."""
        y = self.preprocess.forward(x)
        error: Tensor = y - self.decoder(self.encoder(y))
        return error.square().mean()

    def encode(self, x: Tensor) -> Tensor:
        """Latents f(x), (n, latent_dim)."""
        latents: Tensor = self.encoder(self.preprocess.forward(self.receive(x)))
        return latents

    def decode(self, z: Tensor) -> Tensor:
        """Data g(z), (n, *data_shape)."""
        return self.preprocess.inverse(self.decoder(self.receive_latents(z)))

    def decoder_lipschitz_bound(self) -> float:
        """A certified upper bound of the Lipschitz constant of `decode`; inf if the network has none that is known."""
        return float(lipschitz_upper_bound(self.decoder)) * self.preprocess.inverse_lipschitz()
