r"""Do KANs learn manifolds, and densities on them, better than MLPs? In models of four families, on four kinds of data.

Nobody has said for generative models; for other tasks, that at equal parameters MLPs mostly win (Yu, Yu & Wang 2024,
arXiv 2407.16674). Every model is trained with MLPs of its usual widths and with KANs of as many parameters: once for as
many steps, and once for as much time, of which a step of each says what it takes. W_1 between samples and data is
compared, exactly, or the Frechet distance of classifier features on images; that of a model with KANs is divided by
that of the same seed with MLPs. A model on a data set is decided where the 95% interval of the mean logarithm of this
ratio over seeds (Student's t) leaves out 0, and so is the mean over all of them. Whatever comes out is the answer.
"""

from __future__ import annotations

import copy
import itertools
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t as student

from submanifold import data as sources
from submanifold.data import Dataset
from submanifold.errors import InvalidInput
from submanifold.lens.features import classifier_features
from submanifold.models import create
from submanifold.models.base import Model
from submanifold.reproduce import jobs
from submanifold.reproduce.outcome import Claim, Outcome
from submanifold.training import fit
from submanifold.transport import wasserstein
from submanifold.transport.gaussian import frechet

__all__ = ["run"]

Array = NDArray[np.float64]
Distance = Callable[[Array], float]

N, N_COMPARED, BATCH, RATE = 4000, 1000, 128, 2e-3
DATA: Mapping[str, tuple[str, dict[str, Any], int]] = {
    "circle": ("circle", {"kappa": 1.0}, 1),
    "coil": ("M5a_Helix1d", {}, 1),
    "torus in R^10": ("torus", {"ambient_dim": 10}, 2),
    "digits": ("digits", {}, 9),
}
"""A smooth curve, one with eight windings, a surface in many coordinates, and images: where they are from, and how many
latents models have."""
IMAGE_LATENTS = 16
"""Latents of models of other images."""
MODELS: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "vae": ("vae", (64, 64)),
    "flow": ("flow", (64, 64)),
    "two-step": ("two-step", (64, 64)),
    "diffusion": ("diffusion", (64, 64, 64)),
}
"""The name and the widths of MLPs."""
BUDGETS = {"equal parameters and steps": "kan", "equal parameters and time": "kan in equal time"}
"""What is equal, and which KANs are then compared with the MLPs."""


def run(
    seeds: int = 5,
    steps: int = 1500,
    data: Sequence[str] = tuple(DATA),
    models: Sequence[str] = tuple(MODELS),
    folder: str | os.PathLike[str] | None = None,
) -> Outcome:
    """Train all of them, `seeds` times each; an hour and a half on two cores by default.

    Args:
        data: names in `DATA`, or sources of images with labels, such as a file of MNIST.
        folder: where parts are kept, from which a later call goes on.
    """
    start = time.perf_counter()
    parts = [(name, model, seed, steps) for name, seed, model in itertools.product(data, range(seeds), models)]
    rows = [row for part in jobs.done(_compared, parts, folder) for row in part]
    cells = [_cell(rows, name, model, budget) for budget in BUDGETS for name in data for model in models]
    claims = []
    for budget in BUDGETS:
        ratios = [_log_ratios(rows, name, model, budget) for name in data for model in models]
        claims.append(_claim(budget, [cell for cell in cells if cell["budget"] == budget], np.array(ratios)))
    return Outcome("kan-models", claims, [*cells, *rows], time.perf_counter() - start)


def _compared(name: str, model: str, seed: int, steps: int) -> list[dict[str, Any]]:
    """How one model with MLPs and with KANs does on one data set."""
    train, distance = _data(name, seed)
    latent_dim = _origin(name)[2]
    shape, (_, hidden) = train.data_shape, MODELS[model]
    widths = {"mlp": hidden, "kan": _widths_of_equal_size(model, shape, latent_dim)}
    took = {kind: _seconds_per_step(_make(model, shape, latent_dim, kind, widths[kind]), train) for kind in widths}
    fewer = max(1, round(steps * took["mlp"] / took["kan"]))
    rows = []
    for network, count in (("mlp", steps), ("kan", steps), ("kan in equal time", fewer)):
        kind = network.split()[0]
        torch.manual_seed(seed)
        one = _make(model, shape, latent_dim, kind, widths[kind])
        fit(one, train, steps=count, batch_size=BATCH, learning_rate=RATE, ema=0.99, seed=seed, progress=False)
        drawn = one.sample(N_COMPARED, generator=torch.Generator().manual_seed(seed))  # type: ignore[operator]
        rows.append(
            {
                "data": name,
                "model": model,
                "network": network,
                "seed": seed,
                "parameters": _count(one),
                "steps": count,
                "ms per step": 1e3 * took[kind],
                "distance": distance(drawn.flatten(1).double().numpy()),
            }
        )
    return rows


def _origin(name: str) -> tuple[str, dict[str, Any], int]:
    """As in `DATA`, of images too that are not there."""
    return DATA.get(name, (name, {}, IMAGE_LATENTS))


