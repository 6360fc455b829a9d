r"""Bounds of what a network says on boxes of inputs, layer by layer, that are proved.

An affine map with matrix A takes a box with centre c and half-widths r into the one with centre A c + b and half-widths
|A| r; an elementwise function of which the range on intervals is known takes boxes into boxes, a KAN's layer by its
edges (`submanifold.nn.kan.layer_bounds`), and a change of shape as it does points. Each layer's box is the smallest;
those of several in a row grow, since what they see is taken for unrelated (Gowal et al. 2018, arXiv 1810.12715, section
3). For a bound that holds everywhere see `lipschitz_upper_bound`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from submanifold.checks import check_int
from submanifold.errors import InvalidInput
from submanifold.geometry.modules import CONVOLUTIONS, RESHAPING, computes, is_overridden
from submanifold.nn.activations import activation_range
from submanifold.nn.kan.channels import ChannelKAN
from submanifold.nn.kan.intervals import layer_bounds, require_bounds
from submanifold.nn.kan.linear import KANLinear
from submanifold.nn.kan.monotone import MonotoneKAN

__all__ = ["interval_bounds"]

Box = tuple[Tensor, Tensor]


@torch.no_grad()
def interval_bounds(module: nn.Module, low: Tensor, high: Tensor, *, parts: int = 4) -> Box:
    """Bounds of what a network says for all inputs in boxes, in exact arithmetic.

    Known are affine and convolutional layers, those of KANs, monotone KANs, activations, changes of shape, and
    `nn.Sequential` of known modules. A module of another kind may offer its own bounds as a method
    `interval_bounds(low, high)`, which is trusted.

    Args:
        module: the network, called with (n, *in_shape).
        low: least inputs of each box, (n, *in_shape).
        high: largest, likewise.
        parts: pieces of each interval of a KAN's grid; more are tighter.

    Returns:
        lower and upper bounds, float64, of the shape of its output.

    Raises:
        InvalidInput: for boxes that are not finite, of two shapes, not such as the network takes, or with `low` above
            `high`; for a module of which no bounds are known, or with parameters by which they are NaN.
    """
    check_int(parts, name="parts")
    low, high = low.double(), high.double()
    if low.shape != high.shape or not bool((low <= high).all()) or not bool((low.isfinite() & high.isfinite()).all()):
        raise InvalidInput("low and high make no boxes: give finite ones, as many of each, and low not above high")
    try:
        least, most = _through(module, (low, high), parts)
    except RuntimeError as error:  # torch's, of shapes that do not fit
        reason = " ".join(str(error).split())
        raise InvalidInput(
            f"low and high have shape {tuple(low.shape)}, which the network fails on: {reason}"
        ) from error
    require_bounds(least, most)
    return least, most


def _through(module: nn.Module, box: Box, parts: int) -> Box:
    offered = getattr(module, "interval_bounds", None)
    if callable(offered):
        bounds: Box = offered(*box)
        return bounds
    if is_overridden(module):
        raise _unknown(module)
    if isinstance(module, nn.Sequential) and computes(module, nn.Sequential):
        for child in module:
            box = _through(child, box, parts)
        return box
    if isinstance(module, nn.Linear | nn.modules.conv._ConvNd) and computes(module, nn.Linear, *CONVOLUTIONS):
        return _affine(module, box)
    if isinstance(module, KANLinear) and computes(module, KANLinear):
        rows = [end.reshape(-1, module.in_features) for end in box]
        least, most = layer_bounds(module, rows[0], rows[1], parts=parts)
        shape = (*box[0].shape[:-1], module.out_features)
        return least.reshape(shape), most.reshape(shape)
    if type(module) is ChannelKAN:
        low, high = _through(module.kan, (box[0].movedim(1, -1), box[1].movedim(1, -1)), parts)
        return low.movedim(-1, 1), high.movedim(-1, 1)
    if type(module) in RESHAPING or (isinstance(module, nn.Dropout) and not module.training):
        return module(box[0].clone()), module(box[1].clone())  # which some do in place
    if isinstance(module, MonotoneKAN) and computes(module, MonotoneKAN):
        return module.bounds(*box)
    found = activation_range(module, *box)
    if found is None:
        raise _unknown(module)
    return _widened(*found, 1.0)


def _affine(module: Any, box: Box) -> Box:
    """Of a layer whose output is affine in its input: nothing but its weight, and its bias, makes it."""
    if getattr(module, "padding_mode", "zeros") != "zeros":
        raise _unknown(module)
    weight, bias = module.weight.double(), None if module.bias is None else module.bias.double()
    centre, reach = 0.5 * (box[0] + box[1]), 0.5 * (box[1] - box[0])
    middle = _applied(module, centre, weight, bias)
    spread, size = (_applied(module, x, weight.abs(), None) for x in (reach, centre.abs()))
    return _widened(middle - spread, middle + spread, size + spread, weight.numel())


def _applied(module: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """What the layer would say with these parameters, which may be made of others in the layer itself."""
    if isinstance(module, nn.Linear):
        return functional.linear(x, weight, bias)
    if not isinstance(module, nn.modules.conv._ConvTransposeNd):
        convolved: Tensor = module._conv_forward(x, weight, bias)
        return convolved
    transposed = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)
    layout: Any = (module.stride, module.padding, module.output_padding, module.groups, module.dilation)
    said: Tensor = transposed[weight.ndim - 3](x, weight, bias, *layout)
    return said


def _widened(least: Tensor, most: Tensor, size: Tensor | float, operations: int = 8) -> Box:
    """Bounds that hold whatever was rounded in sums of so many terms, together at most of this size."""
    eps = torch.finfo(torch.float64).eps
    slack = 2 * eps * (operations + 8) * (size + torch.maximum(least.abs(), most.abs()))
    return least - slack, most + slack


def _unknown(module: nn.Module) -> InvalidInput:
    return InvalidInput(
        f"no bounds are known of {type(module).__name__}: give a network of affine layers, convolutions, activations, "
        "KANs and changes of shape, or one with a method interval_bounds(low, high)"
    )
