r"""The Jacobian of a batched map, J_f(z)_{ij} = \partial f_i(z) / \partial z_j, row by row."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jacfwd, jacrev, vmap

from submanifold.checks import check_int
from submanifold.errors import InvalidInput

__all__ = ["jacobian"]

_BUDGET = 2**22
"""How many numbers the Jacobians of one chunk may hold (16 MiB in float32)."""


def jacobian(f: Callable[[Tensor], Tensor], z: Tensor, *, chunk_size: int | None = None) -> Tensor:
    r"""The Jacobians (n, D, d) of f at the rows of z, by automatic differentiation.

    Forward mode where d \le D (one pass for each input coordinate), reverse mode otherwise (one for
    each output). Rows are differentiated apart from each other, so that nothing leaks between them.

    Args:
        f: maps a batch (m, *in_shape) to (m, *out_shape), deterministically; called on batches of
            one.
        z: points (n, *in_shape), with d = prod(in_shape).
        chunk_size: rows differentiated at once, which bounds the memory; read off D d if None.

    Returns:
        Jacobians (n, D, d) with D = prod(out_shape), without a graph, in the dtype of f(z).

    Raises:
        InvalidInput: if z has no rows or integer entries, or `chunk_size` is not a positive integer.

    Example:
        >>> import torch
        >>> jacobian(lambda z: z**2, torch.tensor([[1.0, 3.0]]))
        tensor([[[2., 0.],
                 [0., 6.]]])
    """
    if z.ndim < 2 or len(z) == 0 or not z.is_floating_point():
        raise InvalidInput(
            f"z has shape {tuple(z.shape)} and dtype {z.dtype}: give at least one point, (n, d), of a floating type"
        )
    z = z.detach()
    with torch.no_grad():  # no graph through the parameters of f; torch.func keeps its own
        out_shape = f(z[:1]).shape[1:]
        D, d = math.prod(out_shape), math.prod(z.shape[1:])
        if chunk_size is None:
            chunk_size = max(1, _BUDGET // (D * d))
        differentiate = jacfwd if d <= D else jacrev
        one = differentiate(lambda row: f(row[None])[0])  # (*in_shape) -> (*out_shape, *in_shape)
        J: Tensor = vmap(one, chunk_size=check_int(chunk_size, name="chunk_size"))(z)
    return J.reshape(len(z), D, d)  # (n, *out_shape, *in_shape) -> (n, D, d)
