r"""Laws of latents, p(z), that are given or learned together with a variational autoencoder.

A learned prior does not make its model manifold-aware: the decoder's noise still fills R^D, and the bound still grows
without limit as it shrinks. A law fitted after the decoder does (`submanifold.models.TwoStep`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from submanifold.models.latents import normal
from submanifold.models.posteriors import gaussian_log_prob, latent_flow
from submanifold.nn.given import NetworkLike

__all__ = ["PRIORS", "Prior"]

Moments = Callable[[Tensor], tuple[Tensor, Tensor]]
"""What the posterior of preprocessed data (n, *data_shape) is: mean and scale, each (n, d)."""


class Prior(nn.Module, ABC):
    """p(z) on R^d; `moments` is there for the one prior that is made of posteriors."""

    origin: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.register_buffer("origin", torch.zeros(latent_dim), persistent=False)  # knows device and dtype

    def prepare(self, y: Tensor) -> None:
        """See preprocessed training data before the first step."""

    @abstractmethod
    def log_prob(self, z: Tensor, moments: Moments) -> Tensor:
        """Log-density in nats of latents (..., d), (...)."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator | None, moments: Moments) -> Tensor:
        """`n` latents, (n, d)."""

    def _noise(self, n: int, generator: torch.Generator | None) -> Tensor:
        return normal((n, len(self.origin)), self.origin, generator)


class _Normal(Prior):
    """N(0, I)."""

    def __init__(self, latent_dim: int, data_shape: Sequence[int], components: int, network: NetworkLike) -> None:
        super().__init__(latent_dim)

    def log_prob(self, z: Tensor, moments: Moments) -> Tensor:
        return gaussian_log_prob(z, self.origin, torch.ones_like(self.origin))

    def sample(self, n: int, generator: torch.Generator | None, moments: Moments) -> Tensor:
        return self._noise(n, generator)


class _OfComponents(Prior):
    """A mixture of Gaussians with diagonal covariances."""

    @abstractmethod
    def _components(self, moments: Moments) -> tuple[Tensor, Tensor, Tensor]:
        """Log-weights (K,), which need not be normalised, means and scales (K, d)."""

    def log_prob(self, z: Tensor, moments: Moments) -> Tensor:
        log_weights, means, scales = self._components(moments)
        each = gaussian_log_prob(z.unsqueeze(-2), means, scales)  # (..., K)
        return (each + log_weights.log_softmax(dim=0)).logsumexp(dim=-1)

    def sample(self, n: int, generator: torch.Generator | None, moments: Moments) -> Tensor:
        log_weights, means, scales = self._components(moments)
        chosen = torch.multinomial(log_weights.softmax(dim=0), n, replacement=True, generator=generator)
        return means[chosen] + scales[chosen] * self._noise(n, generator)


class _Mixture(_OfComponents):
    """A mixture of Gaussians with weights, means and scales of its own."""

    def __init__(self, latent_dim: int, data_shape: Sequence[int], components: int, network: NetworkLike) -> None:
        super().__init__(latent_dim)
        self.log_weights = Parameter(torch.zeros(components))
        self.means = Parameter(torch.randn(components, latent_dim))
        self.log_scales = Parameter(torch.zeros(components, latent_dim))

    def _components(self, moments: Moments) -> tuple[Tensor, Tensor, Tensor]:
        return self.log_weights, self.means, self.log_scales.exp()


class _VampPrior(_OfComponents):
    """The mixture of the posteriors of learned pseudo-inputs, which begin as points of the data.

    Tomczak & Welling 2018 (arXiv 1705.07120, eq. 9), with weights that are learned too.
    """

    begun: Tensor

    def __init__(self, latent_dim: int, data_shape: Sequence[int], components: int, network: NetworkLike) -> None:
        super().__init__(latent_dim)
        self.log_weights = Parameter(torch.zeros(components))
        self.pseudo_inputs = Parameter(torch.randn(components, *data_shape))
        self.register_buffer("begun", torch.tensor(False))

    @torch.no_grad()
    def prepare(self, y: Tensor) -> None:
        if self.begun:  # and trained
            return
        self.pseudo_inputs.copy_(y[torch.randint(len(y), (len(self.pseudo_inputs),), device=y.device)])

    def log_prob(self, z: Tensor, moments: Moments) -> Tensor:
        if self.training:
            self.begun.fill_(True)
        return super().log_prob(z, moments)

    def _components(self, moments: Moments) -> tuple[Tensor, Tensor, Tensor]:
        return self.log_weights, *moments(self.pseudo_inputs)


class _Flow(Prior):
    """A normalizing flow with autoregressive splines, of KANs if the model's networks are."""

    def __init__(self, latent_dim: int, data_shape: Sequence[int], components: int, network: NetworkLike) -> None:
        super().__init__(latent_dim)
        self.flow = latent_flow(latent_dim, network)

    def log_prob(self, z: Tensor, moments: Moments) -> Tensor:
        u, log_det = self.flow().call_and_ladj(z)
        total: Tensor = log_det - 0.5 * (u.square() + math.log(2 * math.pi)).sum(dim=-1)
        return total

    def sample(self, n: int, generator: torch.Generator | None, moments: Moments) -> Tensor:
        z: Tensor = self.flow().inv(self._noise(n, generator))
        return z


PRIORS: dict[str, Callable[[int, Sequence[int], int, NetworkLike], Prior]] = {
    "normal": _Normal,
    "mixture": _Mixture,
    "vampprior": _VampPrior,
    "flow": _Flow,
}
"""By name, a prior of so many latents, for data of a shape, with so many components where it has some, of networks
"mlp" or "kan" where it has any."""
