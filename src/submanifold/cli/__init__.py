"""The command line: `submanifold lens`, `dimension`, `train`, `sample`, `audit`, `reproduce`, `list`.

Commands load what they need when they run, so that `submanifold --help` answers at once.
"""

from __future__ import annotations

import os

import typer

import submanifold
from submanifold.cli.audit import audit
from submanifold.cli.dimension import EXAMPLES, dimension
from submanifold.cli.guard import guarded
from submanifold.cli.lens import lens
from submanifold.cli.listing import listing
from submanifold.cli.reproduce import reproduce
from submanifold.cli.sample import sample
from submanifold.cli.train import train

__all__ = ["app", "main"]

app = typer.Typer(
    name="submanifold",
    help="Look at data and deep generative models through the manifold hypothesis.",
    epilog="Start with: submanifold lens digits",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"submanifold {submanifold.__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    pass


app.command("lens")(guarded(lens))
app.command("dimension", epilog=EXAMPLES)(guarded(dimension))
app.command("train")(guarded(train))
app.command("sample")(guarded(sample))
app.command("audit")(guarded(audit))
app.command("reproduce")(guarded(reproduce))
app.command("list")(guarded(listing))


def main() -> None:
    """The entry point of the `submanifold` command."""
    # Threads that spin while they wait make small networks a hundred times slower on a machine with other work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    app()
