r"""Layers of a KAN by `torch.compile`, and splines on uniform grids as operations that it makes one quick pass of.

What is quick operation by operation, k + 1 values and the places where they go, leaves a compiler with loops over
single numbers. Here all splines are computed everywhere, each from the distance v to its centre, in intervals:

    B(v) = \sum_{r \le k / 2} (-1)^r \binom{k + 1}{r} \max(0, (k + 1) / 2 - r - |v|)^k / k!

(de Boor, *A practical guide to splines*, IX, folded at v = 0, by which less cancels). Inputs are the last dimension,
so that neighbours in memory are the same spline of neighbouring inputs. Since splines sum to one, all are added up with
one less, m, in the middle:

    \sum_j w_j B_j(x) = w_m + \sum_{j \ne m} (w_j - w_m) B_j(x)

whose rounding is that of w_m at all places, also where B_m is zero: little in single and double precision, and not
done with less.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from types import FunctionType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.function import once_differentiable
from torch.nn import functional

from submanifold.nn.kan.bases import BSplines
from submanifold.nn.kan.basis import check_width

if TYPE_CHECKING:
    from submanifold.nn.kan.linear import KANLinear

__all__ = ["EverySpline", "SplineSums", "any_layer", "compiled_forward", "in_intervals", "uniform_layer"]

_FEW = 4096
"""Inputs, so few that to look for their places takes less time than a call."""
_MOST_ORDER = 5
"""Up to which the sum for a spline cancels little: in single precision it has lost a digit at order 6."""


def compiled_forward(layer: KANLinear, x: Tensor) -> Tensor:
    """What `layer` says of x, compiled at the first layer of its kind; first derivatives backwards are all it has.

    Within another compiled function, and within `torch.func` and forward-mode differentiation, which have more, the
    layer goes operation by operation.
    """
    forwards = torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
    if torch.compiler.is_compiling() or forwards:
        return layer._forward(x)
    basis = layer.basis
    learns = (torch.is_grad_enabled(), x.requires_grad)
    kind = (type(basis), basis.size, layer.in_features, layer.out_features, x.ndim, *learns)
    plain = layer.local or layer.recompute
    if isinstance(basis, BSplines) and basis.is_uniform and 1 < basis.order <= _MOST_ORDER and not plain:
        check_width(x, layer.in_features)
        return uniform_layer(layer, x, partial(_compiler, kind=kind))
    said: Tensor = _compiler(any_layer, kind)(layer, x)
    return said


@cache
def _compiler(function: Callable[..., Tensor], kind: tuple[Any, ...]) -> Callable[..., Tensor]:
    """For one kind of layer and input: torch counts variants of code, and beyond eight of them leaves it uncompiled."""
    assert isinstance(function, FunctionType)
    own = FunctionType(function.__code__.replace(), function.__globals__, function.__name__)
    compiled: Callable[..., Tensor] = torch.compile(own)
    return compiled


def any_layer(layer: KANLinear, x: Tensor) -> Tensor:
    """Its own operations."""
    return layer._forward(x)


def uniform_layer(layer: KANLinear, x: Tensor, compiled: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Tensor:
    """Those that a compiler likes better, (..., out) of x (..., in), for splines of order 2 to 5.

    They are in functions that go through `compiled` first. In one function it would look for the place of an input in
    its grid again for each spline; that is quicker than to call another for few inputs only.
    """
    basis = layer.basis
    assert isinstance(basis, BSplines)
    shift, per_interval = basis.to_intervals()
    device = x.device.type
    is_rough = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    is_precise = x.dtype == basis.breakpoints.dtype and not is_rough
    if x.numel() < _FEW:
        said: Tensor = compiled(_few_sums)(layer, x, shift, per_interval, is_precise)
    else:
        place = basis.place(x.detach())
        found = compiled(in_intervals)(place, shift, per_interval, basis.intervals, basis.breakpoints.dtype)
        said = compiled(_sums)(layer, x, per_interval, *found, is_precise)
    return said


def _few_sums(layer: KANLinear, x: Tensor, shift: Tensor, per_interval: Tensor, is_precise: bool) -> Tensor:
    """What the layer says of x."""
    basis = layer.basis
    assert isinstance(basis, BSplines)
    place = basis.place(x.detach())
    found = in_intervals(place, shift, per_interval, basis.intervals, basis.breakpoints.dtype)
    return _sums(layer, x, per_interval, *found, is_precise)


def in_intervals(
    place: Tensor, shift: Tensor, per_interval: Tensor, intervals: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Where places (..., m) are in grids of so many intervals; the other two are of `BSplines.to_intervals`, (m,).

    Returns:
        the nearest whole number, the rest, and what is beyond the grid, negative before it, (..., m) each, in `dtype`,
        in intervals from the start of the grid. The first two have all digits between them.
    """
    u = torch.addcmul(shift, place.to(shift.dtype), per_interval)
    inside = u.clamp(0, intervals)
    whole = inside.round()
    return whole.to(dtype), (inside - whole).to(dtype), (u - inside).to(dtype)


