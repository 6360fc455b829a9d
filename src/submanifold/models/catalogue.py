"""All models by name: what there is, and how to make one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from submanifold.checks import nearest_match
from submanifold.errors import InvalidInput
from submanifold.models import (  # noqa: F401  (they register themselves)
    adversarial_autoencoder,
    autoencoder,
    autoregressive,
    continuous_flow,
    denoising_flow,
    discrepancy,
    discrete_vae,
    energy,
    flow,
    gan,
    gebm,
    image_flow,
    joint_autoencoder,
    kernel_density,
    latent_matching,
    mixture,
    noise_conditional,
    noise_contrastive,
    noised,
    pixelcnn,
    score_matching,
    soft_flow,
    two_step,
    vae,
    vq_vae,
)
from submanifold.models.base import Awareness, Model
from submanifold.models.diffusion import coupled_flow, diffusion, oracles  # noqa: F401
from submanifold.models.registry import MODELS, PRESETS, Preset

__all__ = ["CAPABILITIES", "MODELS", "Entry", "create", "describe", "names", "parameters_of"]

CAPABILITIES = {
    "sample": ("sample",),
    "log_prob": ("log_prob",),
    "encode": ("encode", "decode"),
    "score": ("score", "denoise"),
    "scales": ("local_scales",),
    "latent law": ("sample_latent", "decoder_lipschitz_bound"),
}
"""What a model can do, in a word, and the methods by which it does."""


@dataclass(frozen=True)
class Entry:
    """One line of the table of models.

    Attributes:
        capabilities: keys of `CAPABILITIES`.
        log_prob: what the model calls its log-density: "exact", "bound", "unnormalised", "estimate", "none", or "as its
            law" where another model decides.
        measure: what the density is with respect to: "ambient", "manifold", or "none".
    """

    name: str
    family: str
    awareness: Awareness
    why: str
    capabilities: tuple[str, ...]
    log_prob: str
    measure: str


def names() -> list[str]:
    """The names of all models, sorted."""
    return list(PRESETS)


def describe() -> list[Entry]:
    """What there is to know of every model before it is made, sorted by name."""
    return [_entry(name, preset) for name, preset in PRESETS.items()]


def _entry(name: str, preset: Preset) -> Entry:
    model = preset.model
    able = tuple(word for word, needs in CAPABILITIES.items() if all(hasattr(model, method) for method in needs))
    kind, measure = "none", "none"
    if "log_prob" in able:
        density: Any = model  # a class of densities
        measure = density.measure
        kind = density.log_prob_kind if isinstance(density.log_prob_kind, str) else "as its law"
    return Entry(name, preset.family, preset.awareness, preset.why, able, kind, measure)


def parameters_of(name: str) -> Mapping[str, inspect.Parameter]:
    """The arguments that `create` takes for the model `name`."""
    return inspect.signature(_maker(PRESETS[name].model)).parameters


def create(model: str | type[Model], data_shape: Sequence[int], **kwargs: Any) -> Model:
    """A fresh model for data of shape `data_shape`.

    Args:
        model: a registered name, such as "vae", or a class.
        data_shape: (D,) for vectors or (channels, height, width) for images.
        **kwargs: the other arguments of the model. A two-step model takes those of `TwoStep.assemble`.

    Raises:
        InvalidInput: for an unknown name, with the nearest match; for an argument that the model does not have or
            that it needs and was not given.
    """
    if isinstance(model, str):
        name, cls, kwargs = model, PRESETS[model].model, {**PRESETS[model].options, **kwargs}
    else:
        cls = model
        name = MODELS.name_of(cls) if cls in dict(MODELS.items()).values() else cls.__name__
    make = _maker(cls)
    accepted = inspect.signature(make).parameters
    for argument in kwargs:
        if argument not in accepted or argument == "data_shape":
            raise InvalidInput(f"{name} has no argument {argument!r}: {nearest_match(argument, accepted)}")
    for argument, parameter in accepted.items():
        if parameter.default is parameter.empty and argument not in ("data_shape", *kwargs):
            raise InvalidInput(f"{name} needs the argument {argument!r}: give {argument}=...")
    made = make(data_shape=data_shape, **kwargs)
    assert isinstance(made, Model)
    return made


def _maker(cls: type[Model]) -> Callable[..., Model]:
    """What makes a model of data of a shape: a two-step model is assembled."""
    make: Callable[..., Model] = getattr(cls, "assemble", cls)
    return make
