r"""Functions of one number out of which the edges of a KAN are made, phi(x) = \sum_j c_j B_j(x), by name."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from submanifold.checks import check_choice, check_int, check_real
from submanifold.errors import InvalidInput
from submanifold.nn.kan.splines import (
    change_of_knots,
    dense,
    greville,
    knots_of,
    local_splines,
    slopes,
    uniform_splines,
)

__all__ = ["BASES", "BSplines", "Basis", "Chebyshev", "Fourier", "RadialBasis", "check_range"]

OUTSIDE = ("linear", "clamp")
"""Beyond the grid: continued by the tangent, or by the value at its end."""


class Basis(nn.Module, ABC):
    """`size` functions of each of `in_features` inputs."""

    def __init__(self, in_features: int, size: int) -> None:
        super().__init__()
        self.in_features, self.size = in_features, size

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """All functions, (..., in_features, size), of x (..., in_features)."""

    def weights(self, coefficients: Tensor) -> Tensor:
        """Factors (out, in_features, size) of what `forward` says, for such coefficients."""
        return coefficients

    @abstractmethod
    def slope_bounds(self, coefficients: Tensor) -> Tensor:
        r"""Upper bounds of |phi'| over all x, (out, in_features), of coefficients (out, in_features, size)."""


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
        outside: "linear" or "clamp".

    Raises:
        InvalidInput: for an argument out of its range.
    """

    breakpoints: Tensor

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
        self.register_buffer("breakpoints", torch.linspace(low, high, intervals + 1).repeat(in_features, 1))
        self._look_at_grid()

    @property
    def intervals(self) -> int:
        """G."""
        return self.breakpoints.shape[1] - 1

    @property
    def exact_breakpoints(self) -> Tensor:
        """(in_features, G + 1), float64: uniform ones as the quick formulas have them, by their ends alone."""
        found = self.breakpoints.double()
        if not self.is_uniform:
            return found
        steps = torch.linspace(0, 1, self.intervals + 1, device=found.device, dtype=found.dtype)
        return found[:, :1] + (found[:, -1:] - found[:, :1]) * steps

    @property
    def exact_knots(self) -> Tensor:
        """(in_features, G + 2k + 1), float64."""
        return knots_of(self.exact_breakpoints, self.order, open_ends=self.open_knots)

    def set_breakpoints(self, breakpoints: Tensor) -> None:
        """Other grids, (in_features, G' + 1); coefficients are left to the caller.

        Raises:
            InvalidInput: for another number of inputs, no interval, or breakpoints that do not increase.
        """
        shape = tuple(breakpoints.shape)
        if len(shape) != 2 or shape[0] != self.in_features or shape[1] < 2:
            raise InvalidInput(f"breakpoints have shape {shape}: give ({self.in_features}, at least 2)")
        if not bool((breakpoints.diff(dim=1) > 0).all()):  # NaN too
            raise InvalidInput("breakpoints do not increase: give finite numbers, each above the one before")
        self.breakpoints = breakpoints.to(self.breakpoints).contiguous()
        self.size = self.intervals + self.order
        self._look_at_grid()

    def forward(self, x: Tensor) -> Tensor:
        return dense(*self.local(x), self.size)

    def local(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The number of the first spline that is not zero, (..., in_features), and the k + 1 values from there on."""
        x = x.to(self.breakpoints.dtype)  # places need more digits than half precision has
        if self.outside == "clamp":
            x = torch.minimum(torch.maximum(x, self.breakpoints[:, 0]), self.breakpoints[:, -1])
        if self.is_uniform:
            shift, per_interval = self.to_intervals()
            u = torch.addcmul(shift, x, per_interval)
            return uniform_splines(u, self.intervals, self.order)
        return local_splines(x, knots_of(self.breakpoints, self.order, open_ends=self.open_knots), self.order)

    def to_intervals(self) -> tuple[Tensor, Tensor]:
        """a and b, (in_features,) each, with which x is a + b x in intervals of a uniform grid from its start."""
        low, high = self.breakpoints[:, 0], self.breakpoints[:, -1]
        per_interval = self.intervals / (high - low)
        return -low * per_interval, per_interval

    def weights(self, coefficients: Tensor) -> Tensor:
        return coefficients if self._to_extended is None else coefficients @ self._to_extended.to(coefficients).mT

    def slope_bounds(self, coefficients: Tensor) -> Tensor:
        """The largest |coefficient| of the derivative on knots four times as dense, which bound it from above."""
        new = knots_of(_split(self.exact_breakpoints, 4), self.order, open_ends=True)
        T = change_of_knots(self.exact_knots, new, self.order)
        c = torch.einsum("ijk,oik->oij", T, coefficients.double())
        return slopes(c, new, self.order).abs().amax(dim=-1)

    def identity(self) -> Tensor:
        """Coefficients of phi(x) = x, (in_features, size)."""
        return greville(self.exact_knots, self.order)

    def outside_share(self, x: Tensor) -> Tensor:
        """Share of x (..., in_features) that is beyond the grid, by input, (in_features,)."""
        x = x.flatten(0, -2)
        beyond = (x < self.breakpoints[:, 0]) | (x > self.breakpoints[:, -1])
        return beyond.double().mean(dim=0)

    def _look_at_grid(self) -> None:
        """Whether the quick formulas for uniform grids hold, and what takes open ends to the knots of these."""
        steps = self.breakpoints.double().diff(dim=1)
        even = steps.mean(dim=1, keepdim=True)
        self.is_uniform = bool(((steps - even).abs() <= 1e-5 * even).all())
        self._to_extended: Tensor | None = None
        if self.open_knots and self.is_uniform:
            places = torch.arange(self.intervals + 1, dtype=torch.float64)[None]
            old, new = (knots_of(places, self.order, open_ends=open_ends) for open_ends in (True, False))
            self._to_extended = change_of_knots(old, new, self.order)[0]

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        stored = state_dict.get(f"{prefix}breakpoints")
        if isinstance(stored, Tensor):  # of a grid that was refined
            self.set_breakpoints(stored)
        super()._load_from_state_dict(state_dict, prefix, *args)


class RadialBasis(Basis):
    r"""Gaussians exp(-((x - m_j) / h)^2) about `grid` places h apart (Li 2024, FastKAN, arXiv 2405.06721, eq. 6).

    Args:
        in_features: inputs.
        grid: places, at least 2.
        grid_range: the first and the last.
    """

    centres: Tensor

    def __init__(self, in_features: int, *, grid: int = 8, grid_range: tuple[float, float] = (-2.0, 2.0)) -> None:
        super().__init__(in_features, check_int(grid, name="grid", low=2))
        low, high = check_range(grid_range)
        self.width = (high - low) / (grid - 1)
        self.register_buffer("centres", torch.linspace(low, high, grid))

    def forward(self, x: Tensor) -> Tensor:
        return (-((x[..., None] - self.centres) / self.width).square()).exp()

    def slope_bounds(self, coefficients: Tensor) -> Tensor:
        steepest = math.sqrt(2 / math.e) / self.width
        return steepest * coefficients.double().abs().sum(dim=-1)


class Chebyshev(Basis):
    r"""T_j(\tanh x), j = 0, ..., `grid` (SS et al. 2024, arXiv 2405.07200)."""

    def __init__(self, in_features: int, *, grid: int = 5) -> None:
        super().__init__(in_features, check_int(grid, name="grid") + 1)

    def forward(self, x: Tensor) -> Tensor:
        y = x.tanh()
        values = [torch.ones_like(y), y]
        while len(values) < self.size:
            values.append(2 * y * values[-1] - values[-2])
        return torch.stack(values, dim=-1)

    def slope_bounds(self, coefficients: Tensor) -> Tensor:
        degrees = torch.arange(self.size, device=coefficients.device, dtype=torch.float64)
        return coefficients.double().abs() @ degrees.square()  # |T_j'| <= j^2, tanh' <= 1


class Fourier(Basis):
    r"""1, and \cos(j \omega x), \sin(j \omega x) for j = 1, ..., `grid`, 2 \pi / \omega the length of the range."""

    def __init__(
        self, in_features: int, *, grid: int = 5, grid_range: tuple[float, float] = (-math.pi, math.pi)
    ) -> None:
        super().__init__(in_features, 2 * check_int(grid, name="grid") + 1)
        low, high = check_range(grid_range)
        self.frequencies = grid
        self.omega = 2 * math.pi / (high - low)

    def forward(self, x: Tensor) -> Tensor:
        j = torch.arange(1, self.frequencies + 1, device=x.device, dtype=x.dtype)
        angle = self.omega * x[..., None] * j
        return torch.cat([torch.ones_like(x)[..., None], angle.cos(), angle.sin()], dim=-1)

    def slope_bounds(self, coefficients: Tensor) -> Tensor:
        j = self.omega * torch.arange(1, self.frequencies + 1, device=coefficients.device, dtype=torch.float64)
        cos, sin = coefficients.double()[..., 1:].chunk(2, dim=-1)
        return torch.hypot(cos, sin) @ j


BASES: dict[str, Callable[..., Basis]] = {
    "bspline": BSplines,
    "chebyshev": Chebyshev,
    "fourier": Fourier,
    "rbf": RadialBasis,
}
"""The bases that `basis=` names; each takes the number of inputs and `grid`."""


def check_range(grid_range: tuple[float, float]) -> tuple[float, float]:
    """Refuse what are not the two ends of a grid, in order."""
    try:
        low, high = grid_range
    except (TypeError, ValueError):
        raise InvalidInput(f"grid_range={grid_range!r} is not accepted: give the two ends of the grid") from None
    low = check_real(low, name="grid_range", low=-math.inf)
    return low, check_real(high, name="grid_range", low=low, open_low=True)


def _split(breakpoints: Tensor, parts: int) -> Tensor:
    """Each interval in equal parts, (m, parts * G + 1)."""
    shares = torch.arange(parts, device=breakpoints.device, dtype=breakpoints.dtype) / parts
    starts = breakpoints[:, :-1, None] + breakpoints.diff(dim=1)[..., None] * shares  # (m, G, parts)
    return torch.cat([starts.flatten(1), breakpoints[:, -1:]], dim=1)
