"""One model of the zoo on one kind of data: trained as the main job would, and measured."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from submanifold.data import Dataset, load
from submanifold.data.manifolds import manifold
from submanifold.dimension import estimate
from submanifold.errors import InvalidInput, UnfittedModel
from submanifold.lens import manifold_overfitting, sample_quality
from submanifold.lens.evidence import draw
from submanifold.lens.features import ClassifierFeatures, classifier_features
from submanifold.lens.quality import prdc
from submanifold.lens.recipes import recipe
from submanifold.models.base import Generator, Model
from submanifold.training import Event, History, fit
from submanifold.transport import circular_wasserstein, frechet, frechet_floor

__all__ = ["PARTS", "Digits", "Entry", "digits", "measure"]

Array = NDArray[np.float64]
Entry = dict[str, Any]

N, KAPPA = 2000, 1.0
"""Points on the circle, and the concentration of their von Mises law."""

BLOCKS = 4
"""So many times as many samples are drawn as there are points to compare with; figures are means over these blocks."""

EVALUATIONS = 20
"""Points of a learning curve."""

TRIAL = 20
"""Steps by which the cost of a step is told."""


class _UnsuitedError(Exception):
    """The model does not take data of this shape."""


@dataclass
class _OutOfTimeError(Exception):
    """Training took longer than its trial promised."""

    step: int


@dataclass
class _Watch:
    """Stops a training that is late, and records a figure of merit at every evaluation of the last stage."""

    stage: str
    most_seconds: float
    merit: Any = None
    curve: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0
    records: list[Mapping[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.started = time.perf_counter()

    def __call__(self, event: Event) -> None:
        self.records.append(dict(event.record))
        start = time.perf_counter()
        if self.merit is not None and event.stage == self.stage:
            with torch.no_grad(), suppress(UnfittedModel):  # a law of latents may be fitted in the end
                self.curve.append((event.step, self.merit(event.model)))
        self.seconds += time.perf_counter() - start
        if time.perf_counter() - self.started - self.seconds > self.most_seconds:
            raise _OutOfTimeError(event.step)


@dataclass(frozen=True)
class _Trained:
    model: Generator
    history: History
    facts: Entry


def _affordable(model: Model, data: Dataset, seconds: float, options: Mapping[str, Any]) -> int:
    """Steps of each stage that are done in so many seconds, by the time that a few of them take."""
    trial = copy.deepcopy(model)

    def took(steps: int) -> float:
        start = time.perf_counter()
        settings = {**options, "patience": None, "progress": False, "evaluate_every": steps}
        fit(trial, data, steps=steps, **settings)
        return time.perf_counter() - start

    took(2)  # what is loaded or allocated once
    begun, whole = took(2), took(2 + TRIAL)
    step = max(whole - begun, 0.1 * whole) / TRIAL
    return max(1, int(max(seconds - EVALUATIONS * begun, 0.5 * seconds) / step))


def _train(name: str, data: Dataset, latent_dim: int, *, seed: int, minutes: float, merit: Any = None) -> _Trained:
    """The model by its recipe, in at most so many minutes: fewer steps are taken where they are slow.

    Raises:
        _UnsuitedError: the model does not take such data.
    """
    plan = recipe(name)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = plan.build(data, latent_dim)
        model.receive(data.x[:1])
    except InvalidInput as error:
        raise _UnsuitedError(str(error)) from error
    stages = [stage.name for stage in model.stages() if stage.objectives]
    wanted = plan.steps_for(data) if stages else 1
    steps = min(wanted, _affordable(model, data, 60 * minutes, plan.options)) if stages else 1
    watch = _Watch(stages[-1] if stages else "", 90 * minutes, merit)
    done, late = steps, ""
    every = max(1, steps // EVALUATIONS)
    try:
        history = fit(
            model, data, steps=steps, seed=seed, evaluate_every=every, callbacks=[watch], progress=False, **plan.options
        )
    except _OutOfTimeError as error:
        done, late = error.step, f"out of time at step {error.step}"
        model.eval()
        history = History(list(watch.records), late, time.perf_counter() - watch.started)
    assert isinstance(model, Generator)
    facts = {
        "done": done,
        "steps_wanted": wanted,
        "stopped": late or history.stopped,
        "seconds": history.seconds - watch.seconds,
        "parameters": sum(p.numel() for p in model.parameters()),
        "loss": _losses(history),
        "merit": watch.curve,
    }
    return _Trained(model, history, facts)


def _losses(history: History) -> list[list[Any]]:
    """(stage, step, loss, held-out loss) of every evaluation that has them."""
    return [[r["stage"], r["step"], r.get("loss"), r.get("held_out_loss")] for r in history.records if "loss" in r]


def circle(name: str, *, seed: int, minutes: float) -> Entry:
    """A von Mises law on the circle in the plane: is the density on it learned, or only where it is?"""
    truth = manifold("circle", kappa=KAPPA)
    data = Dataset(truth.sample(N, seed=seed).astype(np.float32), "circle", manifold=truth)
    held_out = Dataset(truth.sample(N, seed=1000 + seed), "circle", manifold=truth)
    angles = [truth.angle(truth.sample(N, seed=2000 + 100 * seed + block)) for block in range(BLOCKS + 1)]

    def distance(model: Any) -> float:
        return circular_wasserstein(angles[0], truth.angle(draw(model, N, seed=seed)))

    trained = _train(name, data, 1, seed=seed, minutes=minutes, merit=distance)
    found = manifold_overfitting(trained.model, held_out, reference=data, history=trained.history, seed=seed)
    samples = draw(trained.model, BLOCKS * N, seed=seed)
    blocks = np.array_split(truth.angle(samples), BLOCKS)
    inside = found.numbers["inside_tube"].value
    lost = found.verdict == "healthy" and inside < 0.5  # right along the circle alone
    codimension = found.numbers.get("effective_codimension")
    return {
        "verdict": "off the circle" if lost else found.verdict,
        "standing": "unsure" if lost else found.standing,
        "codimension": None if codimension is None else codimension.value,
        "off": float(truth.distance(samples).mean()),
        "inside": inside,
        "w1": float(np.mean([circular_wasserstein(a, b) for a, b in zip(angles[1:], blocks, strict=True)])),
        "floor": float(np.mean([circular_wasserstein(a, b) for a, b in pairwise(angles)])),
        **trained.facts,
        "samples": np.round(samples[:600], 3).tolist(),
    }


@dataclass(frozen=True)
class Digits:
    """Handwritten digits in three parts: to train on, to measure with, and as many again to see what is possible."""

    train: Dataset
    held_out: Dataset
    spare: Dataset
    features: ClassifierFeatures
    latent_dim: int

    def compare(self, samples: Array) -> Entry:
        """The figures of samples (n, D), as many as there are held-out images."""
        real, drawn = self.features(self.held_out), self.features(samples)
        balls = prdc(real, drawn)
        return {
            "frechet": frechet(drawn, real),
            "precision": float(balls.precise.mean()),
            "recall": float(balls.recalled.mean()),
            "density": float(balls.density.mean()),
            "coverage": float(balls.covered.mean()),
        }

    def real(self) -> Entry:
        """The figures of real images that nothing was trained on, in place of samples."""
        both = self.features(np.concatenate([self.held_out.flat(), self.spare.flat()]))
        floor = frechet_floor(both, len(self.held_out), repeats=20)
        return {**self.compare(self.spare.flat().astype(float)), "frechet": floor.mean, "frechet_sd": floor.sd}


@cache
def digits(seed: int) -> Digits:
    """The digits split by `seed`: three fifths, a fifth and a fifth."""
    data = load("digits")
    order = np.random.default_rng(seed).permutation(len(data))  # they come sorted by who wrote them
    n = len(data) // 5
    held_out, spare, train = (data.take(rows) for rows in (order[:n], order[n : 2 * n], order[2 * n :]))
    dimension = estimate(train, seed=seed)
    return Digits(train, held_out, spare, classifier_features(train, seed=seed), max(1, dimension.rounded))


def images(name: str, *, seed: int, minutes: float) -> Entry:
    """Handwritten digits of 8 x 8 pixels: how good are the samples as samples?"""
    view = digits(seed)
    trained = _train(name, view.train, view.latent_dim, seed=seed, minutes=minutes)
    start = time.perf_counter()
    drawn = draw(trained.model, BLOCKS * len(view.held_out), seed=seed)
    sampling = time.perf_counter() - start
    blocks = [view.compare(block) for block in np.array_split(drawn, BLOCKS)]
    found = sample_quality(trained.model, view.held_out, reference=view.train, features=view.features, seed=seed)
    return {
        **{key: float(np.mean([block[key] for block in blocks])) for key in blocks[0]},
        "verdict": found.verdict,
        "standing": found.standing,
        "copies": found.numbers["copies"].value,
        **trained.facts,
        "sampling_seconds": sampling,
        "samples": np.round(drawn[:32], 1).tolist(),
    }


PARTS = {"circle": circle, "digits": images}


def measure(part: str, name: str, *, seed: int, minutes: float) -> Entry:
    """The entry of one model; "skipped" says why it does not take such data, "error" what went wrong."""
    about = {"part": part, "model": name, "seed": seed, "minutes": minutes}
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of manifold overfitting, which the verdict is about
            return about | PARTS[part](name, seed=seed, minutes=minutes)
    except _UnsuitedError as error:
        return about | {"skipped": str(error)}
    except Exception as error:
        return about | {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
    finally:
        torch.set_num_threads(before)
