"""Encoders, decoders and denoisers by name: a network is an ingredient, looked up in a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from submanifold.checks import check_ints
from submanifold.errors import InvalidInput
from submanifold.nn.conditional import Denoiser
from submanifold.nn.conv import ConvDecoder, ConvEncoder
from submanifold.nn.denoiser_mlp import DenoiserKAN, DenoiserMLP
from submanifold.nn.foreign import DiffusersNetwork, is_of_diffusers
from submanifold.nn.given import OneNetwork, given_network, is_given, made_network, named, require_shape, word
from submanifold.nn.kan.network import inner_kan
from submanifold.nn.mlp import MLP
from submanifold.nn.spatial import SpatialDecoder, SpatialEncoder
from submanifold.nn.transformer import ImageTransformer
from submanifold.nn.unet import UNet

__all__ = ["DENOISERS", "NETWORKS", "Network", "decoder", "denoiser", "encoder"]

_SMALLEST_IMAGE = 16
"""Below this height or width an image has few enough pixels for a dense network."""


@dataclass(frozen=True)
class Network:
    """How one kind of network is built in both directions.

    `encoder(data_shape, out_features, hidden)` maps (n, *data_shape) to (n, out_features);
    `decoder(in_features, data_shape, hidden)` maps (n, in_features) to (n, *data_shape). Options follow by keyword,
    where the network has any.
    """

    encoder: Callable[..., nn.Module]
    decoder: Callable[..., nn.Module]


def _dense(make: Callable[..., nn.Module]) -> Network:
    """Networks of vectors in both directions, of images their pixels in a row."""

    def encoder(data_shape: tuple[int, ...], out_features: int, hidden: tuple[int, ...], **options: Any) -> nn.Module:
        network = make([math.prod(data_shape), *hidden, out_features], **options)
        return network if len(data_shape) == 1 else nn.Sequential(nn.Flatten(), network)

    def decoder(in_features: int, data_shape: tuple[int, ...], hidden: tuple[int, ...], **options: Any) -> nn.Module:
        network = make([in_features, *hidden, math.prod(data_shape)], **options)
        return network if len(data_shape) == 1 else nn.Sequential(network, nn.Unflatten(1, data_shape))

    return Network(encoder, decoder)


NETWORKS: dict[str, Network] = {
    "kan": _dense(inner_kan),
    "mlp": _dense(MLP),
    "spatial": Network(
        lambda data_shape, out_features, hidden: SpatialEncoder(data_shape, out_features, channels=hidden),
        lambda in_features, data_shape, hidden: SpatialDecoder(in_features, data_shape, channels=hidden),
    ),
    "conv": Network(
        lambda data_shape, out_features, hidden: ConvEncoder(data_shape, out_features, hidden=hidden),
        lambda in_features, data_shape, hidden: ConvDecoder(in_features, data_shape, hidden=hidden),
    ),
}
"""The networks that a model's `network=` argument accepts, besides "auto"."""


def _choose(network: OneNetwork, data_shape: tuple[int, ...]) -> tuple[Network, dict[str, Any]]:
    """The network and its options."""
    name, options = named(network, ["auto", *NETWORKS])
    is_image = len(data_shape) == 3
    if name == "auto":
        name = "conv" if is_image and min(data_shape[1:]) >= _SMALLEST_IMAGE else "mlp"
    if name in ("conv", "spatial") and not is_image:
        raise InvalidInput(
            f'network="{name}" with data_shape={data_shape} is not accepted: give images '
            '(channels, height, width), or network="mlp"'
        )
    return NETWORKS[name], options


def encoder(
    network: OneNetwork,
    data_shape: Sequence[int],
    out_features: int,
    hidden: Sequence[int] = (128, 128),
    *,
    role: str = "encoder",
) -> nn.Module:
    """A network that maps data (n, *data_shape) to vectors (n, out_features).

    Args:
        network: a key of `NETWORKS`, or "auto": convolutional for images of at least 16 x 16, dense
            otherwise. "spatial" keeps the outputs at their places, as an image of a quarter of the height and width.
            "kan" may have options, as {"name": "kan", "grid": 20}. Or a module, which is taken as it is, or a callable
            that makes one, see `submanifold.nn.given`.
        data_shape: shape of one point.
        out_features: number of outputs.
        hidden: widths of the layers; a convolutional network has them after its convolutions, and of a "spatial" one
            they are the feature maps. A module has its own.
        role: what messages call the network.

    Raises:
        InvalidInput: for an unknown network, a convolutional one on data that are not images, widths that are not
            positive integers, or a module that maps other shapes.
    """
    shape = tuple(data_shape)
    if is_given(network):
        return given_network(network, shape, (out_features,), role=role)
    kind, options = _choose(network, shape)
    return kind.encoder(shape, out_features, tuple(check_ints(hidden, name="hidden")), **options)


