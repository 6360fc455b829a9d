"""The experiments by name."""

from __future__ import annotations

import importlib
from typing import Any

from submanifold.checks import check_choice, check_int
from submanifold.reproduce.outcome import Outcome

__all__ = ["EXPERIMENTS", "names", "run"]

EXPERIMENTS = {
    "codimension-slope": "log-likelihood grows with log 1/sigma at a rate of D - d, for right and wrong "
    "densities alike",
    "circle-overfitting": "likelihood models on a von Mises circle learn the manifold and not the density; "
    "two-step ones do",
    "circle-autoencoder": "one latent cannot reconstruct a circle, two can, and yet most of their latent space "
    "is off it",
    "score-explosion": "the score of noised data on a manifold grows without bound across it and not along it, and yet "
    "samples its law",
    "parallel-segments": "between laws on two parallel segments KL is infinite and JS is log 2 at every distance; "
    "W1 is that distance",
    "dimension-intervals": "95% intervals of the intrinsic dimension cover in 95% of samples, although neighbourhoods "
    "overlap (five hours)",
}


def names() -> list[str]:
    """The names of all experiments."""
    return sorted(EXPERIMENTS)


def run(name: str, **settings: Any) -> Outcome:
    """Run the experiment `name` (with `seeds=` other than its default, for example) and return its verdict."""
    check_choice(name, EXPERIMENTS, name="experiment")
    if "seeds" in settings:
        check_int(settings["seeds"], name="seeds")
    module = importlib.import_module(f"submanifold.reproduce.{name.replace('-', '_')}")
    outcome: Outcome = module.run(**settings)
    return outcome
