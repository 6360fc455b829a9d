"""A report as a real examination makes them, without training anything: awkward names, missing parts, odd numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from submanifold.dimension.mixture import Piece
from submanifold.dimension.pointwise import LocalDimension
from submanifold.dimension.result import DimensionEstimate, MethodEstimate
from submanifold.dimension.scale import Reading, ScaleCurve
from submanifold.lens.finding import Finding, Number
from submanifold.lens.outcome import Cell, Cloud, ModelCard, Panel, Report
from submanifold.plotting import DATA, new_figure, series

HOSTILE = """digits <script>alert("x")</script> & 'co' </script><!--"""


STANDING: dict[str, Any] = {"yes": "good", "no": "bad", "unclear": "unsure"}


def make_dimension(*, pieces: bool = False, noisy: bool = False) -> DimensionEstimate:
    """An estimate of 1797 points in 64 dimensions with everything that an estimate can have."""
    ks = np.array([2, 3, 5, 8, 13, 21, 34, 55, 89])
    curve = 9 + 0.8 * np.cos(np.log(ks)) + (20 / ks if noisy else 0)
    scale = ScaleCurve(
        ks=ks,
        radii=np.sqrt(ks),
        dimension=0.9 * curve,
        low=0.9 * curve - 0.3,
        high=0.9 * curve + 0.3,
        calibrated=curve,
        relative_error=np.full(9, 0.02),
        sizes=np.full(9, 1797),
        start=4 if noisy else 0,
        stop=7,
        flat=True,
    )
    parts = (Piece(2.1, (2.0, 2.2), 0.5, np.arange(25)), Piece(8.7, (8.1, 9.2), 0.5, np.arange(25, 50)))
    return DimensionEstimate(
        dimension=math.nan if pieces else 8.94,
        interval=(math.nan, math.nan) if pieces else (8.61, 9.27),
        pooled=False,
        reading=Reading(
            8.94, (8.61, 9.27), (8.7, 9.2), {"ball": 8.94, "gaussian": 8.65, "sphere": 8.8}, 8.05, 13, 3.6, 1797
        ),
        by_method={
            "mle": MethodEstimate(9.21, (8.95, 9.47), expected=None if pieces else 7.9),
            "twonn": MethodEstimate(8.77, (8.21, 9.35), expected=None if pieces else 8.5),
            "lpca": MethodEstimate(10.0, (0.0, math.inf), expected=None if pieces else 8.94),
        },
        local=LocalDimension(
            np.linspace(6, 12, 50), np.linspace(5, 11, 50), np.linspace(7, 13, 50), np.arange(50), 0.11, 0.19, 1e-9, 20
        ),
        scale_curve=scale,
        by_class={label: MethodEstimate(6 + label / 3, (5.5 + label / 3, 6.6 + label / 3)) for label in range(10)},
        by_cluster={0: MethodEstimate(8.5, (8.0, 9.0)), 1: MethodEstimate(9.5, (9.0, 10.0))},
        pieces=parts if pieces else (),
        warnings=("Estimates above 12 are too low with 1797 points.",),
        n=1797,
        n_distinct=1797,
        ambient_dim=64,
    )


def _curves() -> Any:
    figure, axes = new_figure(2)
    steps = np.linspace(0, 2000, 40)
    for index, name in enumerate(("vae", "flow", "two-step")):
        look = series(index)
        axes[0].plot(steps, np.log1p(steps) * (3 - index), label=name, **look.line_kwargs())
        axes[1].plot(steps, 1 / (1 + steps / (100 + 500 * index)), label=name, **look.line_kwargs())
    axes[0].set_title("Likelihood")
    axes[0].set_xlabel("training step")
    axes[0].set_ylabel("mean log-likelihood (nats)")
    axes[1].set_title("Distance along the manifold")
    axes[1].set_xlabel("training step")
    axes[1].set_ylabel("W1 to held-out data")
    axes[0].legend()
    axes[1].legend()
    return figure


def _small() -> Any:
    figure, (axis,) = new_figure()
    x = np.linspace(0, 1, 50)
    axis.plot(x, x**2, label="held-out", **DATA.line_kwargs())
    axis.legend()
    axis.set_xlabel("residual")
    axis.set_ylabel("fraction of points")
    return figure


def _finding(name: str, model: str, verdict: str, standing: Any, summary: str) -> Finding:
    return Finding(
        name,
        verdict,
        summary,
        subject=model,
        standing=standing,
        numbers={
            "effective_codimension": Number(
                54.13,
                51.2,
                57.1,
                "",
                "estimated",
                "Slope of log-likelihood against log 1/sigma; the true one is D - d.",
            ),
            "w1_along_manifold": Number(0.2312, 0.2101, 0.2522, "pixels", "estimated", "After subtracting the floor."),
            "p_value": Number(0.004975, kind="certified", meaning="Of the permutation test against equality."),
            "lipschitz_scale": Number(float("inf"), kind="heuristic", meaning="Largest sampled singular value."),
        },
        advice="Keep the decoder, refit the law of its latents with submanifold.lens.repair."
        if standing == "bad"
        else "",
        assumptions=("Held-out points are drawn from the same law as the training points.", "n = 360 is enough."),
        draw=_small if name == "autoencoder_audit" else None,
    )


def make_report(name: str = "digits", *, space: int | None = 3, seed: int = 0) -> Report:
    """A report with `space`-dimensional clouds, or none."""
    rng = np.random.default_rng(seed)
    models = {
        "vae": ("Gaussian VAE, learned scale, latent_dim 9", "yes", "no"),
        "flow": ("neural spline flow on R^64", "no", "unclear"),
        "two-step": ("autoencoder, then a flow on its latents", "yes", "yes"),
        "vae repaired": ("the VAE's decoder with a refitted law", "yes", "yes"),
    }
    cards = []
    for model, (description, manifold, distribution) in models.items():
        bad = distribution != "yes"
        findings = [
            _finding(
                "manifold_overfitting",
                model,
                "overfitting" if bad else "healthy",
                "bad" if bad else "good",
                "The likelihood grew by 21.4 nats while the distance along the manifold rose from 0.05 to 0.23 "
                "(floor 0.013, p = 0.005): it learned where the data are, and not how they are spread.",
            ),
            _finding("autoencoder_audit", model, "ghosts", "unsure", "12% of decoded latents lie off the data tube."),
            _finding("sample_quality", model, "measured", "neutral", "Precision 0.91, recall 0.83."),
        ]
        cards.append(
            ModelCard(
                model,
                description,
                Cell(manifold, STANDING[manifold], "median distance 0.31, data's own 0.28"),
                Cell(distribution, STANDING[distribution], "W1 along M 0.23, floor 0.013"),
                findings,
                {"steps": 2000, "seconds": 31.42, "log_likelihood_kind": "bound", "parameters": 182_344},
            )
        )
    clouds = []
    if space is not None:
        angle = rng.uniform(0, 2 * np.pi, 3000)
        labels = (angle / (2 * np.pi) * 10).astype(np.int64)
        ring = np.stack([np.cos(angle), np.sin(angle), np.sin(3 * angle) / 2], axis=1)[:, :space]
        clouds.append(Cloud(name, ring, labels))
        for index, model in enumerate(models):
            noise = rng.normal(scale=0.04 * (index + 1), size=(500, space))
            clouds.append(Cloud(f"{model} samples", ring[:500] + noise))
    return Report(
        title=f"{name} through the manifold lens",
        headline=(
            "The data lie near a manifold of dimension 9 in 64 coordinates; the two-step model learned both the "
            "manifold and the distribution on it.",
            "The VAE found the manifold but spread its samples wrongly over it: manifold overfitting. Refitting the "
            "law of its latents brought the distance along the manifold from 0.23 down to 0.03.",
            f"The flow's likelihood says nothing here: {name} has fewer dimensions than coordinates.",
        ),
        data_facts={
            "name": name,
            "points": 1797,
            "shape": (1, 8, 8),
            "coordinates": 64,
            "classes": 10,
            "lattice": 1.0,
            "dimension": Number(8.94, 8.61, 9.27),
        },
        dimension=make_dimension(),
        cards=cards,
        panels=[
            Panel(
                "training",
                "Likelihood and quality during training",
                "Left: the likelihood of every model rises. Right: the distance of its samples to held-out data along "
                "the manifold. A model whose left curve rises while its right curve does not fall overfits.",
                _curves,
            ),
            Panel("residual", "Reconstruction", "How far held-out points are from their reconstructions.", _small),
        ],
        clouds=clouds,
        clouds_caption="The first three principal components of the data, 61% of their variance.",
        settings={
            "source": "digits",
            "models": ("vae", "flow", "two-step"),
            "latent_dim": None,
            "steps": 2000,
            "seed": 0,
            "limit": None,
            "versions": {"submanifold": "0.1.0", "torch": "2.13.0", "numpy": "2.4.6"},
        },
        seconds={"data": 0.21, "dimension": 4.2, "vae": 31.4, "flow": 44.0, "two-step": 58.3, "findings": 40.1},
    )
