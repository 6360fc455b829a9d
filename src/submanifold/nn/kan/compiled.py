r"""Layers of a KAN by `torch.compile`, and splines on uniform grids as operations that it makes one quick pass of.

What is quick operation by operation, k + 1 values and the places where they go, leaves a compiler with loops over
single numbers. Here all splines are computed everywhere, each from the distance v to its centre, in intervals:

    B(v) = \sum_{r \le k / 2} (-1)^r \binom{k + 1}{r} \max(0, (k + 1) / 2 - r - |v|)^k / k!

(de Boor, *A practical guide to splines*, IX, folded at v = 0, by which little cancels). Inputs are the last dimension,
so that neighbours in memory are the same spline of neighbouring inputs. Since splines sum to one, they are added up
with one less than there are:

    \sum_j w_j B_j(x) = w_0 + \sum_{j > 0} (w_j - w_0) B_j(x)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from types import FunctionType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from submanifold.nn.kan.bases import BSplines
from submanifold.nn.kan.basis import check_width

if TYPE_CHECKING:
    from submanifold.nn.kan.linear import KANLinear

__all__ = ["SplineSums", "any_layer", "compiled_forward", "in_intervals", "uniform_layer"]


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
        found = compiled(in_intervals)(basis.place(x), shift, per_interval, basis.intervals)
    said: Tensor = compiled(_sums)(layer, x, per_interval, *found)
    return said


def in_intervals(place: Tensor, shift: Tensor, per_interval: Tensor, intervals: int) -> tuple[Tensor, Tensor, Tensor]:
    """Where places are in a grid, in intervals from its start: the nearest whole number, the rest, and what is beyond.

    The first two have all digits between them; the last is negative before the grid.
    """
    u = torch.addcmul(shift, place.to(shift.dtype), per_interval)
    inside = u.clamp(0, intervals)
    whole = inside.round()
    return whole.to(place.dtype), (inside - whole).to(place.dtype), (u - inside).to(place.dtype)


def _sums(layer: KANLinear, x: Tensor, per_interval: Tensor, whole: Tensor, rest: Tensor, beyond: Tensor) -> Tensor:
    """What the layer says of x, from where it is."""
    if not torch.compiler.is_compiling():  # where compilers are told to leave all as it is: derivatives of all orders
        return layer._forward(x)
    basis = layer.basis
    assert isinstance(basis, BSplines)
    u = basis.place(x) * per_interval.to(rest.dtype)  # for its derivative alone
    coefficients: Tensor = _InOrder.apply(layer.coefficients)  # type: ignore[no-untyped-call]
    weights = torch.split(layer._spline_weights(coefficients).mT, [1, basis.size - 1], dim=1)
    said: Tensor = SplineSums.apply(u, whole, rest, beyond, *weights, basis.order, x.dtype)  # type: ignore[no-untyped-call]
    return said if layer.base is None else said + functional.linear(layer.base(x), layer._base_weights())


class SplineSums(torch.autograd.Function):
    """Sums (..., out) of all splines of order k at places (..., m) as `in_intervals` has them, computed in `dtype`.

    Weights are those of the first spline, (out, 1, m), and of the others, (out, G + k - 1, m). The derivative by places
    is given to `u` (..., m), which is they but for a constant. It has none itself.
    """

    @staticmethod
    def forward(
        ctx: Any,
        u: Tensor,
        whole: Tensor,
        rest: Tensor,
        beyond: Tensor,
        first_weights: Tensor,
        other_weights: Tensor,
        order: int,
        dtype: torch.dtype,
    ) -> Tensor:
        size = other_weights.shape[1] + 1
        first, others = (
            _splines(whole, rest, beyond, centres, size - order, order).flatten(-2).to(dtype)
            for centres in torch.split(_centres(rest, size, order), [1, size - 1])
        )
        steps = (other_weights - first_weights).flatten(1)
        said = functional.linear(others, steps, first_weights.sum(dim=(1, 2)))
        ctx.save_for_backward(whole, rest, *(tensor.to(said.dtype) for tensor in (first, others, steps)))
        ctx.order, ctx.dtype = order, other_weights.dtype
        return said

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor | None, ...]:
        whole, rest, first, others, steps = ctx.saved_tensors
        m = whole.shape[-1]
        by_spline = (given @ steps).unflatten(-1, (-1, m))
        centres = _centres(rest, by_spline.shape[-2] + 1, ctx.order)[1:]
        by_place = (by_spline * _slopes(_from_centres(whole, rest, centres), ctx.order)).sum(dim=-2)
        given = given.reshape(-1, given.shape[-1]).mT  # (out, n)
        by_weight = (given @ splines.reshape(-1, splines.shape[-1]) for splines in (first, others))
        by_weight = (gradient.unflatten(-1, (-1, m)).to(ctx.dtype) for gradient in by_weight)
        return by_place, None, None, None, *by_weight, None, None


class _InOrder(torch.autograd.Function):
    """The same, and its gradient in the same order in memory, or torch would copy it once more."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> Tensor:
        return given.contiguous()


def _centres(like: Tensor, size: int, order: int) -> Tensor:
    """Of all splines, (G + k, 1)."""
    return torch.arange(size, device=like.device, dtype=like.dtype)[:, None] - (order - 1) / 2


def _from_centres(whole: Tensor, rest: Tensor, centres: Tensor) -> Tensor:
    """How far each place (..., m) is from each centre (n, 1), (..., n, m)."""
    return (whole[..., None, :] - centres) + rest[..., None, :]


def _splines(whole: Tensor, rest: Tensor, beyond: Tensor, centres: Tensor, intervals: int, order: int) -> Tensor:
    """Those with the centres, (..., n, m); beyond the grid their tangents."""
    beyond = beyond[..., None, :]
    before, after = beyond.clamp(max=0), beyond.clamp(min=0)
    straight = before * _slopes(0 - centres, order) + after * _slopes(intervals - centres, order)
    return _powers(_from_centres(whole, rest, centres).abs(), order, order) + straight


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
