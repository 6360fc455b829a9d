r"""Invertible maps of images, the layers of `ImageFlow`: y = T(x) and \log |\det \partial T / \partial x|, (n,).

x and y are (n, C, H, W). Every layer starts as an isometry up to its data-dependent initialisation.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from submanifold.errors import InvalidInput
from submanifold.models import _zuko
from submanifold.nn.conditional import zeroed
from submanifold.nn.kan.channels import ChannelKAN

__all__ = [
    "CONDITIONERS",
    "ActNorm",
    "AffineCoupling",
    "Bijection",
    "Conditioner",
    "InvertibleConvolution",
    "SplineCoupling",
    "Squeeze",
]

_LARGEST_LOG_SCALE = 2.0
"""A coupling stretches by at most e^2; more takes several."""
_SMALLEST_DEVIATION = 1e-6
"""Below this a channel, of data of unit size, does not vary at the resolution of float32."""


class Bijection(nn.Module):
    """One invertible map."""

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """T(x), and the log-determinant of its Jacobian, (n,)."""

    @abstractmethod
    def inverse(self, y: Tensor) -> Tensor:
        """x with T(x) = y."""

    def initialise(self, x: Tensor) -> None:
        """Set parameters by what the layer sees before training; most layers have none to set."""


class Squeeze(Bijection):
    """Each block of 2 x 2 pixels becomes four channels (Dinh et al. 2017, arXiv 1605.08803, section 3.6)."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return nn.functional.pixel_unshuffle(x, 2), x.new_zeros(len(x))  # (n, 4 C, H / 2, W / 2), (n,)

    def inverse(self, y: Tensor) -> Tensor:
        return nn.functional.pixel_shuffle(y, 2)  # (n, C / 4, 2 H, 2 W)


class ActNorm(Bijection):
    """y = s (x + b) channel by channel; at first each channel of y has mean 0 and variance 1 on the data.

    From Kingma & Dhariwal 2018 (arXiv 1807.03039, section 3.1). A channel that does not vary is shifted alone.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(channels, 1, 1))
        self.log_scale = nn.Parameter(torch.zeros(channels, 1, 1))

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        deviation, mean = torch.std_mean(x.double(), dim=(0, 2, 3), correction=0)
        deviation = torch.where(deviation > _SMALLEST_DEVIATION, deviation, 1.0)
        self.shift.copy_(-mean.view_as(self.shift))
        self.log_scale.copy_(-deviation.log().view_as(self.log_scale))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_det = x.shape[-2:].numel() * self.log_scale.sum()
        return (x + self.shift) * self.log_scale.exp(), log_det.expand(len(x))

    def inverse(self, y: Tensor) -> Tensor:
        return y * (-self.log_scale).exp() - self.shift


class InvertibleConvolution(Bijection):
    r"""y = W x at every pixel, with W = P L (U + diag(s)): a permutation and two triangular matrices, s of fixed sign.

    From Kingma & Dhariwal 2018 (arXiv 1807.03039, eq. 10-11): \log |\det| = H W \sum_i \log |s_i|. Starts as a random
    orthogonal matrix.
    """

    permutation: Tensor
    sign: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        P, L, U = torch.linalg.lu(torch.linalg.qr(torch.randn(channels, channels))[0])
        self.register_buffer("permutation", P)
        self.register_buffer("sign", U.diagonal().sign())
        self.log_s = nn.Parameter(U.diagonal().abs().log())
        self.lower = nn.Parameter(L.tril(-1))
        self.upper = nn.Parameter(U.triu(1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        L, U = self._triangles()
        y = torch.einsum("ij,njhw->nihw", self.permutation @ L @ U, x)
        return y, (x.shape[-2:].numel() * self.log_s.sum()).expand(len(x))

    def inverse(self, y: Tensor) -> Tensor:
        L, U = self._triangles()
        columns = self.permutation.T @ y.transpose(0, 1).flatten(1)  # (C, n H W)
        columns = torch.linalg.solve_triangular(L, columns, upper=False, unitriangular=True)
        columns = torch.linalg.solve_triangular(U, columns, upper=True)
        x: Tensor = columns.reshape(y.shape[1], len(y), *y.shape[2:]).transpose(0, 1)  # (n, C, H, W)
        return x

    def _triangles(self) -> tuple[Tensor, Tensor]:
        """L, with ones on its diagonal, and U + diag(s)."""
        L = self.lower.tril(-1) + torch.eye(len(self.lower), device=self.lower.device, dtype=self.lower.dtype)
        return L, self.upper.triu(1) + torch.diag(self.sign * self.log_s.exp())


Conditioner = Callable[[int, int, Sequence[int]], nn.Module]
"""Makes a network of images that says 0 at first, by channels in and out and the numbers of feature maps between."""


def _convolutions(channels: int, out: int, hidden: Sequence[int]) -> nn.Module:
    """3x3, then 1x1, then 3x3 convolutions."""
    layers: list[nn.Module] = []
    for i, (fan_in, fan_out) in enumerate(pairwise([channels, *hidden, out])):
        size = 3 if i in (0, len(hidden)) else 1
        layers += [nn.Conv2d(fan_in, fan_out, size, padding=size // 2), nn.SiLU()]
    zeroed(cast("nn.Conv2d", layers[-2]))
    return nn.Sequential(*layers[:-1])


def _channel_kan(channels: int, out: int, hidden: Sequence[int], **options: Any) -> nn.Module:
    """A KAN of the channels at every pixel, between 3x3 convolutions that let pixels see their neighbours."""
    if not hidden:
        raise InvalidInput('hidden=[] with network="kan" is not accepted: give the number of at least one feature map')
    kan = ChannelKAN(hidden if len(hidden) > 1 else [*hidden, *hidden], **options)
    return nn.Sequential(
        nn.Conv2d(channels, hidden[0], 3, padding=1), kan, zeroed(nn.Conv2d(hidden[-1], out, 3, padding=1))
    )


CONDITIONERS: dict[str, Conditioner] = {"conv": _convolutions, "kan": _channel_kan}
"""What decides in a coupling, by name."""


class Coupling(Bijection):
    """y_a = x_a, and y_b a map of x_b, value by value, that x_a decides; the two are halves of the channels.

    Dinh et al. 2017 (arXiv 1605.08803, section 3.2). What decides, as many images as the map has parameters, comes from
    a small network. Starts as the identity.

    Args:
        channels: C, even.
        hidden: numbers of feature maps.
        parameters: of the map of one value.
        conditioner: makes the network.
    """

    def __init__(self, channels: int, hidden: Sequence[int], parameters: int, conditioner: Conditioner) -> None:
        super().__init__()
        self.parameters_each = parameters
        self.network = conditioner(channels // 2, parameters * (channels // 2), hidden)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        given, moved = x.chunk(2, dim=1)
        moved, log_slopes = self._move(moved, self._decide(given))
        return torch.cat([given, moved], dim=1), log_slopes.flatten(1).sum(dim=1)

    def inverse(self, y: Tensor) -> Tensor:
        given, moved = y.chunk(2, dim=1)
        return torch.cat([given, self._move_back(moved, self._decide(given))], dim=1)

    def _decide(self, given: Tensor) -> Tensor:
        """The parameters of the map of each value, (parameters, n, C / 2, H, W)."""
        decided: Tensor = self.network(given)
        return decided.reshape(len(given), self.parameters_each, *given.shape[1:]).movedim(1, 0)

    @abstractmethod
    def _move(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """The mapped values and the logarithms of the map's slopes there, each shaped like x."""

    @abstractmethod
    def _move_back(self, y: Tensor, parameters: Tensor) -> Tensor:
        """x, of which y are the mapped values."""


