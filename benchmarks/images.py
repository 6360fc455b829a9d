"""Diffusion of images in their pixels and in the latents of an autoencoder, in equal time, and how their scores grow.

Both are told the classes. Of the data (by default those that are installed, 8 x 8 digits; any source with labels with
--data) a fifth is held out; the Frechet distance is between classifier features of half of these and of as many samples
of the same classes, beside that of the other half. Each trains for --minutes on one core: a trial tells what a step
costs, the autoencoder of the latent one takes half of its time. Sheets of samples, one row for each class, and the
figure of score norms on the way from noise to data (Loaiza-Ganem et al. 2024, arXiv 2404.02954, figure 8) go to --out.

    python -m benchmarks images --minutes 3 --out images-report
    python -m benchmarks images --data t10k-images-idx3-ubyte.gz --minutes 10 --out images-report
"""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from submanifold import data as sources
from submanifold.data import Dataset
from submanifold.lens import score_norm_growth
from submanifold.lens.features import ClassifierFeatures, classifier_features
from submanifold.models import Diffusion, TwoStep, create
from submanifold.models.base import Model
from submanifold.neighbors import query
from submanifold.training import fit
from submanifold.transport.gaussian import frechet

__all__ = ["run"]

LATENTS, BATCH, RATE, EMA, STEPS = 16, 64, 2e-3, 0.998, 18
MOST = 1000
"""Held-out images, and samples, that are compared."""
TRIAL = 10
"""Steps by which the cost of one is told."""


def run(data: str = "digits", minutes: float = 3.0, out: str = "images-report") -> dict[str, list[dict[str, Any]]]:
    """Train both, and write their sheets and the figure of score norms."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with threadpool_limits(1):
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return _run(sources.load(data), 60 * minutes, folder)
        finally:
            torch.set_num_threads(threads)


def _run(whole: Dataset, seconds: float, folder: Path) -> dict[str, list[dict[str, Any]]]:
    train, held_out = whole.split(0.2, seed=0)
    held_out, spare = held_out.split(0.5, seed=0)
    held_out, spare = held_out.subsample(MOST), spare.subsample(MOST)
    features = classifier_features(train)
    assert train.labels is not None
    assert held_out.labels is not None
    classes = int(whole.labels.max()) + 1 if whole.labels is not None else 0
    labels = torch.as_tensor(held_out.labels)
    models: dict[str, Diffusion | TwoStep] = {
        "pixels": _ambient(train.data_shape, classes),
        "latents": _latent(train, classes),
    }
    real, rows = features(held_out), []
    for name, model in models.items():
        took = _train(model, train, seconds)
        start = time.perf_counter()
        drawn = model.sample(len(labels), labels=labels, generator=torch.Generator().manual_seed(0), steps=STEPS)
        x = drawn.flatten(1).double().numpy()
        rows.append(
            {
                "diffusion of": name,
                "parameters": sum(p.numel() for p in model.parameters()),
                "minutes": took / 60,
                "Frechet": frechet(real, features(x)),
                "of their class": _agreement(x, labels, train, features),
                "ms per sample": 1e3 * (time.perf_counter() - start) / len(labels),
            }
        )
        _sheet(model, classes, train, folder / f"{name}.png")
    rows.append({"diffusion of": "other real images", "Frechet": frechet(real, features(spare))})
    growth = score_norm_growth(models["pixels"], models["latents"])
    figure = growth.figure()
    assert figure is not None
    figure.savefig(folder / "score-norms.png")
    numbers = [{"score norms": key, "value": str(number)} for key, number in growth.numbers.items()]
    return {"images": [dict.fromkeys(rows[0], "") | row for row in rows], "score norms": numbers}


def _ambient(data_shape: tuple[int, ...], classes: int) -> Diffusion:
    torch.manual_seed(0)
    return Diffusion(data_shape, classes=classes)


def _latent(train: Dataset, classes: int) -> TwoStep:
    torch.manual_seed(0)
    autoencoder = create("adversarial-vae", train.data_shape, latent_dim=LATENTS)
    return TwoStep(autoencoder, Diffusion((LATENTS,), classes=classes), whiten=True)


def _train(model: Model, train: Dataset, seconds: float) -> float:
    """Train for so many seconds by the clock, as steps that a trial tells; what it took."""
    stages = [stage.name for stage in model.stages() if stage.objectives]
    options: dict[str, Any] = {"batch_size": BATCH, "learning_rate": RATE, "progress": False}

    def seconds_of(stage: str, count: int) -> float:
        start = time.perf_counter()
        fit(copy.deepcopy(model), train, steps=dict.fromkeys(stages, 1) | {stage: count}, **options)
        return time.perf_counter() - start

    cost = {}
    for stage in stages:
        short, long = (min(seconds_of(stage, count) for _ in range(2)) for count in (TRIAL, 3 * TRIAL))
        cost[stage] = max(long - short, 0.1 * long) / (2 * TRIAL)
    share = seconds / len(stages)
    steps = {stage: max(int(share / cost[stage]), 1) for stage in stages}
    start = time.perf_counter()
    fit(model, train, steps=steps, ema=EMA, evaluate_every=max(max(steps.values()) // 4, 1), **options)
    return time.perf_counter() - start


def _agreement(x: NDArray[np.float64], labels: torch.Tensor, train: Dataset, features: ClassifierFeatures) -> float:
    """Share of samples whose ten nearest training images, in features, are mostly of the class that was asked for."""
    assert train.labels is not None
    graph = query(features(train), features(x), 10)
    votes = train.labels[graph.indices]
    found = np.array([np.bincount(row).argmax() for row in votes])
    return float((found == labels.numpy()).mean())


def _sheet(model: Model, classes: int, train: Dataset, path: Path, columns: int = 12) -> None:
    """A row of samples for each class."""
    import matplotlib.image

    labels = torch.arange(classes).repeat_interleave(columns)
    sample: Any = model.sample
    drawn = sample(len(labels), labels=labels, generator=torch.Generator().manual_seed(1), steps=STEPS)
    _, height, width = train.data_shape
    tiles = drawn[:, 0].reshape(classes, columns, height, width).permute(0, 2, 1, 3)
    sheet = tiles.reshape(classes * height, columns * width).numpy()
    low, high = float(train.x.min()), float(train.x.max())
    enlarged = sheet.repeat(max(1, 32 // height), axis=0).repeat(max(1, 32 // height), axis=1)
    matplotlib.image.imsave(path, enlarged, cmap="gray_r", vmin=low, vmax=high)
