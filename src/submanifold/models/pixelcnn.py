r"""PixelCNN: P(x) = \prod_i P(x_i | x_1, ..., x_{i-1}) over the pixels of an image, each factor a law of levels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from submanifold.checks import check_int
from submanifold.errors import InvalidInput
from submanifold.models.base import LogProbKind, Measure, Model, Objective
from submanifold.models.discretised import lattice_of, logistic_log_mass, sample_logistic
from submanifold.models.registry import register
from submanifold.nn.given import OneNetwork, is_named, named, word
from submanifold.nn.pixel import PixelNetwork

__all__ = ["PixelCNN"]

_NARROW = -1.5
"""Log-scales begin here, where as many components as the default has cover the levels evenly."""


@register("pixelcnn")
class PixelCNN(Model):
    r"""Maximises the exact log-probability of images on a lattice,

    .. math:: \log P(x) = \sum_i \log \sum_k \pi_k \prod_c P(x_{ic}; \mu_{kc} + \sum_{b<c} a_{kcb} x_{ib}, s_{kc}),

    where P is a logistic law rounded to the nearest level, c runs over the channels of pixel i, and all parameters are
    functions of the pixels before it in raster order (Salimans et al. 2017, arXiv 1701.05517, eqs. 1-3; van den Oord
    et al. 2016, arXiv 1601.06759). Probabilities are at most 1: this likelihood is bounded, and no scale goes to zero
    because the data lie on a manifold. `log_prob` is that of the density which is constant on the cell of each level,
    the one that dequantised models bound from below: \log P(x) - D \log \Delta.

    Sampling draws one pixel after the other; what the network has computed for those before is kept.

    Args:
        data_shape: (channels, height, width), of values on evenly spaced levels.
        hidden: width of each block of the network, all equal, see `submanifold.nn.PixelNetwork`.
        network: "conv", or "kan", in which the channels of a pixel are mixed by layers of a KAN, with options or
            without, see `submanifold.nn.given`. What is said of a pixel may depend on those before it alone, so that
            networks of your own are not accepted.
        components: logistic laws in each factor.

    Raises:
        InvalidInput: for a shape that is not an image's; when it sees data that are continuous, or off the levels of
            those it was fitted to.
    """

    family = "PixelCNN"
    awareness = "n/a"
    why = "its law of levels is discrete as the data are, so that no likelihood is unbounded"

    measure: Measure = "ambient"
    log_prob_kind: LogProbKind = "exact"

    spread: Tensor
    lower: Tensor

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        hidden: Sequence[int] = (32, 32, 32, 32, 32),
        network: OneNetwork = "conv",
        components: int = 5,
    ) -> None:
        super().__init__(data_shape, ("lattice",))
        self.components = check_int(components, name="components")
        self.channels = C = self.data_shape[0]
        self.parts = [1, C, C, C * (C - 1) // 2]  # weight, means, log-scales, slopes
        if not is_named(network):
            raise InvalidInput(
                f"network={word(network)} is not accepted: what is said of a pixel may depend on those before it "
                'alone, by masks that a network of your own lacks, give "conv" or "kan"'
            )
        kind, options = named(network, ["conv", "kan"])
        self.network = PixelNetwork(self.data_shape, components * sum(self.parts), hidden, kan=kind == "kan", **options)
        # Means that begin apart keep components from sharing one mode.
        self.register_buffer("spread", torch.linspace(-1, 1, components) if components > 1 else torch.zeros(1))
        self.register_buffer("lower", torch.ones(C, C).tril(-1).nonzero().T, persistent=False)  # (2, C (C - 1) / 2)

    def objectives(self) -> list[Objective]:
        return [Objective("likelihood", list(self.parameters()), self.loss)]

    def loss(self, x: Tensor) -> Tensor:
        """Negative log-probability of an image in nats, at least 0, ()."""
        return -self._log_mass(x).mean()

    def log_prob(self, x: Tensor) -> Tensor:
        """Exact log-density in nats, constant on the cell of each level, (n,)."""
        log_mass = self._log_mass(self.receive(x))
        return log_mass - self.ambient_dim * lattice_of(self.preprocess).step.log()

    def bits_per_dim(self, x: Tensor) -> Tensor:
        """Bits by which the model codes a value of each image, on average over its values, (n,)."""
        return -self._log_mass(self.receive(x)) / (self.ambient_dim * math.log(2))

    @torch.no_grad()
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` samples, (n, *data_shape), on the levels of the training data."""
        self.preprocess.require_fitted()
        u = self.network.generate(check_int(n, name="n"), lambda features: self._draw(features, generator))
        return self.preprocess.inverse(u)

    def _log_mass(self, x: Tensor) -> Tensor:
        """Log-probabilities of images, (n,)."""
        u = self.preprocess(x)
        features = self.network(u).movedim(1, -1)  # (n, H, W, out)
        log_weights, means, log_scales, slopes = self._mixtures(features)
        u = u.movedim(1, -1)  # (n, H, W, C)
        means = means + torch.einsum("...kcb,...b->...kc", slopes, u)
        levels = lattice_of(self.preprocess).levels
        each = logistic_log_mass(u.unsqueeze(-2), means, log_scales, levels)  # (n, H, W, K, C)
        log_factors = (each.sum(dim=-1) + log_weights).logsumexp(dim=-1)  # (n, H, W)
        return log_factors.sum(dim=(1, 2))

    def _mixtures(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Log-weights (..., K), means and log-scales (..., K, C), and slopes (..., K, C, C), zero but below the
        diagonal."""
        K, C = self.components, self.channels
        parts = features.reshape(*features.shape[:-1], K, -1)  # (..., K, parts)
        weights, means, log_scales, free = torch.split(parts, self.parts, dim=-1)
        slopes = features.new_zeros(*means.shape, C)
        slopes[..., self.lower[0], self.lower[1]] = free.tanh()
        means = means + self.spread[:, None]
        return weights[..., 0].log_softmax(dim=-1), means, log_scales + _NARROW, slopes

    def _draw(self, features: Tensor, generator: torch.Generator | None) -> Tensor:
        """The values u of one pixel of each image, (n, C)."""
        log_weights, *laws = self._mixtures(features)
        chosen = torch.multinomial(log_weights.exp(), 1, generator=generator)[:, 0]  # (n,)
        rows = torch.arange(len(chosen), device=chosen.device)
        means, log_scales, slopes = (part[rows, chosen] for part in laws)
        levels = lattice_of(self.preprocess).levels
        u = torch.zeros_like(means)  # (n, C)
        for c in range(self.channels):
            mean = means[:, c] + (slopes[:, c] * u).sum(dim=1)
            u[:, c] = sample_logistic(mean, log_scales[:, c], levels, generator)
        return u
