"""Networks of other libraries as denoisers."""

from __future__ import annotations

import inspect

import torch
from torch import Tensor, nn

from submanifold.errors import InvalidInput

__all__ = ["DiffusersNetwork", "is_of_diffusers"]

_TIMES = 1000
"""Of diffusers: its networks are told times from 0 to 1000, and their features are made for these."""


def is_of_diffusers(network: nn.Module) -> bool:
    """Whether the network is called as those of diffusers are, with `sample` and `timestep`."""
    parameters = inspect.signature(network.forward).parameters
    return {"sample", "timestep"} <= parameters.keys()


class DiffusersNetwork(nn.Module):
    """A U-Net or transformer of diffusers, such as `UNet2DModel`, called as the denoisers of this library are.

    Args:
        network: called with images, times and `class_labels`; answers with an object that holds `sample`.
        classes: number of classes, or 0 for none. The network needs one more, of index `classes`, for "no label".

    Raises:
        InvalidInput: for classes that the network has no room for.
    """

    def __init__(self, network: nn.Module, classes: int = 0) -> None:
        super().__init__()
        room = getattr(getattr(network, "class_embedding", None), "num_embeddings", 0)
        if classes and room < classes + 1:
            raise InvalidInput(
                f"network has room for {room} classes: give one with num_class_embeds={classes + 1}, one more than "
                "classes, for points without a label"
            )
        self.network = network
        self.classes = classes

    def forward(self, x: Tensor, level: Tensor, label: Tensor | None = None) -> Tensor:
        """The output, (n, *data_shape), for points (n, *data_shape), levels (n,) and labels (n,), see `Denoiser`."""
        told = {}
        if self.classes:
            told["class_labels"] = torch.full((len(x),), self.classes, device=x.device) if label is None else label
        output: Tensor = self.network(x, _TIMES * level, **told).sample
        return output
