"""What a callback is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from submanifold.models.base import Model
from submanifold.training.history import Record

__all__ = ["Callback", "Event"]


@dataclass(frozen=True)
class Event:
    """An evaluation took place.

    Attributes:
        model: the model, in evaluation mode, with the weights that would be kept if training ended now.
        stage: the name of the stage.
        step: steps done in the stage.
        record: what goes into the history; a callback may add numbers to it.
    """

    model: Model
    stage: str
    step: int
    record: Record


Callback = Callable[[Event], None]
"""Called at every evaluation; what it draws from torch's generators does not change training."""
