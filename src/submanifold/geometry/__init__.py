"""Jacobians of maps, and what follows from them: spectra, change of volume, Lipschitz constants."""

from submanifold._lazy import attach

__all__ = [
    "VolumeElement",
    "jacobian",
    "lipschitz_lower_bound",
    "lipschitz_upper_bound",
    "log_volume",
    "singular_values",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "VolumeElement": "spectrum",
        "jacobian": "jacobians",
        "lipschitz_lower_bound": "lipschitz",
        "lipschitz_upper_bound": "lipschitz",
        "log_volume": "spectrum",
        "singular_values": "spectrum",
    },
)
