"""Arguments that several commands share, and how their text becomes values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["Assignments", "Latent", "Limit", "Page", "Seed", "Source", "Steps", "settings", "split_names", "told"]

Source = Annotated[
    str,
    typer.Argument(
        help="What to look at: digits, the name of a manifold (see: submanifold list manifolds), "
        "a .npy/.npz/.csv/.parquet file, a folder of images, or an IDX file."
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same result.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Training steps per model.")]
Latent = Annotated[
    int | None, typer.Option(min=1, help="Latent dimension; by default the estimated intrinsic dimension.")
]
Limit = Annotated[int | None, typer.Option(min=2, help="Look at no more than this many points.")]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="An argument of the model, its value as JSON."),
]
Page = Annotated[Path, typer.Option("--out", help="Folder for report.html and its figures.")]


def told(path: str | Path) -> str:
    """A path as a page may tell it: one that starts at the root of somebody's machine by its last part alone."""
    return Path(path).name if Path(path).is_absolute() else str(path)


def split_names(text: str) -> list[str]:
    """The names in a comma-separated list."""
    return [name.strip() for name in text.split(",") if name.strip()]


def settings(assignments: list[str]) -> dict[str, Any]:
    """Arguments written as key=value; the value is read as JSON, and as text where it is none."""
    from submanifold.errors import InvalidInput

    values: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.isidentifier():
            raise InvalidInput(f"--set {assignment!r} is not accepted: give key=value")
        try:
            values[key] = json.loads(text)
        except json.JSONDecodeError:
            values[key] = text
    return values
