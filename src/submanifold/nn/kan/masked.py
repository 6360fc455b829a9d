"""KANs of which an output depends on some of the inputs alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from submanifold.nn.kan.network import KAN, inner_kan

__all__ = ["KANConditioner", "mask_by_degrees"]

_FIRST_SIZE = 0.03
"""Of a conditioner's outputs at first, over what a KAN has: near 0, where the maps that it steers do little."""


def mask_by_degrees(kan: KAN, inputs: Tensor, outputs: Tensor) -> None:
    """Leave only edges by which output o depends on the inputs i with inputs[i] < outputs[o].

    Hidden nodes have degrees, spread evenly, and see what is of their degree or below (Germain et al. 2015, arXiv
    1502.03509, eq. 13-14, of networks with weights).

    Args:
        kan: a KAN.
        inputs: degrees of its inputs, integers.
        outputs: degrees of its outputs.
    """
    low, high = int(inputs.min()), int(outputs.max())
    *inner, last = kan.layers
    degrees = [inputs]
    for layer in inner:
        degrees.append(low + torch.arange(layer.out_features) * (high - low) // layer.out_features)
        layer.prune_edges(degrees[-1][:, None] >= degrees[-2])
    last.prune_edges(outputs[:, None] > degrees[-1])


class KANConditioner(nn.Module):
    """A masked KAN and a level for each output, near 0 at first; maps (..., inputs) to (..., outputs).

    Outputs that depend on no input are their levels, since edges have no constants of their own.

    Args:
        inputs: degrees of the inputs, see `mask_by_degrees`.
        outputs: degrees of the outputs.
        hidden: widths between them.
        **options: of the layers, see `KAN`.
    """

    def __init__(self, inputs: Tensor, outputs: Tensor, hidden: Sequence[int], **options: Any) -> None:
        super().__init__()
        self.kan = inner_kan([len(inputs), *hidden, len(outputs)], **options)
        mask_by_degrees(self.kan, inputs, outputs)
        self.level = nn.Parameter(torch.zeros(len(outputs)))
        last = self.kan.layers[-1]
        with torch.no_grad():
            last.coefficients.mul_(_FIRST_SIZE)
            if last.base is not None:
                last.base_scale.mul_(_FIRST_SIZE)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.kan(x)
        return y + self.level
