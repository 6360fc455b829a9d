"""Early stopping: the weights of the best evaluation, and how long ago it was."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from submanifold.training.checkpoint import ModuleState

__all__ = ["Best"]


class Best:
    """The state of `model` at its lowest held-out loss; without `patience` nothing is kept."""

    def __init__(self, model: nn.Module, patience: int | None) -> None:
        self.state = ModuleState(model)
        self.patience = patience
        self.loss = math.inf
        self.stale = 0
        self.kept: dict[str, Tensor] = {}

    @property
    def exhausted(self) -> bool:
        """Whether the loss has not improved for `patience` evaluations."""
        return self.patience is not None and self.stale >= self.patience

    def consider(self, loss: float) -> None:
        """Take note of an evaluation of the model as it is."""
        if self.patience is None:
            return
        if loss < self.loss:
            self.loss, self.stale = loss, 0
            self.kept = {name: t.detach().clone() for name, t in self.state.tensors().items()}
        else:
            self.stale += 1

    def settle(self) -> bool:
        """Leave the best weights in the model; False where there are none."""
        if self.kept:
            self.state.restore(self.kept, self.state.facts())
        return bool(self.kept)

    def tensors(self) -> dict[str, Tensor]:
        """The best weights."""
        return self.kept

    def facts(self) -> dict[str, Any]:
        """The best loss (null before the first evaluation) and the evaluations since."""
        return {"loss": None if math.isinf(self.loss) else self.loss, "stale": self.stale}

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Go on with stored weights and counts."""
        self.kept = dict(tensors)
        self.loss = math.inf if facts["loss"] is None else facts["loss"]
        self.stale = facts["stale"]
