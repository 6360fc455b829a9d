"""What a diagnostic returns: a verdict, the numbers behind it with their errors, and what to do about it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Finding", "Number", "Standing"]

Standing = Literal["good", "bad", "unsure", "neutral"]


@dataclass(frozen=True)
class Number:
    """A figure with its error and its standing as evidence.

    `low` and `high` are the ends of a 95% interval where the figure is estimated, None where it has none (a bound, a
    p-value, a count). `kind` says how far it can be trusted: "certified" (a theorem covers it), "estimated" (it
    converges, with the stated error), "heuristic" (a useful scale, no more).
    """

    value: float
    low: float | None = None
    high: float | None = None
    unit: str = ""
    kind: Literal["certified", "estimated", "heuristic"] = "estimated"
    meaning: str = ""

    def __float__(self) -> float:
        return float(self.value)

    def __str__(self) -> str:
        text = f"{self.value:.3g}"
        if self.low is not None and self.high is not None:
            text += f" [{self.low:.3g}, {self.high:.3g}]"
        return f"{text} {self.unit}".strip()

    def to_json(self) -> dict[str, Any]:
        """The number as JSON-able data; non-finite values become None, since JSON has none."""

        def finite(value: float | None) -> float | None:
            return None if value is None or not math.isfinite(value) else float(value)

        return {
            "value": finite(self.value),
            "low": finite(self.low),
            "high": finite(self.high),
            "unit": self.unit,
            "kind": self.kind,
            "meaning": self.meaning,
        }


@dataclass(frozen=True)
class Finding:
    """The result of one diagnostic on one model.

    Attributes:
        name: the diagnostic, as in `submanifold.lens`.
        subject: the model or data it is about, in the words of the report.
        verdict: one word or two out of those the diagnostic documents.
        standing: whether the verdict is good news, for the mark beside it.
        summary: one sentence of plain English with the decisive numbers in it.
        numbers: every figure behind the verdict, by name.
        advice: what to do about it; empty when nothing is to be done.
        assumptions: what the verdict takes for granted.
        model: the model that the diagnostic made (a repaired one), if it makes one.
    """

    name: str
    verdict: str
    summary: str
    subject: str = ""
    standing: Standing = "neutral"
    numbers: Mapping[str, Number] = field(default_factory=dict)
    advice: str = ""
    assumptions: tuple[str, ...] = ()
    draw: Callable[[], Figure] | None = field(default=None, repr=False, compare=False)
    model: Any = field(default=None, repr=False, compare=False)

    def figure(self) -> Figure | None:
        """The evidence as a matplotlib figure in the project's style, or None where there is nothing to draw."""
        return self.draw() if self.draw is not None else None

    def to_json(self) -> dict[str, Any]:
        """Everything but the figure and the model, as JSON-able data."""
        return {
            "name": self.name,
            "subject": self.subject,
            "verdict": self.verdict,
            "standing": self.standing,
            "summary": self.summary,
            "numbers": {name: number.to_json() for name, number in self.numbers.items()},
            "advice": self.advice,
            "assumptions": list(self.assumptions),
        }

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.verdict}", self.summary]
        lines += [f"  {name:<32} {number}  ({number.kind})" for name, number in self.numbers.items()]
        return "\n".join([*lines, self.advice] if self.advice else lines)
