"""Fitting a model: its stages in order, each transformed, prepared, optimised and finished."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from submanifold.checks import check_int, check_real
from submanifold.errors import InvalidInput
from submanifold.models.base import Model, Stage
from submanifold.models.persistence import configuration
from submanifold.training.events import Alteration, Callback
from submanifold.training.folder import RunFolder
from submanifold.training.hardware import acceleration
from submanifold.training.history import History
from submanifold.training.progress import Progress
from submanifold.training.seeds import own_randomness
from submanifold.training.session import Session
from submanifold.training.settings import Settings, describe_alterations, describe_model
from submanifold.training.source import Points, fingerprint, open_points, split
from submanifold.training.tracking import Tracker, open_tracker

__all__ = ["fit"]


def fit(
    model: Model,
    X: Any,
    *,
    steps: int | Mapping[str, int] = 2000,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.0,
    schedule: str = "cosine",
    clip: float | None = 10.0,
    ema: float | None = None,
    held_out: Any = 0.1,
    evaluate_every: int | None = None,
    patience: int | None = None,
    precision: str = "no",
    seed: int = 0,
    run: str | os.PathLike[str] | None = None,
    resume: bool = True,
    checkpoint_every: int | None = None,
    device: str | torch.device | None = None,
    progress: bool | None = None,
    callbacks: Sequence[Callback | Alteration] = (),
    tracker: str | Tracker | None = None,
) -> History:
    """Fit `model` to `X`, in place.

    Each stage of the model minimises its objectives by AdamW (Loshchilov, Hutter 2019, arXiv 1711.05101). The same seed
    gives the same weights, bit for bit on the CPU of one machine, also when the run was killed and resumed in
    between. The caller's random generators are left as they were; the model ends up in evaluation mode, on the
    device it was trained on.

    Args:
        model: any `submanifold.models.Model`.
        X: the data, (n, *data_shape): an array, a tensor or a `Dataset`. A memory map larger than a quarter of the free
            memory is read batch by batch.
        steps: steps of each stage, or a mapping from the names of the stages.
        batch_size: points per step, over all processes.
        learning_rate: at its peak.
        weight_decay: the decoupled decay of AdamW.
        schedule: "cosine" lets the learning rate fall to zero over each stage, "constant" does not.
        clip: gradients longer than this (in the 2-norm) are shortened to it; None leaves them.
        ema: decay of the moving average of the weights that is kept in the end, such as 0.999; None keeps the last.
        held_out: the share of the data that is kept from training, 0 for none, or held-out data.
        evaluate_every: steps between evaluations, of which the last step of a stage is always one; by default there are
            forty per stage, ten or more steps apart.
        patience: stop a stage when the held-out loss (of the first objective) has not improved for so many
            evaluations, and keep the weights of the best.
        precision: "no" for float32, or "bf16" and "fp16" for mixed precision.
        seed: decides batches, noise and the split; the model's initial weights are the caller's.
        run: a folder for the model, the history and the state of training; made if it is missing.
        resume: go on with what is in `run`; False starts over.
        checkpoint_every: steps between checkpoints; by default every evaluation that is 15 seconds or more
            after the last one.
        device: such as "cpu" or "cuda:1"; the best there is by default.
        progress: show a bar; by default on a terminal, for what takes over two seconds.
        callbacks: called with an `Event` at every evaluation; an `Alteration` changes the model then, such as
            `submanifold.nn.kan.GridSchedule` the grids of its splines.
        tracker: "tensorboard", or an object with `log(values, step)`.

    Returns:
        The history, one record per evaluation.

    Raises:
        InvalidInput: an argument cannot be used, `run` cannot be written to or is the run of other data,
            another model, other settings or other alterations; nothing was changed.
        TrainingDiverged: a loss or a gradient is not finite; the model has the weights from before that step; where
            objectives take turns, those that had theirs in it have moved.
        KeyboardInterrupt: on Ctrl-C, after the step under way and its checkpoint.
    """
    if not isinstance(model, Model):
        raise InvalidInput(f"model={model!r} is not accepted: give a submanifold.models.Model")
    settings = Settings(
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        schedule=schedule,
        clip=clip,
        ema=ema,
        evaluate_every=evaluate_every,
        patience=patience,
        precision=precision,
        seed=seed,
    )
    stages = model.stages()
    stage_steps = settings.stage_steps(stages)
    if checkpoint_every is not None:
        check_int(checkpoint_every, name="checkpoint_every")
    with acceleration(precision, device) as accelerator, own_randomness(accelerator.device):
        train, held = _open_split(model, X, held_out, accelerator.device, seed)
        _require_labels(stages, X=train, held_out=held)
        if patience is not None and held is None:
            raise InvalidInput(f"patience={patience} needs held-out data: give held_out > 0")
        folder = RunFolder(run, main=accelerator.is_main_process)
        if run is not None:
            configuration(model)  # refuses now what could not be saved in the end
        identity = {
            "settings": {**asdict(settings), "processes": accelerator.num_processes},
            "model": describe_model(model),
            "alteration": describe_alterations(callbacks),
            "data": [fingerprint(X), held_out if held is None or _is_share(held_out) else fingerprint(held_out)],
        }
        identity = json.loads(json.dumps(identity))
        checkpoint = folder.read(identity) if resume else None
        accelerator.wait_for_everyone()
        main = accelerator.is_main_process
        with (
            Progress(progress if main else False) as display,
            open_tracker(tracker if main else None, folder.path) as sink,
        ):
            session = Session(
                model=model.to(accelerator.device),
                stages=stages,
                stage_steps=stage_steps,
                settings=settings,
                accelerator=accelerator,
                train=train,
                held=held,
                folder=folder,
                identity=identity,
                checkpoint_every=checkpoint_every,
                callbacks=callbacks,
                tracker=sink,
                progress=display,
            )
            try:
                return session.run(checkpoint)
            finally:
                model.eval()


def _is_share(held_out: Any) -> bool:
    return held_out is None or isinstance(held_out, int | float)


def _open_split(model: Model, X: Any, held_out: Any, device: torch.device, seed: int) -> tuple[Points, Points | None]:
    """Training and held-out points."""
    points = open_points(X, model.data_shape, device, model.dtype)
    if not _is_share(held_out):
        held = open_points(held_out, model.data_shape, device, model.dtype, name="held_out")
        return _require(points, 1, "X"), _require(held, 1, "held_out")
    if not held_out:
        return _require(points, 1, "X"), None
    check_real(held_out, name="held_out", high=0.9)
    return split(_require(points, 2, "X"), held_out, seed)


def _require_labels(stages: Sequence[Stage], **given: Points | None) -> None:
    """Refuse data without labels where a loss asks for them."""
    if not any(objective.labelled for stage in stages for objective in stage.objectives):
        return
    for name, points in given.items():
        if points is not None and points.labels is None:
            raise InvalidInput(
                f"{name} has no labels and the model has classes: give a submanifold.data.Dataset with labels, or a "
                "model without classes"
            )


def _require(points: Points, least: int, name: str) -> Points:
    if len(points) < least:
        raise InvalidInput(f"{name} holds {len(points)} points: give at least {least}")
    return points
