"""Parameters that get another shape."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["replace_data"]


def replace_data(parameter: nn.Parameter, data: Tensor) -> None:
    """Give a parameter other numbers, of any shape; it keeps its identity, and loses its gradient.

    Where a graph of before is still alive, torch goes on with the node of it in which gradients of the parameter
    arrive, and refuses those of another shape. It makes a new node after a change of dtype, which is why there is one.
    """
    parameter.grad = None
    parameter.data = data.new_empty(0, dtype=torch.float16 if data.dtype == torch.float64 else torch.float64)
    parameter.data = data
