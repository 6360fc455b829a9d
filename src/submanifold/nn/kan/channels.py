"""KANs of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from submanifold.nn.kan.network import inner_kan

__all__ = ["ChannelKAN"]


class ChannelKAN(nn.Module):
    """The same KAN of the channels at every pixel, (n, widths[0], H, W) to (n, widths[-1], H, W).

    It is to a KAN what a 1x1 convolution is to a dense layer.

    Args:
        widths: numbers of channels, see `KAN`.
        **options: of its layers, likewise.
    """

    def __init__(self, widths: Sequence[int], **options: Any) -> None:
        super().__init__()
        self.kan = inner_kan(widths, **options)

    def forward(self, x: Tensor) -> Tensor:
        said: Tensor = self.kan(x.movedim(1, -1))  # (n, H, W, channels)
        return said.movedim(-1, 1)
