"""Kolmogorov-Arnold networks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from submanifold.checks import check_int
from submanifold.errors import InvalidInput
from submanifold.nn.kan.linear import KANLinear

__all__ = ["KAN", "inner_kan"]


class KAN(nn.Sequential):
    r"""Layers of learned functions of single numbers and their sums, f = \Phi_L \circ \dots \circ \Phi_1 (Liu et al.
    2024, arXiv 2404.19756, eq. 2.7).

    Maps (..., widths[0]) to (..., widths[-1]); it stands wherever an MLP of these widths does, of which it is an
    equivalent with learned activations on the edges in place of fixed ones at the nodes.

    Args:
        widths: numbers of nodes, such as [64, 32, 2].
        **options: of each layer, see `KANLinear`: `grid`, `order`, `grid_range`, `basis`, ...

    Raises:
        InvalidInput: for fewer than two widths, or an argument that is not accepted.

    Example:
        >>> import torch
        >>> from submanifold.nn import KAN
        >>> KAN([3, 8, 2], grid=5, order=3)(torch.zeros(5, 3)).shape
        torch.Size([5, 2])
    """

    def __init__(self, widths: Sequence[int], **options: Any) -> None:
        if len(widths) < 2:
            raise InvalidInput(f"widths={widths!r} is not accepted: give at least an input and an output")
        widths = [check_int(width, name="widths") for width in widths]
        super().__init__(*(KANLinear(fan_in, fan_out, **options) for fan_in, fan_out in pairwise(widths)))

    @property
    def layers(self) -> list[KANLinear]:
        """In order."""
        return [layer for layer in self if isinstance(layer, KANLinear)]

    def activations(self, x: Tensor) -> list[Tensor]:
        """What each layer sees, and the output: x (..., widths[0]) to tensors (..., widths[l])."""
        seen = [x]
        for layer in self.layers:
            seen.append(layer(seen[-1]))
        return seen


def inner_kan(widths: Sequence[int]) -> KAN:
    """A KAN as models have it inside: its grids hold what standard normal numbers are."""
    return KAN(widths, grid=6, grid_range=(-3.0, 3.0))
