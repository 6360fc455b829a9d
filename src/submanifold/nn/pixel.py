r"""Convolutions of images in which what is said of a pixel depends on the pixels before it alone, in raster order.

Two streams look at an image y (n, C, H, W). At (i, j) the one that comes down has seen the rows above the i-th, to both
sides; the one that comes from the left has seen the row i up to column j - 1, and at every layer what the first stream
has seen. Together these are all the pixels before (i, j): there is no blind spot (van den Oord et al. 2016, arXiv
1606.05328, section 2.2; Salimans et al. 2017, arXiv 1701.05517).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from submanifold.checks import check_int, check_ints
from submanifold.errors import InvalidInput
from submanifold.nn.activations import activation as make_activation
from submanifold.nn.kan.channels import ChannelKAN

__all__ = ["CausalConv", "PixelNetwork"]

Memory = dict["CausalConv", Tensor]
"""By convolution, the last rows that it was given, (n, C, spacing + 1, columns with margins)."""


class CausalConv(nn.Conv2d):
    """A convolution over two rows: at (i, j) it sees rows i - d and i, in columns j - left d, ..., j + right d.

    Args:
        in_channels: of the image that it is given.
        out_channels: of the image that it makes, of the same height and width.
        left: columns seen before the j-th.
        right: columns seen after it.
        spacing: d.
    """

    def __init__(self, in_channels: int, out_channels: int, left: int, right: int, spacing: int = 1) -> None:
        super().__init__(in_channels, out_channels, (2, left + 1 + right))
        self.spacing = spacing
        self.left, self.right = left * spacing, right * spacing

    def forward(self, h: Tensor, memory: Memory | None = None, at: int = 0) -> Tensor:
        """(n, in, H, W) to (n, out, H, W); with a memory, in which are the pixels before, part of one row from column
        `at` on, (n, in, 1, w) to (n, out, 1, w)."""
        if memory is None:
            seen = functional.pad(h, (self.left, self.right, self.spacing, 0))
            return functional.conv2d(seen, self.weight, self.bias, dilation=self.spacing)
        kept, end = memory[self], at + h.shape[-1]
        kept[:, :, -1:, at + self.left : end + self.left] = h
        seen = kept[:, :, :: self.spacing, at : end + self.left + self.right]  # (n, in, 2, columns)
        if h.shape[-1] == 1:
            return _pixel(seen[:, :, :, :: self.spacing], self)
        return functional.conv2d(seen, self.weight, self.bias, dilation=(1, self.spacing))

    def empty_memory(self, n: int, width: int) -> Tensor:
        """What is remembered before the first row of `n` images of some width."""
        return self.weight.new_zeros(n, self.in_channels, self.spacing + 1, self.left + width + self.right)


class _Mix(nn.Conv2d):
    """An affine map of the channels of each pixel."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)

    def forward(self, h: Tensor) -> Tensor:
        return _pixel(h, self) if h.shape[2:] == (1, 1) else super().forward(h)


def _pixel(seen: Tensor, conv: nn.Conv2d) -> Tensor:
    """The one pixel that a convolution makes of an image of its kernel's size: as a matrix product, which is several
    times faster."""
    return functional.linear(seen.flatten(1), conv.weight.flatten(1), conv.bias)[:, :, None, None]


class _Block(nn.Module):
    r"""h + a \varsigma(b), where a and b come from a causal convolution of h, to which what the other stream has at
    this pixel is added (Salimans et al. 2017, arXiv 1701.05517), by a layer of the channels or one of a KAN."""

    def __init__(
        self,
        width: int,
        left: int,
        right: int,
        spacing: int,
        activation: str,
        *,
        joins: bool,
        kan: dict[str, Any] | None,
    ) -> None:
        super().__init__()
        self.activation = make_activation(activation)
        self.conv = CausalConv(width, width, left, right, spacing)
        self.side = _Mix(width, width) if joins else None
        self.gates = _Mix(width, 2 * width) if kan is None else ChannelKAN([width, 2 * width], **kan)
        self.before_gates = self.activation if kan is None else nn.Identity()  # a KAN has functions of its own

    def forward(self, h: Tensor, other: Tensor | None = None, memory: Memory | None = None, at: int = 0) -> Tensor:
        hidden = self.conv(self.activation(h), memory, at)
        if self.side is not None and other is not None:
            hidden = hidden + self.side(self.activation(other))
        a, b = self.gates(self.before_gates(hidden)).chunk(2, dim=1)
        gated: Tensor = h + a * b.sigmoid()
        return gated


