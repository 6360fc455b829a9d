"""One call of `fit`: the stages of a model from where they are to their end."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from submanifold.data.preprocess import accepted, dequantised
from submanifold.errors import ManifoldOverfittingWarning, TrainingDiverged
from submanifold.models.base import Model, Stage
from submanifold.training.arithmetic import NotFinite
from submanifold.training.checkpoint import Checkpoint, ModuleState, Stateful
from submanifold.training.divergence import divergence_message
from submanifold.training.events import Alteration, Callback, Event
from submanifold.training.folder import RunFolder
from submanifold.training.history import History, Record
from submanifold.training.interrupt import Interrupts
from submanifold.training.modes import train_for
from submanifold.training.optimisation import Optimisation
from submanifold.training.overfitting import OverfittingWatch, Rise, find_rise
from submanifold.training.progress import Progress
from submanifold.training.seeds import seed_noise
from submanifold.training.settings import Settings
from submanifold.training.source import Points, apply, chunks
from submanifold.training.tracking import Tracker

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["Position", "Session"]

FINISHED = "finished"

CHECKPOINT_SECONDS = 15.0
"""Without `checkpoint_every`, the time that a crash may cost."""


@dataclass
class Position:
    """How far a run is; with the states of the parts it is all that a checkpoint holds."""

    stage: int = 0
    prepared: bool = False
    step: int = 0
    records: int = 0
    seconds: float = 0.0
    warned: bool = False
    stopped: str = FINISHED
    finished: bool = False


@dataclass
class Session:
    """What a fit works with; `run` carries it out."""

    model: Model
    stages: Sequence[Stage]
    stage_steps: Mapping[str, int]
    settings: Settings
    accelerator: Accelerator
    train: Points
    held: Points | None
    folder: RunFolder
    identity: Mapping[str, Any]
    checkpoint_every: int | None
    callbacks: Sequence[Callback | Alteration]
    tracker: Tracker | None
    progress: Progress
    position: Position = field(default_factory=Position)
    records: list[Record] = field(default_factory=list)

    def run(self, checkpoint: Checkpoint | None) -> History:
        """Go on from `checkpoint`, or begin; the history of the whole run."""
        if checkpoint is None:
            self.folder.clear()
        else:
            checkpoint.restore({"model": ModuleState(self.model)})
            self.position = Position(**checkpoint.facts["position"])
        self.records = self.folder.restore_history(self.position.records)
        self._written = time.perf_counter()
        self._started = self._written - self.position.seconds
        if not self.position.finished:
            while self.position.stage < len(self.stages):
                self._run_stage(self.stages[self.position.stage], checkpoint)
                checkpoint = None
            self._finish()
        return History(self.records, self.position.stopped, self.position.seconds)

    def _run_stage(self, stage: Stage, checkpoint: Checkpoint | None) -> None:
        """Transform, prepare, optimise and finish `stage`, or what is left of it after `checkpoint`."""
        self._seed("transform")
        train = apply(stage, self.train, self.model)
        held = None if self.held is None else apply(stage, self.held, self.model)
        if not self.position.prepared:
            self._seed("prepare")
            if stage.prepare is not None:
                stage.prepare(train.everything())
            self.model.to(self.accelerator.device)
            self.position.prepared = True
            checkpoint = None  # it was written before the stage was prepared, and would undo that
        if held is not None and stage.transform is None:
            held = self.held = self._answerable(held)
        if stage.objectives:
            work = Optimisation(
                self.model,
                stage,
                train,
                held,
                total=self.stage_steps[stage.name],
                settings=self.settings,
                accelerator=self.accelerator,
                place=self._place,
            )
            self._optimise(work, checkpoint)
        self._seed("finish")
        if stage.finish is not None:
            stage.finish(self._evaluation_points())
        if not stage.objectives:
            self._keep({"stage": stage.name, "step": 0})
        self.position.stage += 1
        self.position.prepared, self.position.step = False, 0
        self._write({"model": ModuleState(self.model)})

    def _optimise(self, work: Optimisation, checkpoint: Checkpoint | None) -> None:
        """Minimise the objectives of a stage, and leave in the model the weights to keep."""
        position, parts = self.position, work.parts()
        if checkpoint is None:
            self._write(parts)
        else:
            checkpoint.restore(parts)
        seen = work.interval * self.settings.batch_size
        self._seed("watch")
        watch = OverfittingWatch(self.model, dequantised(self.model, self._evaluation_points()), seen)
        self.progress.begin(work.stage.name)
        train_for(work.stage, self.model)
        with Interrupts() as interrupts:
            try:
                for step, terms in work.steps_from(position.step):
                    position.step = step
                    work.meter.add(terms)
                    self.progress.update(position.step, work.total, work.meter.last)
                    if position.step % work.interval == 0 or position.step == work.total:
                        self._evaluate(work, watch)
                    if self._checkpoint_is_due(work.interval) or interrupts.requested:
                        self._write(parts)
                    if interrupts.requested:
                        work.settle()
                        self.folder.write_model(self.model)
                        raise KeyboardInterrupt
                    if work.best.exhausted:
                        break
            except NotFinite as error:
                last, rise = work.meter.last, self._rise(work.stage)
                raise TrainingDiverged(
                    divergence_message(work.stage.name, position.step + 1, error, last, rise, self.settings)
                ) from error
            finally:
                self.model.eval()
                self.model.zero_grad(set_to_none=True)
        work.settle()
        if work.best.exhausted and position.step < work.total:
            stop = f"stage {work.stage.name!r} stopped early after {position.step} of {work.total} steps"
            position.stopped = stop if position.stopped == FINISHED else f"{position.stopped}; {stop}"

    def _evaluate(self, work: Optimisation, watch: OverfittingWatch) -> None:
        """Add a record of how the stage stands, with the weights that would be kept if it ended now."""
        step, stage = self.position.step, work.stage.name
        record: Record = {"stage": stage, "step": step, **work.training_terms()}
        record["learning_rate"] = self.settings.learning_rate_at(step - 1, work.total)
        self.model.eval()
        with work.average.in_place():
            record |= work.held_out_terms()
            if "held_out_loss" in record:
                work.best.consider(record["held_out_loss"])
            self._seed("watch")
            record |= watch.measure()
            self._seed("callbacks")
            for callback in self.callbacks:
                if callable(callback):
                    callback(Event(self.model, stage, step, record))
        alterations = [callback for callback in self.callbacks if isinstance(callback, Alteration)]
        if alterations and step < work.total:
            work.alter(alterations, Event(self.model, stage, step, record))
        train_for(work.stage, self.model)
        self._keep(record)
        rise = self._rise(work.stage)
        if rise is not None and not self.position.warned:
            self.position.warned = True
            text = f"in stage {stage!r}, step {step}: {rise}"
            warnings.warn(text, ManifoldOverfittingWarning, stacklevel=6)

    def _keep(self, record: Record) -> None:
        """Enter a record into the history, the folder and the tracker."""
        self.position.seconds = time.perf_counter() - self._started
        record["seconds"] = self.position.seconds
        plain = {k: v if isinstance(v, int | str) else float(v) for k, v in record.items()}
        self.records.append(plain)
        self.folder.append(plain)
        if self.tracker is not None:
            numbers = {f"{record['stage']}/{k}": float(v) for k, v in plain.items() if k not in ("stage", "step")}
            self.tracker.log(numbers, record["step"])

    def _rise(self, stage: Stage) -> Rise | None:
        return find_rise([record for record in self.records if record["stage"] == stage.name])

    def _finish(self) -> None:
        """Write the model, and then that the run is over."""
        self.folder.write_model(self.model)
        self.position.finished = True
        self.position.seconds = time.perf_counter() - self._started
        self._write({"model": ModuleState(self.model)})

    def _answerable(self, held: Points) -> Points | None:
        """Held-out points without those that the model refuses, having seen none like them in training."""
        on = torch.cat([accepted(self.model, x) for x in chunks(held)])
        if on.all():
            return held
        warnings.warn(
            f"{int((~on).sum())} of {len(on)} held-out points have levels that no training point has, about which "
            "the model has nothing to say: they are left out",
            stacklevel=5,
        )
        return held.take(on.nonzero()[:, 0]) if on.any() else None

    def _evaluation_points(self) -> torch.Tensor:
        """Held-out data, or the training data where nothing is held out."""
        return (self.train if self.held is None else self.held).everything()

    @property
    def _place(self) -> tuple[int | str, ...]:
        """Where randomness of the current stage comes from."""
        index = self.position.stage
        return self.settings.seed, index, self.stages[index].name

    def _seed(self, purpose: str) -> None:
        self.model.eval()
        seed_noise(self.accelerator.device, *self._place, purpose)

    def _checkpoint_is_due(self, interval: int) -> bool:
        step = self.position.step
        if self.checkpoint_every is not None:
            return step % self.checkpoint_every == 0
        return step % interval == 0 and time.perf_counter() - self._written > CHECKPOINT_SECONDS

    def _write(self, parts: Mapping[str, Stateful]) -> None:
        """Write a checkpoint."""
        self.position.records = len(self.records)
        self.position.seconds = time.perf_counter() - self._started
        self.folder.write_state(parts, {"identity": self.identity, "position": asdict(self.position)})
        self._written = time.perf_counter()
