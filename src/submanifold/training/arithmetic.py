"""Arithmetic that failed: numbers that are not finite, and what torch raises when it meets them."""

from __future__ import annotations

import torch

from submanifold.errors import InvalidInput

__all__ = ["NotFinite", "is_arithmetic"]


class NotFinite(ArithmeticError):
    """A loss or a gradient is NaN or infinite, or cannot be computed; the weights were not updated."""


def is_arithmetic(error: Exception) -> bool:
    """Whether `error` is what torch raises where a factorisation fails or a distribution meets NaN."""
    failed = isinstance(error, torch.linalg.LinAlgError)  # type: ignore[attr-defined]
    return failed or (isinstance(error, ValueError) and not isinstance(error, InvalidInput))