def _data(name: str, seed: int) -> tuple[Dataset, Distance]:
    """Points to train on, and how far samples, (n, D), are from others of their law."""
    source, options, _ = _origin(name)
    if name == "digits" or name not in DATA:
        images = sources.load(source)
        if images.labels is None:
            raise InvalidInput(f"data={name!r} has no labels, which the distance between images is told by")
        train, held_out = images.split(0.3, seed=seed)
        features = classifier_features(train)
        real = features(held_out)
        return train, lambda x: frechet(real, features(x))
    train, test = (sources.load(source, n=n, seed=at, **options) for n, at in ((N, seed), (N_COMPARED, 10_000 + seed)))
    return train, lambda x: wasserstein(test.x, x)


def _make(model: str, shape: Sequence[int], latent_dim: int, network: str, hidden: Sequence[int]) -> Model:
    name = MODELS[model][0]
    arguments: dict[str, Any] = {} if name in ("flow", "diffusion") else {"latent_dim": latent_dim}
    made: Model = create(name, shape, network=network, hidden=tuple(hidden), **arguments)
    return made


def _widths_of_equal_size(model: str, shape: Sequence[int], latent_dim: int) -> tuple[int, ...]:
    """Widths of KANs, all equal, with the number of parameters nearest to that with MLPs."""
    hidden = MODELS[model][1]
    wanted = _count(_make(model, shape, latent_dim, "mlp", hidden))

    def off(width: int) -> int:
        return abs(_count(_make(model, shape, latent_dim, "kan", len(hidden) * (width,))) - wanted)

    return len(hidden) * (min(range(2, hidden[0]), key=off),)


def _count(model: Model) -> int:
    return sum(p.numel() for p in model.parameters())


def _seconds_per_step(model: Model, train: Dataset) -> float:
    """Processor time, of the steps that a longer of two fits has more; the least of three."""

    def seconds(steps: int) -> float:
        start = time.process_time()
        fit(
            copy.deepcopy(model),
            train,
            steps=steps,
            batch_size=BATCH,
            held_out=0.0,
            evaluate_every=steps,
            progress=False,
        )
        return time.process_time() - start

    seconds(1)
    return min(max(seconds(40) - seconds(10), 1e-4) / 30 for _ in range(3))


def _log_ratios(rows: Sequence[Mapping[str, Any]], data: str, model: str, budget: str) -> Array:
    """By what factors KANs change the distance, one for each seed, their logarithms, (seeds,)."""
    network = BUDGETS[budget]
    found = {(row["network"], row["seed"]): row for row in rows if (row["data"], row["model"]) == (data, model)}
    seeds = sorted({seed for _, seed in found})
    return np.log([found[network, seed]["distance"] / found["mlp", seed]["distance"] for seed in seeds])


def _factor(log_ratios: Array) -> dict[str, Any]:
    """The mean factor over seeds with its interval, and which networks are the better by it."""
    seeds = len(log_ratios)
    error = log_ratios.std(ddof=1) / math.sqrt(seeds) if seeds > 1 else math.inf
    reach = float(student.ppf(0.975, max(seeds - 1, 1))) * error
    low, high = float(np.exp(log_ratios.mean() - reach)), float(np.exp(log_ratios.mean() + reach))
    return {
        "ratio": float(np.exp(log_ratios.mean())),
        "low": low,
        "high": high if math.isfinite(high) else None,
        "better": "KAN" if high < 1 else "MLP" if low > 1 else "neither",
    }


def _cell(rows: Sequence[Mapping[str, Any]], data: str, model: str, budget: str) -> dict[str, Any]:
    """How the two kinds of networks compare in one model on one data set."""
    own = [row for row in rows if (row["data"], row["model"]) == (data, model)]
    kinds = {"mlp": "mlp", "kan": BUDGETS[budget]}
    return {
        "budget": budget,
        "data": data,
        "model": model,
        **{k: float(np.mean([row["distance"] for row in own if row["network"] == kind])) for k, kind in kinds.items()},
        **_factor(_log_ratios(rows, data, model, budget)),
    }


def _claim(budget: str, cells: Sequence[Mapping[str, Any]], log_ratios: Array) -> Claim:
    """Of the ratios in all cells, (cells, seeds)."""
    whole = _factor(log_ratios.mean(axis=0))
    answer, reach = "one seed cannot say", ""
    if whole["high"] is not None:
        answer = {"KAN": "KANs", "MLP": "MLPs", "neither": "neither"}[whole["better"]]
        reach = f" [{whole['low']:.2f}, {whole['high']:.2f}]"
    won = {
        name: [f"{c['model']} on {os.path.basename(c['data'])}" for c in cells if c["better"] == name]
        for name in ("KAN", "MLP")
    }
    told = "; ".join(
        f"{name}s are better in {len(own)} of {len(cells)}" + (f" ({', '.join(own)})" if own else "")
        for name, own in won.items()
    )
    return Claim(
        f"which of KANs and MLPs learn laws better at {budget}",
        f"{answer}: distances with KANs are {whole['ratio']:.2f}{reach} times those with MLPs, in the geometric mean; "
        f"{told}",
        "told, not asked",
        True,
    )
