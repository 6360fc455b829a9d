"""The U-Net of diffusion models."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from submanifold.checks import check_int, check_ints
from submanifold.errors import InvalidInput
from submanifold.nn.activations import activation as make_activation
from submanifold.nn.attention import SelfAttention
from submanifold.nn.conditional import Denoiser, Modulation, zeroed

__all__ = ["UNet"]


class UNet(Denoiser):
    """Residual convolutions of an image on the way down to smaller sizes and back up, where each block also sees what
    its counterpart saw on the way down (Ho et al. 2020, arXiv 2006.11239, appendix B; Karras et al. 2022, arXiv
    2206.00364, appendix F.2).

    Sizes are halved and rounded up, 28 -> 14 -> 7, 9 -> 5; on the way up they are doubled, and cut to what they were.

    Args:
        data_shape: (channels, height, width) of one image.
        hidden: width at each size, the image's own first; by default as many as lead to 8 x 8, and at least two.
        classes: number of classes, or 0 for none.
        blocks: at each size, down and up.
        attention: images of at most this height and width, on the way down from larger ones, attend to themselves.
        activation: a key of `submanifold.nn.ACTIVATIONS`.

    Raises:
        InvalidInput: for a shape that is not an image's, sizes that are not positive integers, no width, or an unknown
            activation.
    """

    def __init__(
        self,
        data_shape: Sequence[int],
        hidden: Sequence[int] | None = None,
        classes: int = 0,
        blocks: int = 1,
        attention: int = 8,
        activation: str = "silu",
    ) -> None:
        if len(data_shape) != 3:
            raise InvalidInput(f"data_shape={tuple(data_shape)} is not accepted: give (channels, height, width)")
        C, H, W = (check_int(size, name="data_shape") for size in data_shape)
        widths = _default_widths(C, max(H, W)) if hidden is None else check_ints(hidden, name="hidden")
        if not widths:
            raise InvalidInput("hidden is empty: give at least one width")
        blocks, attention = check_int(blocks, name="blocks"), check_int(attention, name="attention", low=0)
        e = 4 * widths[0]
        super().__init__(data_shape, e, classes)

        largest = [-(-max(H, W) // 2**i) for i in range(len(widths))]
        attends = [i > 0 and size <= attention for i, size in enumerate(largest)]
        width = widths[0]
        self.first = nn.Conv2d(C, width, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for i, new in enumerate(widths):
            shrink = nn.Conv2d(width, width, 3, stride=2, padding=1) if i else nn.Identity()
            fans_in = [width] + [new] * (blocks - 1)
            self.down.append(_Down(shrink, [_Block(fan_in, new, e, activation, attends[i]) for fan_in in fans_in]))
            width = new
        self.middle = nn.ModuleList(
            _Block(width, width, e, activation, attend) for attend in (largest[-1] <= attention, False)
        )
        for i, new in reversed(list(enumerate(widths))):
            grow = _Grow(width, new) if i < len(widths) - 1 else nn.Identity()
            self.up.append(_Up(grow, [_Block(2 * new, new, e, activation, attends[i]) for _ in range(blocks)]))
            width = new
        self.last = nn.Sequential(_norm(width), make_activation(activation), zeroed(nn.Conv2d(width, C, 3, padding=1)))

    def _respond(self, x: Tensor, e: Tensor) -> Tensor:
        h = self.first(x.contiguous())  # a group norm has no forward derivative where channels come last
        seen: list[Tensor] = []
        for down in self.down:
            h = down(h, e, seen)
        for block in self.middle:
            h = block(h, e)
        for up in self.up:
            h = up(h, e, seen)
        output: Tensor = self.last(h)
        return output


class _Down(nn.Module):
    """From one size to the next smaller, and its blocks, of which each output is put down in `seen`."""

    def __init__(self, shrink: nn.Module, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.shrink, self.blocks = shrink, nn.ModuleList(blocks)

    def forward(self, h: Tensor, e: Tensor, seen: list[Tensor]) -> Tensor:
        h = self.shrink(h)  # (n, width, ceil(H / 2), ceil(W / 2))
        for block in self.blocks:
            h = block(h, e)
            seen.append(h)
        return h


class _Up(nn.Module):
    """From one size to the next larger, and its blocks, of which each takes the latest from `seen`."""

    def __init__(self, grow: nn.Module, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.grow, self.blocks = grow, nn.ModuleList(blocks)

    def forward(self, h: Tensor, e: Tensor, seen: list[Tensor]) -> Tensor:
        height, width = seen[-1].shape[2:]
        h = self.grow(h)[:, :, :height, :width]
        for block in self.blocks:
            h = block(torch.cat([h, seen.pop()], dim=1), e)  # from twice as many features
        return h


class _Block(nn.Module):
    """Two convolutions, added to what they are of; then, if asked for, attention among the pixels."""

    def __init__(self, fan_in: int, fan_out: int, width: int, activation: str, attends: bool) -> None:
        super().__init__()
        self.before = nn.Sequential(
            _norm(fan_in), make_activation(activation), nn.Conv2d(fan_in, fan_out, 3, padding=1)
        )
        self.norm = _norm(fan_out, affine=False)
        self.modulate = Modulation(width, fan_out)
        self.after = nn.Sequential(make_activation(activation), zeroed(nn.Conv2d(fan_out, fan_out, 3, padding=1)))
        self.skip = nn.Identity() if fan_in == fan_out else nn.Conv2d(fan_in, fan_out, 1)
        self.attend = _Attention(fan_out) if attends else nn.Identity()

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        hidden = self.modulate(self.norm(self.before(h)), e)
        attended: Tensor = self.attend(self.skip(h) + self.after(hidden))
        return attended


class _Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = _norm(width)
        self.attention = SelfAttention(width)
        zeroed(self.attention.mix)

    def forward(self, h: Tensor) -> Tensor:
        pixels = self.norm(h).flatten(2).transpose(1, 2)  # (n, H W, width)
        answers: Tensor = self.attention(pixels)
        return h + answers.transpose(1, 2).reshape(h.shape)


class _Grow(nn.Sequential):
    """Pixels doubled in both directions, then convolved, which leaves no chequerboard."""

    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__(nn.Upsample(scale_factor=2.0, mode="nearest"), nn.Conv2d(fan_in, fan_out, 3, padding=1))


def _norm(width: int, *, affine: bool = True) -> nn.GroupNorm:
    """Within each image, over at most 32 groups of at least 4 features."""
    groups = max(g for g in range(1, min(32, max(1, width // 4)) + 1) if width % g == 0)
    return nn.GroupNorm(groups, width, affine=affine)


def _default_widths(C: int, size: int) -> list[int]:
    halvings = max(1, (-(-size // 8) - 1).bit_length())
    return [32, 64, 64, 64][: halvings + 1] if C == 1 else [32, 64, 128, 128][: halvings + 1]
