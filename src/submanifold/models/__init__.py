"""Deep generative models: protocols say what each can do, data say how it is trained, a table names them all."""

from submanifold._lazy import attach

__all__ = [
    "MODELS",
    "VAE",
    "Autoencoder",
    "Density",
    "EncoderDecoder",
    "Factored",
    "Flow",
    "GaussianMixture",
    "Generator",
    "KernelDensity",
    "LatentLaw",
    "LocalScales",
    "Model",
    "Objective",
    "OnManifoldDensity",
    "Score",
    "Stage",
    "TwoStep",
    "create",
    "describe",
    "load",
    "names",
    "register",
    "require_same_measure",
    "save",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        **dict.fromkeys(
            (
                "Density",
                "EncoderDecoder",
                "Factored",
                "Generator",
                "LatentLaw",
                "LocalScales",
                "Model",
                "Objective",
                "Score",
                "Stage",
                "require_same_measure",
            ),
            "base",
        ),
        "register": "registry",
        **dict.fromkeys(("MODELS", "create", "describe", "names"), "catalogue"),
        **dict.fromkeys(("load", "save"), "persistence"),
        **dict.fromkeys(("OnManifoldDensity", "TwoStep"), "two_step"),
        "Autoencoder": "autoencoder",
        "Flow": "flow",
        "GaussianMixture": "mixture",
        "KernelDensity": "kernel_density",
        "VAE": "vae",
    },
)
