r"""Bounds of what a KAN can say on a box of inputs, layer by layer, that are proved.

An interval is cut into pieces, on each of which a spline is one polynomial and lies between the least and the largest
of its control points in Bernstein's form (its polar form at the ends of the piece); a base function lies between its
values at the ends and at its minimum. Edges of another basis lie within |phi'| times half the piece of what they say in
its middle. Sums add bounds, as if edges did not share inputs: so bounds of single layers are nearly tight, and each
further layer is looser by what its inputs depend on each other.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from submanifold.checks import check_int, check_tensor
from submanifold.errors import InvalidInput
from submanifold.nn.activations import activation_range
from submanifold.nn.kan.bases import BSplines
from submanifold.nn.kan.basis import ROUNDING
from submanifold.nn.kan.linear import KANLinear
from submanifold.nn.kan.network import KAN
from submanifold.nn.kan.splines import interval_numbers, local_splines

__all__ = ["activation_bounds", "layer_bounds", "output_bounds", "require_bounds"]

_AT_A_TIME = 2**18
"""How many numbers are held at a time, about (2 MiB): more are slower."""


def output_bounds(kan: KAN, low: Tensor, high: Tensor, *, parts: int = 4) -> tuple[Tensor, Tensor]:
    """Bounds (n, out_features) of what the network says in boxes, in exact arithmetic; see `activation_bounds`."""
    return activation_bounds(kan, low, high, parts=parts)[-1]


@torch.no_grad()
def activation_bounds(kan: KAN, low: Tensor, high: Tensor, *, parts: int = 4) -> list[tuple[Tensor, Tensor]]:
    """Bounds of what each layer sees, and of the output, for all inputs in boxes.

    Args:
        kan: the network.
        low: least inputs of each box, (n, in_features).
        high: largest, likewise.
        parts: pieces of each interval of a grid; more are tighter.

    Returns:
        lower and upper bounds, float64, (n, widths[l]), in the order of `KAN.activations`.

    Raises:
        InvalidInput: for boxes that are not finite, of another shape, or with `low` above `high`; as `layer_bounds`.
    """
    bounds = [_boxes(kan.layers[0], low, high)]
    for layer in kan.layers:
        bounds.append(layer_bounds(layer, *bounds[-1], parts=parts))
    return bounds


@torch.no_grad()
def layer_bounds(layer: KANLinear, low: Tensor, high: Tensor, *, parts: int = 4) -> tuple[Tensor, Tensor]:
    """Bounds (n, out_features) of one layer, as `activation_bounds` of networks.

    Raises:
        InvalidInput: as `activation_bounds`; for a base function of which no range is known, or parameters that are not
            finite, by which bounds are NaN.
    """
    check_int(parts, name="parts")
    low, high = _boxes(layer, low, high)
    each = max(layer.in_features * _pieces(layer, parts) * _numbers_per_piece(layer), layer.mask.numel())
    at_a_time = max(1, _AT_A_TIME // each)
    blocks = [
        _layer_bounds(layer, _cuts(layer, *box, parts))
        for box in zip(torch.split(low, at_a_time), torch.split(high, at_a_time), strict=True)
    ]
    least, most = (torch.cat(ends) for ends in zip(*blocks, strict=True))
    require_bounds(least, most)
    return least, most


def require_bounds(least: Tensor, most: Tensor) -> None:
    """Refuse bounds that are NaN and so bound nothing."""
    if bool((least.isnan() | most.isnan()).any()):
        raise InvalidInput(
            "no bounds are known: the network has parameters that are not finite and is to be trained anew, or boxes "
            "are too large for double precision"
        )


def _layer_bounds(layer: KANLinear, cuts: Tensor) -> tuple[Tensor, Tensor]:
    """Bounds (n, out) for the ends of pieces (n, in, pieces + 1)."""
    start, end = cuts[..., :-1], cuts[..., 1:]
    if isinstance(layer.basis, BSplines):
        ranges = _spline_ranges(layer, layer.basis, start, end)
    else:
        ranges = _ranges_by_slope(layer, start, end)
    least, most, size = (each * layer.mask for each in ranges)  # (n, out, in)
    slack = ROUNDING * size.sum(dim=-1)
    return least.sum(dim=-1) - slack, most.sum(dim=-1) + slack


def _boxes(layer: KANLinear, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    shape = (layer.in_features,)
    low = check_tensor(low, shape, name="low").to(layer.coefficients.device, torch.float64)
    high = check_tensor(high, shape, name="high").to(layer.coefficients.device, torch.float64)
    if low.shape != high.shape or not bool((low <= high).all()):
        raise InvalidInput("low and high make no boxes: give as many of each, and low not above high")
    return low, high


def _pieces(layer: KANLinear, parts: int) -> int:
    """Into how many an interval is cut."""
    return parts * (layer.basis.intervals + 2 if isinstance(layer.basis, BSplines) else 2 * layer.basis.size)


def _numbers_per_piece(layer: KANLinear) -> int:
    """How many are held at a time, of one input."""
    return (layer.basis.order + 1) ** 3 if isinstance(layer.basis, BSplines) else layer.basis.size + 1


def _cuts(layer: KANLinear, low: Tensor, high: Tensor, parts: int) -> Tensor:
    """Ends of pieces that cover each interval, (n, in, pieces + 1): those of a grid are among them."""
    if isinstance(layer.basis, BSplines):
        inner = torch.minimum(torch.maximum(layer.basis.exact_breakpoints, low[..., None]), high[..., None])
        edges = torch.cat([low[..., None], inner, high[..., None]], dim=-1)  # (n, in, G + 3)
    else:
        shares = torch.linspace(0, 1, 2 * layer.basis.size + 1, device=low.device, dtype=low.dtype)
        edges = low[..., None] + (high - low)[..., None] * shares
    shares = torch.arange(parts, device=low.device, dtype=low.dtype) / parts
    starts = edges[..., :-1, None] + edges.diff(dim=-1)[..., None] * shares  # (n, in, edges - 1, parts)
    return torch.cat([starts.flatten(-2), edges[..., -1:]], dim=-1)


def _spline_ranges(layer: KANLinear, basis: BSplines, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of all edges over their pieces (n, in, pieces), and how large is what they are computed of; (n, out, in) each."""
    first, T = _control_points(basis, start, end)  # (n, in, pieces), (n, in, pieces, k + 1, k + 1)
    c = layer.coefficients.double() * layer.spline_scale.double()[..., None]
    near = c.unfold(-1, basis.order + 1, 1)  # (out, in, G, k + 1)
    inputs = torch.arange(layer.in_features, device=c.device)[:, None]
    base = None if layer.base is None else _base_range(layer.base, start, end)
    at_a_time = max(1, _AT_A_TIME // T[..., 0].numel())
    ranges = []
    for outputs in torch.split(torch.arange(len(c), device=c.device), at_a_time):
        points = torch.einsum("niplj,onipj->nolip", T, near[outputs][:, inputs, first])
        least, most = points.amin(dim=2), points.amax(dim=2)  # (n, outputs, in, pieces)
        if base is not None:
            a, b = (layer.base_scale[outputs, :, None].double() * value[:, None] for value in base)
            least, most = least + torch.minimum(a, b), most + torch.maximum(a, b)
        ranges.append((least.amin(dim=-1), most.amax(dim=-1)))
    low, high = (torch.cat(ends, dim=1) for ends in zip(*ranges, strict=True))
    largest = T.abs().sum(dim=-1).amax(dim=(-2, -1)) * basis.rounding()  # (n, in)
    size = largest[:, None] * c.abs().amax(dim=-1)
    if base is not None:
        said = 1 + torch.maximum(base[0].abs(), base[1].abs()).amax(dim=-1)  # tails are 1 less what is nearly 1
        size = size + said[:, None] * layer.base_scale.double().abs()
    return low, high, size


def _control_points(basis: BSplines, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """Of pieces (n, in, pieces), the first spline that is not zero, and T with control points T c of the k + 1 c there.

    Beyond the grid they are on a line.
    """
    order, knots = basis.order, basis.exact_knots
    low, high = basis.exact_breakpoints[:, :1], basis.exact_breakpoints[:, -1:]
    middle = 0.5 * (start + end)
    first = interval_numbers(middle.movedim(-1, 1), basis.exact_breakpoints[:, 1:-1]).movedim(1, -1)
    is_end = torch.ones(order + 1, order, dtype=torch.bool, device=knots.device).tril(-1)  # point l: l times the end
    arguments = torch.where(is_end, end[..., None, None], start[..., None, None])  # (n, in, pieces, k + 1, k)
    around = first[..., None] + torch.arange(1, 2 * order + 1, device=knots.device)
    inputs = torch.arange(len(knots), device=knots.device)[:, None, None]
    t = knots[inputs, around][..., None, :]  # (n, in, pieces, 1, 2k)
    # de Boor's algorithm on unit coefficients, with another argument in each round, as in `change_of_knots`
    T = torch.eye(order + 1, device=knots.device, dtype=knots.dtype).expand(*arguments.shape[:-1], -1, -1)
    for r in range(1, order + 1):
        before, after = t[..., r - 1 : order], t[..., order : 2 * order - r + 1]
        share = ((arguments[..., r - 1, None] - before) / (after - before))[..., None]
        T = (1 - share) * T[..., :-1, :] + share * T[..., 1:, :]
    T = T[..., 0, :]  # (n, in, pieces, k + 1, k + 1)
    is_beyond = (middle < low) | (middle > high)
    if bool(is_beyond.any()):
        ends = torch.stack([start, end])  # (2, n, in, pieces)
        if basis.outside == "clamp":
            ends = torch.minimum(torch.maximum(ends, low), high)
        A, B = local_splines(ends.movedim(2, -1), knots, order)[1].movedim(-2, 2)  # (n, in, pieces, k + 1)
        shares = torch.linspace(0, 1, order + 1, device=knots.device, dtype=knots.dtype)[:, None]
        T = torch.where(is_beyond[..., None, None], torch.lerp(A[..., None, :], B[..., None, :], shares), T)
    return first, T


def _base_range(base: nn.Module, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    found = activation_range(base, start, end)
    if found is None:
        raise InvalidInput(f"the layer has the base function {base}, of which no range is known: give another")
    return found


def _ranges_by_slope(layer: KANLinear, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of all edges over their pieces (n, in, pieces), and how large is what they are computed of; (n, out, in) each."""
    exact = copy.deepcopy(layer).double()
    functions, weights = exact.functions(0.5 * (start + end).movedim(-1, 1)), exact.weights()
    slopes, half = layer.slope_bounds(), 0.5 * (end - start).movedim(-1, 1)  # (n, pieces, in)
    at_a_time = max(1, _AT_A_TIME // half.numel())
    ranges = []
    for outputs in torch.split(torch.arange(len(weights), device=weights.device), at_a_time):
        said = torch.einsum("npij,oij->npoi", functions, weights[outputs])
        reach = slopes[outputs] * half[:, :, None]
        ranges.append(((said - reach).amin(dim=1), (said + reach).amax(dim=1)))
    low, high = (torch.cat(ends, dim=1) for ends in zip(*ranges, strict=True))
    size = torch.einsum("nij,oij->noi", functions.abs().amax(dim=1), weights.abs())
    places = torch.maximum(start.abs(), end.abs()).amax(dim=-1)  # they are rounded too
    return low, high, size + slopes * (1 + places[:, None])
