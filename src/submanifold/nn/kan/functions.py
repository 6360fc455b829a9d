r"""Known functions of one number, and how well c f(a x + b) + d says what an edge says.

For given a and b, c and d follow by regression, and the share R^2 of variance explained is a function of a and b alone
(variable projection, Golub & Pereyra 1973, doi 10.1137/0710036). It has many maxima: the best of a grid of (a, b), in
units of the range of x, are improved by least squares.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import least_squares
from torch import Tensor

from submanifold.nn.kan.formulas import Term, agreeing, in_brackets, written

__all__ = ["FUNCTIONS", "Fit", "Function", "best_fit"]

Array = NDArray[np.float64]
Pair = tuple[float, float]

_SHOWN = 100
"""Points at which an expression is held against what it stands for."""

_STARTS = 2
"""The best of the grid that are improved."""
_FLOOR = 1e-7
"""Below this, less unexplained variance speaks for no function."""
_LARGE = 50.0
"""Exponents beyond keep their shift, so that exp stays in range."""
_NARROW = 1e-2
"""On arguments from a range as short as this, a function is a polynomial."""
_FLAT = 1e3
"""A function this much larger than its deviation says no more than the first terms of its series."""


@dataclass(frozen=True)
class Function:
    """One known function.

    Attributes:
        of: on tensors.
        text: how it is written, with {} for its argument.
        complexity: how much it takes to say it.
        grid: pairs (a, b) to begin with, for x in [-1, 1].
        free: which of a and b change what c f(a x + b) + d can say.
        domain: "all", "positive", or "nonzero": arguments on one side of a pole.
        parity: 1 for f(-t) = f(t), -1 for f(-t) = -f(t), 0 for neither.
        period: after which it is itself, or its negative.
    """

    of: Callable[[Tensor], Tensor]
    text: str
    complexity: int
    grid: tuple[Pair, ...]
    free: tuple[bool, bool] = (True, True)
    domain: str = "all"
    parity: int = 0
    period: float = math.inf

    def __call__(self, t: Array) -> Array:
        """NaN (in all of a row) where an argument in it is not in the domain."""
        positive, negative = (t > 0).all(axis=-1), (t < 0).all(axis=-1)
        allowed = {"all": np.ones_like(positive), "positive": positive, "nonzero": positive | negative}[self.domain]
        return np.where(np.expand_dims(allowed, -1), self.of(torch.from_numpy(t)).numpy(), np.nan)


@dataclass(frozen=True)
class Fit:
    """c f(a x + b) + d with f = `FUNCTIONS[name]`.

    Attributes:
        name: of the function.
        a: factor of its argument.
        b: shift of its argument.
        c: factor.
        d: shift.
        r2: share of the variance that it explains.
        low: the least x on which it was fitted, NaN where none is known.
        high: the largest, likewise.
    """

    name: str
    a: float
    b: float
    c: float
    d: float
    r2: float
    low: float = math.nan
    high: float = math.nan

    @property
    def complexity(self) -> int:
        """That of the function, and 1 for a shift of its argument."""
        return FUNCTIONS[self.name].complexity + (self.b != 0)

    @property
    def rank(self) -> float:
        """Complexity plus log2 of the share of variance that is not explained: one step of complexity halves it."""
        return self.complexity + math.log2(max(1 - self.r2, 0) + _FLOOR)

    def __call__(self, x: Tensor) -> Tensor:
        return self.c * FUNCTIONS[self.name].of(self.a * x + self.b) + self.d

    def terms(self, argument: Sequence[Term], plus: float, digits: int) -> tuple[list[Term], float]:
        """c f(a x + b) + d for x a sum of terms and a number, as terms and a number."""
        argument = [replace(term, factor=self.a * term.factor) for term in argument]
        shift = self.b + self.a * plus
        if not argument:
            return [], float(self(torch.tensor(plus, dtype=torch.float64)))
        if self.name == "x":
            return [replace(term, factor=self.c * term.factor) for term in argument], self.c * shift + self.d
        if self.c == 0 or self.name == "0":
            return [], self.d
        c = self.c
        if self.name == "exp" and abs(shift) < _LARGE:
            c, shift = c * math.exp(shift), 0.0
        inside, function = written(argument, shift, digits), FUNCTIONS[self.name]
        text = inside.text if "({})" in function.text else in_brackets(inside.text)
        values: Array = function.of(torch.from_numpy(inside.values)).numpy()
        return [Term(function.text.format(text), values, c)], self.d

    def expression(self, argument: str = "x", digits: int = 3) -> str:
        """In plain mathematics, such as "2*sin(3.14*x) + 1".

        Numbers have so many significant digits, or as many more as it takes for the expression to be right, on what it
        was fitted on, to half a unit in the last of so many digits of a number as large as its range there.
        """
        x = torch.linspace(self.low, self.high, _SHOWN, dtype=torch.float64)
        exact: Array = (self(x) + 0 * x).numpy()
        of_x = [Term(in_brackets(argument), x.numpy())]
        return agreeing(lambda more: written(*self.terms(of_x, 0.0, more), more), exact, digits)


def best_fit(name: str, x: Array, y: Array) -> Fit | None:
    """The best c f(a x + b) + d for what is seen, x (n,) and y (n,), with b = 0 where this is as good.

    Returns:
        None where the function is defined for no (a, b) that was tried.
    """
    function = FUNCTIONS[name]
    middle, half = 0.5 * float(x.max() + x.min()), max(0.5 * float(np.ptp(x)), 1e-12)
    u = (x - middle) / half
    grid = np.array(function.grid)
    quality = np.nan_to_num(_explained(function(grid[:, :1] * u + grid[:, 1:]), y), nan=-1.0)
    starts = [grid[index] for index in np.argsort(-quality)[:_STARTS] if quality[index] >= 0]
    pairs = []
    for a, b in (_improved(function, u, y, start, function.free) for start in starts):
        if not any(function.free):
            pairs.append((a, b))
        elif not function.free[0]:  # f(a x + b) for a of size 1
            pairs.append((a, half * b - a * middle))
        elif function.free[1] or abs(a) * np.abs(x).max() > _LARGE * half:
            pairs.append((a / half, b - a * middle / half))
        else:
            pairs.append((a / half, 0.0))
    if function.free[1]:  # without a shift
        at_first = {(a, 0.0) for a, _ in pairs} or {(1.0, 0.0)}
        pairs += [_improved(function, x, y, np.array(start), (function.free[0], False)) for start in at_first]
    fits = [fit for pair in pairs if (fit := _regressed(name, x, y, pair)) is not None]
    return min(fits, key=lambda fit: fit.rank) if fits else None


def _explained(f: Array, y: Array) -> Array:
    """R^2 of c f + d, of f (..., n); NaN where f is not finite."""
    with np.errstate(all="ignore"):
        f = f - f.mean(axis=-1, keepdims=True)
        y = y - y.mean()
        r2: Array = np.square(f @ y) / np.maximum(np.square(f).sum(axis=-1) * float(y @ y), 1e-300)
    return r2


def _improved(function: Function, x: Array, y: Array, start: Array, free: tuple[bool, bool]) -> Pair:
    """(a, b) from which no small step leads to less that is unexplained."""
    varied = [index for index in range(2) if free[index]]
    if not varied:
        return float(start[0]), float(start[1])
    target = (y - y.mean()) / max(float(y.std()), 1e-300)

    def pair(values: Array) -> Array:
        found = np.array(start, dtype=np.float64)
        found[varied] = values
        return found

    def unexplained(values: Array) -> Array:
        a, b = pair(values)
        with np.errstate(all="ignore"):
            f = function(a * x + b)
            f = f - f.mean()
            c = (f @ target) / max(float(f @ f), 1e-300)
        residual: Array = c * f - target
        return residual if np.isfinite(residual).all() else -target

    a, b = pair(least_squares(unexplained, start[varied], method="lm", max_nfev=100).x)
    return float(a), float(b)


def _regressed(name: str, x: Array, y: Array, pair: Pair) -> Fit | None:
    function = FUNCTIONS[name]
    if function.free[0] and abs(pair[0]) * np.ptp(x) < _NARROW:
        return None
    a, b = (-pair[0], -pair[1]) if pair[0] < 0 and function.parity else pair
    if math.isfinite(function.period):
        b = math.remainder(b, function.period)
    with np.errstate(all="ignore"):
        f = function(a * x + b)
        centred = f - f.mean()
        if not np.isfinite(centred @ centred) or (name != "x" and np.abs(f).max() > _FLAT * f.std()):
            return None
    c = float(centred @ (y - y.mean()) / max(float(centred @ centred), 1e-300))
    is_constant = y.std() <= 1e-12 * np.abs(y).max()
    r2 = 1.0 if is_constant else float(_explained(f, y))
    return Fit(name, a, b, c, float(y.mean() - c * f.mean()), r2, float(x.min()), float(x.max()))


def _places(low: float, high: float, count: int) -> list[float]:
    return [float(value) for value in np.geomspace(low, high, count)]


_POWER = tuple((1.0, float(b)) for b in np.linspace(-3, 3, 61))
_POLE = tuple((1.0, sign * (1 + gap)) for gap in _places(1e-3, 30, 40) for sign in (1, -1))
_HALF_LINE = tuple((sign, 1 + gap) for gap in _places(1e-3, 30, 40) for sign in (1.0, -1.0))
_RATE = tuple((sign * rate, 0.0) for rate in _places(0.03, 15, 60) for sign in (1, -1))
_WAVE = tuple((float(a), math.pi * b / 8) for a, b in product(np.linspace(0.25, 30, 120), range(8)))
_STEP = tuple((a, -a * float(m)) for a, m in product(_places(0.3, 30, 20), np.linspace(-1.5, 1.5, 31)))

FUNCTIONS: dict[str, Function] = {
    "0": Function(torch.zeros_like, "", 0, ((1.0, 0.0),), (False, False)),
    "x": Function(lambda t: t, "{}", 1, ((1.0, 0.0),), (False, False)),
    "x^2": Function(torch.square, "{}^2", 2, _POWER, (False, True)),
    "x^3": Function(lambda t: t**3, "{}^3", 3, _POWER, (False, True)),
    "x^4": Function(lambda t: t**4, "{}^4", 4, _POWER, (False, True)),
    "1/x": Function(torch.reciprocal, "1/{}", 3, _POLE, (False, True), "nonzero"),
    "1/x^2": Function(lambda t: t**-2, "1/{}^2", 4, _POLE, (False, True), "nonzero"),
    "sqrt": Function(torch.sqrt, "sqrt({})", 3, _HALF_LINE, (False, True), "positive"),
    "log": Function(torch.log, "log({})", 3, _HALF_LINE, (False, True), "positive"),
    "exp": Function(torch.exp, "exp({})", 2, _RATE, (True, False)),
    "abs": Function(torch.abs, "abs({})", 3, _POWER, (False, True)),
    "sin": Function(torch.sin, "sin({})", 3, _WAVE, parity=-1, period=math.pi),
    "cos": Function(torch.cos, "cos({})", 3, _WAVE, parity=1, period=math.pi),
    "tanh": Function(torch.tanh, "tanh({})", 4, _STEP, parity=-1),
    "arctan": Function(torch.arctan, "arctan({})", 4, _STEP, parity=-1),
    "gaussian": Function(lambda t: (-t.square()).exp(), "exp(-({})^2)", 4, _STEP, parity=1),
}
"""Known functions by name; "0" is that of an edge that is constant."""
