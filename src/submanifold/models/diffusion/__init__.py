"""Diffusion: noise levels, paths, samplers and likelihoods as functions of a denoiser, and laws known exactly."""

from submanifold._lazy import attach

__all__ = [
    "PATHS",
    "SAMPLERS",
    "SPACINGS",
    "FlowLikelihood",
    "Path",
    "Progress",
    "denoiser_of",
    "diffusion_bound",
    "flow_log_prob",
    "likelihood_curve",
    "noise_levels",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        **dict.fromkeys(("PATHS", "Path", "denoiser_of"), "paths"),
        **dict.fromkeys(("SAMPLERS", "Progress"), "samplers"),
        **dict.fromkeys(("SPACINGS", "noise_levels"), "levels"),
        **dict.fromkeys(("FlowLikelihood", "diffusion_bound", "flow_log_prob", "likelihood_curve"), "likelihood"),
    },
)
