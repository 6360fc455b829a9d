"""Numbers and names as a reader wants them: as many digits as the error justifies, words instead of identifiers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from submanifold.lens.finding import Number

__all__ = ["estimate", "fact", "interval", "number", "slug", "words"]

_MINUS = "\N{MINUS SIGN}"
_THIN = "\N{NARROW NO-BREAK SPACE}"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float, decimals: int | None = None) -> str:
    """`value` with three significant digits, or with `decimals` after the point."""
    value = float(value)
    if math.isnan(value):
        return "undefined"
    if math.isinf(value):
        return "∞" if value > 0 else f"{_MINUS}∞"
    if value != 0 and not 1e-4 <= abs(value) < 1e7:
        mantissa, exponent = f"{value:.2e}".split("e")
        text = f"{mantissa} × 10{str(int(exponent)).translate(_SUPERSCRIPT)}"
    else:
        if decimals is None:
            whole = value == int(value) or abs(value) >= 100
            decimals = 0 if whole else 2 - math.floor(math.log10(abs(value)))
        text = f"{value:,.{decimals}f}".replace(",", _THIN)
    return text.replace("-", _MINUS)


def _decimals(given: Number) -> int | None:
    """Decimals that show two significant digits of the half-width of the interval; None without an interval."""
    if given.low is None or given.high is None:
        return None
    half = (given.high - given.low) / 2
    if not math.isfinite(half) or half <= 0:
        return None
    return min(max(1 - math.floor(math.log10(half)), 0), 6)


def estimate(given: Number) -> str:
    """The value of `given`, rounded as its interval justifies, with its unit."""
    text = number(given.value, _decimals(given))
    return f"{text} {given.unit}".strip()


def interval(given: Number) -> str:
    """The 95% interval of `given`, or an em dash where it has none."""
    if given.low is None or given.high is None:
        return "—"
    decimals = _decimals(given)
    return f"[{number(given.low, decimals)}, {number(given.high, decimals)}]"


def fact(value: Any) -> str:
    """Any plain value in words."""
    if value is None:
        return "—"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Number):
        return f"{estimate(value)} {interval(value)}" if value.low is not None else estimate(value)
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return ", ".join(f"{words(str(key))}: {fact(item)}" for key, item in value.items())
    if hasattr(value, "tolist"):  # NumPy scalars and arrays, tensors
        return fact(value.tolist())
    if isinstance(value, tuple) and value and all(isinstance(item, int) for item in value):
        return " × ".join(map(number, value))
    if isinstance(value, list | tuple | set):
        return ", ".join(map(fact, value)) or "—"
    return _trimmed(number(value)) if isinstance(value, int | float) else str(value)


def _trimmed(text: str) -> str:
    """`text` without zeros that only say how precise an estimate is: settings are exact."""
    return text.rstrip("0").rstrip(".") if re.fullmatch(r"\D?\d+\.\d+", text) else text


def words(name: str) -> str:
    """An identifier as words."""
    return name.replace("_", " ")


def slug(name: str) -> str:
    """`name` as a file name and fragment identifier: lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "figure"
