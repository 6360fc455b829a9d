"""Networks without opinions: multilayer perceptrons, small convolutional networks, causal networks, and how to ask
for them by name."""

from submanifold._lazy import attach

__all__ = [
    "ACTIVATIONS",
    "CAUSAL",
    "MLP",
    "NETWORKS",
    "CausalNetwork",
    "CausalTransformer",
    "Constant",
    "ConvDecoder",
    "ConvEncoder",
    "MaskedMLP",
    "PixelNetwork",
    "activation_lipschitz",
    "causal_network",
    "decoder",
    "encoder",
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
        "MLP": "mlp",
        "NETWORKS": "build",
        "PixelNetwork": "pixel",
        "activation_lipschitz": "activations",
        "decoder": "build",
        "encoder": "build",
    },
)
