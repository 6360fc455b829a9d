"""The one door to zuko, whose import would otherwise switch argument checks of `torch.distributions` off everywhere.

Only zuko's transforms are used; the base law is ours. What is built here is a module whose call returns an invertible
map y -> u with `.call_and_ladj` and `.inv`. D is the number of coordinates, `layers` the number of maps composed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

__all__ = ["KINDS", "MonotonicRQSTransform", "transforms"]


@contextmanager
def _distributions_unchanged() -> Iterator[None]:
    before = {name: vars(Distribution)[name] for name in ("_validate_args", "arg_constraints")}
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(Distribution, name, value)


with _distributions_unchanged():
    from zuko.flows.autoregressive import MaskedAutoregressiveTransform
    from zuko.flows.coupling import GeneralCouplingTransform
    from zuko.lazy import LazyComposedTransform
    from zuko.transforms import MonotonicAffineTransform, MonotonicRQSTransform


def _permutations(D: int, layers: int) -> list[Tensor]:
    """Random permutations, each for two layers; always the same ones, so that a configuration fixes a model."""
    generator = torch.Generator().manual_seed(0)
    pairs = [torch.randperm(D, generator=generator) for _ in range(0, layers, 2)]
    return [pairs[i // 2] for i in range(layers)]


def _coupling(D: int, layers: int, **ingredients: Any) -> list[nn.Module]:
    """Half of the coordinates move given the rest, then the rest (Dinh et al. 2017, arXiv 1605.08803)."""
    masks = [order % 2 == i % 2 for i, order in enumerate(_permutations(D, layers))]
    return [GeneralCouplingTransform(D, mask=mask, **ingredients) for mask in masks]


def _autoregressive(D: int, layers: int, **ingredients: Any) -> list[nn.Module]:
    """Each coordinate moves given those before it, then in reverse (Papamakarios et al. 2017, arXiv 1705.07057)."""
    orders = [D - 1 - order if i % 2 else order for i, order in enumerate(_permutations(D, layers))]
    return [MaskedAutoregressiveTransform(D, order=order, **ingredients) for order in orders]


_AFFINE = {"univariate": MonotonicAffineTransform}
_SPLINE = {"univariate": MonotonicRQSTransform}  # on [-5, 5], identity outside (Durkan et al. 2019, arXiv 1906.04032)

_KINDS: dict[str, tuple[Callable[..., list[nn.Module]], dict[str, Any]]] = {
    "maf": (_autoregressive, _AFFINE),
    "spline-autoregressive": (_autoregressive, _SPLINE),
    "spline-coupling": (_coupling, _SPLINE),
}
KINDS = tuple(_KINDS)


def transforms(kind: str, D: int, *, layers: int, hidden: Sequence[int], bins: int, context: int = 0) -> nn.Module:
    """A composition of `layers` maps of one of `KINDS`, with smooth networks; `bins` is read by the splines.

    With `context` the maps depend on so many numbers besides, (n, context), which the module is called with.
    """
    compose, univariate = _KINDS[kind]
    shapes = [(bins,), (bins,), (bins - 1,)] if univariate is _SPLINE else [(), ()]
    maps = compose(
        D, layers, context=context, hidden_features=list(hidden), activation=nn.SiLU, shapes=shapes, **univariate
    )
    composed: nn.Module = LazyComposedTransform(*maps)
    return composed
