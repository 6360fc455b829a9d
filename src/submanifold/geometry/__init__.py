"""Jacobians of maps, and what follows from them: spectra, change of volume, divergences, Lipschitz constants."""

from submanifold._lazy import attach

__all__ = [
    "VolumeElement",
    "divergence",
    "divergence_along",
    "interval_bounds",
    "jacobian",
    "lipschitz_lower_bound",
    "lipschitz_upper_bound",
    "log_volume",
    "random_signs",
    "singular_values",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "VolumeElement": "spectrum",
        "divergence": "traces",
        "divergence_along": "traces",
        "interval_bounds": "intervals",
        "jacobian": "jacobians",
        "lipschitz_lower_bound": "lipschitz",
        "lipschitz_upper_bound": "lipschitz",
        "log_volume": "spectrum",
        "random_signs": "traces",
        "singular_values": "spectrum",
    },
)
