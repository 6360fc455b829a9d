"""What we look at: sources of data, analytic manifolds with ground truth, and invertible preprocessing."""

from submanifold._lazy import attach

__all__ = [
    "Dataset",
    "Manifold",
    "Preprocess",
    "lattice_spacing",
    "load",
    "manifold",
    "manifold_names",
    "manifolds",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "Dataset": "dataset",
        "Manifold": "manifolds",
        "Preprocess": "preprocess",
        "lattice_spacing": "lattice",
        "load": "sources",
        "manifold": "manifolds",
        "manifold_names": "manifolds",
        "manifolds": "",
    },
)
