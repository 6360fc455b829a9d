"""Kolmogorov-Arnold networks: layers of learned functions on edges, their grids, and how they are read."""

from submanifold._lazy import attach

__all__ = ["BASES", "KAN", "GridSchedule", "KANLinear", "outside_shares", "refine", "update_grid"]

__getattr__, __dir__ = attach(
    __name__,
    {
        "BASES": "bases",
        "KAN": "network",
        "KANLinear": "linear",
        **dict.fromkeys(("GridSchedule", "outside_shares", "refine", "update_grid"), "grids"),
    },
)
