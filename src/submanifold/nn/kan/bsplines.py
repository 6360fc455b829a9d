"""B-splines as a basis: their grids, uniform or not, and which formulas are the quick ones for these."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from submanifold.checks import check_choice, check_int
from submanifold.errors import InvalidInput
from submanifold.nn.kan.basis import ROUNDING, Basis, check_range
from submanifold.nn.kan.splines import change_of_knots, dense, greville, knots_of, slopes, uniform_splines
from submanifold.nn.kan.tables import spline_table, tabled_splines

__all__ = ["BSplines"]

OUTSIDE = ("linear", "clamp")
"""Beyond the grid: continued by the tangent, or by the value at its end."""
_MOST_ROUNDED = 1e-3
"""Of an interval, by which breakpoints of uniform grids are off by rounding."""
_MOST_BY_CHANGE = 3
"""Up to which order splines with open ends are had from those without in all digits."""


class BSplines(Basis):
    r"""B-splines of order k on G intervals, beyond which they are continued by their tangents (de Boor; Liu et al.
    2024, arXiv 2404.19756, eq. 2.11).

    Args:
        in_features: inputs, each with a grid of its own.
        grid: G.
        order: k, the degree.
        grid_range: ends of the first grids, all uniform.
        open_knots: all outer knots at the ends of the grid, by which coefficients differ least in what they do: their
            Gram matrix has a condition of 27 for k = 3, and of 1439 with knots beyond the ends.
        outside: "linear" or "clamp". At infinity the former is NaN, the latter what it is at the end.

    Raises:
        InvalidInput: for an argument out of its range.
    """

    breakpoints: Tensor
    _table: Tensor | None
    _to_extended: Tensor | None

    def __init__(
        self,
        in_features: int,
        *,
        grid: int = 5,
        order: int = 3,
        grid_range: tuple[float, float] = (-1.0, 1.0),
        open_knots: bool = False,
        outside: str = "linear",
    ) -> None:
        self.order = check_int(order, name="order")
        intervals = check_int(grid, name="grid")
        super().__init__(in_features, intervals + self.order)
        self.open_knots = bool(open_knots)
        self.outside = check_choice(outside, OUTSIDE, name="outside")
        low, high = check_range(grid_range)
        dtype = torch.promote_types(torch.get_default_dtype(), torch.float32)
        first, last = torch.tensor([[low], [high]], dtype=dtype).double()  # as they are kept
        self.register_buffer("breakpoints", _even(first, last, intervals).to(dtype).repeat(in_features, 1))
        if not _increases(self.breakpoints):
            raise InvalidInput(
                f"grid={grid} in grid_range={grid_range} has intervals too short for {dtype}: give fewer, or longer"
            )
        for name in ("_table", "_to_extended"):
            self.register_buffer(name, None, persistent=False)
        self._look_at_grid()

    @property
    def intervals(self) -> int:
        """G."""
        return self.breakpoints.shape[1] - 1

    @property
    def exact_breakpoints(self) -> Tensor:
        """(in_features, G + 1), float64: uniform ones by their ends alone, without what was rounded between."""
        found = self.breakpoints.double()
        return _even(found[:, 0], found[:, -1], self.intervals) if self.is_uniform else found

    @property
    def exact_knots(self) -> Tensor:
        """(in_features, G + 2k + 1), float64."""
        return knots_of(self.exact_breakpoints, self.order, open_ends=self.open_knots)

    def set_breakpoints(self, breakpoints: Any) -> None:
        """Other grids, (in_features, G' + 1), a tensor or an array; coefficients are left to the caller.

        Raises:
            InvalidInput: for another number of inputs, no interval, or breakpoints that are not finite or do not
                increase in the precision of the grid.
        """
        try:
            new = torch.as_tensor(breakpoints)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InvalidInput(f"breakpoints={breakpoints!r} is not accepted: give rows of numbers ({error})") from None
        shape = tuple(new.shape)
        if len(shape) != 2 or shape[0] != self.in_features or shape[1] < 2:
            raise InvalidInput(f"breakpoints have shape {shape}: give ({self.in_features}, at least 2)")
        new = new.detach().to(self.breakpoints, copy=True).contiguous()
        if not new.is_meta and not bool(new.isfinite().all()):
            raise InvalidInput("breakpoints hold numbers that are not finite: give finite ones, each above the last")
        if not _increases(new):
            raise InvalidInput(
                f"breakpoints do not increase in {new.dtype}: give finite numbers, each above the one before"
            )
        self.breakpoints = new
        self.size = self.intervals + self.order
        self._look_at_grid()

    def forward(self, x: Tensor) -> Tensor:
        return dense(*self.local(x), self.size)

    def local(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The number of the first spline that is not zero, (..., in_features), and the k + 1 values from there on."""
        x = self.place(x)
        if self._table is None:
            shift, per_interval = self.to_intervals()
            u = torch.addcmul(shift, x.to(shift.dtype), per_interval)
            return uniform_splines(u, self.intervals, self.order, self.breakpoints.dtype)
        return tabled_splines(x.to(self.breakpoints.dtype), self.breakpoints, self._table, self.order)

    def place(self, x: Tensor) -> Tensor:
        """Where splines are evaluated for x, both (..., in_features); the ends belong to the grid."""
        return x if self.outside == "linear" else x.clamp(self.breakpoints[:, 0], self.breakpoints[:, -1])

    def to_intervals(self) -> tuple[Tensor, Tensor]:
        """a and b, (in_features,) each, with which x is a + b x in intervals of a uniform grid from its start.

        In double precision where there is one: counted from the start, a share of an interval would have a digit less
        for every ten intervals.
        """
        ends = self.breakpoints[:, :: self.intervals]
        low, high = (ends if ends.device.type == "mps" else ends.double()).unbind(1)
        per_interval = self.intervals / (high - low)
        return -low * per_interval, per_interval

    def weights(self, coefficients: Tensor) -> Tensor:
        return coefficients if self._to_extended is None else coefficients @ self._to_extended.to(coefficients).mT

    def slope_bounds(self, coefficients: Tensor) -> Tensor:
        """The largest |coefficient| of the derivative on knots four times as dense, which bound it from above.

        Wider by what rounding may take: large coefficients may differ by little.
        """
        dense = _split(self.exact_breakpoints, 4)
        new = knots_of(dense, self.order, open_ends=True)
        T = change_of_knots(self.exact_knots, new, self.order)
        c = torch.einsum("ijk,oik->oij", T, coefficients.double())
        steepest = self.order * T.abs().sum(dim=-1).amax(dim=-1) / dense.diff(dim=1).amin(dim=1)  # of coefficients of 1
        slack = ROUNDING * self.rounding() * steepest * coefficients.double().abs().amax(dim=-1)
        return slopes(c, new, self.order).abs().amax(dim=-1) + slack

    def rounding(self) -> Tensor:
        """By how many units of rounding a spline may be off for coefficients of 1, about, (in_features,).

        Places are rounded as numbers that are as large as the ends of the grid, and matter by their share of an
        interval.
        """
        grid = self.exact_breakpoints
        return 1 + grid.abs().amax(dim=1) / grid.diff(dim=1).amin(dim=1)

    def identity(self) -> Tensor:
        """Coefficients of phi(x) = x, (in_features, size)."""
        return greville(self.exact_knots, self.order)

    def outside_share(self, x: Tensor) -> Tensor:
        """Share of x (..., in_features) that is beyond the grid, NaN too, by input, (in_features,)."""
        x = x.reshape(-1, self.in_features)
        within = (x >= self.breakpoints[:, 0]) & (x <= self.breakpoints[:, -1])
        return 1 - within.double().mean(dim=0)

    def _look_at_grid(self) -> None:
        """Whether the quick formulas for uniform grids hold; of other grids, the polynomials on each interval.

        Splines with open ends are had from those of the formulas by another choice of coefficients, up to the order
        at which that takes digits.
        """
        self.is_uniform = _is_even(self.breakpoints) and not (self.open_knots and self.order > _MOST_BY_CHANGE)
        self._table = self._to_extended = None
        if not self.is_uniform:
            self._table = spline_table(self.exact_knots, self.order).to(self.breakpoints)
        elif self.open_knots:
            places = torch.arange(self.intervals + 1, dtype=torch.float64)[None]
            old, new = (knots_of(places, self.order, open_ends=open_ends) for open_ends in (True, False))
            self._to_extended = change_of_knots(old, new, self.order)[0].to(self.breakpoints)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> BSplines:
        """Casts and moves; breakpoints stay as they were where the new type could not tell them apart."""
        old = self.breakpoints
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.breakpoints.dtype == old.dtype or self.breakpoints.is_meta:
            return self
        rough = torch.finfo(self.breakpoints.dtype).eps > torch.finfo(torch.float32).eps
        if rough or not _increases(self.breakpoints):
            self.breakpoints = old.to(self.breakpoints.device)
        self._look_at_grid()
        return self

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        stored = state_dict.get(f"{prefix}breakpoints")
        if isinstance(stored, Tensor):  # of a grid that was refined
            self.set_breakpoints(stored)
        super()._load_from_state_dict(state_dict, prefix, *args)
        if not self.breakpoints.is_meta:  # of another precision or device, where tensors are taken as they are
            self.set_breakpoints(self.breakpoints)


def _even(low: Tensor, high: Tensor, intervals: int) -> Tensor:
    """Breakpoints of uniform grids, (m, intervals + 1), from their ends, (m,)."""
    steps = torch.arange(intervals + 1, device=low.device, dtype=low.dtype) / intervals
    return torch.lerp(low[:, None], high[:, None], steps)


def _is_even(breakpoints: Tensor) -> bool:
    """Whether grids are uniform but for the rounding of breakpoints, which in fine grids is much of an interval.

    What was rounded to single precision once and is double since is taken as what it was. Far from 0, where rounding is
    not small beside an interval, grids are what their numbers say.
    """
    if breakpoints.is_meta:  # as grids are at first
        return True
    found = breakpoints.double()
    is_single = bool((found == found.float()).all())
    eps = torch.finfo(torch.float32 if is_single else torch.float64).eps
    rounding = 2 * eps * found.abs().amax(dim=1, keepdim=True)
    slack = torch.minimum(rounding, _MOST_ROUNDED * found.diff(dim=1).amin(dim=1, keepdim=True))
    return bool(((found - _even(found[:, 0], found[:, -1], found.shape[1] - 1)).abs() <= slack).all())


def _increases(breakpoints: Tensor) -> bool:
    return breakpoints.is_meta or bool((breakpoints.diff(dim=1) > 0).all())


def _split(breakpoints: Tensor, parts: int) -> Tensor:
    """Each interval in equal parts, (m, parts * G + 1)."""
    shares = torch.arange(parts, device=breakpoints.device, dtype=breakpoints.dtype) / parts
    starts = breakpoints[:, :-1, None] + breakpoints.diff(dim=1)[..., None] * shares  # (m, G, parts)
    return torch.cat([starts.flatten(1), breakpoints[:, -1:]], dim=1)
