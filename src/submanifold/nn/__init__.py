"""Networks without opinions: multilayer perceptrons, small convolutional networks, and how to ask
for them by name."""

from submanifold._lazy import attach

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "NETWORKS",
    "ConvDecoder",
    "ConvEncoder",
    "activation_lipschitz",
    "decoder",
    "encoder",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "ACTIVATIONS": "activations",
        "ConvDecoder": "conv",
        "ConvEncoder": "conv",
        "MLP": "mlp",
        "NETWORKS": "build",
        "activation_lipschitz": "activations",
        "decoder": "build",
        "encoder": "build",
    },
)
