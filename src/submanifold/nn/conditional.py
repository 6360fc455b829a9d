"""What the networks of diffusion models share: they are told the noise level and the class, and begin at zero."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeVar

from torch import Tensor, nn

from submanifold.checks import check_int
from submanifold.errors import InvalidInput
from submanifold.nn.embedding import Embedding

__all__ = ["Denoiser", "Modulation", "zeroed"]

Affine = TypeVar("Affine", nn.Linear, nn.Conv2d)


class Denoiser(nn.Module, ABC):
    """Maps points (n, *data_shape), each with its noise level and perhaps its class, to as many of the same shape.

    Nothing is normalised over the batch: each point is mapped on its own. Before training the output is zero.

    Args:
        data_shape: shape of one point.
        width: of the vectors in which level and class are told.
        classes: number of classes, or 0 for none.
    """

    def __init__(self, data_shape: Sequence[int], width: int, classes: int = 0) -> None:
        super().__init__()
        self.data_shape = tuple(check_int(size, name="data_shape") for size in data_shape)
        self.classes = classes
        self.embedding = Embedding(width, classes)

    def forward(self, x: Tensor, level: Tensor, label: Tensor | None = None) -> Tensor:
        r"""The output, (n, *data_shape).

        Args:
            x: noisy points, (n, *data_shape).
            level: of their noise, (n,), of order one, such as \log \sigma / 4.
            label: integers in [0, classes), or `classes` for no label, (n,); all have none by default.

        Raises:
            InvalidInput: for shapes that do not fit, or labels that `Embedding` refuses.
        """
        if x.shape[1:] != self.data_shape or level.shape != x.shape[:1]:
            wanted = ", ".join(map(str, ("n", *self.data_shape)))
            raise InvalidInput(
                f"x has shape {tuple(x.shape)} and level {tuple(level.shape)}: give shapes ({wanted}) and (n,)"
            )
        return self._respond(x, self.embedding(level, label))

    @abstractmethod
    def _respond(self, x: Tensor, e: Tensor) -> Tensor:
        """The output, (n, *data_shape), for points x and what is told of them, e (n, width)."""


class Modulation(nn.Linear):
    r"""(1 + a) h + b, where a and b, a number for each feature, are affine in what is told (FiLM, Perez et al. 2018,
    arXiv 1709.07871, eq. 2).

    Args:
        width: of the vectors in which it is told.
        features: of h, its second dimension.
    """

    def __init__(self, width: int, features: int) -> None:
        super().__init__(width, 2 * features)

    def forward(self, h: Tensor, e: Tensor) -> Tensor:  # type: ignore[override]
        """h (n, features, ...), by e (n, width)."""
        a, b = (part.reshape(*part.shape, *[1] * (h.ndim - 2)) for part in super().forward(e).chunk(2, dim=1))
        return h * (1 + a) + b


def zeroed(layer: Affine) -> Affine:
    """The layer with all its weights at zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
