"""`submanifold list KIND`: what there is, by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from submanifold.cli.console import console

__all__ = ["Kind", "listing"]


class Kind(StrEnum):
    """What can be listed."""

    MODELS = "models"
    MANIFOLDS = "manifolds"
    ESTIMATORS = "estimators"
    FINDINGS = "findings"
    EXPERIMENTS = "experiments"


def _models() -> dict[str, tuple[str, ...]]:
    from submanifold import models

    return {
        entry.name: (
            f"{entry.family}: {entry.why}",
            entry.awareness,
            entry.log_prob if entry.measure == "none" else f"{entry.log_prob}, {entry.measure}",
            ", ".join(entry.capabilities),
        )
        for entry in models.describe()
    }


def _first_sentence(item: object) -> str:
    """What the documentation of a class says first, without its markup."""
    paragraph = (inspect.getdoc(item) or "").split("\n\n")[0]
    return " ".join(paragraph.replace("`", "").split())


def _manifolds() -> dict[str, str]:
    """Analytic manifolds, those of the benchmark, and images of known dimension, each as it is by default."""
    from submanifold.data.benchmarks import BENCHMARK
    from submanifold.data.manifolds import MANIFOLDS
    from submanifold.data.rendered import IMAGE_MANIFOLDS

    def told(item: Any, text: str) -> str:
        return f"d = {item.dim}, D = {item.ambient_dim}: {text}"

    return {
        **{name: told(item(), _first_sentence(item)) for name, item in MANIFOLDS.items()},
        **{name: told(item, item.description) for name, item in BENCHMARK.items()},
        **{name: told(item(), _first_sentence(item)) for name, item in IMAGE_MANIFOLDS.items()},
    }


def _estimators() -> dict[str, str]:
    from submanifold.dimension import ESTIMATORS

    return {name: _first_sentence(item) for name, item in ESTIMATORS.items()}


def _findings() -> dict[str, str]:
    from submanifold.lens.catalogue import FINDINGS

    return dict(FINDINGS)


def _experiments() -> dict[str, str]:
    from submanifold.reproduce import EXPERIMENTS

    return dict(EXPERIMENTS)


_TABLES: dict[Kind, Callable[[], Mapping[str, str | tuple[str, ...]]]] = {
    Kind.MODELS: _models,
    Kind.MANIFOLDS: _manifolds,
    Kind.ESTIMATORS: _estimators,
    Kind.FINDINGS: _findings,
    Kind.EXPERIMENTS: _experiments,
}


_WIDE = 120
"""Columns of a terminal that a table of several columns takes."""

_HEADERS: dict[Kind, tuple[str, ...]] = {
    Kind.MODELS: ("", "family: why it is or is not manifold-aware", "manifold", "log-density", "can do")
}


def listing(kind: Annotated[Kind, typer.Argument(help="What to list.")]) -> None:
    """List models, manifolds, estimators, findings or experiments."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    headers, out = _HEADERS.get(kind, ()), console()
    if headers and out.width < _WIDE:  # columns would be too narrow to read
        for name, (text, *facts) in _models().items():
            line = "; ".join(f"{header}: {fact}" for header, fact in zip(headers[2:], facts, strict=True))
            out.print(Text(name, style="bold"))
            out.print(Padding(Text(f"{text}\n{line}"), (0, 0, 0, 4)))
        return
    table = Table(*headers, box=None, pad_edge=False, show_header=any(headers), padding=(0, 3, 0, 0))
    if headers:
        table.columns[0].no_wrap = True
    for name, told in _TABLES[kind]().items():
        table.add_row(Text(name, style="bold"), *map(Text, (told,) if isinstance(told, str) else told))
    out.print(table)
