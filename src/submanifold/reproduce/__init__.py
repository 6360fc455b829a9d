"""Experiments that reproduce the theory: one file per claim of the literature, each ending in a numeric verdict."""

from submanifold._lazy import attach

__all__ = ["EXPERIMENTS", "Claim", "Outcome", "figure", "names", "run"]

__getattr__, __dir__ = attach(
    __name__,
    {
        "EXPERIMENTS": "catalogue",
        "Claim": "outcome",
        "Outcome": "outcome",
        "figure": "catalogue",
        "names": "catalogue",
        "run": "catalogue",
    },
)
