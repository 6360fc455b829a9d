r"""Layers of a KAN by `torch.compile`, and splines on uniform grids as operations that it makes one quick pass of.

What is quick operation by operation, k + 1 values and the places where they go, leaves a compiler with loops over
single numbers. Here all splines are computed everywhere, each from the distance v to its centre, in intervals:

    B(v) = \sum_{r \le k / 2} (-1)^r \binom{k + 1}{r} \max(0, (k + 1) / 2 - r - |v|)^k / k!

(de Boor, *A practical guide to splines*, IX, folded at v = 0, by which little cancels). Inputs are the last dimension,
so that neighbours in memory are the same spline of neighbouring inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from types import FunctionType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from submanifold.nn.kan.bases import BSplines
from submanifold.nn.kan.basis import check_width

if TYPE_CHECKING:
    from submanifold.nn.kan.linear import KANLinear

__all__ = ["EverySpline", "any_layer", "compiled_forward", "uniform_layer"]


def compiled_forward(layer: KANLinear, x: Tensor) -> Tensor:
    """What `layer` says of x, compiled at the first layer of its kind; first derivatives backwards are all it has.

    Within another compiled function, and within `torch.func`, which has more, the layer goes operation by operation.
    """
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return layer._forward(x)
    basis = layer.basis
    kind = (type(basis), basis.size, layer.in_features, layer.out_features)
    plain = layer.local or layer.recompute
    if isinstance(basis, BSplines) and basis.is_uniform and basis.order > 1 and not plain:
        check_width(x, layer.in_features)
        return uniform_layer(layer, x, partial(_compiler, kind=kind))
    said: Tensor = _compiler(any_layer, kind)(layer, x)
    return said


@cache
def _compiler(function: Callable[..., Tensor], kind: tuple[Any, ...]) -> Callable[..., Tensor]:
    """For one kind of layer: torch counts the variants of a piece of code, and beyond eight goes on uncompiled."""
    assert isinstance(function, FunctionType)
    own = FunctionType(function.__code__.replace(), function.__globals__, function.__name__)
    compiled: Callable[..., Tensor] = torch.compile(own)
    return compiled


def any_layer(layer: KANLinear, x: Tensor) -> Tensor:
    """Its own operations."""
    return layer._forward(x)


def uniform_layer(
    layer: KANLinear,
    x: Tensor,
    compiled: Callable[[Callable[..., Any]], Callable[..., Any]] = lambda function: function,
) -> Tensor:
    """Those that a compiler likes better, for splines of order 2 and more, in two functions that it may have compiled.

    In one, it would look for the place of an input in its grid again for each spline.
    """
    basis = layer.basis
    assert isinstance(basis, BSplines)
    shift, per_interval = basis.to_intervals()
    with torch.no_grad():
        whole, rest = compiled(_in_intervals)(basis.place(x), shift, per_interval)
    said: Tensor = compiled(_sums)(layer, x, per_interval, whole, rest)
    return said


def _in_intervals(place: Tensor, shift: Tensor, per_interval: Tensor) -> tuple[Tensor, Tensor]:
    """From the first breakpoint, the nearest whole number and the rest, which have all digits between them."""
    u = torch.addcmul(shift, place.to(shift.dtype), per_interval)
    whole = u.round()
    return whole.to(place.dtype), (u - whole).to(place.dtype)


def _sums(layer: KANLinear, x: Tensor, per_interval: Tensor, whole: Tensor, rest: Tensor) -> Tensor:
    """What the layer says of x, from where it is."""
    basis = layer.basis
    assert isinstance(basis, BSplines)
    place = basis.place(x)
    u = place * per_interval.to(place.dtype)  # for its derivative alone
    splines: Tensor = EverySpline.apply(u, whole, rest, basis.intervals, basis.order)  # type: ignore[no-untyped-call]
    coefficients: Tensor = _InOrder.apply(layer.coefficients)  # type: ignore[no-untyped-call]
    weights = layer._spline_weights(coefficients).mT  # (out, size, in)
    said = functional.linear(splines.to(x.dtype).flatten(-2), weights.flatten(1))
    return said if layer.base is None else said + functional.linear(layer.base(x), layer._base_weights())


class EverySpline(torch.autograd.Function):
    """All splines (..., G + k, m) at places (..., m), which are in intervals from the first breakpoint.

    Places are the sums of `whole` and `rest`, and differentiated as `u` (..., m), which is they but for a constant.
    """

    @staticmethod
    def forward(ctx: Any, u: Tensor, whole: Tensor, rest: Tensor, intervals: int, order: int) -> Tensor:
        kept = () if torch.compiler.is_compiling() else (u,)  # for derivatives of the derivative
        ctx.save_for_backward(whole, rest, *kept)
        ctx.intervals, ctx.order = intervals, order
        centres = _centres(rest, intervals, order)
        before, v, after = _parts(whole, rest, intervals, centres)
        straight = before * _slopes(0 - centres, order) + after * _slopes(intervals - centres, order)
        return _powers(v.abs(), order, order) + straight

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor, None, None, None, None]:
        whole, rest, *kept = ctx.saved_tensors
        for u in kept:
            rest = rest + (u - u.detach())  # the same number
        _, v, _ = _parts(whole, rest, ctx.intervals, _centres(rest, ctx.intervals, ctx.order))
        return (given * _slopes(v, ctx.order)).sum(dim=-2), None, None, None, None


class _InOrder(torch.autograd.Function):
    """The same, and its gradient in the same order in memory, or torch would copy it once more."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> Tensor:
        return given.contiguous()


def _centres(u: Tensor, intervals: int, order: int) -> Tensor:
    """(G + k, 1)."""
    return torch.arange(intervals + order, device=u.device, dtype=u.dtype)[:, None] - (order - 1) / 2


def _parts(whole: Tensor, rest: Tensor, intervals: int, centres: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What of a place (..., m) is before the grid, how far it then is from each centre, and what is after the grid.

    The first and the last are (..., 1, m), the second (..., G + k, m).
    """
    whole, rest = whole[..., None, :], rest[..., None, :]
    u = whole + rest
    before, after = u - functional.relu(u), functional.relu(u - intervals)
    return before, (whole - centres) + (rest - before - after), after


def _slopes(v: Tensor, order: int) -> Tensor:
    """Of a spline, v from its centre."""
    steepness = _powers(v.abs(), order, order - 1)
    return torch.where(v < 0, steepness, -steepness)


def _powers(distance: Tensor, order: int, power: int) -> Tensor:
    """The sum of the module's docstring; with another power than k, that of a derivative, but for its sign."""
    total = torch.zeros_like(distance)
    for r in range(order // 2 + 1):
        factor = (-1) ** r * math.comb(order + 1, r) / math.factorial(power)
        total = total + factor * functional.relu((order + 1) / 2 - r - distance) ** power
    return total
