r"""Laws of the latents given a point, q(z | x), that a variational autoencoder can draw from with gradients.

The encoder's output for x, its features, is what a posterior is made of: a mean and a log-scale of each latent, and
for a flow some more on which its maps depend.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

from submanifold.models import _zuko
from submanifold.nn.given import NetworkLike, name_of

__all__ = [
    "POSTERIORS",
    "FlowPosterior",
    "GaussianPosterior",
    "Posterior",
    "gaussian_kl",
    "gaussian_log_prob",
    "latent_flow",
]

_LOG_2PI = math.log(2 * math.pi)


def gaussian_log_prob(z: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """log N(z; mean, diag scale^2), summed over the last dimension."""
    return -0.5 * (((z - mean) / scale).square() + _LOG_2PI).sum(dim=-1) - scale.log().sum(dim=-1)


def gaussian_kl(mean: Tensor, scale: Tensor) -> Tensor:
    """KL(N(mean, scale^2) || N(0, 1)) of each unit, shaped like `mean`."""
    return 0.5 * (mean.square() + scale.square() - 1) - scale.log()


def latent_flow(latent_dim: int, network: NetworkLike, context: int = 0) -> nn.Module:
    """A small flow of latents, of "mlp" or "kan" conditioners, see `submanifold.models._zuko.transforms`."""
    hidden = (64,) if name_of(network) == "mlp" else (16,)
    return _zuko.transforms(
        "spline-autoregressive", latent_dim, layers=2, hidden=hidden, bins=8, context=context, network=network
    )


class Posterior(nn.Module, ABC):
    """q(z | x) of `latent_dim` latents.

    Attributes:
        n_features: how many numbers the encoder has to give for each point.
    """

    n_features: int

    @abstractmethod
    def draw(self, features: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (..., n, d) made of normal noise `eps` of that shape, and their log q(z | x), (..., n)."""

    @abstractmethod
    def centre(self, features: Tensor) -> Tensor:
        """The latents of no noise, (n, d)."""


class GaussianPosterior(Posterior):
    r"""N(\mu(x), diag s(x)^2)."""

    def __init__(self, latent_dim: int, network: NetworkLike = "mlp") -> None:
        super().__init__()
        self.n_features = 2 * latent_dim

    def moments(self, features: Tensor) -> tuple[Tensor, Tensor]:
        r"""\mu and s, each (n, d)."""
        mean, log_scale = features.chunk(2, dim=1)
        return mean, log_scale.clamp(-15, 5).exp()

    def draw(self, features: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        mean, scale = self.moments(features)
        return mean + scale * eps, -0.5 * (eps.square() + _LOG_2PI).sum(dim=-1) - scale.log().sum(dim=-1)

    def centre(self, features: Tensor) -> Tensor:
        return self.moments(features)[0]


class FlowPosterior(Posterior):
    """A Gaussian moved by inverse autoregressive flow, with monotone splines that depend on x.

    Kingma et al. 2016 (arXiv 1606.04934, eq. 10) with the splines of Durkan et al. 2019 (arXiv 1906.04032).
    """

    def __init__(self, latent_dim: int, network: NetworkLike = "mlp", context: int = 32) -> None:
        super().__init__()
        self.base = GaussianPosterior(latent_dim)
        self.n_features = self.base.n_features + context
        self.flow = latent_flow(latent_dim, network, context)

    def draw(self, features: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        base, context = self._split(features)
        z, log_q = self.base.draw(base, eps)
        z, log_det = self.flow(context).call_and_ladj(z)
        return z, log_q - log_det

    def centre(self, features: Tensor) -> Tensor:
        base, context = self._split(features)
        z: Tensor = self.flow(context)(self.base.centre(base))
        return z

    def _split(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """What makes the Gaussian, and what the maps depend on."""
        return features[:, : self.base.n_features], features[:, self.base.n_features :]


POSTERIORS: dict[str, Callable[[int, NetworkLike], Posterior]] = {"gaussian": GaussianPosterior, "flow": FlowPosterior}
"""By name, a posterior of so many latents, of networks "mlp" or "kan" where it has any."""
