"""Means of what the steps report, between evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

__all__ = ["Meter"]


class Meter:
    """Sums and counts by name."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.last: float | None = None

    def add(self, terms: Mapping[str, float]) -> None:
        """Take in the terms of one step."""
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1
        self.last = terms.get("loss", self.last)

    def flush(self) -> dict[str, float]:
        """The means since the last flush."""
        means = {name: total / self.counts[name] for name, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means

    def tensors(self) -> dict[str, Tensor]:
        """None: all are numbers."""
        return {}

    def facts(self) -> dict[str, Any]:
        """Sums, counts and the last loss."""
        return {"sums": self.sums, "counts": self.counts, "last": self.last}

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Go on with stored sums."""
        self.sums, self.counts = dict(facts["sums"]), dict(facts["counts"])
        self.last = facts["last"]
