"""Kolmogorov-Arnold networks: layers of learned functions on edges, their grids, and how they are read."""

from submanifold._lazy import attach

__all__ = [
    "BASES",
    "FUNCTIONS",
    "KAN",
    "ChannelKAN",
    "GridSchedule",
    "KANLinear",
    "MonotoneKAN",
    "ReLUPower",
    "SymbolicKAN",
    "activation_bounds",
    "attribution",
    "draw",
    "edge_scores",
    "formula",
    "kan_of_powers",
    "layer_bounds",
    "output_bounds",
    "outside_shares",
    "powers_of_kan",
    "prune",
    "refine",
    "snap",
    "sparsity",
    "suggest",
    "update_grid",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "BASES": "bases",
        "ChannelKAN": "channels",
        "FUNCTIONS": "functions",
        "KAN": "network",
        "KANLinear": "linear",
        "MonotoneKAN": "monotone",
        **dict.fromkeys(("GridSchedule", "outside_shares", "refine", "update_grid"), "grids"),
        **dict.fromkeys(("formula", "snap", "suggest"), "symbolic"),
        "SymbolicKAN": "symbolic_network",
        **dict.fromkeys(("activation_bounds", "layer_bounds", "output_bounds"), "intervals"),
        **dict.fromkeys(("attribution", "edge_scores", "prune", "sparsity"), "reading"),
        **dict.fromkeys(("ReLUPower", "kan_of_powers", "powers_of_kan"), "powers"),
        "draw": "drawing",
    },
)
