"""The transformer of diffusion models, for images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from submanifold.checks import check_int, check_ints
from submanifold.errors import InvalidInput
from submanifold.nn.activations import activation as make_activation
from submanifold.nn.attention import SelfAttention
from submanifold.nn.conditional import Denoiser, zeroed
from submanifold.nn.layer_norm import LayerNorm

__all__ = ["ImageTransformer"]

_MOST_PATCHES = 64
"""Attention takes time that grows with their square."""


class ImageTransformer(Denoiser):
    """A transformer over the patches of an image, of which each block is modulated by what is told (Peebles & Xie 2023,
    arXiv 2212.09748, section 3.2, adaLN-Zero).

    An image of which a side is not a multiple of the patches' is filled up with zeros, and cut in the end.

    Args:
        data_shape: (channels, height, width) of one image.
        hidden: width of each block, all equal; by default four of 128, or of 64 for images of less than 16 x 16.
        classes: number of classes, or 0 for none.
        patch: side of the patches; by default the least that leaves at most 64 of them.
        heads: of attention; the width is a multiple of them, and of 4.

    Raises:
        InvalidInput: for a shape that is not an image's, sizes that are not positive integers, or widths that it cannot
            have.
    """

    positions: Tensor

    def __init__(
        self,
        data_shape: Sequence[int],
        hidden: Sequence[int] | None = None,
        classes: int = 0,
        patch: int | None = None,
        heads: int = 4,
    ) -> None:
        if len(data_shape) != 3:
            raise InvalidInput(f"data_shape={tuple(data_shape)} is not accepted: give (channels, height, width)")
        C, H, W = (check_int(size, name="data_shape") for size in data_shape)
        widths = [128 if min(H, W) >= 16 else 64] * 4 if hidden is None else check_ints(hidden, name="hidden")
        if len(set(widths)) != 1 or widths[0] % 4 or widths[0] % check_int(heads, name="heads"):
            raise InvalidInput(
                f"hidden={tuple(widths)} is not accepted by a transformer: give one width for all blocks, a multiple "
                f"of 4 and of {heads}"
            )
        width = widths[0]
        super().__init__(data_shape, width, classes)
        self.patch = _least_patch(H, W) if patch is None else check_int(patch, name="patch")
        rows, columns = -(-H // self.patch), -(-W // self.patch)
        self.filling = (0, columns * self.patch - W, 0, rows * self.patch - H)
        self.register_buffer("positions", _positions(rows, columns, width), persistent=False)
        self.first = nn.Linear(C * self.patch**2, width)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in widths)
        self.norm = LayerNorm()
        self.modulate = zeroed(nn.Linear(width, 2 * width))
        self.last = zeroed(nn.Linear(width, C * self.patch**2))

    def _respond(self, x: Tensor, e: Tensor) -> Tensor:
        H, W = x.shape[2:]
        filled = functional.pad(x, self.filling)
        h = self.first(functional.pixel_unshuffle(filled, self.patch).flatten(2).transpose(1, 2))  # (n, s, width)
        h = h + self.positions
        for block in self.blocks:
            h = block(h, e)
        scale, shift = self.modulate(e)[:, None].chunk(2, dim=2)
        patches = self.last(self.norm(h) * (1 + scale) + shift)  # (n, s, C patch^2)
        image = patches.transpose(1, 2).unflatten(
            2, (filled.shape[2] // self.patch, -1)
        )  # (n, C patch^2, rows, columns)
        return functional.pixel_shuffle(image, self.patch)[:, :, :H, :W]


class _Block(nn.Module):
    """Attention and two dense layers, of the modulated normalisation each, added with a weight that begins at zero."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = LayerNorm()
        self.modulate = zeroed(nn.Linear(width, 6 * width))
        self.attention = SelfAttention(width, heads)
        self.dense = nn.Sequential(nn.Linear(width, 4 * width), make_activation("gelu"), nn.Linear(4 * width, width))

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        """h (n, s, width), by e (n, width)."""
        a, b, gain, c, d, gain_dense = self.modulate(e)[:, None].chunk(6, dim=2)  # (n, 1, width) each
        h = h + gain * self.attention(self.norm(h) * (1 + a) + b)
        fed: Tensor = h + gain_dense * self.dense(self.norm(h) * (1 + c) + d)
        return fed


def _least_patch(H: int, W: int) -> int:
    return next(p for p in range(1, max(H, W) + 1) if -(-H // p) * -(-W // p) <= _MOST_PATCHES)


def _positions(rows: int, columns: int, width: int) -> Tensor:
    """Cosines and sines of row and column at geometric frequencies, (rows columns, width): in each direction the
    encoding of Vaswani et al. 2017 (arXiv 1706.03762, section 3.5)."""
    frequencies = 10_000.0 ** -(torch.arange(width // 4) / (width // 4))
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))  # (s, 2)
    angles = (places[:, :, None] * frequencies).flatten(1)  # (s, width / 2)
    return torch.cat([angles.cos(), angles.sin()], dim=1)
