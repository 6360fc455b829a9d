"""What all models with latents share: how many latents they may have, their networks, and the way back to data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from submanifold import nn
from submanifold.checks import check_int
from submanifold.errors import InvalidInput
from submanifold.geometry import lipschitz_upper_bound
from submanifold.models.base import Model

__all__ = ["CodingModel", "LatentModel", "check_latent_dim", "normal"]


def check_latent_dim(latent_dim: Any, ambient_dim: int, *, full_latent: bool = False) -> int:
    """Refuse a `latent_dim` that is not below `ambient_dim`, or with `full_latent` above it.

    As many latents as coordinates make the identity a perfect autoencoder of all of R^D, so that it need not learn a
    manifold at all; whoever wants that has to say so.
    """
    d = check_int(latent_dim, name="latent_dim")
    if d > ambient_dim - (not full_latent):
        allowed = "" if full_latent else ", or full_latent=True to have as many latents as coordinates"
        most = "of at most" if full_latent else "below"
        raise InvalidInput(
            f"latent_dim={d} is not accepted for data with {ambient_dim} coordinates: "
            f"give an integer {most} {ambient_dim}{allowed}"
        )
    return d


def normal(shape: Sequence[int], like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Standard Gaussian noise of the device and dtype of `like`."""
    return torch.randn(*shape, generator=generator, device=like.device, dtype=like.dtype)


class LatentModel(Model):
    """A model whose data are decoded latents; a subclass makes the `decoder`, (n, latent_dim) to (n, *data_shape)."""

    latent_dim: int
    decoder: torch.nn.Module

    def decode(self, z: Tensor) -> Tensor:
        """Data g(z) in their units, (n, *data_shape)."""
        return self.preprocess.inverse(self.decoder(self.receive_latents(z)))

    def decoder_lipschitz_bound(self) -> float:
        """A certified upper bound of the Lipschitz constant of `decode`; inf if the network has none that is known."""
        return float(lipschitz_upper_bound(self.decoder)) * self.preprocess.inverse_lipschitz()


class CodingModel(LatentModel):
    """A model with an encoder and a decoder that mirrors it; `features` is what the encoder says of each point."""

    def __init__(
        self,
        data_shape: Sequence[int],
        latent_dim: int,
        *,
        hidden: Sequence[int],
        network: str,
        preprocess: Sequence[str],
        full_latent: bool,
        features: int | None = None,
    ) -> None:
        super().__init__(data_shape, preprocess)
        self.latent_dim = check_latent_dim(latent_dim, self.ambient_dim, full_latent=full_latent)
        self.encoder = nn.encoder(network, self.data_shape, features or self.latent_dim, hidden)
        self.decoder = nn.decoder(network, self.latent_dim, self.data_shape, tuple(hidden)[::-1])
