"""How the main job builds and trains the models that it is asked for by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from submanifold.data.dataset import Dataset
from submanifold.models import VAE, Autoencoder, Flow, TwoStep
from submanifold.models.base import Model
from submanifold.models.catalogue import create

__all__ = ["RECIPES", "Recipe", "recipe"]


@dataclass(frozen=True)
class Recipe:
    """One model of the examination: what it is, how it is made for the data at hand, how long it trains."""

    description: str
    build: Callable[[Dataset, int], Model] = field(repr=False)
    steps: int | Mapping[str, int]


def _noise(data: Dataset) -> tuple[str, ...]:
    """Preprocessing of a model with a density on R^D: values on a lattice have none before they are dequantised."""
    return ("scale",) if data.lattice is None else ("dequantise", "scale")


RECIPES = {
    "vae": Recipe(
        "Gaussian VAE with a learned decoder scale, trained by its ELBO",
        lambda data, d: VAE(data.data_shape, latent_dim=d),
        steps=6000,
    ),
    "flow": Recipe(
        "normalizing flow on the ambient space (spline coupling), trained by maximum likelihood",
        lambda data, d: Flow(_vector(data), preprocess=_noise(data)),
        steps=2000,
    ),
    "two-step": Recipe(
        "autoencoder, then a normalizing flow on its latents",
        lambda data, d: TwoStep(Autoencoder(data.data_shape, latent_dim=d), Flow((d,))),
        steps=4000,
    ),
}


def _vector(data: Dataset) -> tuple[int]:
    return (data.ambient_dim,)


def recipe(name: str) -> Recipe:
    """The recipe of that name, or a plain one for any model of the registry that needs no more than a shape."""
    if name in RECIPES:
        return RECIPES[name]

    def build(data: Dataset, latent_dim: int) -> Model:
        import inspect

        from submanifold.models.registry import MODELS

        wanted = inspect.signature(MODELS[name].__init__).parameters
        extra: dict[str, Any] = {"latent_dim": latent_dim} if "latent_dim" in wanted else {}
        return create(name, data_shape=data.data_shape, **extra)

    return Recipe(f"{name} with its defaults", build, steps=4000)
