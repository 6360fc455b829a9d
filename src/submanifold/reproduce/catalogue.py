"""The experiments by name."""

from __future__ import annotations

import importlib
import inspect
from types import ModuleType
from typing import TYPE_CHECKING, Any

from submanifold.checks import check_choice, check_int
from submanifold.errors import InvalidInput
from submanifold.reproduce.outcome import Outcome

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["EXPERIMENTS", "check_has_figure", "figure", "names", "run"]

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
    "overlap (nine hours)",
    "kan-scaling": "errors of KANs fall with the fourth power of their grids' intervals, as errors of cubic splines do",
    "kan-models": "in VAEs, flows, diffusion and two-step models, which learn laws better, KANs or MLPs of equal size "
    "and of equal time: whatever comes out (an hour and a half)",
    "spectral-bias": "a KAN learns all frequencies of a sum of waves, MLPs of equal size only the low ones; and finer "
    "grids overfit (a quarter of an hour)",
}


def names() -> list[str]:
    """The names of all experiments."""
    return sorted(EXPERIMENTS)


def run(name: str, **settings: Any) -> Outcome:
    """Run the experiment `name` (with `seeds=` other than its default, for example) and return its verdict.

    Raises:
        InvalidInput: for an unknown name, or settings that the experiment does not have.
    """
    module = _module(name)
    known = inspect.signature(module.run).parameters
    for setting in settings:
        if setting not in known:
            raise InvalidInput(f"{setting}={settings[setting]!r} is not accepted: {name} has {', '.join(known)}")
    if "seeds" in settings:
        check_int(settings["seeds"], name="seeds")
    outcome: Outcome = module.run(**settings)
    return outcome


def figure(outcome: Outcome) -> Figure:
    """The figure of an experiment that was run.

    Raises:
        InvalidInput: for one that has none.
    """
    check_has_figure(outcome.name)
    drawn: Figure = _module(outcome.name).figure(outcome)
    return drawn


def check_has_figure(name: str) -> None:
    """Refuse experiments that have no figure."""
    if not hasattr(_module(name), "figure"):
        having = [other for other in names() if hasattr(_module(other), "figure")]
        raise InvalidInput(f"the experiment {name!r} has no figure: those that have one are {', '.join(having)}")


def _module(name: str) -> ModuleType:
    check_choice(name, EXPERIMENTS, name="experiment")
    return importlib.import_module(f"submanifold.reproduce.{name.replace('-', '_')}")
