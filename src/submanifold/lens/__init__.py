"""The diagnostics: each takes a model and data and returns a `Finding`; `examine` runs all of them."""

from submanifold._lazy import attach

__all__ = [
    "Finding",
    "Number",
    "Report",
    "autoencoder_audit",
    "examine",
    "manifold_overfitting",
    "names",
    "repair",
    "sample_quality",
    "wasserstein_bound",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "Finding": "finding",
        "Number": "finding",
        "Report": "outcome",
        "autoencoder_audit": "audit",
        "examine": "examination",
        "manifold_overfitting": "overfitting",
        "names": "catalogue",
        "repair": "mending",
        "sample_quality": "quality",
        "wasserstein_bound": "bound",
    },
)
