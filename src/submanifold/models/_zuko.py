"""The one door to zuko, whose import would otherwise switch argument checks of `torch.distributions` off everywhere.

Only zuko's transforms are used; the base law is ours. What is built here is a module whose call returns an invertible
map y -> u with `.call_and_ladj` and `.inv`. D is the number of coordinates, `layers` the number of maps composed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Transform, constraints

from submanifold.errors import InvalidInput
from submanifold.nn.given import BegunAtZero, NetworkLike, given_network, is_given, is_named, named, word
from submanifold.nn.kan.masked import KANConditioner
from submanifold.nn.kan.monotone import IncreasingSpline

__all__ = ["KINDS", "NETWORKS", "MonotonicRQSTransform", "transforms"]

_ORDER = 3
"""Of the splines of monotone KANs."""


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


class _IncreasingTransform(Transform):
    """A spline of a monotone KAN on [-5, 5], which goes on straight outside."""

    domain = constraints.real
    codomain = constraints.real
    bijective = True
    sign = 1

    def __init__(self, shift: Tensor, rates: Tensor) -> None:
        super().__init__()
        self.spline = IncreasingSpline(shift, rates, order=_ORDER, low=-5.0, high=5.0)

    def _call(self, x: Tensor) -> Tensor:
        return self.spline.forward_and_slope(x)[0]

    def _inverse(self, y: Tensor) -> Tensor:
        return self.spline.inverse(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.call_and_ladj(x)[1]

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, slope = self.spline.forward_and_slope(x)
        return y, slope.log()


def _coupling(D: int, layers: int, **ingredients: Any) -> list[nn.Module]:
    """Half of the coordinates move given the rest, then the rest (Dinh et al. 2017, arXiv 1605.08803)."""
    masks = [order % 2 == i % 2 for i, order in enumerate(_permutations(D, layers))]
    return [GeneralCouplingTransform(D, mask=mask, **ingredients) for mask in masks]


def _autoregressive(D: int, layers: int, **ingredients: Any) -> list[nn.Module]:
    """Each coordinate moves given those before it, then in reverse (Papamakarios et al. 2017, arXiv 1705.07057)."""
    orders = [D - 1 - order if i % 2 else order for i, order in enumerate(_permutations(D, layers))]
    return [MaskedAutoregressiveTransform(D, order=order, **ingredients) for order in orders]


@dataclass(frozen=True)
class _Univariate:
    """What moves one coordinate: a map, and the shapes of its parameters by the number of pieces."""

    make: Callable[..., Transform]
    shapes: Callable[[int], list[tuple[int, ...]]]


_AFFINE = _Univariate(MonotonicAffineTransform, lambda bins: [(), ()])
_INCREASING = _Univariate(_IncreasingTransform, lambda bins: [(), (bins + _ORDER - 1,)])
_RATIONAL = _Univariate(  # on [-5, 5], identity outside (Durkan et al. 2019, arXiv 1906.04032)
    MonotonicRQSTransform, lambda bins: [(bins,), (bins,), (bins - 1,)]
)

_KINDS: dict[str, tuple[Callable[..., list[nn.Module]], _Univariate]] = {
    "maf": (_autoregressive, _AFFINE),
    "monotone-kan": (_autoregressive, _INCREASING),
    "spline-autoregressive": (_autoregressive, _RATIONAL),
    "spline-coupling": (_coupling, _RATIONAL),
}
KINDS = tuple(_KINDS)
NETWORKS = ("kan", "mlp")


def transforms(
    kind: str,
    D: int,
    *,
    layers: int,
    hidden: Sequence[int],
    bins: int,
    context: int = 0,
    network: NetworkLike = "mlp",
) -> nn.Module:
    """A composition of `layers` maps of one of `KINDS`, with one of `NETWORKS`; `bins` is read by the splines.

    With `context` the maps depend on so many numbers besides, (n, context), which the module is called with. Couplings
    take a callable that makes a module for each of them, since what moves and what it depends on are disjoint there.

    Raises:
        InvalidInput: for another network, or one of the user's own where no map has any, as with D = 1.
    """
    compose, univariate = _KINDS[kind]
    name, options = _check_network(network, kind)
    maps = compose(
        D,
        layers,
        context=context,
        hidden_features=list(hidden),
        activation=nn.SiLU,
        shapes=univariate.shapes(bins),
        univariate=univariate.make,
    )
    # one coordinate on its own depends on nothing
    conditioned: list[Any] = [one for one in maps if hasattr(one, "hyper")]
    if is_given(network) and not conditioned:
        raise InvalidInput(
            f"network={word(network)} is not accepted for data of one coordinate, which moves on its own: leave it out"
        )
    for one in conditioned:
        if name == "kan":
            one.hyper = _kan_like(one, hidden, options)
        elif is_given(network):
            inputs, outputs = [one.hyper.in_features], [one.hyper.out_features]
            one.hyper = BegunAtZero(given_network(network, inputs, outputs, role="conditioner"), outputs)
    composed: nn.Module = LazyComposedTransform(*maps)
    return composed


def _check_network(network: NetworkLike, kind: str) -> tuple[str, dict[str, Any]]:
    """The name and the options of one of `NETWORKS`, empty for a callable."""
    if is_named(network) or not (is_given(network) or isinstance(network, Mapping)):
        return named(network, NETWORKS)
    if _KINDS[kind][0] is not _coupling:
        raise InvalidInput(
            f"network={word(network)} is not accepted with kind={kind!r}: each coordinate may depend on those before "
            'it alone, by masks that a network of your own lacks, give "mlp" or "kan", or kind="spline-coupling"'
        )
    if isinstance(network, Mapping | nn.Module):
        raise InvalidInput(
            f"network={word(network)} is not accepted: a flow has a network in each of its maps, give a callable that "
            'makes a module for an input shape and an output shape, "mlp" or "kan"'
        )
    return "", {}


def _kan_like(one: Any, hidden: Sequence[int], options: Mapping[str, Any]) -> KANConditioner:
    """A KAN in place of the network that says how coordinates move."""
    inputs = torch.zeros(one.hyper.in_features, dtype=torch.int64)
    outputs = torch.ones(one.hyper.out_features, dtype=torch.int64)
    if isinstance(one, MaskedAutoregressiveTransform):  # context comes last, and is seen by all
        inputs[: len(one.order)] = one.order + 1
        outputs = (one.order + 1).repeat_interleave(one.total)
    return KANConditioner(inputs, outputs, hidden, **options)
