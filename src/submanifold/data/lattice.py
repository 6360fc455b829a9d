"""Does data sit on a lattice? Pixels do, and a continuous density fitted to them grows without bound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["lattice_spacing"]

_SUBSAMPLE = 100_000  # values on which a spacing is proposed, before all of them are asked
_BLOCK = 1 << 20  # values compared with the proposal at a time
_MAX_LEVELS = 1 << 16  # as many as a 16-bit image has; a finer "lattice" is continuous data
_EPS = float(np.finfo(np.float32).eps)  # float64 data often were float32 before


def lattice_spacing(x: ArrayLike) -> float | None:
    r"""The largest step \Delta such that all values of `x` differ by multiples of \Delta, or None for continuous data.

    Recognises whole numbers, and multiples of 1/255, 0.01 and so on up to rounding in float32. Values count as
    a lattice only when some of them repeat, and when it has at most 65,536 levels (of whole numbers: any number).

    Args:
        x: finite real values, any shape.
    """
    values: NDArray[Any] = np.asarray(x).reshape(-1)
    if values.size < 2:
        return None
    few = values[:: max(1, values.size // _SUBSAMPLE)].astype(np.float64)
    low, high = float(values.min()), float(values.max())
    levels = np.unique(np.append(few, (low, high)))
    if high == low or len(levels) > few.size:  # constant, or nothing repeats
        return None
    if (few == np.round(few)).all() and high - low < 2.0**53:
        return _whole_step(values, low, levels)
    return _real_step(values, low, levels)


def _whole_step(values: NDArray[Any], low: float, levels: NDArray[np.float64]) -> float | None:
    """The greatest common divisor of the differences of whole numbers."""
    step = np.gcd.reduce((levels - low).astype(np.int64))
    for offset in _offsets(values, low):
        if (offset != np.round(offset)).any():
            return None
        step = np.gcd.reduce(offset.astype(np.int64), initial=step)
    return float(step)


def _real_step(values: NDArray[Any], low: float, levels: NDArray[np.float64]) -> float | None:
    """The approximate common divisor of the differences of real numbers, confirmed by every value."""
    tolerance = 4 * _EPS * float(np.abs(levels).max())
    step = 0.0
    for gap in np.unique(np.diff(levels)):
        a, b = max(step, gap), min(step, gap)
        while b > tolerance:  # Euclid's algorithm
            a, b = b, abs(a - b * round(a / b))
        step = a
        if step < 10 * tolerance:
            return None
    span = levels - levels[0]
    if span[-1] / step > _MAX_LEVELS:
        return None
    # From short spans to long ones, each sharpens the step enough for the next to be counted in steps.
    for i in np.unique(np.searchsorted(span[1:], np.geomspace(step, span[-1], 64))):
        length = span[1:][min(i, len(span) - 2)]
        step = length / round(length / step)
    for offset in _offsets(values, low):
        if np.abs(offset - step * np.round(offset / step)).max() > tolerance:
            return None
    return float(step)


def _offsets(values: NDArray[Any], low: float) -> Iterator[NDArray[np.float64]]:
    """The values minus the smallest one, block by block."""
    for start in range(0, values.size, _BLOCK):
        yield values[start : start + _BLOCK].astype(np.float64) - low
