r"""Autoregressive models of vectors: p(x) = \prod_i p(x_i | x_1, ..., x_{i-1}), each factor a mixture of Gaussians."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from submanifold import nn
from submanifold.checks import check_int
from submanifold.errors import InvalidInput
from submanifold.models.likelihood import ExactLikelihood
from submanifold.models.registry import register
from submanifold.nn.given import NetworkLike

__all__ = ["MADE", "Autoregressive"]

_LOG_2PI = math.log(2 * math.pi)
_LONGEST = 1024
"""Coordinates up to which a transformer, whose time is the square of them, is of use."""


@register("autoregressive")
class Autoregressive(ExactLikelihood):
    r"""Maximises the exact log-likelihood

    .. math:: \log p(x) = \sum_i \log \sum_k \pi_k(x_{<i}) \, N(x_i; \mu_k(x_{<i}), \sigma_k(x_{<i})^2),

    with weights, means and widths from a causal network (mixture densities, Bishop 1994; Uria et al. 2013, arXiv
    1306.0186). Factors that are densities on a line make a density on R^D: on data that lie on a manifold the widths
    of coordinates that those before them determine go to zero, and the likelihood has no maximum.

    Sampling draws one coordinate after the other; what the network has computed for those before is kept.

    Args:
        data_shape: (D,) or (channels, height, width), flattened.
        network: "transformer", for at most 1024 coordinates, "masked" (MADE), or "kan", a KAN with masked edges;
            or a `submanifold.nn.CausalNetwork`, see `submanifold.nn.given`. Networks of another kind are not accepted.
        hidden: widths of the network's layers; of a transformer's blocks, all equal.
        components: Gaussians in each factor.
        preprocess: names of the invertible maps applied first.
    """

    family = "autoregressive model"
    awareness = "unaware"
    why = "a product of densities on a line is a density on all of R^D, whose likelihood grows without bound"

    networks = ("conditioner",)

    spread: Tensor

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        network: NetworkLike = "transformer",
        hidden: Sequence[int] = (64, 64),
        components: int = 10,
        preprocess: Sequence[str] = ("scale",),
    ) -> None:
        super().__init__(data_shape, preprocess)
        self.components = check_int(components, name="components")
        given = nn.network_for(network, "conditioner", self.networks)
        self.conditioner = nn.causal_network(given, self.ambient_dim, 3 * components, hidden)
        if isinstance(self.conditioner, nn.CausalTransformer) and self.ambient_dim > _LONGEST:
            raise InvalidInput(
                f"data_shape={self.data_shape} has {self.ambient_dim} coordinates, too many for a transformer: give at "
                f'most {_LONGEST}, or network="masked"'
            )
        # Means that begin apart keep components from sharing one mode.
        self.register_buffer("spread", torch.linspace(-1.5, 1.5, components) if components > 1 else torch.zeros(1))

    @torch.no_grad()
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` samples, (n, *data_shape)."""
        self.preprocess.require_fitted()
        features, state = self.conditioner.begin(check_int(n, name="n"))
        drawn = [self._draw(features, generator)]
        for _ in range(1, self.ambient_dim):
            features, state = self.conditioner.advance(drawn[-1], state)
            drawn.append(self._draw(features, generator))
        return self.preprocess.inverse(torch.stack(drawn, dim=1).reshape(n, *self.data_shape))

    def _log_prob(self, x: Tensor) -> Tensor:
        y, log_det = self.preprocess.forward_and_log_det(x)
        y = y.flatten(1)
        log_weights, means, log_widths = self._mixtures(self.conditioner(y))  # (n, D, K) each
        square = ((y[..., None] - means) * (-log_widths).exp()).square()
        log_factors = (log_weights - 0.5 * (square + _LOG_2PI) - log_widths).logsumexp(dim=2)
        total: Tensor = log_factors.sum(dim=1) + log_det
        return total

    def _normalise(self, x: Tensor) -> Tensor:
        r"""u_i = \Phi^{-1}(F_i(x_i | x_{<i})), F_i the factors' distribution functions (Rosenblatt 1952), (n, D)."""
        y = self.preprocess(x).flatten(1)
        log_weights, means, log_widths = self._mixtures(self.conditioner(y))
        t = (y[..., None] - means) * (-log_widths).exp()
        # The smaller of the two tails has all its digits, by the complementary error function: ndtr's end at 8 widths.
        below, above = (self._tail(log_weights, side) for side in (t, -t))
        lower = below < above
        tail = torch.where(lower, below, above)
        least = 1e6 * torch.finfo(tail.dtype).tiny
        u = torch.special.ndtri(tail.clamp(min=least))  # (n, D), negative
        # Farther out a mixture's tail is that of one component.
        side = torch.where(lower[..., None], t, -t)
        heaviest = (log_weights - 0.5 * side.square()).argmax(dim=2, keepdim=True)
        u = torch.where(tail > least, u, side.gather(2, heaviest)[..., 0])
        return torch.where(lower, u, -u)

    @staticmethod
    def _tail(log_weights: Tensor, t: Tensor) -> Tensor:
        """The mixture's probability below a coordinate that is `t` (n, D, K) widths from each mean, (n, D)."""
        return 0.5 * (log_weights.exp() * torch.erfc(-t / math.sqrt(2))).sum(dim=2)

    def _mixtures(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logarithms of weights, means, and logarithms of widths, (..., K) each."""
        weights, means, log_widths = features.chunk(3, dim=-1)
        return weights.log_softmax(dim=-1), means + self.spread, log_widths.clamp(-15, 5)

    def _draw(self, features: Tensor, generator: torch.Generator | None) -> Tensor:
        """One coordinate of each sample, (n,)."""
        log_weights, means, log_widths = self._mixtures(features)  # (n, K)
        which = torch.multinomial(log_weights.exp(), 1, generator=generator)
        noise = torch.randn(len(features), 1, generator=generator, device=features.device, dtype=features.dtype)
        return (means.gather(1, which) + log_widths.gather(1, which).exp() * noise)[:, 0]


@register("made")
class MADE(Autoregressive):
    """The masked autoencoder for distribution estimation (Germain et al. 2015, arXiv 1502.03509), with mixtures.

    One dense network with masked weights says all factors at once; see `Autoregressive` for the arguments.
    """

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        hidden: Sequence[int] = (128, 128),
        components: int = 10,
        preprocess: Sequence[str] = ("scale",),
    ) -> None:
        super().__init__(data_shape, network="masked", hidden=hidden, components=components, preprocess=preprocess)
