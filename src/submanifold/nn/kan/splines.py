r"""B-splines of order k (degree k, of which k - 1 derivatives are continuous) on a grid of G intervals.

t_0 \le \dots \le t_{G+2k} are the knots, t_k, \dots, t_{G+k} the breakpoints between which the splines are used; before
and after these there are k more knots, spaced as the outermost interval ("extended") or all equal to its end ("open").
Of the G + k splines B_j, k + 1 are not zero at any x: those from j = i on in the interval t_{i+k} \le x < t_{i+k+1}.
Beyond the grid they are continued by their tangents.

Formulas: de Boor, *A practical guide to splines*, chapters IX and X; Piegl & Tiller, *The NURBS book*, A2.2.
"""

from __future__ import annotations

from functools import cache, partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

__all__ = [
    "around_interval",
    "change_of_knots",
    "dense",
    "greville",
    "interval_numbers",
    "knots_of",
    "local_splines",
    "slopes",
    "uniform_splines",
]

_FEW = 16
"""So many breakpoints are sooner compared with all than searched in."""


def knots_of(breakpoints: Tensor, order: int, *, open_ends: bool = False) -> Tensor:
    """Knots (..., G + 2k + 1) of breakpoints (..., G + 1)."""
    first, last = breakpoints[..., :1], breakpoints[..., -1:]
    steps = torch.arange(order, 0, -1, device=breakpoints.device, dtype=breakpoints.dtype)
    before, after = breakpoints[..., 1:2] - first, last - breakpoints[..., -2:-1]
    if open_ends:
        before, after = torch.zeros_like(before), torch.zeros_like(after)
    return torch.cat([first - before * steps, breakpoints, last + after * steps.flip(0)], dim=-1)


