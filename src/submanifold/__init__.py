"""submanifold: data and deep generative models through the lens of the manifold hypothesis.

Data in R^D lies on (or near) an unknown d-dimensional submanifold M, d < D. The library measures d, trains deep
generative models, and says whether a model learned the manifold, the distribution on it, both or neither.
"""

from submanifold._lazy import attach

__version__ = "0.1.0"
__all__ = [
    "data",
    "dimension",
    "errors",
    "fit",
    "geometry",
    "lens",
    "load",
    "models",
    "neighbors",
    "nn",
    "report",
    "reproduce",
    "save",
    "training",
    "transport",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        **dict.fromkeys(
            (
                "data",
                "dimension",
                "errors",
                "geometry",
                "lens",
                "models",
                "neighbors",
                "nn",
                "report",
                "reproduce",
                "training",
                "transport",
            ),
            "",
        ),
        "fit": "training",
        "save": "models",
        "load": "models",
    },
)
