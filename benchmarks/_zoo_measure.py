"""One model of the zoo on one kind of data: trained as the main job would (`_zoo_training`), and measured."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks._zoo_training import OutOfTimeError, UnsuitedError, train
from submanifold.data import Dataset, load
from submanifold.data.manifolds import manifold
from submanifold.dimension import estimate
from submanifold.lens import manifold_overfitting, sample_quality
from submanifold.lens.evidence import draw
from submanifold.lens.features import ClassifierFeatures, classifier_features
from submanifold.lens.quality import prdc
from submanifold.models.base import Generator
from submanifold.models.catalogue import describe
from submanifold.transport import circular_wasserstein, frechet, frechet_floor

__all__ = ["PARTS", "Digits", "Entry", "digits", "measure", "samplers"]

Array = NDArray[np.float64]
Entry = dict[str, Any]

N, KAPPA = 2000, 1.0
"""Points on the circle, and the concentration of their von Mises law."""

BLOCKS = 4
"""So many times as many samples are drawn as there are points to compare with; figures are means over these blocks."""


def samplers() -> list[str]:
    """The models that can be measured: those that sample."""
    return [entry.name for entry in describe() if "sample" in entry.capabilities]


def circle(name: str, *, seed: int, minutes: float) -> Entry:
    """A von Mises law on the circle in the plane: is the density on it learned, or only where it is?"""
    truth = manifold("circle", kappa=KAPPA)
    data = Dataset(truth.sample(N, seed=seed).astype(np.float32), "circle", manifold=truth)
    held_out = Dataset(truth.sample(N, seed=1000 + seed), "circle", manifold=truth)
    angles = [truth.angle(truth.sample(N, seed=2000 + 100 * seed + block)) for block in range(BLOCKS + 1)]

    def distance(model: Any) -> float:
        return float(circular_wasserstein(angles[0], truth.angle(draw(model, N, seed=seed))))

    trained = train(name, data, 1, seed=seed, minutes=minutes, merit=distance)
    found = manifold_overfitting(trained.model, held_out, reference=data, history=trained.history, seed=seed)
    samples, sampling = _sample(trained.model, BLOCKS * N, seed)
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
        "sampling": sampling,
        "samples": np.round(samples[:600], 3).tolist(),
    }


def _sample(model: Generator, n: int, seed: int) -> tuple[Array, float]:
    """Samples (n, D), and the seconds that a thousand of them take."""
    start = time.perf_counter()
    samples = draw(model, n, seed=seed)
    return samples, 1000 * (time.perf_counter() - start) / n


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
    trained = train(name, view.train, view.latent_dim, seed=seed, minutes=minutes)
    drawn, sampling = _sample(trained.model, BLOCKS * len(view.held_out), seed)
    blocks = [view.compare(block) for block in np.array_split(drawn, BLOCKS)]
    found = sample_quality(trained.model, view.held_out, reference=view.train, features=view.features, seed=seed)
    return {
        **{key: float(np.mean([block[key] for block in blocks])) for key in blocks[0]},
        "verdict": found.verdict,
        "standing": found.standing,
        "copies": found.numbers["copies"].value,
        **trained.facts,
        "sampling": sampling,
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
    except UnsuitedError as error:
        return about | {"skipped": str(error)}
    except OutOfTimeError as error:
        return about | {"error": str(error)}
    except Exception as error:
        return about | {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
    finally:
        torch.set_num_threads(before)
