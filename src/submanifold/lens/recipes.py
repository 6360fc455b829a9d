"""How the main job builds and trains the models that it is asked for by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from submanifold.data.dataset import Dataset
from submanifold.dimension import DimensionEstimate
from submanifold.models import Autoencoder, Flow, TwoStep
from submanifold.models.base import Model
from submanifold.models.catalogue import create, parameters_of
from submanifold.models.registry import PRESETS

__all__ = ["LARGE", "RECIPES", "Recipe", "latents_for", "needs_latents", "recipe"]


LARGE = 256
"""Coordinates from which on a training step costs so much that fewer are taken."""


@dataclass(frozen=True)
class Recipe:
    """One model of the examination: what it is, how it is made for the data at hand, how it is trained.

    Attributes:
        description: what reports call it.
        steps: training steps of each stage for data of few coordinates, and of `LARGE` or more.
        options: further arguments of `submanifold.fit`.
        make: how it is made of the data and a number of latents, where its name does not say it all.
        name: of the model in the registry, made with its defaults where there is no `make`.
    """

    description: str = ""
    steps: tuple[int, int] = (4000, 2000)
    options: Mapping[str, Any] = field(default_factory=dict)
    make: Callable[[Dataset, int], Model] | None = field(default=None, repr=False)
    name: str = ""

    def steps_for(self, data: Dataset) -> int:
        """Training steps of each stage."""
        return self.steps[data.ambient_dim >= LARGE]

    def build(self, data: Dataset, latent_dim: int) -> Model:
        """A fresh model for data like these; `latent_dim` is for models that have no number of latents of their own.

        Raises:
            InvalidInput: the model does not take data of this shape.
        """
        if self.make is not None:
            return self.make(data, latent_dim)
        return create(self.name, data.data_shape, **_arguments(self.name, data, latent_dim))


def needs_latents(name: str) -> bool:
    """Whether the model `name` has as many latents as data have dimensions; generators of noise have many more."""
    model, options = PRESETS[name].model, PRESETS[name].options
    of_data = hasattr(model, "encode") or not hasattr(model, "decode")
    return of_data and "latent_dim" in parameters_of(name) and "latent_dim" not in options


def latents_for(data: Dataset, dimension: DimensionEstimate) -> int:
    """How many latents data of an estimated intrinsic dimension are given: that, rounded, and below D."""
    return int(max(min(dimension.rounded, data.ambient_dim - 1), 1))


def _arguments(name: str, data: Dataset, latent_dim: int) -> dict[str, Any]:
    """What `create` has to be told besides the shape of the data."""
    preset, accepted = PRESETS[name], parameters_of(name)
    arguments: dict[str, Any] = {}
    if needs_latents(name):
        arguments["latent_dim"] = latent_dim
    preprocess = preset.options.get("preprocess", accepted["preprocess"].default if "preprocess" in accepted else None)
    exact = (
        getattr(preset.model, "log_prob_kind", None) == "exact" and getattr(preset.model, "measure", "") == "ambient"
    )
    if exact and tuple(preprocess or ()) == ("scale",):
        arguments["preprocess"] = _noise(data)
    return arguments


def _noise(data: Dataset) -> tuple[str, ...]:
    """Preprocessing of a model with a density on R^D: values on a lattice have none before they are dequantised."""
    return ("scale",) if data.lattice is None else ("dequantise", "scale")


def _two_step(data: Dataset, latent_dim: int) -> TwoStep:
    autoencoder = Autoencoder(data.data_shape, latent_dim=latent_dim, hidden=(128, 128, 128))
    return TwoStep(autoencoder, Flow((latent_dim,), kind="spline-autoregressive"))


def _categorical_vae(data: Dataset, latent_dim: int) -> Model:
    """With room for as many levels as the data have."""
    width = float(data.x.max()) - float(data.x.min())
    levels = {} if data.lattice is None else {"levels": round(width / data.lattice) + 1}
    return create("categorical-vae", data.data_shape, latent_dim=latent_dim, **levels)


RECIPES: dict[str, Recipe] = {
    "vae": Recipe(
        "Gaussian VAE with a learned decoder scale, trained by its ELBO",
        steps=(6000, 1500),
        options={"learning_rate": 3e-3, "patience": 8},
    ),
    "iwae": Recipe(
        "Gaussian VAE, trained by its importance-weighted bound",
        steps=(6000, 1500),
        options={"learning_rate": 3e-3, "patience": 8},
    ),
    "delta-vae": Recipe(
        "VAE of blurred data, trained by the spread divergence",
        steps=(6000, 1500),
        options={"learning_rate": 3e-3, "patience": 8},
    ),
    **{  # at a higher rate those that learn their prior may end with latents that say nothing
        name: Recipe(steps=(6000, 1500), options={"patience": 8})
        for name in ("beta-vae", "iaf-vae", "mixture-vae", "vampprior-vae", "flow-prior-vae")
    },
    "flow": Recipe(
        "normalizing flow on the ambient space (spline coupling), trained by maximum likelihood",
        steps=(2000, 300),
        options={"patience": 5},
        make=lambda data, d: Flow((data.ambient_dim,), preprocess=_noise(data)),
    ),
    "noised": Recipe(steps=(2000, 300)),
    "noised-flow": Recipe(steps=(2000, 300)),
    "mollified-flow": Recipe(steps=(2000, 1200)),  # its noise falls for 1000
    "softflow": Recipe(steps=(2000, 300)),
    "denoising-flow": Recipe(steps=(1500, 300), options={"learning_rate": 3e-3}),
    "two-step": Recipe(
        "autoencoder, then a normalizing flow on its latents",
        steps=(4000, 1500),
        options={"ema": 0.995},
        make=_two_step,
    ),
    **{
        name: Recipe(steps=steps, options={"learning_rate": 2e-3, "batch_size": batch_size})
        for name, steps, batch_size in (
            ("wgan-gp", (5000, 3000), 256),
            ("sn-wgan", (2000, 2000), 256),
            ("gmmn", (1500, 1500), 256),
            ("sliced-wasserstein-generator", (1500, 1500), 256),
            ("sinkhorn-generator", (800, 800), 128),
        )
    },
    "mmd-gan": Recipe(steps=(3000, 1500), options={"learning_rate": 5e-3, "batch_size": 64}),
    **{
        name: Recipe(steps=(4000, 2000), options={"learning_rate": 2e-3, "ema": 0.998})
        for name in ("diffusion", "ddpm", "flow-matching", "coupled-flow", "ot-flow-matching", "rectified-flow")
    },
    "categorical-vae": Recipe(make=_categorical_vae),
    "autoregressive": Recipe(
        "autoregressive mixture density (causal transformer), trained by maximum likelihood",
        options={"learning_rate": 2e-3, "batch_size": 64},
    ),
    "continuous-flow": Recipe(
        "continuous normalizing flow (neural ODE), trained by maximum likelihood",
        steps=(600, 600),
        options={"batch_size": 256},
    ),
    "image-flow": Recipe(
        "multi-scale coupling flow of images, trained by maximum likelihood",
        steps=(1000, 1000),
        options={"batch_size": 128, "patience": 8},
    ),
    "pixelcnn": Recipe(
        "autoregressive model of pixels (PixelCNN++), trained by the likelihood of their levels",
        steps=(800, 800),
        options={"learning_rate": 2e-3, "batch_size": 64, "patience": 8},
    ),
}
"""Settings by the name of a model, where those of a plain recipe do not suit it."""


def recipe(name: str) -> Recipe:
    """The recipe of that name, or a plain one for any other model of the registry.

    Raises:
        InvalidInput: for an unknown name, with the nearest match.
    """
    PRESETS[name]  # refuses unknown names
    found = RECIPES.get(name) or Recipe()
    return replace(found, name=name, description=found.description or f"{name} with its defaults")
