"""`submanifold train MODEL SOURCE --run DIR`: fit one model, or go on where it stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from submanifold.cli.arguments import Assignments, Latent, Limit, Seed, Source, Steps, settings
from submanifold.cli.console import note
from submanifold.cli.guard import keeping

__all__ = ["train"]


def train(
    model: Annotated[str, typer.Argument(help="Name of a model, see: submanifold list models.")],
    source: Source,
    run: Annotated[Path, typer.Option("--run", help="Folder of the run; an unfinished one is resumed.")],
    latent_dim: Latent = None,
    steps: Steps = None,
    seed: Seed = 0,
    limit: Limit = None,
    set_: Assignments = None,
) -> None:
    """Train a model and keep it in a folder."""
    import torch

    from submanifold import data, dimension, models, training
    from submanifold.lens.recipes import latents_for, needs_latents
    from submanifold.nn.given import name_of

    given: dict[str, Any] = settings(set_ or [])
    if latent_dim is not None:
        given["latent_dim"] = latent_dim
    points = data.load(source, limit=limit)
    torch.manual_seed(seed)
    fresh = models.create(model, points.data_shape, **given)
    if needs_latents(model) and given.get("latent_dim") is None and name_of(given.get("network")) != "spatial":
        found = dimension.estimate(points, seed=seed)
        given["latent_dim"] = latents_for(points, found)
        note(f"latent_dim={given['latent_dim']}, since the data have {str(found).splitlines()[0]}")
        torch.manual_seed(seed)
        fresh = models.create(model, points.data_shape, **given)
    options = {} if steps is None else {"steps": steps}
    with keeping(f"the last checkpoint is in {run}, the same command goes on from there"):
        training.fit(fresh, points, run=run, seed=seed, **options)
    note(f"The model is in {run}: submanifold sample {run}, submanifold audit {run} {source}")
