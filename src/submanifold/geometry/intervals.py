r"""Bounds of what a network says on boxes of inputs, layer by layer, that are proved.

An affine map with matrix A takes a box with centre c and half-widths r into the one with centre A c + b and half-widths
|A| r; an elementwise function of which the range on intervals is known takes boxes into boxes, a KAN's layer by its
edges (`submanifold.nn.kan.layer_bounds`), and a change of shape as it does points. Each layer's box is the smallest;
those of several in a row grow, since what they see is taken for unrelated (Gowal et al. 2018, arXiv 1810.12715, section
3). For a bound that holds everywhere see `lipschitz_upper_bound`.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from submanifold.errors import InvalidInput
from submanifold.geometry.modules import CONVOLUTIONS, RESHAPING, computes
from submanifold.nn.activations import activation_range
from submanifold.nn.kan.channels import ChannelKAN
from submanifold.nn.kan.intervals import layer_bounds
from submanifold.nn.kan.linear import KANLinear

__all__ = ["interval_bounds"]

Box = tuple[Tensor, Tensor]


@torch.no_grad()
def interval_bounds(module: nn.Module, low: Tensor, high: Tensor, *, parts: int = 4) -> Box:
    """Bounds of what a network says for all inputs in boxes, in exact arithmetic.

    Known are affine and convolutional layers, those of KANs, activations, changes of shape, and `nn.Sequential` of
    known modules. A module of another kind may offer its own bounds as a method `interval_bounds(low, high)`, which is
    trusted.

    Args:
        module: the network, called with (n, *in_shape).
        low: least inputs of each box, (n, *in_shape).
        high: largest, likewise.
        parts: pieces of each interval of a KAN's grid; more are tighter.

    Returns:
        lower and upper bounds, float64, of the shape of its output.

    Raises:
        InvalidInput: for boxes that are not finite, of two shapes, or with `low` above `high`; or for a module of which
            no bounds are known.
    """
    low, high = low.double(), high.double()
    if low.shape != high.shape or not bool((low <= high).all()) or not bool((low.isfinite() & high.isfinite()).all()):
        raise InvalidInput("low and high make no boxes: give finite ones, as many of each, and low not above high")
    return _through(module, (low, high), parts)


def _through(module: nn.Module, box: Box, parts: int) -> Box:
    offered = getattr(module, "interval_bounds", None)
    if callable(offered):
        bounds: Box = offered(*box)
        return bounds
    if module._forward_hooks or module._forward_pre_hooks:
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
        return module(box[0]), module(box[1])
    found = activation_range(module, *box)
    if found is None:
        raise _unknown(module)
    return _widened(*found, 1.0)


def _affine(module: Any, box: Box) -> Box:
    """Of a layer whose output is affine in its input: nothing but its weight, and its bias, makes it."""
    if getattr(module, "padding_mode", "zeros") != "zeros":
        raise _unknown(module)
    exact = copy.deepcopy(module).double()
    centre, reach = 0.5 * (box[0] + box[1]), 0.5 * (box[1] - box[0])
    middle = exact(centre)
    exact.weight.abs_()
    if exact.bias is not None:
        exact.bias.zero_()
    spread = exact(reach)
    return _widened(middle - spread, middle + spread, exact(centre.abs()) + spread, exact.weight.numel())


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
