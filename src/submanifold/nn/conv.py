"""Small convolutional networks between images and vectors, exact in shape for any height and width.

An image (C, H, W) is halved by each strided convolution, sizes rounded up: 28 -> 14 -> 7, 33 -> 17
-> 9. The decoder undoes the same sizes in reverse. Nothing is normalised over the batch, so that
each image is mapped on its own and `torch.func` can differentiate row by row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from submanifold.checks import check_int
from submanifold.errors import InvalidInput
from submanifold.nn.activations import activation as make_activation
from submanifold.nn.mlp import MLP

__all__ = ["ConvDecoder", "ConvEncoder", "check_image", "halvings"]


def check_image(data_shape: Sequence[int]) -> tuple[int, int, int]:
    """`data_shape` as (channels, height, width)."""
    if len(data_shape) != 3:
        raise InvalidInput(f"data_shape={data_shape!r} is not accepted: give (channels, height, width)")
    channels, height, width = (check_int(size, name="data_shape") for size in data_shape)
    return channels, height, width


def halvings(size: int, times: int) -> list[int]:
    """`size` and what is left of it after each of `times` halvings, rounded up."""
    return [math.ceil(size / 2**i) for i in range(times + 1)]


class ConvEncoder(nn.Sequential):
    """Images (n, C, H, W) to vectors (n, out_features): strided 3x3 convolutions, then an MLP.

    Args:
        data_shape: (channels, height, width) of one image.
        out_features: number of outputs.
        channels: number of feature maps after each convolution.
        hidden: widths of the dense layers between the convolutions and the output.
        activation: a key of `submanifold.nn.ACTIVATIONS`.

    Raises:
        InvalidInput: for a shape that is not an image's, or sizes that are not positive integers.
    """

    def __init__(
        self,
        data_shape: Sequence[int],
        out_features: int,
        channels: Sequence[int] = (32, 64),
        hidden: Sequence[int] = (),
        activation: str = "silu",
    ) -> None:
        n_channels, height, width = check_image(data_shape)
        layers: list[nn.Module] = []
        for fan_in, fan_out in zip((n_channels, *channels), channels, strict=False):
            layers += [
                nn.Conv2d(fan_in, fan_out, 3, stride=2, padding=1),
                make_activation(activation),
            ]
        rows, columns = (halvings(size, len(channels))[-1] for size in (height, width))
        n_features = (n_channels, *channels)[-1] * rows * columns
        super().__init__(
            *layers,
            nn.Flatten(),  # (n, channels, rows, columns) -> (n, n_features)
            MLP([n_features, *hidden, out_features], activation),
        )


class ConvDecoder(nn.Sequential):
    """Vectors (n, in_features) to images (n, C, H, W): an MLP, then transposed convolutions of
    stride 2.

    A kernel of 4 doubles a size and a kernel of 3 makes it 2s - 1, so that each size of the encoder
    is met exactly; with 4, every output pixel sees the same number of taps, which avoids a
    chequerboard.

    Args:
        in_features: number of inputs.
        data_shape: (channels, height, width) of one image.
        channels: number of feature maps before each transposed convolution.
        hidden: widths of the dense layers between the input and the first feature maps.
        activation: a key of `submanifold.nn.ACTIVATIONS`.

    Raises:
        InvalidInput: for a shape that is not an image's, or sizes that are not positive integers.
    """

    def __init__(
        self,
        in_features: int,
        data_shape: Sequence[int],
        channels: Sequence[int] = (64, 32),
        hidden: Sequence[int] = (),
        activation: str = "silu",
    ) -> None:
        n_channels, height, width = check_image(data_shape)
        rows, columns = (halvings(size, len(channels))[::-1] for size in (height, width))
        maps = (*channels, n_channels)
        layers: list[nn.Module] = []
        for i in range(len(channels)):
            kernel = (4 - rows[i + 1] % 2, 4 - columns[i + 1] % 2)
            layers += [
                make_activation(activation),
                nn.ConvTranspose2d(maps[i], maps[i + 1], kernel, stride=2, padding=1),
            ]
        start = (maps[0], rows[0], columns[0])
        super().__init__(
            MLP([in_features, *hidden, math.prod(start)], activation),
            nn.Unflatten(1, start),  # (n, n_features) -> (n, channels, rows, columns)
            *layers,
        )
