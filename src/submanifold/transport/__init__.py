"""Distances between distributions seen through samples (Wasserstein, MMD), and tests with them."""

from submanifold._lazy import attach

__all__ = [
    "Floor",
    "Plan",
    "SlicedDistance",
    "TwoSampleTest",
    "circular_wasserstein",
    "mmd",
    "optimal_plan",
    "sliced_wasserstein",
    "sliced_wasserstein_test",
    "wasserstein",
    "wasserstein_floor",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "Floor": "exact",
        "Plan": "exact",
        "SlicedDistance": "sliced",
        "TwoSampleTest": "two_sample",
        "circular_wasserstein": "circular",
        "mmd": "kernel",
        "optimal_plan": "exact",
        "sliced_wasserstein": "sliced",
        "sliced_wasserstein_test": "sliced",
        "wasserstein": "exact",
        "wasserstein_floor": "exact",
    },
)