def uniform_splines(u: Tensor, intervals: int, order: int, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
    """Splines on extended knots, spaced by 1.

    Args:
        u: places (...), in intervals from the first breakpoint: their share of an interval has the fewer digits, the
            more intervals there are before.
        intervals: G.
        order: k.
        dtype: of the values; that of `u` by default.

    Returns:
        the number i of the first spline that is not zero, (...), int64, and the values of B_i, ..., B_{i+k}, (..., k +
        1).
    """
    last = intervals * (1 - torch.finfo(u.dtype).eps)  # in the last interval still
    first = u.detach().clamp(0, last).long().clamp(0, intervals - 1)  # of NaN too, whose values are NaN
    splines = _cubic if order == 3 else partial(_of_order, order)
    return first, splines(*around_interval((u - first).to(dtype)))


def around_interval(f: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The place within an interval, from 0 to 1, and what is before and after it, of f in intervals from its start.

    The ends belong to the interval, where derivatives of all orders are those of its polynomials. At infinity, where
    tangents say nothing, all is NaN.
    """
    beyond = functional.softshrink(f - 0.5, 0.5 + 4 * torch.finfo(f.dtype).eps)
    after = functional.relu(beyond)
    return f - beyond, beyond - after, after


def _cubic(f: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """What `_of_order` says for k = 3, in fewer operations: this is where a network of splines spends its time."""
    cube = f**3
    first = torch.sub((1 - f) ** 3 * (1 / 6), before, alpha=0.5)
    second = torch.sub(torch.add(2 / 3 - f**2, cube, alpha=0.5), after, alpha=0.5)
    last = torch.add(cube * (1 / 6), after, alpha=0.5)
    return torch.stack([first, second, 1 - first - second - last, last]).movedim(0, -1)  # quicker than dim=-1


def _of_order(order: int, f: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """B_i, ..., B_{i+k} at the share f of an interval, and so far beyond the grid, in intervals; (..., k + 1)."""
    table = f.new_tensor(_polynomials(order))  # (k + 1, k + 1)
    powers = torch.arange(order + 1, device=f.device, dtype=f.dtype)
    at_end = (powers[:, None] * table).sum(dim=0)  # derivatives at f = 1; those at 0 are table[1]
    rows = torch.stack([*(f**p for p in range(1, order + 1)), before, after], dim=-1)  # (..., k + 2)
    return table[0] + rows @ torch.cat([table[1:], table[1:2], at_end[None]])


@cache
def _polynomials(order: int) -> list[list[float]]:
    """Coefficients of f^p in B_i, ..., B_{i+k} on knots spaced by 1: row p, column by column."""
    f, one = np.polynomial.Polynomial([0.0, 1.0]), np.polynomial.Polynomial([1.0])
    splines = [one]
    for d in range(1, order + 1):
        zero = np.polynomial.Polynomial([0.0])
        padded = [zero, *splines, zero]
        splines = [((f + d - j) * padded[j] + (1 - f + j) * padded[j + 1]) / d for j in range(d + 1)]
    return np.array([np.pad(s.coef, (0, order + 1 - len(s.coef))) for s in splines]).T.tolist()  # type: ignore[no-any-return]


def local_splines(x: Tensor, knots: Tensor, order: int) -> tuple[Tensor, Tensor]:
    """Splines on any knots.

    Args:
        x: places (..., m).
        knots: of each column, (m, G + 2k + 1).
        order: k.

    Returns:
        as `uniform_splines`, (..., m) and (..., m, k + 1).
    """
    last = knots.shape[-1] - order - 1
    low, high = knots[:, order], knots[:, last]
    inside = torch.minimum(torch.maximum(x, low), high)
    beyond = x - inside
    first = interval_numbers(inside.detach(), knots[:, order + 1 : last])
    around = first[..., None] + torch.arange(1, 2 * order + 1, device=x.device)
    t = knots.expand(*x.shape, -1).gather(-1, around)  # (..., m, 2k), t_{i+1}, ..., t_{i+2k}
    left = [inside - t[..., order - j] for j in range(1, order + 1)]
    right = [t[..., order + j - 1] - inside for j in range(1, order + 1)]
    values, shares = [torch.ones_like(inside)], []
    for d in range(1, order + 1):
        shares = [values[r] / (right[r] + left[d - r - 1]) for r in range(d)]
        below = [torch.zeros_like(inside), *(left[d - r - 1] * shares[r] for r in range(d))]
        above = [*(right[r] * shares[r] for r in range(d)), torch.zeros_like(inside)]
        values = [a + b for a, b in zip(below, above, strict=True)]
    zero = torch.zeros_like(inside)
    slopes = [order * (a - b) for a, b in zip([zero, *shares], [*shares, zero], strict=True)]
    return first, torch.stack([v + beyond * s for v, s in zip(values, slopes, strict=True)], dim=-1)


def interval_numbers(x: Tensor, inner: Tensor) -> Tensor:
    """The number of the interval, (..., m), of x (..., m) between inner breakpoints (m, G - 1)."""
    if inner.shape[1] <= _FEW:
        number = torch.zeros_like(x, dtype=torch.uint8)
        for breakpoint in inner.unbind(1):
            number = number + (x >= breakpoint)  # in single bytes, of which more go through memory at a time
        return number.long()
    by_input = x.reshape(-1, x.shape[-1]).mT.contiguous()  # (m, n)
    return torch.searchsorted(inner.contiguous(), by_input, right=True).mT.reshape(x.shape)


def dense(first: Tensor, values: Tensor, size: int) -> Tensor:
    """All splines, (..., size), of which `values` (..., k + 1) begin with number `first` (...)."""
    at = first[..., None] + torch.arange(values.shape[-1], device=values.device)
    return values.new_zeros(*first.shape, size).scatter(-1, at, values)


def greville(knots: Tensor, order: int) -> Tensor:
    """Where each spline has its say, (..., G + k): coefficients that lie on a line at these places give that line."""
    return knots[..., 1:-1].unfold(-1, order, 1).mean(dim=-1)


def slopes(coefficients: Tensor, knots: Tensor, order: int) -> Tensor:
    """Coefficients (..., G + k - 1) of the derivative, a spline of order k - 1 on all knots but the outermost two."""
    width = knots[..., order + 1 : -1] - knots[..., 1 : -order - 1]
    return order * coefficients.diff(dim=-1) / width


def change_of_knots(old: Tensor, new: Tensor, order: int) -> Tensor:
    r"""T with c' = T c the coefficients on new knots of the spline with coefficients c on old ones, float64.

    A coefficient is the polar form of the polynomial on an interval of its spline's support, at the k knots inside it
    (Ramshaw 1989, doi 10.1016/0167-8396(89)90032-0), so that nothing is fitted: the two are the same function if each
    breakpoint of the old is one of the new.

    Args:
        old: (m, G + 2k + 1).
        new: (m, G' + 2k + 1).
        order: k.

    Returns:
        (m, G' + k, G + k).
    """
    old, new = old.double(), new.double()
    m, size, intervals = len(old), new.shape[1] - order - 1, new.shape[1] - 2 * order - 1
    own = (torch.arange(size, device=old.device) - order // 2).clamp(0, intervals - 1)  # an interval of its support
    middle = 0.5 * (new[:, own + order] + new[:, own + order + 1])  # (m, G' + k)
    within = middle[..., None] >= old[:, None, order + 1 : old.shape[1] - order - 1]
    first = within.sum(dim=-1)  # (m, G' + k), of the old
    arguments = new[:, 1:-1].unfold(1, order, 1)  # (m, G' + k, k)
    around = first[..., None] + torch.arange(1, 2 * order + 1, device=old.device)
    t = old[:, None].expand(m, size, -1).gather(-1, around)  # (m, G' + k, 2k)
    # de Boor's algorithm on unit coefficients, with another argument in each round
    d = torch.eye(order + 1, device=old.device, dtype=old.dtype).expand(m, size, -1, -1)  # rows: what is averaged
    for r in range(1, order + 1):
        x = arguments[..., r - 1, None]  # (m, G' + k, 1)
        low, high = t[..., r - 1 : order], t[..., order : 2 * order - r + 1]  # (m, G' + k, k + 1 - r)
        share = ((x - low) / (high - low))[..., None]
        d = (1 - share) * d[..., :-1, :] + share * d[..., 1:, :]
    T = old.new_zeros(m, size, old.shape[1] - order - 1)
    at = first[..., None] + torch.arange(order + 1, device=old.device)
    return T.scatter(-1, at, d[..., 0, :])