class PixelNetwork(nn.Module):
    """Maps images (n, C, H, W) to features (n, out, H, W): those at (i, j) depend on the pixels before (i, j).

    Rows that are 1, 2, 4, ... apart are convolved in turn (Yu & Koltun 2016, arXiv 1511.07122), so that few blocks see
    a whole image. Which pixel it is, is added to the first stream. Nothing is normalised: each image is mapped on its
    own.

    Args:
        data_shape: (C, H, W).
        out: features of each pixel.
        hidden: width of each block, all equal.
        activation: a key of `submanifold.nn.ACTIVATIONS`.
        kan: whether what mixes the channels of a pixel in each block is a layer of a KAN.
        **options: of these, see `submanifold.nn.KANLinear`.

    Raises:
        InvalidInput: for a shape that is not an image's, or widths that it cannot have.
    """

    def __init__(
        self,
        data_shape: Sequence[int],
        out: int,
        hidden: Sequence[int],
        activation: str = "elu",
        *,
        kan: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        if len(data_shape) != 3:
            raise InvalidInput(f"data_shape={tuple(data_shape)} is not accepted: give (channels, height, width)")
        self.data_shape = C, H, W = tuple(check_int(size, name="data_shape") for size in data_shape)
        widths = set(check_ints(hidden, name="hidden"))
        if len(widths) != 1:
            raise InvalidInput(f"hidden={tuple(hidden)} is not accepted: give one width for all blocks, at least one")
        (width,) = widths
        self.first_down = CausalConv(C, width, 1, 1)
        self.first_right = CausalConv(C, width, 1, 0)
        self.position = nn.Parameter(0.1 * torch.randn(width, H, W))
        doublings = max(1, (max(H, W) - 1).bit_length())
        spacings = [2 ** (i % doublings) for i in range(len(hidden))]
        block = partial(_Block, width, 1, activation=activation, kan=options if kan else None)
        self.down = nn.ModuleList(block(1, spacing, joins=False) for spacing in spacings)
        self.right = nn.ModuleList(block(0, spacing, joins=True) for spacing in spacings)
        self.last = nn.Sequential(make_activation(activation), _Mix(width, out))

    def forward(self, y: Tensor) -> Tensor:
        """All features at once, (n, out, H, W)."""
        above, before = functional.pad(y, (0, 0, 1, -1)), functional.pad(y, (1, -1, 0, 0))  # moved by one pixel
        seen = self._down(above, self.position)
        return self._right(before, seen)

    @torch.no_grad()
    def generate(self, n: int, draw: Callable[[Tensor], Tensor]) -> Tensor:
        """Images drawn pixel by pixel, (n, C, H, W); nothing is computed twice (Ramachandran et al. 2017, arXiv
        1704.06001).

        Args:
            n: number of images.
            draw: maps the features of a pixel, (n, out), to its values, (n, C).
        """
        C, H, W = self.data_shape
        memory = {conv: conv.empty_memory(n, W) for conv in self.modules() if isinstance(conv, CausalConv)}
        y = self.position.new_zeros(n, C, H + 1, W + 1)  # with the row above and the column before
        for i in range(H):
            for kept in memory.values():
                kept.copy_(kept.roll(-1, dims=2))
            seen = self._down(y[:, :, i : i + 1, 1:], self.position[:, i : i + 1], memory)
            for j in range(W):
                here = [part[:, :, :, j : j + 1] for part in seen]
                features = self._right(y[:, :, i + 1 : i + 2, j : j + 1], here, memory, j)
                y[:, :, i + 1, j + 1] = draw(features[:, :, 0, 0])
        return y[:, :, 1:, 1:].contiguous()

    def _down(self, above: Tensor, position: Tensor, memory: Memory | None = None) -> list[Tensor]:
        """What each block of the first stream has seen, by the pixels one row above."""
        u = self.first_down(above, memory) + position
        seen = []
        for block in self.down:
            u = block(u, None, memory)
            seen.append(u)
        return seen

    def _right(self, before: Tensor, seen: Sequence[Tensor], memory: Memory | None = None, at: int = 0) -> Tensor:
        """Features, by the pixels one column before and what the first stream has seen."""
        v = self.first_right(before, memory, at)
        for block, u in zip(self.right, seen, strict=True):
            v = block(v, u, memory, at)
        features: Tensor = self.last(v)
        return features
