"""Convolutional networks between images and smaller images, flattened: latents that keep their place."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from submanifold.checks import check_ints
from submanifold.errors import InvalidInput
from submanifold.nn.activations import activation as make_activation
from submanifold.nn.conv import check_image, halvings

__all__ = ["SpatialDecoder", "SpatialEncoder", "places", "spatial_shape"]

_TIMES = 2
"""So many times height and width are halved, as in the autoencoders of Rombach et al. 2022, arXiv 2112.10752."""


def places(data_shape: Sequence[int]) -> tuple[int, int]:
    """A quarter of the height and width of images of a shape, rounded up.

    Raises:
        InvalidInput: for a shape that is not an image's.
    """
    height, width = (halvings(size, _TIMES)[-1] for size in check_image(data_shape)[1:])
    return height, width


def spatial_shape(data_shape: Sequence[int], features: int) -> tuple[int, int, int]:
    """(channels, height, width) of `features` numbers as an image of a quarter of the height and width, rounded up.

    Raises:
        InvalidInput: for a shape that is not an image's, or features that do not fill whole channels.
    """
    height, width = places(data_shape)
    if features % (height * width):
        raise InvalidInput(
            f'{features} features are not accepted by network="spatial" for images of shape {tuple(data_shape)}: give '
            f"latent_dim as a multiple of {height * width}, the {height} x {width} places"
        )
    return features // (height * width), height, width


class SpatialEncoder(nn.Sequential):
    """Images (n, C, H, W) to (n, out_features), which are images of a quarter of the height and width, flattened.

    Args:
        data_shape: (channels, height, width) of one image.
        out_features: number of outputs, a multiple of the places.
        channels: feature maps at full size, at half and at a quarter; the last stands for those that are missing.
        activation: a key of `submanifold.nn.ACTIVATIONS`.

    Raises:
        InvalidInput: see `spatial_shape`.
    """

    def __init__(
        self, data_shape: Sequence[int], out_features: int, channels: Sequence[int], activation: str = "silu"
    ) -> None:
        out = spatial_shape(data_shape, out_features)[0]
        widths = _widths(channels)
        layers: list[nn.Module] = [nn.Conv2d(data_shape[0], widths[0], 3, padding=1)]
        for fan_in, fan_out in pairwise(widths):
            layers += [make_activation(activation), nn.Conv2d(fan_in, fan_out, 3, stride=2, padding=1)]
        layers += [make_activation(activation), nn.Conv2d(widths[-1], out, 3, padding=1), nn.Flatten()]
        super().__init__(*layers)


class SpatialDecoder(nn.Sequential):
    """(n, in_features), images of a quarter of the height and width, flattened, to images (n, C, H, W).

    Args:
        in_features: number of inputs, a multiple of the places.
        data_shape: (channels, height, width) of one image.
        channels: feature maps at full size, at half and at a quarter; the last stands for those that are missing.
        activation: a key of `submanifold.nn.ACTIVATIONS`.

    Raises:
        InvalidInput: see `spatial_shape`.
    """

    def __init__(
        self, in_features: int, data_shape: Sequence[int], channels: Sequence[int], activation: str = "silu"
    ) -> None:
        start = spatial_shape(data_shape, in_features)
        rows, columns = (halvings(size, _TIMES)[::-1] for size in data_shape[1:])
        widths = _widths(channels)[::-1]
        layers: list[nn.Module] = [nn.Unflatten(1, start), nn.Conv2d(start[0], widths[0], 3, padding=1)]
        for i in range(_TIMES):
            # a kernel of 4 doubles a size, one of 3 makes it 2s - 1
            kernel = (4 - rows[i + 1] % 2, 4 - columns[i + 1] % 2)
            up = nn.ConvTranspose2d(widths[i], widths[i + 1], kernel, stride=2, padding=1)
            layers += [make_activation(activation), up]
        layers += [make_activation(activation), nn.Conv2d(widths[-1], data_shape[0], 3, padding=1)]
        super().__init__(*layers)


def _widths(channels: Sequence[int]) -> list[int]:
    """Feature maps at each of the sizes."""
    given = check_ints(channels, name="hidden") or (32,)
    return [given[min(i, len(given) - 1)] for i in range(_TIMES + 1)]
