r"""Splines on any grid by their polynomials on each interval, which are computed once for many places.

At the share f of an interval, the first of the k + 1 splines that are not zero there is a (1 - f)^k and the last is
b f^k, since each ends where the interval does; all together are 1. So a, b and the polynomials of k - 2 others say
everything. The share is taken from the breakpoint at which the interval starts: places near it keep all their digits.
The others' polynomials are in f - 1/2: in f, coefficients of order 8 are up to 70 times the splines, and of alternating
signs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from submanifold.nn.kan.splines import around_interval, interval_numbers

__all__ = ["polynomials", "spline_table", "tabled_splines"]


def polynomials(knots: Tensor, order: int) -> Tensor:
    """Coefficients of 1, f, ..., f^k in the splines that are not zero on each interval, f being the share of it.

    Args:
        knots: of each column, (m, G + 2k + 1).
        order: k.

    Returns:
        (m, G, k + 1, k + 1), for each spline its coefficients.
    """
    around = knots[:, 1:-1].unfold(1, 2 * order, 1)  # (m, G, 2k), t_{i+1}, ..., t_{i+2k}
    start, width = around[..., order - 1, None], (around[..., order] - around[..., order - 1])[..., None]
    values = [torch.ones_like(start)]  # (m, G, degree + 1) each
    for d in range(1, order + 1):
        raised = [values[0].new_zeros(*values[0].shape[:-1], d + 1) for _ in range(d + 1)]
        for r, value in enumerate(values):
            low, high = around[..., order + r - d, None], around[..., order + r, None]
            share, steps = value / (high - low), value * (width / (high - low))
            raised[r][..., :-1] += (high - start) * share
            raised[r][..., 1:] -= steps
            raised[r + 1][..., :-1] += (start - low) * share
            raised[r + 1][..., 1:] += steps
        values = raised
    return torch.stack(values, dim=-2)


def spline_table(knots: Tensor, order: int) -> Tensor:
    """What `tabled_splines` needs to know of each interval, (numbers, m * G).

    These are its start, one over its width, a, b, and of each of the splines 1, ..., k - 2 its coefficients of powers
    of f - 1/2, and its slopes at f = 0 and f = 1.
    """
    found = polynomials(knots, order)  # (m, G, spline, power)
    breakpoints = knots[:, order : knots.shape[1] - order]
    powers = torch.arange(order + 1, device=knots.device, dtype=knots.dtype)
    centred = knots.new_tensor([[math.comb(i, j) * 0.5 ** (i - j) for j in range(order + 1)] for i in range(order + 1)])
    rows = [breakpoints[:, :-1], 1 / breakpoints.diff(dim=1), found[..., 0, 0], found[..., order, order]]
    for spline in range(1, order - 1):
        own = found[..., spline, :]
        rows += [*(own @ centred).unbind(-1), own[..., 1], own @ powers]
    return torch.stack(rows).flatten(1)


def tabled_splines(x: Tensor, breakpoints: Tensor, table: Tensor, order: int) -> tuple[Tensor, Tensor]:
    """Splines on any grid, continued by their tangents.

    Args:
        x: places (..., m).
        breakpoints: (m, G + 1).
        table: see `spline_table`.
        order: k.

    Returns:
        the number i of the first spline that is not zero, (..., m), int64, and the values of B_i, ..., B_{i+k},
        (..., m, k + 1).
    """
    first = interval_numbers(x.detach(), breakpoints[:, 1:-1])
    intervals = first + (breakpoints.shape[1] - 1) * torch.arange(x.shape[-1], device=x.device)
    found = table.index_select(1, intervals.flatten()).reshape(len(table), *x.shape)  # (numbers, ..., m)
    start, per_width, a, b, *others = found
    f, before, after = around_interval((x - start) * per_width)
    if order == 1:
        f = f + before + after  # straight anyway
        return first, torch.stack([1 - f, f]).movedim(0, -1)
    falling = a * torch.sub((1 - f) ** order, before, alpha=order)
    rising = b * torch.add(f**order, after, alpha=order)
    middle, g = [], f - 0.5
    for at in range(0, len(others), order + 3):
        *c, start_slope, end_slope = others[at : at + order + 3]
        value = c[order]
        for coefficient in reversed(c[:order]):
            value = torch.addcmul(coefficient, g, value)
        middle.append(torch.addcmul(torch.addcmul(value, before, start_slope), after, end_slope))
    rest = 1 - falling
    for value in [*middle, rising]:
        rest = rest - value
    return first, torch.stack([falling, *middle, rest, rising]).movedim(0, -1)
