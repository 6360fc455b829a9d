r"""Strictly increasing splines, the edges of a KAN that can be inverted: y = f(x) coordinate by coordinate.

A B-spline of order k on G intervals of width h has the derivative \sum_j r_j B_j^{k-1} with the rates r_j = (c_{j+1} -
c_j) / h. Rates above 0 make it increase everywhere, since splines are not negative and sum to 1. Beyond the grid it
goes on straight.

Formulas: de Boor, *A practical guide to splines*, chapter X.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from submanifold.checks import check_int
from submanifold.nn.kan.basis import ROUNDING, check_range, check_width
from submanifold.nn.kan.splines import uniform_splines

__all__ = ["IncreasingSpline", "MonotoneKAN"]

_SMALLEST_RATE = 1e-3
"""What is flatter has an inverse that is lost in rounding."""
_UNIT = math.log(math.e - 1)
"""Where softplus is 1."""
_ROUNDS = 120
"""Enough for bisection alone in float64; Newton's method takes about 5."""


class IncreasingSpline:
    r"""The spline f with f = id where all parameters are 0; they may differ from point to point.

    Args:
        shift: how far the middle of its values on the grid is from the grid's; shaped like x, or it broadcasts.
        rates: the slopes r_j before softplus, (*shift.shape, G + k - 1).
        order: k, at least 2, so that densities made with it are continuous.
        low: the first end of the grid.
        high: the last.
    """

    def __init__(self, shift: Tensor, rates: Tensor, *, order: int, low: float, high: float) -> None:
        self.order, self.intervals = order, rates.shape[-1] - order + 1
        self.low, self.width = low, (high - low) / self.intervals
        positive = functional.softplus(rates + _UNIT)
        self.steps = self.width * (_SMALLEST_RATE + (1 - _SMALLEST_RATE) * positive)  # c_{j+1} - c_j
        sums = functional.pad(self.steps.cumsum(dim=-1), (1, 0))
        at_breakpoint = uniform_splines(sums.new_zeros(()), self.intervals, order)[1][:order]  # (k,)
        parts = [sums[..., j : j + self.intervals + 1] * at_breakpoint[j] for j in range(order)]
        values = torch.stack(parts).sum(dim=0)  # (..., G + 1)
        start = (shift + 0.5 * (low + high) - 0.5 * (values[..., 0] + values[..., -1]))[..., None]
        self.coefficients, self.values = sums + start, values + start  # c, and f at the breakpoints

    def forward_and_slope(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """f(x) and f'(x), shaped like x."""
        y, slope = self._at((x - self.low) / self.width)
        return y, slope / self.width

    def inverse(self, y: Tensor) -> Tensor:
        """x with f(x) = y to rounding; what is infinite stays so.

        Two of Newton's steps follow the search, through which derivatives pass: those of x up to the third are right.
        """
        is_finite = y.isfinite()
        finite = torch.where(is_finite, y, torch.zeros_like(y))  # of infinite ones, a step would be inf - inf
        u = self._search(finite).detach()
        for _ in range(2):
            found, slope = self._at(u)
            u = u + (finite - found) / slope
        return torch.where(is_finite, self.low + self.width * u, y)

    def _at(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """f and df/du at u, in intervals from the first end of the grid."""
        inside = u.clamp(0, self.intervals)
        first, splines = uniform_splines(inside, self.intervals, self.order)
        _, of_slope = uniform_splines(inside, self.intervals, self.order - 1)
        near = first[..., None] + torch.arange(self.order, device=u.device)
        steps = self.steps.expand(*u.shape, -1).gather(-1, near)  # (..., k)
        start = self.coefficients.expand(*u.shape, -1).gather(-1, first[..., None])[..., 0]
        slope = (steps * of_slope).sum(dim=-1)
        shares = splines.flip(-1).cumsum(dim=-1).flip(-1)[..., 1:]  # sums of what is not negative: nothing cancels
        return start + (steps * shares).sum(dim=-1) + (u - inside) * slope, slope

    @torch.no_grad()
    def _search(self, y: Tensor) -> Tensor:
        """The u of y, by Newton's method within the right interval, and bisection where that is slow."""
        ends = torch.tensor([0.0, self.intervals], device=y.device, dtype=y.dtype)
        (below, above), (slope_below, slope_above) = (
            torch.stack(parts) for parts in zip(*(self._at(end.expand_as(y)) for end in ends), strict=True)
        )
        values = self.values.expand(*y.shape, -1)
        interval = (y[..., None] >= values[..., 1:-1]).sum(dim=-1, keepdim=True)
        at_low, at_high = (values.gather(-1, interval + i)[..., 0] for i in (0, 1))
        low = interval[..., 0].to(y.dtype)
        high = low + 1
        u = (low + (y - at_low) / (at_high - at_low)).clamp(low, high)
        step = step_before = torch.ones_like(u)
        eps = torch.finfo(y.dtype).eps
        enough = 4 * eps * torch.maximum(y.abs(), values.abs().amax(dim=-1))
        for _ in range(_ROUNDS):
            found, slope = self._at(u)
            searched = ((found - y).abs() > enough) & (high - low > eps * high) & (y > below) & (y < above)
            if not torch.func.debug_unwrap(searched, recurse=True).any():  # a question vmap would not answer
                break
            low, high = torch.where(found < y, u, low), torch.where(found < y, high, u)
            newton = u - (found - y) / slope
            is_quick = (newton > low) & (newton < high) & ((newton - u).abs() <= 0.5 * step_before.abs())
            moved = torch.where(is_quick, newton, 0.5 * (low + high))
            step, step_before = moved - u, step
            u = torch.where(searched, moved, u)
        u = torch.where(y <= below, (y - below) / slope_below, u)
        return torch.where(y >= above, self.intervals + (y - above) / slope_above, u)


class MonotoneKAN(nn.Module):
    r"""A bijection of R^D made of increasing splines, y_i = f_i(x_i); (..., D) to (..., D). At first the identity.

    Slopes are at least 0.001, and beyond the grid those at its ends, so that f_i reaches all of R. An inner layer of a
    flow: what mixes coordinates stands before and after it.

    Args:
        features: D.
        grid: intervals G.
        order: k, at least 2: f_i has k - 1 continuous derivatives.
        grid_range: ends of the grid.

    Raises:
        InvalidInput: for an argument out of its range, or points with another number of coordinates.

    Example:
        >>> import torch
        >>> from submanifold.nn.kan import MonotoneKAN
        >>> y, log_det = MonotoneKAN(3).forward_and_log_det(torch.zeros(5, 3))
        >>> y.shape, log_det.shape
        (torch.Size([5, 3]), torch.Size([5]))
    """

    def __init__(
        self, features: int, *, grid: int = 5, order: int = 3, grid_range: tuple[float, float] = (-1.0, 1.0)
    ) -> None:
        super().__init__()
        self.features = check_int(features, name="features")
        self.order = check_int(order, name="order", low=2)
        self.low, self.high = check_range(grid_range)
        self.shift = nn.Parameter(torch.zeros(self.features))
        self.rates = nn.Parameter(torch.zeros(self.features, check_int(grid, name="grid") + self.order - 1))

    @property
    def spline(self) -> IncreasingSpline:
        """All f_i, as the parameters are now; at least in single precision, which tells places on a fine grid apart."""
        shift, rates = _at_least_single(self.shift), _at_least_single(self.rates)
        return IncreasingSpline(shift, rates, order=self.order, low=self.low, high=self.high)

    def forward(self, x: Tensor) -> Tensor:
        return self.spline.forward_and_slope(self._checked(x, "x"))[0].to(self._type(x))

    def inverse(self, y: Tensor) -> Tensor:
        """x with f(x) = y, to rounding."""
        return self.spline.inverse(self._checked(y, "y")).to(self._type(y))

    def log_det(self, x: Tensor) -> Tensor:
        """log |det dy/dx| at x in nats, (...)."""
        return self.forward_and_log_det(x)[1]

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """y = f(x), and log |det dy/dx| in nats, (...)."""
        y, slope = self.spline.forward_and_slope(self._checked(x, "x"))
        return y.to(self._type(x)), slope.log().sum(dim=-1).to(self._type(x))

    @torch.no_grad()
    def slope_bound(self) -> float:
        """At least every f_i'(x): the largest of the rates that slopes are averages of; infinite if one is NaN."""
        spline = self._exact_spline()
        steepest = float(spline.steps.max() / spline.width)
        return steepest * (1 + ROUNDING) if math.isfinite(steepest) else math.inf

    @torch.no_grad()
    def bounds(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Of boxes (..., D), the least and the largest f(x), float64: the images of their ends, widened by rounding."""
        spline = self._exact_spline()
        (least, _), (most, _) = (spline.forward_and_slope(self._checked(x, "x").double()) for x in (low, high))
        size = spline.coefficients.abs().amax(dim=-1) + torch.maximum(least.abs(), most.abs())
        slack = ROUNDING * spline.coefficients.shape[-1] * size
        return least - slack, most + slack

    def _exact_spline(self) -> IncreasingSpline:
        shift, rates = self.shift.double(), self.rates.double()
        return IncreasingSpline(shift, rates, order=self.order, low=self.low, high=self.high)

    def extra_repr(self) -> str:
        return f"features={self.features}, grid={self.rates.shape[1] - self.order + 1}, order={self.order}"

    def _type(self, x: Tensor) -> torch.dtype:
        return torch.promote_types(x.dtype, self.shift.dtype)

    def _checked(self, x: Tensor, name: str) -> Tensor:
        check_width(x, self.features, name)
        return _at_least_single(x)


def _at_least_single(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
