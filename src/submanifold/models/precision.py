"""A model in float64, for figures that are differences of large numbers: volumes, spectra, residuals."""

from __future__ import annotations

import copy
from typing import TypeVar

from submanifold.models.base import Model

__all__ = ["double"]

M = TypeVar("M", bound=Model)


def double(model: M) -> M:
    """A frozen copy of `model` that computes in float64, in evaluation mode; the same function up to rounding."""
    return copy.deepcopy(model).double().eval().requires_grad_(False)
