"""All models by name: what there is, and how to make one."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from submanifold.checks import nearest_match
from submanifold.errors import InvalidInput
from submanifold.models import (  # noqa: F401  (they register themselves)
    autoencoder,
    autoregressive,
    flow,
    kernel_density,
    mixture,
    two_step,
    vae,
)
from submanifold.models.base import Awareness, Model
from submanifold.models.registry import MODELS

__all__ = ["MODELS", "Entry", "create", "describe", "names"]


@dataclass(frozen=True)
class Entry:
    """One line of the table of models."""

    name: str
    family: str
    awareness: Awareness
    why: str


def names() -> list[str]:
    """The names of all models, sorted."""
    return list(MODELS)


def describe() -> list[Entry]:
    """Name, family, manifold-awareness and its reason for every model, sorted by name."""
    return [Entry(name, m.family, m.awareness, m.why) for name, m in MODELS.items()]


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
    cls = MODELS[model] if isinstance(model, str) else model
    name = MODELS.name_of(cls) if cls in dict(MODELS.items()).values() else cls.__name__
    make = getattr(cls, "assemble", cls)
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
