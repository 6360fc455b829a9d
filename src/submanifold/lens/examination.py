"""The main job: look at data through the manifold lens, train models, and say what each has learned."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch

import submanifold
from submanifold.checks import check_int, check_matrix
from submanifold.data import Dataset, load
from submanifold.dimension import DimensionEstimate, estimate
from submanifold.errors import InvalidInput
from submanifold.lens.audit import autoencoder_audit
from submanifold.lens.bound import wasserstein_bound
from submanifold.lens.evidence import (
    Array,
    ManifoldErrors,
    Setting,
    draw,
    manifold_errors,
    setting,
)
from submanifold.lens.finding import Finding
from submanifold.lens.mending import repair
from submanifold.lens.outcome import Cell, ModelCard, Panel, Report
from submanifold.lens.overfitting import manifold_overfitting
from submanifold.lens.panels import clouds, samples_figure, training_figure
from submanifold.lens.quality import sample_quality
from submanifold.lens.recipes import recipe
from submanifold.lens.words import headline
from submanifold.models.base import Density, EncoderDecoder, Factored, Generator, LatentLaw, Model
from submanifold.training import Event, fit
from submanifold.transport import sliced_wasserstein

__all__ = ["examine"]


@dataclass
class _Clock:
    """Wall-clock seconds by part."""

    seconds: dict[str, float] = field(default_factory=dict)
    announce: bool = False

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        if self.announce:
            from rich.console import Console

            Console(stderr=True).print(f"[bold]{name}[/bold]")
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


@dataclass
class _QualityWatch:
    """Records the likelihood and the distance along the manifold while a model trains."""

    data: Setting
    records: list[dict[str, Any]] = field(default_factory=list)
    size: int = 400

    def __post_init__(self) -> None:
        self.target = self.data.manifold.project(self.data.x[: self.size]).points

    @property
    def floor(self) -> float:
        """The distance of training data to the same held-out data, at the same size."""
        known = check_matrix(self.data.known)[: self.size]
        return float(sliced_wasserstein(self.data.manifold.project(known).points, self.target))

    def __call__(self, event: Event) -> None:
        model = event.model
        if not isinstance(model, Density) or model.measure != "ambient":
            return
        if "log_likelihood" not in event.record:
            with torch.no_grad():
                held_out = model.receive(self.data.held_out.x[:256])  # type: ignore[attr-defined]
                event.record["log_likelihood"] = float(model.log_prob(held_out).mean())
        samples = draw(model, len(self.target), seed=0)  # type: ignore[arg-type]
        along = self.data.manifold.project(samples).points
        event.record["along_manifold_w1"] = float(sliced_wasserstein(along, self.target))
        self.records.append(dict(event.record))


def examine(
    X: Any,
    models: Sequence[str] | Mapping[str, Model] = ("vae", "flow", "two-step"),
    *,
    latent_dim: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    limit: int | None = None,
    progress: bool = True,
) -> Report:
    """Measure the intrinsic dimension of X, fit models to it, and report what each has learned.

    A fifth of the data is held out; every figure about a model is measured on it. A model that turns out to overfit the
    manifold, or any VAE, is repaired as well, and the repaired model is examined like the others.

    Args:
        X: data, or anything `submanifold.data.load` understands.
        models: names (recipes of this job or any model of the registry), or fitted models by name, which are not
            trained: then all of X is taken to be new to them, and one half of it serves as reference.
        latent_dim: latents of autoencoders; the estimated intrinsic dimension, rounded, where not given.
        steps: training steps of every stage, in place of the recipes'.
        seed: of splits, training and samples.
        limit: use at most so many points, drawn at random.
        progress: show what is being done.

    Raises:
        InvalidInput: for unusable data, fewer than 100 points, or unknown names.
    """
    data = X if isinstance(X, Dataset) else load(X)
    if limit is not None:
        data = data.subsample(check_int(limit, name="limit", low=100), seed=seed)
    if len(data) < 100:
        raise InvalidInput(f"X holds {len(data)} points: give at least 100 to train on and to hold out")
    check_matrix(data)
    clock = _Clock(announce=progress)
    train, held_out = data.split(0.2, seed=seed)
    with clock.part("intrinsic dimension"):
        dimension = estimate(train, labels=train.labels, seed=seed)
        view = setting(held_out, train, dim=dimension.dimension, seed=seed)
    latent = latent_dim if latent_dim is not None else _latent_dim(dimension, data)

    trained, curves, floor, facts = {}, {}, 0.0, {}
    if isinstance(models, Mapping):
        trained = dict(models)
    else:
        for name in models:
            plan = recipe(name)
            with clock.part(f"training {name}"):
                watch = _QualityWatch(view)
                torch.manual_seed(seed)
                model = plan.build(data, latent)
                history = fit(
                    model,
                    train,
                    steps=plan.steps if steps is None else steps,
                    seed=seed,
                    evaluate_every=max(1, _longest(plan.steps if steps is None else steps) // 20),
                    patience=5,
                    callbacks=[watch],
                    progress=progress,
                )
            trained[name], facts[name] = (
                model,
                {"trained": plan.description, "seconds": round(history.seconds, 1)},
            )
            if watch.records:
                curves[name], floor = watch.records, watch.floor

    cards: list[ModelCard] = []
    samples: dict[str, Array] = {}
    for name, model in trained.items():
        with clock.part(f"examining {name}"):
            card, samples[name] = _card(name, model, view, facts.get(name, {}), seed=seed)
            cards.append(card)
        mended = _repair_if_due(card, model, view, seed=seed, clock=clock)
        if mended is not None:
            cards[-1] = replace(card, findings=[*card.findings, mended])
            new = f"{name} repaired"
            with clock.part(f"examining {new}"):
                about = {"trained": f"{name} with its decoder kept and the law of its latents refitted"}
                card, samples[new] = _card(new, mended.model, view, about, seed=seed)
                cards.append(card)
    return _report(
        data,
        dimension,
        cards,
        samples,
        curves,
        floor,
        clock,
        _settings(models, latent, steps, seed, limit),
    )


def _latent_dim(dimension: DimensionEstimate, data: Dataset) -> int:
    return int(min(max(1, dimension.rounded), data.ambient_dim - 1))


def _longest(steps: int | Mapping[str, int]) -> int:
    return steps if isinstance(steps, int) else max(steps.values())


def _card(name: str, model: Model, view: Setting, facts: Mapping[str, Any], *, seed: int) -> tuple[ModelCard, Array]:
    """Every diagnostic that the model's capabilities allow."""
    if not isinstance(model, Generator):
        raise InvalidInput(f"models[{name!r}] cannot sample: give models with a sample method")
    samples = draw(model, max(len(view.x), 1500), seed=seed)
    errors = manifold_errors(samples, view.x, view.manifold, seed=seed)
    findings = [
        manifold_overfitting(model, view, seed=seed),
        sample_quality(model, view, seed=seed),
    ]
    if isinstance(model, EncoderDecoder):
        findings.append(autoencoder_audit(model, view, seed=seed))
    if isinstance(model, EncoderDecoder) and isinstance(model, LatentLaw):
        findings.append(wasserstein_bound(model, view, seed=seed))
    about = dict(facts)
    about["parameters"] = sum(p.numel() for p in model.parameters())
    if isinstance(model, Density):
        about["density"] = f"{model.log_prob_kind}, with respect to the {model.measure} measure"
    card = ModelCard(
        name=name,
        description=str(about.pop("trained", type(model).__name__)),
        learned_manifold=_manifold_cell(errors),
        learned_distribution=_distribution_cell(errors),
        findings=[replace(finding, subject=name) for finding in findings],
        facts=about,
    )
    return card, samples


