"""The multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from submanifold.checks import check_int
from submanifold.errors import InvalidInput
from submanifold.nn.activations import activation as make_activation

__all__ = ["MLP"]


class MLP(nn.Sequential):
    r"""Affine maps with a smooth activation between them,

    f = A_L \circ \phi \circ A_{L-1} \circ \dots \circ \phi \circ A_1, \qquad A_l(h) = W_l h + b_l.

    Maps (..., widths[0]) to (..., widths[-1]). With two widths it is one affine map.

    Args:
        widths: number of coordinates before and after each affine map, such as [64, 128, 2].
        activation: a key of `submanifold.nn.ACTIVATIONS`.

    Raises:
        InvalidInput: for fewer than two widths, widths that are not positive integers, or an
            unknown activation.

    Example:
        >>> import torch
        >>> from submanifold.nn import MLP
        >>> MLP([3, 16, 2], activation="tanh")(torch.zeros(5, 3)).shape
        torch.Size([5, 2])
    """

    def __init__(self, widths: Sequence[int], activation: str = "silu") -> None:
        if len(widths) < 2:
            raise InvalidInput(f"widths={widths!r} is not accepted: give at least an input and an output")
        widths = [check_int(width, name="widths") for width in widths]
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(widths):
            layers += [nn.Linear(fan_in, fan_out), make_activation(activation)]
        super().__init__(*layers[:-1])
