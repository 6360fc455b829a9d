"""Networks without opinions: multilayer perceptrons, small convolutional networks, causal networks, denoisers, and
how to ask for them by name.

A model's `network=` is a name of `NETWORKS`, `DENOISERS` or `CAUSAL`. "kan" may have options, for all networks of a
model, as {"name": "kan", "grid": 20, "order": 2}, or for one, as {"encoder": {"name": "kan", "basis": "chebyshev"},
"decoder": "mlp"}. All that `network=` can be is told in `submanifold.nn.given`.
"""

from submanifold._lazy import attach

__all__ = [
    "ACTIVATIONS",
    "CAUSAL",
    "DENOISERS",
    "KAN",
    "MLP",
    "NETWORKS",
    "CausalNetwork",
    "CausalTransformer",
    "Constant",
    "ConvDecoder",
    "ConvEncoder",
    "Denoiser",
    "DenoiserKAN",
    "DenoiserMLP",
    "ImageTransformer",
    "KANLinear",
    "MaskedKAN",
    "MaskedMLP",
    "PixelNetwork",
    "UNet",
    "activation_lipschitz",
    "causal_network",
    "decoder",
    "denoiser",
    "encoder",
    "kan",
    "network_for",
    "places",
    "spatial_shape",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "ACTIVATIONS": "activations",
        **dict.fromkeys(
            ("CAUSAL", "CausalNetwork", "CausalTransformer", "Constant", "MaskedKAN", "MaskedMLP", "causal_network"),
            "causal",
        ),
        "ConvDecoder": "conv",
        "ConvEncoder": "conv",
        "DENOISERS": "build",
        "Denoiser": "conditional",
        **dict.fromkeys(("DenoiserKAN", "DenoiserMLP"), "denoiser_mlp"),
        "ImageTransformer": "transformer",
        **dict.fromkeys(("KAN", "KANLinear"), "kan"),
        "MLP": "mlp",
        "NETWORKS": "build",
        "PixelNetwork": "pixel",
        "UNet": "unet",
        "activation_lipschitz": "activations",
        "decoder": "build",
        "denoiser": "build",
        "encoder": "build",
        "kan": "",
        "network_for": "given",
        "places": "spatial",
        "spatial_shape": "spatial",
    },
)
