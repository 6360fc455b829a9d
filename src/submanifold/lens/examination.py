"""The main job: look at data through the manifold lens, train models, and say what each has learned."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
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
    setting,
)
from submanifold.lens.health import score_health
from submanifold.lens.mending import repair
from submanifold.lens.outcome import Cell, ModelCard, Panel, Report
from submanifold.lens.overfitting import manifold_overfitting
from submanifold.lens.panels import clouds, samples_figure, training_figure
from submanifold.lens.quality import sample_quality
from submanifold.lens.recipes import LARGE, latents_for, recipe
from submanifold.lens.words import headline
from submanifold.models.base import Density, EncoderDecoder, Factored, Generator, LatentLaw, Model, Score
from submanifold.models.persistence import save
from submanifold.training import Event, History, fit
from submanifold.training.source import fingerprint
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
    size: int = 400

    def __post_init__(self) -> None:
        self.target = self.data.manifold.project(self.data.x[: self.size]).points

    @property
    def floor(self) -> float:
        """The distance of training data to the same held-out data, at the same size."""
        known = check_matrix(self.data.known.subsample(self.size))
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


def examine(
    X: Any,
    models: Sequence[str] | Mapping[str, Model] = ("vae", "flow", "two-step"),
    *,
    latent_dim: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    limit: int | None = None,
    run: str | Path | None = None,
    progress: bool = True,
) -> Report:
    """Measure the intrinsic dimension of X, fit models to it, and report what each has learned.

    A fifth of the data is held out; every figure about a model is measured on it. A model with an encoder, a decoder
    and a law of latents that was not fitted to the data, such as a VAE, is repaired as well, and the repaired model is
    examined like the others.

    Args:
        X: data, or anything `submanifold.data.load` understands.
        models: names (recipes of this job or any model of the registry), or fitted models by name, which are not
            trained: then all of X is taken to be new to them, and four fifths of it serve as reference.
        latent_dim: latents of autoencoders; the estimated intrinsic dimension, rounded, where not given.
        steps: training steps of every stage, in place of the recipes'.
        seed: of splits, training and samples.
        limit: use at most so many points, drawn at random.
        run: a folder for the trained models; training that was interrupted goes on from there.
        progress: show what is being done.

    Raises:
        InvalidInput: for unusable data, fewer than 100 points, or unknown names.
    """
    if not models:
        raise InvalidInput("models is empty: give the names of models, or fitted models by name")
    if isinstance(models, str):
        models = [models]
    plans = {} if isinstance(models, Mapping) else {name: recipe(name) for name in models}
    data = X if isinstance(X, Dataset) else load(X)
    if limit is not None:
        data = data.subsample(check_int(limit, name="limit", low=100), seed=seed)
    if len(data) < 100:
        raise InvalidInput(f"X holds {len(data)} points: give at least 100 to train on and to hold out")
    if check_matrix(data).shape[1] == 1:
        raise InvalidInput("X has one coordinate: give points of at least two, so that a manifold can lie in them")
    clock = _Clock(announce=progress)
    train, held_out = data.split(0.2, seed=seed)
    with clock.part("intrinsic dimension"):
        dimension = estimate(train, labels=train.labels, seed=seed)
        # fitted models come from elsewhere: what they were trained on is not known
        view = setting(held_out, train, dim=dimension.largest, trained_on=bool(plans), seed=seed)
    latent = latents_for(data, dimension) if latent_dim is None else latent_dim

    trained: dict[str, Model] = dict(models) if isinstance(models, Mapping) else {}
    for name, model in trained.items():
        _require_samples(name, model)
        model.receive(held_out.x[:1], name="X")  # data of another shape are refused before anything is computed
    facts: dict[str, dict[str, Any]] = {}
    histories: dict[str, History] = {}
    curves: dict[str, list[dict[str, Any]]] = {}
    watch = _QualityWatch(view)
    for name, plan in plans.items():
        with clock.part(f"training {name}"), _threads(data):
            length = plan.steps_for(data) if steps is None else steps
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                trained[name] = plan.build(data, latent)
            _require_samples(name, trained[name])
            history = histories[name] = fit(
                trained[name],
                train,
                steps=length,
                seed=seed,
                evaluate_every=max(1, length // 20),
                callbacks=[watch],
                run=None if run is None else Path(run) / f"{name}-{_key(train, latent, length, seed)}",
                progress=progress,
                **plan.options,
            )
        facts[name] = {"trained": plan.description, "seconds": round(history.seconds, 1)}
        if any("along_manifold_w1" in record for record in history.records):
            curves[name] = list(history.records)

    cards: list[ModelCard] = []
    samples: dict[str, Array] = {}
    for name, model in trained.items():
        with clock.part(f"examining {name}"):
            card, samples[name] = _card(name, model, view, facts.get(name, {}), seed=seed, history=histories.get(name))
        cards.append(card)
        if not _is_repairable(model):
            continue
        new = f"{name} repaired"
        with clock.part(f"repairing {name}"):
            mended = repair(model, view, seed=seed)
            if run is not None:
                save(mended.model, Path(run) / f"{name}-repaired-{_key(train, latent, steps, seed)}")
        cards[-1] = replace(card, findings=[*card.findings, replace(mended, subject=name)])
        with clock.part(f"examining {new}"):
            about = {"trained": f"{name} with its decoder kept and the law of its latents refitted"}
            card, samples[new] = _card(new, mended.model, view, about, seed=seed)
        cards.append(card)
    settings = {
        "models": list(models),
        "latent_dim": latent,
        "steps": "recipe" if steps is None else steps,
        "seed": seed,
        "limit": limit,
    }
    return _report(data, dimension, cards, samples, curves, watch.floor if curves else 0.0, clock, settings)


@contextmanager
def _threads(data: Dataset) -> Iterator[None]:
    """Train small networks on one thread: to synchronise several takes longer than what they save."""
    before = torch.get_num_threads()
    if data.ambient_dim < LARGE:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _require_samples(name: str, model: Model) -> None:
    if not isinstance(model, Generator):
        raise InvalidInput(f"models={name!r} cannot sample, so there is nothing to examine: give a model that samples")


def _key(*parts: Any) -> str:
    """A short digest that tells apart runs of other data or other settings in one folder."""
    words = [fingerprint(part) if isinstance(part, Dataset) else repr(part) for part in parts]
    return hashlib.blake2b("|".join(words).encode(), digest_size=4).hexdigest()


def _is_repairable(model: Model) -> bool:
    """Whether the model has a decoder of its own and a law of latents that was not fitted to the data."""
    return isinstance(model, EncoderDecoder) and isinstance(model, LatentLaw) and not isinstance(model, Factored)


def _card(
    name: str, model: Model, view: Setting, facts: Mapping[str, Any], *, seed: int, history: History | None = None
) -> tuple[ModelCard, Array]:
    """Every diagnostic that the model's capabilities allow."""
    assert isinstance(model, Generator)
    samples, errors = draw(model, 1500, seed=seed), view.errors(model, seed=seed)
    findings = [
        manifold_overfitting(model, view, history=history, seed=seed),
        sample_quality(model, view, seed=seed),
    ]
    if isinstance(model, EncoderDecoder):
        findings.append(autoencoder_audit(model, view, seed=seed))
    if isinstance(model, EncoderDecoder) and isinstance(model, LatentLaw):
        findings.append(wasserstein_bound(model, view, seed=seed))
    if isinstance(model, Score):
        count = 200 if view.held_out.is_image else 1000  # each takes hundreds of passes, of a network that is larger
        findings.append(score_health(model, view, samples=count, seed=seed))
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
    least = f"{data:.3g}" if data > 1e-6 * off else "0"
    detail = f"{errors.inside.value:.0%} of samples on it; mean distance {off:.3g} (data {least})"
    return Cell(answer, _STANDING[answer], detail)


def _distribution_cell(errors: ManifoldErrors) -> Cell:
    answer = errors.learned_distribution
    detail = f"W1 along it {errors.along.value:.3g} (floor {errors.floor.value:.3g}), p = {errors.test.p_value:.2g}"
    return Cell(answer, _STANDING[answer], detail)


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
        settings={**settings, **_versions()},
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
    if data.true_dim is not None:
        facts["true dimension"] = data.true_dim
    return facts


def _versions() -> dict[str, str]:
    return {
        "submanifold": submanifold.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
