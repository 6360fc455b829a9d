"""How the main job builds and trains the models that it is asked for by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from submanifold.data.dataset import Dataset
from submanifold.models import VAE, Autoencoder, Flow, TwoStep
from submanifold.models.base import Model
from submanifold.models.catalogue import create, parameters_of

__all__ = ["LARGE", "RECIPES", "Recipe", "recipe"]


LARGE = 256
"""Coordinates from which on a training step costs so much that fewer are taken."""


@dataclass(frozen=True)
class Recipe:
    """One model of the examination: what it is, how it is made for the data at hand, how it is trained.

    Attributes:
        steps: training steps of each stage for data of few coordinates, and of `LARGE` or more.
        options: further arguments of `submanifold.fit`.
    """

    description: str
    build: Callable[[Dataset, int], Model] = field(repr=False)
    steps: tuple[int, int]
    options: Mapping[str, Any] = field(default_factory=dict)

    def steps_for(self, data: Dataset) -> int:
        """Training steps of each stage."""
        return self.steps[data.ambient_dim >= LARGE]


def _noise(data: Dataset) -> tuple[str, ...]:
    """Preprocessing of a model with a density on R^D: values on a lattice have none before they are dequantised."""
    return ("scale",) if data.lattice is None else ("dequantise", "scale")


def _two_step(data: Dataset, latent_dim: int) -> TwoStep:
    autoencoder = Autoencoder(data.data_shape, latent_dim=latent_dim, hidden=(128, 128, 128))
    return TwoStep(autoencoder, Flow((latent_dim,), kind="spline-autoregressive"))


RECIPES = {
    "vae": Recipe(
        "Gaussian VAE with a learned decoder scale, trained by its ELBO",
        lambda data, d: VAE(data.data_shape, latent_dim=d),
        steps=(6000, 1500),
        options={"patience": 8},
    ),
    "flow": Recipe(
        "normalizing flow on the ambient space (spline coupling), trained by maximum likelihood",
        lambda data, d: Flow((data.ambient_dim,), preprocess=_noise(data)),
        steps=(2000, 300),
        options={"patience": 5},
    ),
    "two-step": Recipe(
        "autoencoder, then a normalizing flow on its latents",
        _two_step,
        steps=(4000, 1500),
        options={"ema": 0.995},
    ),
}


def recipe(name: str) -> Recipe:
    """The recipe of that name, or a plain one for any model of the registry that needs no more than a shape."""
    if name in RECIPES:
        return RECIPES[name]
    wanted = parameters_of(name)

    def build(data: Dataset, latent_dim: int) -> Model:
        latents = {"latent_dim": latent_dim} if "latent_dim" in wanted else {}
        model: Model = create(name, data.data_shape, **latents)
        return model

    return Recipe(f"{name} with its defaults", build, steps=(4000, 2000))
