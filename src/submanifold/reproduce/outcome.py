"""What an experiment returns: claims, each with the number that decides it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Claim", "Outcome"]


@dataclass(frozen=True)
class Claim:
    """One statement of the literature, what was measured, what is accepted, and whether it held."""

    statement: str
    measured: str
    accepted: str
    holds: bool


@dataclass(frozen=True)
class Outcome:
    """All claims of an experiment, and the table of runs they rest on."""

    name: str
    claims: Sequence[Claim]
    rows: Sequence[Mapping[str, Any]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def reproduced(self) -> bool:
        """Whether every claim held."""
        return all(claim.holds for claim in self.claims)

    def to_json(self) -> dict[str, Any]:
        """The outcome as JSON-able data."""
        return {
            "name": self.name,
            "reproduced": self.reproduced,
            "claims": [vars(claim) for claim in self.claims],
            "rows": [dict(row) for row in self.rows],
            "seconds": self.seconds,
        }
