"""Autoencoders on the circle: one latent is too few by topology, two suffice, and neither knows the manifold.

By Borsuk and Ulam's theorem a continuous map from the circle to the line sends two antipodes to one point, so that an
autoencoder with one latent is off by at least the radius somewhere. With two latents reconstruction is perfect, and
still most of the latent space decodes off the circle, and points off the circle are reconstructed (survey 2404.02954,
section 3.2 and figure 2).
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from submanifold.data import Dataset
from submanifold.data.manifolds import manifold
from submanifold.lens import autoencoder_audit
from submanifold.models import Autoencoder
from submanifold.reproduce.outcome import Claim, Outcome
from submanifold.training import fit

__all__ = ["run"]


def _row(latent_dim: int, seed: int) -> dict[str, Any]:
    circle = manifold("circle", kappa=1.0)
    data = Dataset(circle.sample(5000, seed=seed).astype(np.float32), "circle", manifold=circle)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Autoencoder((2,), latent_dim=latent_dim, hidden=(64, 64), full_latent=True)
    fit(model, data, steps=6000, seed=seed, progress=False)
    grid = Dataset(circle.at(np.linspace(-np.pi, np.pi, 4001)), "circle", manifold=circle)
    found = autoencoder_audit(model, grid, reference=data, seed=seed)
    return {"latent_dim": latent_dim, "seed": seed, "verdict": found.verdict} | {
        name: number.value for name, number in found.numbers.items()
    }


def run(seeds: int = 3) -> Outcome:
    """Train with one and with two latents for each seed, and audit."""
    start = time.perf_counter()
    rows = [_row(latent_dim, seed) for latent_dim in (1, 2) for seed in range(seeds)]
    one, two = ([row for row in rows if row["latent_dim"] == d] for d in (1, 2))
    least = min(row["sup_reconstruction_error"] for row in one)
    most = max(row["sup_reconstruction_error"] for row in two)
    box = min(row["latent_box_off_manifold"] for row in two)
    ghosts = min(row["ghost_fraction"] for row in two)
    claims = [
        Claim("one latent cannot reconstruct the circle", f"sup error at least {least:.2f}", "1 or more", least >= 1),
        Claim("two latents can", f"sup error at most {most:.4f}", "0.02 or less", most <= 0.02),
        Claim("most of their box decodes off the circle", f"at least {box:.0%}", "more than half", box > 0.5),
        Claim("and there are ghosts", f"at least {ghosts:.2%}", "more than none", ghosts > 0),
    ]
    return Outcome("circle-autoencoder", claims, rows, time.perf_counter() - start)
