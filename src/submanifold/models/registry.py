"""The table of models: a name wherever a class is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from submanifold.models.base import Model
from submanifold.registry import Registry

__all__ = ["MODELS", "build", "register"]

MODELS: Registry[type[Model]] = Registry("model")

M = TypeVar("M", bound=Model)


def register(name: str) -> Callable[[type[M]], type[M]]:
    """A class decorator that enters a model under `name`, the word for it in Python, command line and reports."""

    def enter(model: type[M]) -> type[M]:
        MODELS.register(name)(model)
        return model

    return enter


def build(name: str, *args: Any, **kwargs: Any) -> Model:
    """A model from its registered name and the arguments of its constructor."""
    from submanifold.models import catalogue  # deferred: it imports the models, which import this module

    make: Callable[..., Model] = catalogue.MODELS[name]
    return make(*args, **kwargs)
