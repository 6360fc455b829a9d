"""Networks without opinions: multilayer perceptrons, small convolutional networks, causal networks, denoisers, and
how to ask for them by name."""

from submanifold._lazy import attach

__all__ = [
    "ACTIVATIONS",
    "CAUSAL",
    "DENOISERS",
    "MLP",
    "NETWORKS",
    "CausalNetwork",
    "CausalTransformer",
    "Constant",
    "ConvDecoder",
    "ConvEncoder",
    "Denoiser",
    "DenoiserMLP",
    "ImageTransformer",
    "MaskedMLP",
    "PixelNetwork",
    "UNet",
    "activation_lipschitz",
    "causal_network",
    "decoder",
    "denoiser",
    "encoder",
    "spatial_shape",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "ACTIVATIONS": "activations",
        **dict.fromkeys(
            ("CAUSAL", "CausalNetwork", "CausalTransformer", "Constant", "MaskedMLP", "causal_network"), "causal"
        ),
        "ConvDecoder": "conv",
        "ConvEncoder": "conv",
        "DENOISERS": "build",
        "Denoiser": "conditional",
        "DenoiserMLP": "denoiser_mlp",
        "ImageTransformer": "transformer",
        "MLP": "mlp",
        "NETWORKS": "build",
        "PixelNetwork": "pixel",
        "UNet": "unet",
        "activation_lipschitz": "activations",
        "decoder": "build",
        "denoiser": "build",
        "encoder": "build",
        "spatial_shape": "spatial",
    },
)