def _sums(
    layer: KANLinear, x: Tensor, per_interval: Tensor, whole: Tensor, rest: Tensor, beyond: Tensor, is_precise: bool
) -> Tensor:
    """What the layer says of x, from where it is."""
    if not torch.compiler.is_compiling():  # where compilers are told to leave all as it is: derivatives of all orders
        return layer._forward(x)
    basis = layer.basis
    assert isinstance(basis, BSplines)
    u = basis.place(x).to(rest.dtype) * per_interval.to(rest.dtype)  # for its derivative alone
    coefficients: Tensor = _InOrder.apply(layer.coefficients)  # type: ignore[no-untyped-call]
    weights = layer._spline_weights(coefficients).mT  # (out, size, in)
    if is_precise:
        before = basis.size // 2
        parts = torch.split(weights, [before, 1, basis.size - before - 1], dim=1)
        said: Tensor = SplineSums.apply(u, whole, rest, beyond, *parts, basis.order)  # type: ignore[no-untyped-call]
    else:
        splines: Tensor = EverySpline.apply(u, whole, rest, beyond, basis.intervals, basis.order)  # type: ignore[no-untyped-call]
        said = functional.linear(splines.to(x.dtype).flatten(-2), weights.flatten(1))
    return said if layer.base is None else said + functional.linear(layer.base(x), layer._base_weights())


class EverySpline(torch.autograd.Function):
    """All splines of order k, (..., G + k, m), at places (..., m) as `in_intervals` has them: B of the module's head.

    The derivative by places is given to `u` (..., m), which is they but for a constant. It has none itself.
    """

    @staticmethod
    def forward(ctx: Any, u: Tensor, whole: Tensor, rest: Tensor, beyond: Tensor, intervals: int, order: int) -> Tensor:
        ctx.save_for_backward(whole, rest)
        ctx.order = order
        return _splines(whole, rest, beyond, _centres(rest, intervals + order, order), intervals, order)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor | None, ...]:
        whole, rest = ctx.saved_tensors
        return _by_place(given, whole, rest, _centres(rest, given.shape[-2], ctx.order), ctx.order), *[None] * 5


class SplineSums(torch.autograd.Function):
    """Sums (..., out) of all splines of order k at places (..., m) as for `EverySpline`; see the module's head.

    Weights are (out, n, m), those of splines before one in the middle, of this one, and of those after it.
    """

    @staticmethod
    def forward(
        ctx: Any,
        u: Tensor,
        whole: Tensor,
        rest: Tensor,
        beyond: Tensor,
        weights_before: Tensor,
        weights_middle: Tensor,
        weights_after: Tensor,
        order: int,
    ) -> Tensor:
        ctx.sizes = [weights_before.shape[1], 1, weights_after.shape[1]]
        ctx.order = order
        intervals = sum(ctx.sizes) - order
        others, middle = (
            _splines(whole, rest, beyond, centres, intervals, order).flatten(-2)
            for centres in _others_and_middle(rest, ctx.sizes, order)
        )
        steps = torch.cat([weights_before - weights_middle, weights_after - weights_middle], dim=1).flatten(1)
        ctx.save_for_backward(whole, rest, others, middle, steps)
        return functional.linear(others, steps, weights_middle.sum(dim=(1, 2)))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor | None, ...]:
        whole, rest, others, middle, steps = ctx.saved_tensors
        m = whole.shape[-1]
        centres, _ = _others_and_middle(rest, ctx.sizes, ctx.order)
        by_place = _by_place((given @ steps).unflatten(-1, (-1, m)), whole, rest, centres, ctx.order)
        given = given.reshape(-1, given.shape[-1]).mT  # (out, n)
        by_others, by_middle = (
            (given @ splines.reshape(-1, splines.shape[-1])).unflatten(-1, (-1, m)) for splines in (others, middle)
        )
        by_before, by_after = torch.split(by_others, ctx.sizes[::2], dim=1)
        return by_place, None, None, None, by_before, by_middle, by_after, None


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


def _others_and_middle(like: Tensor, sizes: list[int], order: int) -> tuple[Tensor, Tensor]:
    """The centres of splines before and after the one in the middle, and its own."""
    before, middle, after = torch.split(_centres(like, sum(sizes), order), sizes)
    return torch.cat([before, after]), middle


def _from_centres(whole: Tensor, rest: Tensor, centres: Tensor) -> Tensor:
    """How far each place (..., m) is from each centre (n, 1), (..., n, m)."""
    return (whole[..., None, :] - centres) + rest[..., None, :]


def _splines(whole: Tensor, rest: Tensor, beyond: Tensor, centres: Tensor, intervals: int, order: int) -> Tensor:
    """Those with the centres, (..., n, m); beyond the grid their tangents."""
    beyond = beyond[..., None, :]
    before, after = beyond.clamp(max=0), beyond.clamp(min=0)
    straight = before * _slopes(0 - centres, order) + after * _slopes(intervals - centres, order)
    return _powers(_from_centres(whole, rest, centres).abs(), order, order) + straight


def _by_place(by_spline: Tensor, whole: Tensor, rest: Tensor, centres: Tensor, order: int) -> Tensor:
    """A derivative by splines with the centres, (..., n, m), as one by places, (..., m)."""
    return (by_spline * _slopes(_from_centres(whole, rest, centres), order)).sum(dim=-2)


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
