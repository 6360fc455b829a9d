"""Sums in plain mathematics, with as many digits as it takes.

What is written is computed too, at some points, from the numbers as they were rounded. So a constant is held against
how much the terms beside it vary, and a whole formula against what it stands for: a shift within 1 / (x + 30)^2 needs
more digits than the formula promises, one beside sin(x) as many.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Term", "Written", "agreeing", "in_brackets", "written"]

Array = NDArray[np.float64]

_ALL_DIGITS = 17
"""Of a number in double precision."""


@dataclass(frozen=True, eq=False)
class Written:
    """An expression.

    Attributes:
        text: in plain mathematics.
        values: at some points, (n,), or () of a number; NaN where they are not known.
    """

    text: str
    values: Array


@dataclass(frozen=True, eq=False)
class Term(Written):
    """A factor times an expression that is no sum, whose `text` and `values` are without the factor."""

    factor: float = 1.0


def written(terms: Sequence[Term], constant: float, digits: int) -> Written:
    """The sum, of factors with so many significant digits.

    The constant ends at the same decimal place as a number with so many digits which is as large as the terms' range,
    and is left out where nothing of it remains; where that range is not known, it has as many digits as they have.
    """
    said: list[str] = []
    values: Array = np.zeros(())
    for term in terms:
        times = f"{term.factor:.{digits}g}"
        values = values + float(times) * term.values
        if term.text.startswith("1/"):
            said.append(times + term.text[1:])
        else:
            said.append({"1": term.text, "-1": f"-{term.text}"}.get(times, f"{times}*{term.text}"))
    rest = _rounded(constant, float(np.ptp(values)) if said else 0.0, digits)
    if float(rest) or not said:
        said.append(rest)
    return Written(" + ".join(said).replace("+ -", "- "), values + float(rest))


def agreeing(write: Callable[[int], Written], exact: Array, digits: int) -> str:
    """What `write` says with `digits` digits, or with as few more as it takes to be what it stands for.

    They agree where they differ by at most half a unit in the last of so many digits of a number as large as the range
    of `exact` (n,), wherever that is finite.
    """
    exact_is_known = np.isfinite(exact)
    known = exact[exact_is_known]
    tolerance = 0.5 * 10.0 ** (1 - digits) * float(np.ptp(known)) if len(known) else 0.0
    found = write(digits)
    for more in range(digits + 1, _ALL_DIGITS + 1):
        values = np.broadcast_to(found.values, exact.shape)[exact_is_known]
        if tolerance == 0 or bool((np.abs(values - known) <= tolerance).all()):
            break
        found = write(more)
    return found.text


def in_brackets(text: str) -> str:
    """An expression, in brackets where it is more than a name, a number or a call."""
    depth, outside = 0, []
    for character in text:
        depth -= character == ")"
        if depth == 0:
            outside.append(character)
        depth += character == "("
    return f"({text})" if set(outside) & set(" +*/^-") else text


def _rounded(constant: float, spread: float, digits: int) -> str:
    if constant == 0 or not 0 < spread < math.inf:
        return f"{constant:.{digits}g}"
    larger = math.floor(math.log10(abs(constant))) - math.floor(math.log10(spread))
    needed = digits + (larger if larger >= 0 else larger + 1)
    return f"{constant:.{min(needed, _ALL_DIGITS)}g}" if needed > 0 else "0"
