"""`submanifold reproduce NAME`: run an experiment and print its verdict."""

from __future__ import annotations

import json
from typing import Annotated

import typer

__all__ = ["reproduce"]


def reproduce(
    name: Annotated[str, typer.Argument(help="Name of an experiment, see: submanifold list experiments.")],
    seeds: Annotated[
        int | None, typer.Option("--seeds", help="How many seeds; the experiment's own by default.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the outcome and its runs as JSON.")] = False,
) -> None:
    """Reproduce a claim of the literature, with a numeric verdict; exit code 1 where it does not hold."""
    from rich.console import Console
    from rich.table import Table

    from submanifold.checks import check_int
    from submanifold.reproduce import run

    outcome = run(name, **({} if seeds is None else {"seeds": check_int(seeds, name="--seeds")}))
    if json_:
        print(json.dumps(outcome.to_json(), indent=2, default=float))
    else:
        table = Table("claim", "measured", "accepted", "holds", title=f"{name}, {outcome.seconds:.0f} s")
        for claim in outcome.claims:
            table.add_row(claim.statement, claim.measured, claim.accepted, "✓ yes" if claim.holds else "✗ no")
        Console().print(table)
    if not outcome.reproduced:
        raise typer.Exit(1)
