"""Diffusion of images in their pixels and in the latents of an autoencoder, in equal time, and how their scores grow.

Both are told the classes; --only pixels or --only latents trains one of them. Of the data (by default those that are
installed, 8 x 8 digits; any source with labels with --data) a fifth is held out; the Frechet distance is between
classifier features of half of these and of as many samples of the same classes, beside that of the other half; "copies"
are samples within a tenth of the usual distance of new images to those of training. Each trains for --minutes by the
clock, which begins after a trial that tells what a step costs; the autoencoder of the latent one takes half of its
time. Sheets of samples, one row for each class, and, of both, the figure of score norms on the way from noise to data
(Loaiza-Ganem et al. 2024, arXiv 2404.02954, figure 8) go to --out.

On the CPU, one core, batches are such that there are steps enough. On another --device they are four times as large,
with half the learning rate (Karras et al. 2022, arXiv 2206.00364, table 7, has 1e-3, for batches of 512). --fast trains
and samples there in mixed precision (bf16), the network of pixels compiled. Its seven bits round strokes, of up to four
deviations, to 1/64, so that the network does not see noise below that: good for images, and not for the scores of
small noise, which is why the figure of score norms is left to single precision.

    python -m benchmarks images --minutes 3 --out images-report
    python -m benchmarks images --data t10k-images-idx3-ubyte.gz --minutes 4 --device cuda --only pixels --fast
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from submanifold import data as sources
from submanifold.checks import check_choice
from submanifold.data import Dataset
from submanifold.errors import InvalidInput
from submanifold.lens import score_norm_growth
from submanifold.lens.features import ClassifierFeatures, classifier_features
from submanifold.lens.quality import novelty
from submanifold.models import Diffusion, TwoStep, create
from submanifold.models.base import Model
from submanifold.neighbors import query
from submanifold.training import fit
from submanifold.training.hardware import acceleration
from submanifold.transport.gaussian import frechet

__all__ = ["run"]

LATENTS, STEPS = 16, 18
MOST = 1000
"""Held-out images, and samples, that are compared."""
MODELS = ("pixels", "latents")


@dataclass(frozen=True)
class Setup:
    """How models are trained on one kind of device."""

    batch: int
    rate: float
    ema: float
    trial: int
    """Steps by which the cost of one is told."""
    fast: bool = False
    """In mixed precision, with the network of pixels compiled."""


CORE = Setup(batch=64, rate=2e-3, ema=0.998, trial=10)
CARD = Setup(batch=256, rate=1e-3, ema=0.999, trial=50)


def run(
    data: str = "digits",
    minutes: float = 3.0,
    out: str = "images-report",
    device: str = "cpu",
    only: str | None = None,
    fast: bool = False,
) -> dict[str, list[dict[str, Any]]]:
    """Train both or one of them, and write sheets and, of both, the figure of score norms."""
    names = MODELS if only is None else (check_choice(only, MODELS, name="only"),)
    with acceleration("no", device) as accelerator:  # refuses a device that is not there
        on = accelerator.device
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    if on.type != "cpu":
        return _run(sources.load(data), names, 60 * minutes, folder, on, replace(CARD, fast=fast))
    if fast:
        raise InvalidInput("fast=True is not accepted on the CPU: name another device")
    with threadpool_limits(1):
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return _run(sources.load(data), names, 60 * minutes, folder, on, CORE)
        finally:
            torch.set_num_threads(threads)


def _run(
    whole: Dataset, names: tuple[str, ...], seconds: float, folder: Path, device: torch.device, setup: Setup
) -> dict[str, list[dict[str, Any]]]:
    train, held_out = whole.split(0.2, seed=0)
    held_out, spare = held_out.split(0.5, seed=0)
    held_out, spare = held_out.subsample(MOST), spare.subsample(MOST)
    features = classifier_features(train)
    assert train.labels is not None
    assert held_out.labels is not None
    classes = int(whole.labels.max()) + 1 if whole.labels is not None else 0
    labels = torch.as_tensor(held_out.labels)
    models: dict[str, Diffusion | TwoStep] = {}
    if "pixels" in names:
        models["pixels"] = _ambient(train.data_shape, classes)
    if "latents" in names:
        models["latents"] = _latent(train, classes)
    real, usual, rows = features(held_out), _to_training(held_out, train), []
    for name, model in models.items():
        if setup.fast and isinstance(model, Diffusion):
            model.network.compile()
        steps, took = _train(model, train, seconds, device, setup)
        _drawn(model, labels, setup)  # a first time, which compiles
        start = time.perf_counter()
        x = _drawn(model, labels, setup).flatten(1).double().numpy()
        sampling = time.perf_counter() - start
        rows.append(
            {
                "diffusion of": name,
                "parameters": sum(p.numel() for p in model.parameters()),
                "steps": steps,
                "minutes": took / 60,
                "Frechet": frechet(real, features(x)),
                "of their class": _agreement(x, labels, train, features),
                "copies": novelty(_to_training(x, train), usual)["copies"].value,
                "ms per sample": 1e3 * sampling / len(labels),
            }
        )
        _sheet(model, classes, train, folder / f"{name}.png", setup)
    rows.append(
        {
            "diffusion of": "other real images",
            "Frechet": frechet(real, features(spare)),
            "copies": novelty(_to_training(spare, train), usual)["copies"].value,
        }
    )
    tables = {"images": [dict.fromkeys(rows[0], "") | row for row in rows]}
    if len(models) == len(MODELS) and not setup.fast:
        growth = score_norm_growth(models["pixels"], models["latents"])
        figure = growth.figure()
        assert figure is not None
        figure.savefig(folder / "score-norms.png")
        tables["score norms"] = [{"score norms": key, "value": str(number)} for key, number in growth.numbers.items()]
    return tables


def _ambient(data_shape: tuple[int, ...], classes: int) -> Diffusion:
    torch.manual_seed(0)
    return Diffusion(data_shape, classes=classes)


def _latent(train: Dataset, classes: int) -> TwoStep:
    torch.manual_seed(0)
    autoencoder = create("adversarial-vae", train.data_shape, latent_dim=LATENTS)
    return TwoStep(autoencoder, Diffusion((LATENTS,), classes=classes), whiten=True)


def _train(model: Model, train: Dataset, seconds: float, device: torch.device, setup: Setup) -> tuple[str, float]:
    """Train for so many seconds by the clock, as steps that a trial tells; the steps of each stage, and what it took.

    The trainer reads the loss of each step, so that the clock does not run ahead of a card by more than one of them.
    """
    stages = [stage.name for stage in model.stages() if stage.objectives]
    options: dict[str, Any] = {
        "batch_size": setup.batch,
        "learning_rate": setup.rate,
        "ema": setup.ema,
        "device": device,
        "precision": "bf16" if setup.fast else "no",
        "progress": False,
    }
    begun = copy.deepcopy(model.state_dict())

    def seconds_of(stage: str, count: int) -> float:
        """On the model itself, since a copy would not be compiled."""
        steps = dict.fromkeys(stages, 1) | {stage: count}
        start = time.perf_counter()
        fit(model, train, steps=steps, evaluate_every=count, **options)  # as often, whatever the count
        took = time.perf_counter() - start
        model.load_state_dict(begun)
        return took

    cost = {}
    seconds_of(stages[0], 1)
    for stage in stages:
        short, long = (min(seconds_of(stage, count) for _ in range(2)) for count in (setup.trial, 3 * setup.trial))
        cost[stage] = max(long - short, 0.1 * long) / (2 * setup.trial)
    share = seconds / len(stages)
    steps = {stage: max(int(share / cost[stage]), 1) for stage in stages}
    start = time.perf_counter()
    fit(model, train, steps=steps, evaluate_every=max(max(steps.values()) // 4, 1), **options)
    return " + ".join(map(str, steps.values())), time.perf_counter() - start


def _to_training(X: Any, train: Dataset) -> NDArray[np.float64]:
    """Distances of points to the nearest training image, (n,)."""
    nearest: NDArray[np.float64] = query(train, X, 1).distances[:, 0]
    return nearest


def _agreement(x: NDArray[np.float64], labels: torch.Tensor, train: Dataset, features: ClassifierFeatures) -> float:
    """Share of samples whose ten nearest training images, in features, are mostly of the class that was asked for."""
    assert train.labels is not None
    graph = query(features(train), features(x), 10)
    votes = train.labels[graph.indices]
    found = np.array([np.bincount(row).argmax() for row in votes])
    return float((found == labels.numpy()).mean())


def _drawn(model: Diffusion | TwoStep, labels: torch.Tensor, setup: Setup) -> torch.Tensor:
    """A sample of each label, on the CPU."""
    generator = torch.Generator(model.device).manual_seed(0)
    with torch.autocast(model.device.type, torch.bfloat16, enabled=setup.fast):
        return model.sample(len(labels), labels=labels, generator=generator, steps=STEPS).float().cpu()


def _sheet(
    model: Diffusion | TwoStep, classes: int, train: Dataset, path: Path, setup: Setup, columns: int = 12
) -> None:
    """A row of samples for each class."""
    import matplotlib.image

    labels = torch.arange(classes).repeat_interleave(columns)
    _, height, width = train.data_shape
    tiles = _drawn(model, labels, setup)[:, 0].reshape(classes, columns, height, width).permute(0, 2, 1, 3)
    sheet = tiles.reshape(classes * height, columns * width).numpy()
    low, high = float(train.x.min()), float(train.x.max())
    enlarged = sheet.repeat(max(1, 32 // height), axis=0).repeat(max(1, 32 // height), axis=1)
    matplotlib.image.imsave(path, enlarged, cmap="gray_r", vmin=low, vmax=high)
