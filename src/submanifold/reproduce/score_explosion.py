r"""Exact scores of noised data on a circle: they grow without bound across it, not along it, and sample the law.

The score of a von Mises density, smoothed by N(0, \sigma^2 I_D), is known, so that what is said of scores on manifolds
can be checked without a network: that \sigma^2 E|s|^2 tends to D - d, that at a point off the manifold |s| grows as
\sigma^{-2} (Lu et al. 2023, arXiv 2303.07251; Loaiza-Ganem et al. 2024, arXiv 2404.02954, section 5.2), that along the
manifold s is bounded, by the Fisher information of the law on it, and that sampling with such scores, with noise and
without, recovers manifold and law if it stops at a \sigma above zero (De Bortoli 2022, arXiv 2208.05314, theorem 1;
Pidstrigach 2022, arXiv 2206.01018).
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import torch
from scipy.special import gammaln, ive

from submanifold.models import CircleScore
from submanifold.models.diffusion import SAMPLERS, noise_levels
from submanifold.models.latents import normal
from submanifold.reproduce.outcome import Claim, Outcome
from submanifold.transport import circular_wasserstein

__all__ = ["run", "samples", "score_sizes"]

KAPPA, N_SCORES, N_SAMPLES, STEPS = 1.0, 40_000, 4000, 300
LEVELS = (0.1, 0.05, 0.02, 0.01)
"""At which sizes of scores are measured."""
LEAST, LARGEST = 0.01, 20.0
"""Where samplers stop, and start."""


def score_sizes(ambient_dim: int, sigma: float, *, seed: int) -> dict[str, float]:
    r"""\sigma^2 E|s|^2, the mean square of s along the circle, and |s| at half a radius from it."""
    model, generator = CircleScore((ambient_dim,), kappa=KAPPA).double(), torch.Generator().manual_seed(seed)
    clean = model.sample(N_SCORES, generator=generator)
    noised = clean + sigma * normal(clean.shape, clean, generator)
    score = model.score(noised, sigma)
    angle = torch.as_tensor(model.circle.angle(noised.numpy()))
    tangent = torch.as_tensor(model.circle.at(angle.numpy() + 0.5 * math.pi))  # unit, for a radius of 1
    outside = 1.5 * torch.as_tensor(model.circle.at(np.array([1.0])))
    return {
        "sigma^2 E|s|^2": sigma**2 * float(score.square().sum(dim=1).mean()),
        "E s^2 along": float((score * tangent).sum(dim=1).square().mean()),
        "|s| off": float(model.score(outside, sigma).norm()),
    }


def samples(ambient_dim: int, sampler: str, *, seed: int) -> dict[str, float]:
    """Circular W_1 of samples to the law, its floor, and the mean distance of samples from the circle."""
    model, generator = CircleScore((ambient_dim,), kappa=KAPPA).double(), torch.Generator().manual_seed(seed)
    start = model.sample(N_SAMPLES, generator=generator)
    start = start + LARGEST * normal(start.shape, start, generator)
    levels = noise_levels(STEPS, LEAST, LARGEST)
    x = SAMPLERS[sampler](lambda y, sigma: model.denoise(y, sigma), start, levels, generator=generator).numpy()
    true = [model.circle.angle(model.circle.sample(N_SAMPLES, seed=100 * (seed + 1) + k)) for k in range(20)]
    angle = model.circle.angle(x)
    return {
        "circular W1": float(np.mean([circular_wasserstein(angle, a) for a in true[:10]])),
        "floor": float(np.mean([circular_wasserstein(a, b) for a, b in zip(true[:10], true[10:], strict=True)])),
        "off": float(model.circle.distance(x).mean()),
    }


def run(seeds: int = 3) -> Outcome:
    """Measure scores in D = 2 and 20 dimensions at four noise levels, and sample with and without noise."""
    start = time.perf_counter()
    sizes = [
        {"ambient_dim": D, "sigma": sigma, "seed": seed, **score_sizes(D, sigma, seed=seed)}
        for D in (2, 20)
        for sigma in LEVELS
        for seed in range(seeds)
    ]
    drawn = [
        {"ambient_dim": D, "sampler": name, "seed": seed, **samples(D, name, seed=seed)}
        for D in (2, 20)
        for name in ("euler-maruyama", "heun")
        for seed in range(seeds)
    ]
    return Outcome(
        "score-explosion", [*_on_scores(sizes), *_on_samples(drawn)], [*sizes, *drawn], time.perf_counter() - start
    )


def _on_scores(rows: list[dict[str, Any]]) -> list[Claim]:
    least = [row for row in rows if row["sigma"] == min(LEVELS)]
    law = max(abs(row["sigma^2 E|s|^2"] / (row["ambient_dim"] - 1) - 1) for row in least)
    information = KAPPA * float(ive(1, KAPPA) / ive(0, KAPPA))
    along = max(abs(row["E s^2 along"] / information - 1) for row in least)
    off = [row["|s| off"] for row in rows if row["seed"] == 0 and row["ambient_dim"] == 2]
    growth = float(np.polyfit(-np.log(LEVELS), np.log(off), 1)[0])
    return [
        Claim(
            "sigma^2 E|s|^2 is the codimension D - d",
            f"off by at most {law:.1%} at sigma = {min(LEVELS)}, in D = 2 and 20",
            "5%",
            law < 0.05,
        ),
        Claim(
            "off the manifold the score grows as sigma^-2",
            f"with the power {growth:.3f} of 1 / sigma at half a radius from the circle",
            "2, within 0.02",
            abs(growth - 2) < 0.02,
        ),
        Claim(
            "along the manifold it is bounded: its mean square is the Fisher information of the law",
            f"within {along:.1%} of {information:.3f}",
            "5%",
            along < 0.05,
        ),
    ]


def _on_samples(rows: list[dict[str, Any]]) -> list[Claim]:
    claims = []
    for name, words in (("euler-maruyama", "with noise (reverse SDE)"), ("heun", "without noise (flow)")):
        own = [row for row in rows if row["sampler"] == name]
        worst = max(_mean(own, D, "circular W1") / _mean(own, D, "floor") for D in (2, 20))
        # a standard normal vector in k dimensions has the mean length sqrt(2) Gamma((k + 1) / 2) / Gamma(k / 2)
        expected = {D: LEAST * math.sqrt(2) * math.exp(gammaln(D / 2) - gammaln((D - 1) / 2)) for D in (2, 20)}
        off = max(abs(_mean(own, D, "off") / expected[D] - 1) for D in (2, 20))
        claims += [
            Claim(
                f"sampling {words} recovers the law on the manifold",
                f"W1 along it {worst:.2f} times that of two samples of the law, a mean over seeds",
                "2",
                worst < 2,
            ),
            Claim(
                f"sampling {words} stops as far from the manifold as the noise that is left",
                f"within {off:.1%} of it",
                "10%",
                off < 0.1,
            ),
        ]
    return claims


def _mean(rows: list[dict[str, Any]], D: int, key: str) -> float:
    """Of the rows of D dimensions, over seeds."""
    return float(np.mean([row[key] for row in rows if row["ambient_dim"] == D]))
