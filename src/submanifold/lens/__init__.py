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
    "score_health",
    "score_norm_growth",
    "score_norms",
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
        "score_health": "health",
        **dict.fromkeys(("score_norm_growth", "score_norms"), "growth"),
        "wasserstein_bound": "bound",
    },
)
