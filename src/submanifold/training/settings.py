"""The settings of a fit, checked, and the identity of a run: what has to agree for it to be resumed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from submanifold.checks import check_choice, check_int, check_real, nearest_match
from submanifold.errors import InvalidInput
from submanifold.models.base import Model, Stage
from submanifold.training.events import Alteration
from submanifold.training.schedule import SCHEDULES

__all__ = ["Settings", "describe_alterations", "describe_model"]

EVALUATIONS = 40
FEWEST_STEPS = 10
"""Where `evaluate_every` is not given: evaluations per stage, and the fewest steps between two."""


@dataclass(frozen=True)
class Settings:
    """What decides the numbers of a fit; see `submanifold.fit` for the meaning of each."""

    steps: int | Mapping[str, int]
    batch_size: int
    learning_rate: float
    weight_decay: float
    schedule: str
    clip: float | None
    ema: float | None
    evaluate_every: int | None
    patience: int | None
    precision: str
    seed: int

    def __post_init__(self) -> None:
        if isinstance(self.steps, Mapping):
            for stage, steps in self.steps.items():
                check_int(steps, name=f"steps[{stage!r}]")
        else:
            check_int(self.steps, name="steps")
        check_int(self.batch_size, name="batch_size")
        check_real(self.learning_rate, name="learning_rate", open_low=True)
        check_real(self.weight_decay, name="weight_decay")
        check_choice(self.schedule, SCHEDULES, name="schedule")
        check_choice(self.precision, ("no", "bf16", "fp16"), name="precision")
        check_int(self.seed, name="seed", low=0)
        if self.clip is not None:
            check_real(self.clip, name="clip", open_low=True)
        if self.ema is not None and check_real(self.ema, name="ema", high=1.0) == 1.0:
            raise InvalidInput("ema=1.0 never takes in new weights: give a decay in [0, 1) or None")
        if self.evaluate_every is not None:
            check_int(self.evaluate_every, name="evaluate_every")
        if self.patience is not None:
            check_int(self.patience, name="patience")

    def stage_steps(self, stages: Sequence[Stage]) -> dict[str, int]:
        """Steps of each stage that has something to optimise.

        Raises:
            InvalidInput: `steps` names a stage that the model lacks, or leaves one out.
        """
        names = [stage.name for stage in stages if stage.objectives]
        if not isinstance(self.steps, Mapping):
            return dict.fromkeys(names, self.steps)
        for name in self.steps:
            if name not in names:
                raise InvalidInput(f"steps names no stage {name!r}: {nearest_match(name, names)}")
        missing = [name for name in names if name not in self.steps]
        if missing:
            raise InvalidInput(f"steps leaves out {', '.join(missing)}: give one for each stage")
        return dict(self.steps)

    def evaluation_interval(self, steps: int) -> int:
        """Steps between evaluations of a stage of `steps` steps."""
        return self.evaluate_every or max(-(-steps // EVALUATIONS), FEWEST_STEPS)

    def learning_rate_at(self, step: int, steps: int) -> float:
        """The learning rate of `step` out of `steps`."""
        return self.learning_rate * SCHEDULES[self.schedule](step, steps)


def describe_model(model: Model) -> dict[str, Any]:
    """What makes a model the same model: its class, its configuration, and the shapes of its parameters.

    Shapes that training itself may change are left out, which a module names in `resizable`: a model whose grids were
    refined in its run is still the model of that run.
    """
    resizable = {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        for name in getattr(module, "resizable", ())
    }
    return {
        "class": type(model).__qualname__,
        "config": json.loads(json.dumps(model.config, default=_name_of)),
        "parameters": {n: None if n in resizable else list(p.shape) for n, p in model.named_parameters()},
    }


def describe_alterations(callbacks: Sequence[object]) -> list[dict[str, Any]] | None:
    """Of the callbacks that alter the model, what a run is resumed with only: their classes, and `facts()` if any."""
    found = [
        {"class": type(callback).__qualname__, **getattr(callback, "facts", dict)()}
        for callback in callbacks
        if isinstance(callback, Alteration)
    ]
    return found or None


def _name_of(value: Any) -> str:
    return getattr(value, "__qualname__", None) or type(value).__qualname__
