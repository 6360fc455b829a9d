"""The table of models: a name wherever a class is asked for.

A model is a class, entered by `register`, or a class with some of its ingredients chosen, entered by `preset`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from submanifold.models.base import Awareness, Model
from submanifold.registry import Registry

__all__ = ["MODELS", "PRESETS", "Preset", "preset", "register"]

MODELS: Registry[type[Model]] = Registry("model")
"""The classes, by the names under which they are saved."""

PRESETS: Registry[Preset] = Registry("model")
"""All that can be made by name, a class with its defaults among them."""

M = TypeVar("M", bound=Model)


@dataclass(frozen=True)
class Preset:
    """A class of models with ingredients chosen: what a paper calls a model.

    Attributes:
        model: the class.
        options: arguments of its constructor.
        family: in the field's words.
        awareness: see `Model`.
        why: the reason of the awareness.
    """

    model: type[Model]
    options: Mapping[str, Any]
    family: str
    awareness: Awareness
    why: str


def register(name: str) -> Callable[[type[M]], type[M]]:
    """A class decorator that enters a model under `name`, the word for it in Python, command line and reports."""

    def enter(model: type[M]) -> type[M]:
        MODELS.register(name)(model)
        preset(name, model)
        return model

    return enter


def preset(
    name: str,
    model: type[Model],
    *,
    family: str | None = None,
    awareness: Awareness | None = None,
    why: str | None = None,
    **options: Any,
) -> None:
    """Enter `model` with `options` under `name`; what is not said of it is as in the class."""
    told = (family or model.family, awareness or model.awareness, why or model.why)
    PRESETS.register(name)(Preset(model, options, *told))
