r"""Functions of one number out of which the edges of a KAN are made, phi(x) = \sum_j c_j B_j(x), by name."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from submanifold.checks import check_int
from submanifold.nn.kan.basis import Basis, check_range
from submanifold.nn.kan.bsplines import BSplines

__all__ = ["BASES", "BSplines", "Basis", "Chebyshev", "Fourier", "RadialBasis", "check_range"]


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
