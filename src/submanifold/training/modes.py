"""Which parts of a model are in training mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from submanifold.models.base import Stage

__all__ = ["evaluating", "train_for"]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Within, all of `module` is in evaluation mode; afterwards each part is in its own again."""
    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


def train_for(stage: Stage, model: nn.Module) -> None:
    """Training mode, but for the parts of the model that have parameters, none of which this stage moves.

    Those are used as they were left: a frozen decoder neither drops units out nor moves running statistics.
    """
    moved = {id(p) for objective in stage.objectives for p in objective.parameters if p.requires_grad}
    model.train()
    for part in model.modules():
        parameters = list(part.parameters())
        if parameters and moved.isdisjoint(map(id, parameters)):
            part.eval()
