"""Calls with keyword arguments that came from outside: the unknown ones are refused in one sentence."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from submanifold.checks import nearest_match
from submanifold.errors import InvalidInput

__all__ = ["call"]

T = TypeVar("T")


def call(function: Callable[..., T], arguments: Mapping[str, Any], *positional: Any, name: str) -> T:
    """`function(*positional, **arguments)`, or a refusal that calls the function `name`."""
    parameters = list(inspect.signature(function).parameters.values())[len(positional) :]
    known = [parameter.name for parameter in parameters]
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    for argument in () if open_ended else arguments:
        if argument not in known:
            hint = nearest_match(argument, known) if known else "it takes none"
            raise InvalidInput(f"{name} takes no argument {argument!r}: {hint}")
    return function(*positional, **arguments)
