"""`submanifold lens SOURCE`: the main job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from submanifold.cli.arguments import Latent, Limit, Page, Seed, Source, Steps, split_names, told
from submanifold.cli.console import open_page, show_report
from submanifold.cli.guard import keeping

__all__ = ["lens"]


def lens(
    source: Source,
    out: Page = Path("lens-report"),
    models: Annotated[str, typer.Option(help="Models to train, separated by commas.")] = "vae,flow,two-step",
    latent_dim: Latent = None,
    steps: Steps = None,
    seed: Seed = 0,
    limit: Limit = None,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Show the report in the browser at the end.")] = False,
) -> None:
    """Examine data: its dimension, which models learn the manifold and the distribution, and what repairs them."""
    from submanifold.checks import check_choice
    from submanifold.errors import InvalidInput
    from submanifold.files import writable_folder
    from submanifold.lens import examine
    from submanifold.models import names

    chosen = [check_choice(name, names(), name="--models") for name in split_names(models)]
    if not chosen:
        raise InvalidInput(f"--models is empty: give one or more of {', '.join(names())}")
    folder = writable_folder(out, name="--out")
    with keeping(f"no report was written; the same command goes on from what is in {folder / 'runs'}"):
        report = examine(
            source,
            chosen,
            latent_dim=latent_dim,
            steps=steps,
            seed=seed,
            limit=limit,
            run=folder / "runs",
            progress=True,
        )
        report = replace(report, settings={"source": told(source), **report.settings})
        page = report.save(folder / "report.html")
    show_report(report, page)
    if open_:
        open_page(page)
