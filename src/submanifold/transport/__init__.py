"""Distances between distributions seen through samples (Wasserstein, MMD, Fréchet), and tests with them."""

from submanifold._lazy import attach

__all__ = [
    "DISCREPANCIES",
    "Floor",
    "Plan",
    "SlicedDistance",
    "TwoSampleTest",
    "circular_wasserstein",
    "frechet",
    "frechet_floor",
    "mmd",
    "mmd_loss",
    "optimal_plan",
    "sinkhorn_loss",
    "sliced_wasserstein",
    "sliced_wasserstein_loss",
    "sliced_wasserstein_test",
    "wasserstein",
    "wasserstein_floor",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        **dict.fromkeys(("DISCREPANCIES", "mmd_loss", "sinkhorn_loss", "sliced_wasserstein_loss"), "losses"),
        "Floor": "floor",
        "Plan": "exact",
        "SlicedDistance": "sliced",
        "TwoSampleTest": "two_sample",
        "circular_wasserstein": "circular",
        "frechet": "gaussian",
        "frechet_floor": "gaussian",
        "mmd": "kernel",
        "optimal_plan": "exact",
        "sliced_wasserstein": "sliced",
        "sliced_wasserstein_test": "sliced",
        "wasserstein": "exact",
        "wasserstein_floor": "exact",
    },
)
