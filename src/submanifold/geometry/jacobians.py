r"""The Jacobian of a batched map, J_f(z)_{ij} = \partial f_i(z) / \partial z_j, row by row."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import jacfwd, jacrev, jvp, vmap
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from submanifold.checks import check_int
from submanifold.errors import InvalidInput

__all__ = ["jacobian"]

_BUDGET = 2**22
"""How many numbers the Jacobians of one chunk may hold (16 MiB in float32)."""
_WITHIN = 2**25
"""How many numbers a tensor within f may hold for all directions that are differentiated at once (128 MiB)."""


def jacobian(f: Callable[[Tensor], Tensor], z: Tensor, *, chunk_size: int | None = None) -> Tensor:
    r"""The Jacobians (n, D, d) of f at the rows of z, by automatic differentiation.

    Forward mode where d \le D (one pass for each input coordinate), reverse mode otherwise (one for
    each output). Rows are differentiated apart from each other, so that nothing leaks between them.

    Args:
        f: maps a batch (m, *in_shape) to (m, *out_shape), deterministically; called on batches of
            one.
        z: points (n, *in_shape), with d = prod(in_shape).
        chunk_size: rows differentiated at once, which bounds the memory; read off D d if None. A map that holds much
            for a single row, as attention does, is differentiated a part of the directions at a time.

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
        with _Largest() as largest:  # type: ignore[no-untyped-call]
            out_shape = f(z[:1]).shape[1:]
        D, d = math.prod(out_shape), math.prod(z.shape[1:])
        if chunk_size is None:
            chunk_size = max(1, _BUDGET // (D * d))
        check_int(chunk_size, name="chunk_size")
        at_once = max(1, _WITHIN // max(largest.numbers, 1))
        if at_once < min(D, d):
            J = torch.stack([_by_parts(f, row, D, at_once) for row in z])
        else:
            differentiate = jacfwd if d <= D else jacrev
            one = differentiate(lambda row: f(row[None])[0])  # (*in_shape) -> (*out_shape, *in_shape)
            J = vmap(one, chunk_size=chunk_size)(z)
    return J.reshape(len(z), D, d)  # (n, *out_shape, *in_shape) -> (n, D, d)


def _by_parts(f: Callable[[Tensor], Tensor], row: Tensor, D: int, at_once: int) -> Tensor:
    """The Jacobian (D, d) at one row, so many directions at a time."""

    def g(flat: Tensor) -> Tensor:
        return f(flat.reshape(1, *row.shape)).flatten()

    flat, d = row.flatten(), row.numel()
    if d > D:
        rows: Tensor = jacrev(g, chunk_size=at_once)(flat)
        return rows
    directions = torch.eye(d, device=row.device, dtype=row.dtype)
    columns: Tensor = vmap(lambda v: jvp(g, (flat,), (v,))[1], chunk_size=at_once)(directions)
    return columns.mT


class _Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """How many numbers the largest tensor holds that is made meanwhile, and is no view of another, as weights are."""

    numbers = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        given = {tensor.untyped_storage().data_ptr() for tensor in tree_leaves(args) if isinstance(tensor, Tensor)}
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and tensor.untyped_storage().data_ptr() not in given:
                self.numbers = max(self.numbers, tensor.numel())
        return made
