"""`submanifold sample RUN`: draw from a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from submanifold.cli.arguments import Assignments, Seed, settings
from submanifold.cli.console import console

__all__ = ["sample"]


def sample(
    run: Annotated[Path, typer.Argument(help="Folder of a trained model.")],
    n: Annotated[int, typer.Option("-n", min=1, help="How many samples.")] = 64,
    out: Annotated[Path, typer.Option(help="samples.npy for numbers, .png for a picture.")] = Path("samples.npy"),
    seed: Seed = 0,
    set_: Assignments = None,
) -> None:
    """Draw samples from a trained model into a file.

    With --set they are drawn as the model can be asked to: labels=7, guidance=0.5, steps=50, sampler=dpm-solver++ of a
    diffusion model with classes, noise=false of a VAE.
    """
    import io

    import numpy as np
    import torch

    from submanifold.errors import InvalidInput
    from submanifold.files import atomic_write_bytes
    from submanifold.models import load

    if out.suffix not in (".npy", ".png"):
        raise InvalidInput(f"--out {str(out)!r} is not accepted: give a name ending in .npy or .png")
    model = load(run)
    options = _accepted(model, settings(set_ or []))
    drawn = model.sample(n, generator=torch.Generator(model.device).manual_seed(seed), **options).cpu()
    if out.suffix == ".png":
        from submanifold.plotting import picture, png_bytes

        atomic_write_bytes(out, png_bytes(picture(drawn.numpy())))
    else:
        buffer = io.BytesIO()
        np.save(buffer, drawn.numpy(), allow_pickle=False)
        atomic_write_bytes(out, buffer.getvalue())
    console().print(f"{out}: {n} samples of shape {tuple(drawn.shape[1:])}", markup=False, soft_wrap=True)


def _accepted(model: Any, options: dict[str, Any]) -> dict[str, Any]:
    """What the model's `sample` is asked for, all of it known to it; a two-step model leaves it to its law."""
    import inspect

    from submanifold.checks import nearest_match
    from submanifold.errors import InvalidInput

    known = inspect.signature(getattr(model, "law", model).sample).parameters.keys() - {"n", "generator", "callback"}
    for name in options:
        if name not in known:
            told = nearest_match(name, known) if known else "it takes none"
            raise InvalidInput(f"--set {name}=... is not accepted: sampling this model has no such argument, {told}")
    return options