class AffineCoupling(Coupling):
    """y_b = x_b e^s + t, |s| < 2; see `Coupling` for the arguments."""

    def __init__(self, channels: int, hidden: Sequence[int], conditioner: Conditioner = _convolutions) -> None:
        super().__init__(channels, hidden, 2, conditioner)

    def _move(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = _bounded(parameters[0]), parameters[1]
        return x * log_scale.exp() + shift, log_scale

    def _move_back(self, y: Tensor, parameters: Tensor) -> Tensor:
        return (y - parameters[1]) * (-_bounded(parameters[0])).exp()


class SplineCoupling(Coupling):
    """y_b = S(x_b e^s + t), S a monotonic rational quadratic spline on [-5, 5] and the identity outside.

    Durkan et al. 2019 (arXiv 1906.04032). What it adds to an affine map are shapes: those of values that noise has
    made uniform on a cell, and of several likely ones.

    Args:
        channels, hidden, conditioner: see `Coupling`.
        bins: pieces of the spline.
    """

    def __init__(
        self, channels: int, hidden: Sequence[int], bins: int, conditioner: Conditioner = _convolutions
    ) -> None:
        super().__init__(channels, hidden, 2 + 3 * bins - 1, conditioner)
        self.bins = bins

    def _move(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = _bounded(parameters[0]), parameters[1]
        y, log_slope = self._spline(parameters).call_and_ladj(x * log_scale.exp() + shift)
        return y, log_slope + log_scale

    def _move_back(self, y: Tensor, parameters: Tensor) -> Tensor:
        x: Tensor = (self._spline(parameters).inv(y) - parameters[1]) * (-_bounded(parameters[0])).exp()
        return x

    def _spline(self, parameters: Tensor) -> Any:
        shape = parameters[2:].movedim(0, -1)  # (n, C / 2, H, W, 3 bins - 1)
        widths, heights, slopes = torch.split(shape, [self.bins, self.bins, self.bins - 1], dim=-1)
        return _zuko.MonotonicRQSTransform(widths, heights, slopes)


def _bounded(log_scale: Tensor) -> Tensor:
    return _LARGEST_LOG_SCALE * (log_scale / _LARGEST_LOG_SCALE).tanh()
