r"""The moving average of the weights, which is what is kept in the end.

.. math:: \bar\theta_s = \beta_s \bar\theta_{s-1} + (1 - \beta_s) \theta_s, \quad
          \beta_s = \min\!\left(\beta, \frac{1 + s}{10 + s}\right),

where the bound on \beta_s lets the average forget the initial weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Average"]


class Average:
    """The moving average of `parameters` with decay `beta`; with `beta=None` it is the weights themselves."""

    def __init__(self, parameters: Sequence[nn.Parameter], beta: float | None) -> None:
        self.beta = beta
        self.parameters = list(parameters) if beta is not None else []
        self.shadow = [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after `step` updates."""
        if self.beta is not None:
            beta = min(self.beta, (1 + step) / (10 + step))
            torch._foreach_lerp_(self.shadow, [p.detach() for p in self.parameters], 1 - beta)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the averaged weights inside this block, and its own again after it."""
        own = [p.detach().clone() for p in self.parameters]
        self._assign(self.shadow)
        try:
            yield
        finally:
            self._assign(own)

    def restart(self) -> None:
        """Begin anew with the weights as they are."""
        self.shadow = [p.detach().clone() for p in self.parameters]

    def settle(self) -> None:
        """Leave the averaged weights in the model."""
        self._assign(self.shadow)

    def tensors(self) -> dict[str, Tensor]:
        """The averaged weights."""
        return {str(index): value for index, value in enumerate(self.shadow)}

    def facts(self) -> dict[str, Any]:
        """Nothing but tensors has to be kept."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Go on with stored averages."""
        for name, value in tensors.items():
            self.shadow[int(name)] = value.to(self.shadow[int(name)], copy=True)

    @torch.no_grad()
    def _assign(self, values: Sequence[Tensor]) -> None:
        for parameter, value in zip(self.parameters, values, strict=True):
            parameter.copy_(value)
