"""What all models with latents share: how many latents they may have."""

from __future__ import annotations

from typing import Any

from submanifold.checks import check_int
from submanifold.errors import InvalidInput

__all__ = ["check_latent_dim"]


def check_latent_dim(latent_dim: Any, ambient_dim: int, *, full_latent: bool = False) -> int:
    """Refuse a `latent_dim` that is not below `ambient_dim`, or with `full_latent` above it.

    As many latents as coordinates make the identity a perfect autoencoder of all of R^D, so that it need not learn a
    manifold at all; whoever wants that has to say so.
    """
    d = check_int(latent_dim, name="latent_dim")
    if d > ambient_dim - (not full_latent):
        allowed = "" if full_latent else ", or full_latent=True to have as many latents as coordinates"
        most = "of at most" if full_latent else "below"
        raise InvalidInput(
            f"latent_dim={d} is not accepted for data with {ambient_dim} coordinates: "
            f"give an integer {most} {ambient_dim}{allowed}"
        )
    return d
