"""What a callback is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from submanifold.models.base import Model
from submanifold.training.history import Record

__all__ = ["Alteration", "Callback", "Event"]


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


@runtime_checkable
class Alteration(Protocol):
    """Changes the model after evaluations, such as the grids of its splines: `submanifold.nn.kan.GridSchedule`.

    Parameters keep their identity, but may have other shapes afterwards; then optimisers begin anew with them. What it
    does depends on the model and the step alone, so that a run that was interrupted comes to the same. Where it has a
    method `facts()`, JSON-able settings by name, a run is resumed with the same settings only.
    """

    def alter(self, event: Event, run: Callable[[], object]) -> bool:
        """Alter `event.model`, with the weights that are trained; `run` asks it for its loss on training points.

        Whether anything was changed.
        """
        ...