def decoder(
    network: OneNetwork,
    in_features: int,
    data_shape: Sequence[int],
    hidden: Sequence[int] = (128, 128),
    *,
    role: str = "decoder",
) -> nn.Module:
    """A network that maps vectors (n, in_features) to data (n, *data_shape); see `encoder`.

    Raises:
        InvalidInput: for an unknown network, a convolutional one on data that are not images, widths that are not
            positive integers, or a module that maps other shapes.
    """
    shape = tuple(data_shape)
    if is_given(network):
        return given_network(network, (in_features,), shape, role=role)
    kind, options = _choose(network, shape)
    return kind.decoder(in_features, shape, tuple(check_ints(hidden, name="hidden")), **options)


DENOISERS: dict[str, Callable[..., Denoiser]] = {
    "kan": DenoiserKAN,
    "mlp": DenoiserMLP,
    "transformer": ImageTransformer,
    "unet": UNet,
}
"""The networks of diffusion models by name, built as (data_shape, hidden, classes), with options by keyword."""


def denoiser(
    network: OneNetwork, data_shape: Sequence[int], *, hidden: Sequence[int] | None = None, classes: int = 0
) -> nn.Module:
    """A network that maps points (n, *data_shape), their noise levels (n,) and, if there are classes, their labels (n,)
    to (n, *data_shape). Labels are integers in [0, classes), or `classes` for points without one.

    Args:
        network: a key of `DENOISERS`, or "auto": a U-Net for images, dense otherwise; "kan" may have options, see
            `encoder`; or a module, which is taken as it is, or as `DiffusersNetwork` if it is one of diffusers, or a
            callable that makes one for the shapes of a point and of an output, which are the same.
        data_shape: shape of one point.
        hidden: widths, of dense layers, of a U-Net at each size of image, or of a transformer's blocks; by default as
            suits the shape.
        classes: number of classes, or 0 for none.

    Raises:
        InvalidInput: for an unknown network, one of images on data that are none, widths that it cannot have, or a
            module that maps other shapes or has no room for the label `classes`.
    """
    shape = tuple(data_shape)
    if is_given(network):
        module = made_network(network, shape, shape, role="denoiser")
        if is_of_diffusers(module):
            module = DiffusersNetwork(module, classes)
        require_shape(module, [shape, (), ()][: 3 if classes else 2], shape, role="denoiser", integers=classes > 0)
        if classes:
            _require_room(module, shape, classes)
        return module
    name, options = named(network, ["auto", *DENOISERS])
    if name == "auto":
        name = "unet" if len(shape) == 3 else "mlp"
    if len(shape) != 3 and name not in ("mlp", "kan"):
        raise InvalidInput(
            f'network={name!r} is not accepted for data of shape {shape}: it works on images, give "mlp" or "kan"'
        )
    return DENOISERS[name](shape, hidden, classes, **options)


class _Unlabelled(nn.Module):
    """A denoiser that is told no labels."""

    def __init__(self, network: nn.Module, classes: int) -> None:
        super().__init__()
        self.network = network
        self.classes = classes

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        output: Tensor = self.network(x, level, torch.full((len(x),), self.classes, device=x.device))
        return output


def _require_room(module: nn.Module, shape: tuple[int, ...], classes: int) -> None:
    """Refuse a denoiser that has been shown to take the label 0, but does not take `classes`."""
    try:
        require_shape(_Unlabelled(module, classes), [shape, ()], shape, role="denoiser")
    except InvalidInput as error:
        raise InvalidInput(
            f"network gives {word(module)} as denoiser, which fails for the label {classes}: give one with room for "
            f"{classes + 1} labels, one more than classes, for points without a label"
        ) from error
