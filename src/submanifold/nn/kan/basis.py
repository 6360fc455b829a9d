"""What a basis of functions of one number is, out of which the edges of a KAN are made."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from submanifold.checks import check_real
from submanifold.errors import InvalidInput

__all__ = ["ROUNDING", "Basis", "check_range", "check_width"]

ROUNDING = 256 * torch.finfo(torch.float64).eps
"""By which share of what they are computed of bounds are wider than computed."""


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


def check_range(grid_range: tuple[float, float]) -> tuple[float, float]:
    """Refuse what are not the two ends of a grid, in order."""
    try:
        low, high = grid_range
    except (TypeError, ValueError):
        raise InvalidInput(f"grid_range={grid_range!r} is not accepted: give the two ends of the grid") from None
    low = check_real(low, name="grid_range", low=-math.inf)
    return low, check_real(high, name="grid_range", low=low, open_low=True)


def check_width(x: Tensor, in_features: int, name: str = "x") -> None:
    """Refuse points with another number of coordinates."""
    if x.shape[-1:] != (in_features,):
        raise InvalidInput(f"{name} has shape {tuple(x.shape)}: give (..., {in_features})")