_STANDING = {"yes": "good", "no": "bad", "unclear": "unsure"}


def _manifold_cell(errors: ManifoldErrors) -> Cell:
    answer = errors.learned_manifold
    off, data = errors.off.value, errors.off_data.value
    detail = f"{errors.inside.value:.0%} of samples on it; mean distance {off:.3g} (data {data:.3g})"
    return Cell(answer, _STANDING[answer], detail)


def _distribution_cell(errors: ManifoldErrors) -> Cell:
    answer = errors.learned_distribution
    detail = f"W1 along it {errors.along.value:.3g} (floor {errors.floor.value:.3g}), p = {errors.test.p_value:.2g}"
    return Cell(answer, _STANDING[answer], detail)


def _repair_if_due(card: ModelCard, model: Model, view: Setting, *, seed: int, clock: _Clock) -> Finding | None:
    """The repair of a model whose decoder is its own and whose law of latents was not fitted to the data."""
    if not isinstance(model, EncoderDecoder) or isinstance(model, Factored):
        return None
    with clock.part(f"repairing {card.name}"):
        return replace(repair(model, view, seed=seed), subject=card.name)


def _report(
    data: Dataset,
    dimension: DimensionEstimate,
    cards: list[ModelCard],
    samples: dict[str, Array],
    curves: dict[str, list[dict[str, Any]]],
    floor: float,
    clock: _Clock,
    settings: dict[str, Any],
) -> Report:
    panels = [
        Panel(
            "samples",
            "Data and samples",
            "Held against the data, samples of each model. A model that learned the manifold draws points where "
            "the data "
            "are; one that learned the distribution draws them as often as the data do.",
            partial(samples_figure, data, samples),
        ),
        Panel(
            "dimension",
            "Intrinsic dimension over scale",
            "Estimated from neighbourhoods of growing size: a plateau is a dimension, a rise towards small "
            "scales is noise, "
            "a fall towards large ones is curvature or the finite extent of the data.",
            dimension.figure,
        ),
    ]
    if curves:
        panels.append(
            Panel(
                "training",
                "Likelihood against quality during training",
                "Above, the log-likelihood of held-out data; below, the distance of the samples along the "
                "manifold, with the "
                "floor that two samples of the data have. Where the likelihood keeps rising and the distance "
                "stays above "
                "its floor, the model fits the manifold and not the distribution on it.",
                partial(training_figure, curves, floor),
            )
        )
    sets, caption = clouds(data, samples)
    return Report(
        title=f"{data.name} through the manifold lens",
        headline=headline(data, dimension, cards),
        data_facts=_facts(data),
        dimension=dimension,
        cards=cards,
        panels=panels,
        clouds=sets,
        clouds_caption=caption,
        settings=settings,
        seconds={name: round(s, 2) for name, s in clock.seconds.items()},
    )


def _facts(data: Dataset) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "name": data.name,
        "points": len(data),
        "ambient dimension": data.ambient_dim,
    }
    if data.is_image:
        facts["images"] = " x ".join(map(str, data.data_shape))
    if data.labels is not None:
        facts["classes"] = len(np.unique(data.labels))
    if data.lattice is not None:
        facts["values"] = f"on a lattice of spacing {data.lattice:g}"
    if data.manifold is not None:
        facts["true dimension"] = data.manifold.dim
    return facts


def _settings(models: Any, latent: int, steps: int | None, seed: int, limit: int | None) -> dict[str, Any]:
    return {
        "models": list(models),
        "latent_dim": latent,
        "steps": "recipe" if steps is None else steps,
        "seed": seed,
        "limit": limit,
        "submanifold": submanifold.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
