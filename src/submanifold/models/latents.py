"""What all models with latents share: how many latents they may have, their networks, and the way back to data."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from submanifold import nn
from submanifold.checks import check_int
from submanifold.errors import InvalidInput
from submanifold.geometry import interval_bounds, lipschitz_upper_bound
from submanifold.models.base import Model, Stage, check_data_shape
from submanifold.models.mixture import GaussianMixture
from submanifold.nn.given import NetworkLike, name_of

__all__ = [
    "CodingModel",
    "DecodedLatents",
    "FittedLatents",
    "LatentModel",
    "NormalLatents",
    "check_latent_dim",
    "normal",
    "number_of_latents",
]


def number_of_latents(latent_dim: int | None, data_shape: Sequence[int], network: NetworkLike = "auto") -> int:
    r"""`latent_dim` or, where that is None, the smaller of 2 \lfloor \sqrt{D} \rfloor and D - 1.

    That is enough for what images are known to vary in (16 for 8 x 8 pixels, 56 for 28 x 28), and says nothing of the
    data at hand; their intrinsic dimension, see `submanifold.dimension.estimate`, does. Latents that are images, of
    `network="spatial"`, fill the channels that make the number nearest to it.

    Raises:
        InvalidInput: for a number below 1, or a shape that is not one of data.
    """
    if latent_dim is not None:
        return check_int(latent_dim, name="latent_dim")
    D = math.prod(check_data_shape(data_shape))
    usual = max(1, min(D - 1, 2 * math.isqrt(D)))
    if name_of(network) != "spatial":
        return usual
    channel = math.prod(nn.places(data_shape))
    return int(channel * max(1, round(usual / channel)))


def check_latent_dim(latent_dim: Any, ambient_dim: int, *, full_latent: bool = False) -> int:
    """Refuse a `latent_dim` that is not below `ambient_dim`, or with `full_latent` above it.

    As many latents as coordinates make the identity a perfect autoencoder of all of R^D, so that it need not learn a
    manifold at all; whoever wants that has to say so.
    """
    d = check_int(latent_dim, name="latent_dim")
    if d > ambient_dim - (not full_latent):
        accepted = [f"an integer of at most {ambient_dim}"] if full_latent else []
        if not full_latent:
            fewer = [f"an integer below {ambient_dim}"] if ambient_dim > 1 else []
            accepted = [*fewer, "full_latent=True to have as many latents as coordinates"]
        raise InvalidInput(
            f"latent_dim={d} is not accepted for data with {ambient_dim} coordinates: give {', or '.join(accepted)}"
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

    @torch.no_grad()
    def decode_bounds(self, low: Tensor, high: Tensor, *, parts: int = 4) -> tuple[Tensor, Tensor]:
        """Bounds of what `decode` says of all latents in boxes, in the units of the data, in exact arithmetic.

        Args:
            low: least latents of each box, (n, latent_dim).
            high: largest, likewise.
            parts: see `submanifold.geometry.interval_bounds`.

        Returns:
            lower and upper bounds, float64, (n, *data_shape).

        Raises:
            InvalidInput: for what are no boxes, or a decoder of which no bounds are known.
        """
        exact = copy.deepcopy(self).double().eval()
        low, high = exact.receive_latents(low, name="low"), exact.receive_latents(high, name="high")
        return exact.preprocess.inverse_bounds(*exact._bounds_of_decoded(low, high, parts))

    def _bounds_of_decoded(self, low: Tensor, high: Tensor, parts: int) -> tuple[Tensor, Tensor]:
        """Bounds in preprocessed units, (n, *data_shape) each."""
        bounds: tuple[Tensor, Tensor] = interval_bounds(self.decoder, low, high, parts=parts)
        return bounds

    def decoder_lipschitz_bound(self) -> float:
        """A certified upper bound of the Lipschitz constant of `decode`; inf if the network has none that is known."""
        return float(lipschitz_upper_bound(self.decoder)) * self.preprocess.inverse_lipschitz()


class DecodedLatents(LatentModel):
    """A model whose samples are decoded latents; a subclass says of which law."""

    @abstractmethod
    def sample_latent(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` latents, (n, latent_dim)."""

    @torch.no_grad()
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` samples, (n, *data_shape): decoded latents."""
        return self.decode(self.sample_latent(n, generator=generator))


class NormalLatents(DecodedLatents):
    """A model whose latents have the law N(0, I)."""

    @torch.no_grad()
    def sample_latent(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` latents, (n, latent_dim)."""
        like = torch.empty(0, device=self.device, dtype=self.dtype)
        return normal((check_int(n, name="n"), self.latent_dim), like, generator)


class CodingModel(LatentModel):
    """A model with an encoder and a decoder that mirrors it.

    The encoder says `features` numbers of each point, its latents unless a subclass reads more from them; the decoder
    `outputs` numbers of each coordinate, in as many times the channels or coordinates.
    """

    networks: tuple[str, ...] = ("encoder", "decoder")

    def __init__(
        self,
        data_shape: Sequence[int],
        latent_dim: int | None,
        *,
        hidden: Sequence[int],
        network: NetworkLike,
        preprocess: Sequence[str],
        full_latent: bool,
        features: int | None = None,
        outputs: int = 1,
    ) -> None:
        super().__init__(data_shape, preprocess)
        d = number_of_latents(latent_dim, data_shape, network)
        self.latent_dim = check_latent_dim(d, self.ambient_dim, full_latent=full_latent)
        there, back = (nn.network_for(network, role, self.networks) for role in ("encoder", "decoder"))
        self.encoder = nn.encoder(there, self.data_shape, features or self.latent_dim, hidden)
        self.decoded_numbers = outputs * self.ambient_dim
        first, *others = self.data_shape
        self.decoder = nn.decoder(back, self.latent_dim, (outputs * first, *others), tuple(hidden)[::-1])

    def encode(self, x: Tensor) -> Tensor:
        """Latents f(x), (n, latent_dim)."""
        latents: Tensor = self.encoder(self.preprocess(self.receive(x)))
        return latents


class FittedLatents(DecodedLatents, CodingModel):
    """A model whose latents get a law when it is trained: a mixture of Gaussians, fitted to those of the training data.

    That makes it a two-step model (Ghosh et al. 2020, arXiv 1903.12436, section 4). A subclass makes the `law`.
    """

    law: GaussianMixture

    def stages(self) -> list[Stage]:
        return [*super().stages(), Stage("law", transform=self.encode, prepare=self.law.prepare)]

    @torch.no_grad()
    def sample_latent(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` latents of the law that was fitted to those of the training data, (n, latent_dim)."""
        return self.law.sample(n, generator=generator)
