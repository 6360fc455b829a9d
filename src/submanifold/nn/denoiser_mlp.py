"""The dense network of diffusion models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from submanifold.checks import check_ints
from submanifold.errors import InvalidInput
from submanifold.nn.activations import activation as make_activation
from submanifold.nn.conditional import Denoiser, Modulation, zeroed
from submanifold.nn.kan.network import inner_kan
from submanifold.nn.layer_norm import LayerNorm

__all__ = ["DenoiserKAN", "DenoiserMLP"]


class DenoiserMLP(Denoiser):
    """A residual dense network for points of any shape, which are flattened.

    Each block adds to its input two dense layers of its modulated normalisation (Peebles & Xie 2023, arXiv 2212.09748,
    section 3.2, without attention). The sum itself is never normalised, and is modulated once more before the last
    layer: a map that is linear at each noise level, as the best one is for Gaussian data, is within its reach.

    Args:
        data_shape: shape of one point.
        hidden: width of each block; by default three of 128, 256 or 512, the more the larger a point.
        classes: number of classes, or 0 for none.
        activation: a key of `submanifold.nn.ACTIVATIONS`.

    Raises:
        InvalidInput: for sizes that are not positive integers, no width, or an unknown activation.
    """

    def __init__(
        self,
        data_shape: Sequence[int],
        hidden: Sequence[int] | None = None,
        classes: int = 0,
        activation: str = "silu",
    ) -> None:
        D = math.prod(data_shape)
        widths = _default_widths(D) if hidden is None else check_ints(hidden, name="hidden")
        if not widths:
            raise InvalidInput("hidden is empty: give at least one width")
        super().__init__(data_shape, widths[0], classes)
        self.first = nn.Linear(D, widths[0])
        pairs = zip([widths[0], *widths], widths, strict=False)
        self.blocks = nn.ModuleList(
            _Block(fan_in, fan_out, widths[0], self._dense(fan_in, fan_out, activation)) for fan_in, fan_out in pairs
        )
        self.modulate = Modulation(widths[0], widths[-1])
        self.last = zeroed(nn.Linear(widths[-1], D))

    def _dense(self, fan_in: int, fan_out: int, activation: str) -> nn.Module:
        """What a block adds at first nothing by."""
        return nn.Sequential(
            nn.Linear(fan_in, fan_out), make_activation(activation), zeroed(nn.Linear(fan_out, fan_out))
        )

    def _respond(self, x: Tensor, e: Tensor) -> Tensor:
        h = self.first(x.flatten(1))  # (n, width)
        for block in self.blocks:
            h = block(h, e)
        output: Tensor = self.last(self.modulate(h, e))
        return output.reshape(x.shape)


class DenoiserKAN(DenoiserMLP):
    """The same with two layers of a KAN in each block, see `DenoiserMLP`.

    Args:
        data_shape: shape of one point.
        hidden: width of each block; by default three of 32, 64 or 128, the more the larger a point.
        classes: number of classes, or 0 for none.
        **options: of the KANs, see `submanifold.nn.given`.
    """

    def __init__(
        self, data_shape: Sequence[int], hidden: Sequence[int] | None = None, classes: int = 0, **options: Any
    ) -> None:
        self.options = options
        widths = [width // 4 for width in _default_widths(math.prod(data_shape))] if hidden is None else hidden
        super().__init__(data_shape, widths, classes)

    def _dense(self, fan_in: int, fan_out: int, activation: str) -> nn.Module:
        kan = inner_kan([fan_in, fan_out, fan_out], **self.options)
        kan.layers[-1].say_nothing()
        return kan


class _Block(nn.Module):
    def __init__(self, fan_in: int, fan_out: int, width: int, dense: nn.Module) -> None:
        super().__init__()
        self.norm = LayerNorm()
        self.modulate = Modulation(width, fan_in)
        self.dense = dense
        self.skip = nn.Identity() if fan_in == fan_out else nn.Linear(fan_in, fan_out)

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        added: Tensor = self.skip(h) + self.dense(self.modulate(self.norm(h), e))
        return added


def _default_widths(D: int) -> list[int]:
    return [128 if D <= 32 else 256 if D <= 256 else 512] * 3
