r"""The divergence of a field s on R^D, tr \partial s / \partial y, row by row, and its estimate along directions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from submanifold.checks import check_int

__all__ = ["divergence", "divergence_along", "random_signs"]

Field = Callable[[Tensor], Tensor]
"""Maps points (n, D) to vectors (n, D), row by row."""


def divergence(field: Field, y: Tensor, *, chunk_size: int | None = None) -> tuple[Tensor, Tensor]:
    r"""s(y), (n, D), and tr \partial s / \partial y, (n,), exactly, with graphs.

    By one pass backwards for each coordinate, all of them at once, which takes D times the memory of one, or so many at
    a time.

    Args:
        field: s.
        y: points (n, D).
        chunk_size: coordinates at a time; all if None.
    """
    D = y.shape[1]
    s, pull = _linearised(field, y)
    basis = torch.eye(D, device=y.device, dtype=y.dtype)[:, None].expand(D, *y.shape)  # (D, n, D)
    return s, _along(pull, basis, chunk_size).sum(dim=0)


def divergence_along(
    field: Field, y: Tensor, directions: Tensor, *, chunk_size: int | None = None
) -> tuple[Tensor, Tensor]:
    r"""s(y), (n, D), and v^\top (\partial s / \partial y) v for each of `directions`, (k, n, D): (k, n), with graphs.

    Where v has mean 0 and covariance I, that is the divergence on average (Hutchinson 1990); its variance is least,
    among such laws, for independent signs.
    """
    s, pull = _linearised(field, y)
    return s, _along(pull, directions, chunk_size)


def random_signs(count: int, like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Independent signs, (count, *like.shape): directions whose estimate of a divergence has the least variance."""
    u = torch.rand(
        (check_int(count, name="count"), *like.shape), generator=generator, device=like.device, dtype=like.dtype
    )
    return torch.where(u < 0.5, -1.0, 1.0).to(like)


def _linearised(field: Field, y: Tensor) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor]]]:
    r"""s(y), and the map from v to v^\top \partial s / \partial y."""
    s, pull = torch.func.vjp(field, y)[:2]
    return s, pull


def _along(pull: Callable[[Tensor], tuple[Tensor]], v: Tensor, chunk_size: int | None) -> Tensor:
    r"""v^\top (\partial s / \partial y) v for each of v (k, n, D), (k, n)."""
    chunk = None if chunk_size is None else check_int(chunk_size, name="chunk_size")
    found: Tensor = torch.func.vmap(lambda one: (pull(one)[0] * one).sum(dim=1), chunk_size=chunk)(v)
    return found
