"""Training of a model of the zoo by the settings of the main job, in the time that it is given.

Training is planned to take the minutes that it is given: a trial of a few steps tells what one costs, and where those
of the recipe would take longer, fewer are taken. A training that turns out to be late is given up as soon as that is
seen, for a model that was stopped half-way is not one that was trained: a fresh one is trained with as many steps as
the pace that was seen allows. All of this, learning curves included, ends by twice the minutes. The clock is looked at
when a stage is evaluated, twenty times where an evaluation is cheap, so that it may be late by what lies between two
evaluations. After three trainings that were late the model is out of time, and nothing of it is measured.

Not counted are the trial (a quarter of the minutes, or seven steps if they take longer, and what is loaded once), what
a model does before its first step and after its last one, a closed form, and the measurement in the end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from submanifold.data import Dataset
from submanifold.errors import InvalidInput, UnfittedModel
from submanifold.lens.recipes import recipe
from submanifold.models.base import Generator, Model
from submanifold.training import Event, History, fit

__all__ = ["OutOfTimeError", "Trained", "UnsuitedError", "train"]

EVALUATIONS = 20
"""Points of a learning curve, or fewer where they would take half of the time."""

TRIAL = 20
"""Steps by which the cost of a step is told, or fewer where they would take a quarter of the time."""

TRAININGS = 3
"""So many times a model is trained with fewer steps each time because it was late."""

CURVE = 0.25
"""Share of the time that goes into learning curves at most."""


class UnsuitedError(Exception):
    """The model does not take data of this shape."""


class OutOfTimeError(Exception):
    """No training was done in time."""


@dataclass
class _LateError(Exception):
    """A training would take so many seconds."""

    seconds: float


@dataclass(frozen=True)
class _Pace:
    """Seconds of a step of each stage, and of an evaluation of all of them."""

    step: Mapping[str, float]
    evaluation: float

    def evaluations(self, seconds: float) -> int:
        """Evaluations of each stage of a training that takes so many seconds: at most half of it, or four."""
        return max(4, min(EVALUATIONS, int(0.5 * seconds / max(self.evaluation, 1e-9))))

    def steps(self, seconds: float) -> int:
        """Steps of each stage that are done in so many seconds."""
        left = max(seconds - self.evaluations(seconds) * self.evaluation, 0.25 * seconds)
        return int(left / sum(self.step.values())) if self.step else 1

    def share(self, stage: str, part: float) -> float:
        """How much of the work is done when this part of a stage is."""
        before = list(self.step)[: list(self.step).index(stage)]
        return (sum(self.step[s] for s in before) + part * self.step[stage]) / sum(self.step.values())

    def slower(self, factor: float) -> _Pace:
        return _Pace({stage: factor * cost for stage, cost in self.step.items()}, factor * self.evaluation)


@dataclass
class _Watch:
    """Gives up a training that would be late, and records a figure of merit at evaluations of the last stage."""

    pace: _Pace
    steps: int
    allowed: float
    most: float
    merit: Any = None
    curve: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0
    """Spent on the curve."""

    def __post_init__(self) -> None:
        self.started = time.perf_counter()

    def trained(self) -> float:
        """Seconds of training, those of the curve apart."""
        return time.perf_counter() - self.started - self.seconds

    def __call__(self, event: Event) -> None:
        trained, share = self.trained(), self.pace.share(event.stage, event.step / self.steps)
        if share < 1 and trained > self.allowed / 4 and trained / share > self.most:
            raise _LateError(trained / share)
        last = list(self.pace.step)[-1]
        if self.merit is not None and event.stage == last and self.seconds <= CURVE * (trained + self.seconds):
            start = time.perf_counter()
            with torch.no_grad(), suppress(UnfittedModel):  # a law of latents may be fitted in the end
                self.curve.append((event.step, self.merit(event.model)))
            self.seconds += time.perf_counter() - start


@dataclass(frozen=True)
class Trained:
    """A model that was trained to its end, with what an entry says of that."""

    model: Generator
    history: History
    facts: dict[str, Any]


def _pace(build: Callable[[], Model], data: Dataset, seconds: float, options: Mapping[str, Any]) -> _Pace:
    """What steps and evaluations cost, by a few of them."""
    stages = [stage.name for stage in build().stages() if stage.objectives]

    def took(steps: int) -> dict[str, float]:
        model, ends = build(), [time.perf_counter()]
        settings = {**options, "patience": None, "progress": False, "evaluate_every": steps}
        fit(model, data, steps=steps, callbacks=[lambda event: ends.append(time.perf_counter())], **settings)
        return dict(zip([*stages, ""], np.diff([*ends, time.perf_counter()]).tolist(), strict=True))  # "": the end

    if not stages:
        return _Pace({}, 0.0)
    took(2)  # what is loaded or allocated once
    begun = took(2)
    few = max(1, min(TRIAL, int(0.5 * seconds / sum(begun.values()))))
    whole = took(2 + few)
    step = {stage: max(whole[stage] - begun[stage], 0.1 * whole[stage]) / few for stage in stages}
    return _Pace(step, max(0.0, sum(begun.values()) - 2 * sum(step.values())))


def train(name: str, data: Dataset, latent_dim: int, *, seed: int, minutes: float, merit: Any = None) -> Trained:
    """The model by its recipe, in about so many minutes and at most twice as many.

    Raises:
        UnsuitedError: the model does not take such data.
        OutOfTimeError: every training was late.
    """
    plan = recipe(name)

    def build() -> Model:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return plan.build(data, latent_dim)

    try:
        build().receive(data.x[:1])
    except InvalidInput as error:
        raise UnsuitedError(str(error)) from error
    seconds = 60 * minutes
    pace = _pace(build, data, seconds, plan.options)
    wanted = plan.steps_for(data) if pace.step else 1
    begun = time.perf_counter()
    for _ in range(TRAININGS):
        left = 2 * seconds - (time.perf_counter() - begun)
        allowed = min(seconds, left / 2)
        steps = min(wanted, pace.steps(allowed))
        if steps < 1:
            break
        model = build()
        every = math.ceil(steps / pace.evaluations(allowed))
        watch = _Watch(pace, steps, allowed, (1 - CURVE) * left, merit)
        calls = {"evaluate_every": every, "callbacks": [watch], "progress": False}
        try:
            history = fit(model, data, steps=steps, seed=seed, **calls, **plan.options)
        except _LateError as late:
            expected = steps * sum(pace.step.values()) + steps / every * pace.evaluation
            pace = pace.slower(late.seconds / expected)
            continue
        assert isinstance(model, Generator)
        facts = {
            "steps": steps,
            "steps_wanted": wanted,
            "seconds": watch.trained(),
            "parameters": sum(p.numel() for p in model.parameters()),
            "loss": _losses(history),
            "merit": watch.curve,
        }
        return Trained(model, history, facts)
    raise OutOfTimeError(f"out of time: a step of every stage takes {sum(pace.step.values()):.2g} seconds")


def _losses(history: History) -> list[list[Any]]:
    """(stage, step, loss, held-out loss) of every evaluation that has them."""
    return [[r["stage"], r["step"], r.get("loss"), r.get("held_out_loss")] for r in history.records if "loss" in r]
