"""`submanifold audit RUN SOURCE`: what a trained model learned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from submanifold.cli.arguments import Limit, Page, Seed, Source, told
from submanifold.cli.console import show_report
from submanifold.cli.guard import keeping

__all__ = ["audit"]


def audit(
    run: Annotated[Path, typer.Argument(help="Folder of a trained model.")],
    source: Source,
    out: Page = Path("audit-report"),
    seed: Seed = 0,
    limit: Limit = None,
) -> None:
    """Examine a trained model on data that it should know."""
    from submanifold.files import writable_folder
    from submanifold.lens import examine
    from submanifold.models import load

    model = load(run)
    folder = writable_folder(out, name="--out")
    with keeping(f"no report was written; what was in {folder} is unchanged"):
        name = run.resolve().name
        report = examine(source, {name: model}, seed=seed, limit=limit, progress=True)
        report = replace(report, settings={"run": told(run), "source": told(source), **report.settings})
        page = report.save(folder / "report.html")
    show_report(report, page)
