"""What layers of a KAN see while something else is computed with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from submanifold.nn.kan.linear import KANLinear

__all__ = ["listening"]


@contextmanager
def listening(layers: list[KANLinear]) -> Iterator[dict[KANLinear, list[Tensor]]]:
    """What layers have seen meanwhile, (n, in_features) each time, afterwards."""
    heard: dict[KANLinear, list[Tensor]] = {layer: [] for layer in layers}
    taken: list[tuple[KANLinear, Tensor, list[int]]] = []

    def hear(layer: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
        assert isinstance(layer, KANLinear)
        taken.append((layer, *_without_transforms(args[0] if args else kwargs["x"])))

    hooks = [layer.register_forward_pre_hook(hear, with_kwargs=True) for layer in layers]
    try:
        yield heard
    finally:
        for hook in hooks:
            hook.remove()
    for layer, x, batched in taken:
        for count, dimension in enumerate(batched):
            x = x.movedim(dimension + count, 0)
        heard[layer].append(x.detach().reshape(-1, layer.in_features))


def _without_transforms(x: Tensor) -> tuple[Tensor, list[int]]:
    """What `torch.func` has wrapped, and its batch dimensions, innermost first, each counted without the others.

    Nothing is computed with it, which the transform under way would record.
    """
    functorch = torch._C._functorch
    batched: list[int] = []
    while functorch.is_functorch_wrapped_tensor(x):
        if functorch.is_batchedtensor(x):
            batched.insert(0, functorch.maybe_get_bdim(x))
        x = functorch.get_unwrapped(x)
    return x, batched
