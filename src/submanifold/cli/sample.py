"""`submanifold sample RUN`: draw from a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from submanifold.cli.arguments import Seed
from submanifold.cli.console import console

__all__ = ["sample"]


def sample(
    run: Annotated[Path, typer.Argument(help="Folder of a trained model.")],
    n: Annotated[int, typer.Option("-n", min=1, help="How many samples.")] = 64,
    out: Annotated[Path, typer.Option(help="samples.npy for numbers, .png for a picture.")] = Path("samples.npy"),
    seed: Seed = 0,
) -> None:
    """Draw samples from a trained model into a file."""
    import io

    import numpy as np
    import torch

    from submanifold.errors import InvalidInput
    from submanifold.files import atomic_write_bytes
    from submanifold.models import load

    if out.suffix not in (".npy", ".png"):
        raise InvalidInput(f"--out {str(out)!r} is not accepted: give a name ending in .npy or .png")
    model = load(run)
    drawn = model.sample(n, generator=torch.Generator(model.device).manual_seed(seed)).cpu()
    if out.suffix == ".png":
        from submanifold.plotting import picture, png_bytes

        atomic_write_bytes(out, png_bytes(picture(drawn.numpy())))
    else:
        buffer = io.BytesIO()
        np.save(buffer, drawn.numpy(), allow_pickle=False)
        atomic_write_bytes(out, buffer.getvalue())
    console().print(f"{out}: {n} samples of shape {tuple(drawn.shape[1:])}", markup=False, soft_wrap=True)
