"""How to get the same numbers again: the command or the call that a report came from."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

__all__ = ["command", "dimension_command"]

_OF_AN_AUDIT = ("seed", "limit")
_OF_A_LENS = ("models", "latent_dim", "steps", *_OF_AN_AUDIT)
_OF_A_DIMENSION = ("methods", "k", "metric", "n", "noise", *_OF_AN_AUDIT)


def _argument(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def command(settings: Mapping[str, Any]) -> str:
    """The command that examines the same source in the same way, or the call where the data came from Python.

    Arguments that were left to the library ("recipe", None) are left to it again.
    """
    names = _OF_AN_AUDIT if "run" in settings else _OF_A_LENS
    given = {name: settings[name] for name in names if settings.get(name) not in (None, "recipe")}
    if "source" not in settings:
        arguments = [f"{name}={value!r}" for name, value in given.items()]
        return f"submanifold.lens.examine({', '.join(['X', *arguments])})"
    start = ["audit", settings["run"]] if "run" in settings else ["lens"]
    options = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", _argument(value))]
    return shlex.join(["submanifold", *start, settings["source"], *options])


def dimension_command(settings: Mapping[str, Any]) -> str:
    """The command that estimates the dimension of the same source in the same way, or the call in Python."""
    given = {name: settings[name] for name in _OF_A_DIMENSION if settings.get(name) is not None}
    if "source" not in settings:
        arguments = [f"{name}={value!r}" for name, value in given.items() if name in ("methods", "k", "metric", "seed")]
        return f"submanifold.dimension.estimate({', '.join(['X', *arguments])})"
    words = {"methods": "method"}
    options = [word for name, value in given.items() for word in (f"--{words.get(name, name)}", _argument(value))]
    return shlex.join(["submanifold", "dimension", settings["source"], *options])
