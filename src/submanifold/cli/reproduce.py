"""`submanifold reproduce NAME`: run an experiment and print its verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from submanifold.cli.console import note

__all__ = ["reproduce"]


def reproduce(
    name: Annotated[str, typer.Argument(help="Name of an experiment, see: submanifold list experiments.")],
    seeds: Annotated[
        int | None, typer.Option("--seeds", help="How many seeds; the experiment's own by default.")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", help="Run on these data instead, where an experiment has several; may be repeated."),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--folder", help="Keep finished parts here: the same command goes on from them, if interrupted."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the outcome and its runs as JSON.")] = False,
    save: Annotated[
        Path | None, typer.Option("--save", help="Also write the experiment's figure (.png), where it has one.")
    ] = None,
) -> None:
    """Reproduce a claim of the literature, with a numeric verdict; exit code 1 where it does not hold."""
    from rich.console import Console
    from rich.table import Table

    from submanifold.checks import check_int
    from submanifold.errors import InvalidInput
    from submanifold.files import writable_folder
    from submanifold.plotting import save_png
    from submanifold.reproduce import figure, run
    from submanifold.reproduce.catalogue import check_has_figure

    if save is not None:  # before the work, not after it
        if save.suffix.lower() != ".png":
            raise InvalidInput(f"--save {str(save)!r} is not accepted: give a name ending in .png")
        check_has_figure(name)
        writable_folder(save.parent, name="--save")
    given = {
        "seeds": None if seeds is None else check_int(seeds, name="--seeds"),
        "data": data or None,
        "folder": folder,
    }
    outcome = run(name, **{key: value for key, value in given.items() if value is not None})
    if json_:
        print(json.dumps(outcome.to_json(), indent=2, default=float))
    else:
        table = Table("claim", "measured", "accepted", "holds", title=f"{name}, {outcome.seconds:.0f} s")
        for claim in outcome.claims:
            table.add_row(claim.statement, claim.measured, claim.accepted, "✓ yes" if claim.holds else "✗ no")
        Console().print(table)
    if save is not None:
        note(f"Figure: {save_png(figure(outcome), save)}")
    if not outcome.reproduced:
        raise typer.Exit(1)
