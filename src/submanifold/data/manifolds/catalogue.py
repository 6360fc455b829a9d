"""The analytic manifolds by name."""

from __future__ import annotations

from typing import Any

from submanifold.data.arguments import call

# Importing a module enters its manifolds in the registry.
from submanifold.data.manifolds import (  # noqa: F401
    ball,
    circle,
    linear,
    sphere,
    swiss_roll,
    torus,
    union,
)
from submanifold.data.manifolds.base import MANIFOLDS, Manifold

__all__ = ["MANIFOLDS", "manifold", "manifold_names"]


def manifold(name: str, **arguments: Any) -> Manifold:
    """The analytic manifold called `name`, with its own arguments, `ambient_dim` and `frame_seed`.

    >>> manifold("torus", ambient_dim=10)
    Torus(dim=2, ambient_dim=10)

    Raises:
        InvalidInput: for an unknown name, with the nearest match, or an unknown argument.
    """
    return call(MANIFOLDS[name], arguments, name=f"manifold {name!r}")


def manifold_names() -> list[str]:
    """Names that `manifold` and `load` know."""
    return list(MANIFOLDS)
