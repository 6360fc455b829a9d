"""The door of `submanifold.data.load`: every data set passes here, whatever it was read from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from submanifold.checks import torch_ready
from submanifold.data.dataset import Dataset
from submanifold.data.lattice import lattice_spacing
from submanifold.errors import InvalidInput

if TYPE_CHECKING:
    from submanifold.data.manifolds import Manifold

__all__ = ["Raw", "admit", "as_points", "chosen", "class_indices"]

_BLOCK_BYTES = 1 << 26  # of a memory-mapped array, looked at at a time
_CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class Raw:
    """What a reader read, before it was checked: the fields of a `Dataset`, and names of the columns."""

    x: NDArray[Any]
    name: str
    labels: NDArray[np.int64] | None = None
    manifold: Manifold | None = None
    lattice: float | None = None
    true_dim: int | None = None
    noise_sigma: float = 0.0
    columns: Sequence[str] | None = None


def chosen(n: int, limit: int | None) -> NDArray[np.int64]:
    """Which of `n` points are taken under `limit`: sorted, without replacement, always the same."""
    if limit is None or limit >= n:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).choice(n, limit, replace=False))


def class_indices(labels: ArrayLike, n: int) -> NDArray[np.int64]:
    """Labels (n,) as integers: whole numbers as they are, anything else by rank among its values."""
    raw = labels.detach().cpu().numpy() if hasattr(labels, "detach") else np.asarray(labels)
    if raw.dtype == object and any(label is None for label in raw.ravel()):
        raise InvalidInput(f"labels are missing for some of the {n} points: remove these points, or the labels")
    if raw.shape != (n,):
        raise InvalidInput(f"labels have shape {raw.shape}: give one for each of the {n} points, shape ({n},)")
    if raw.dtype.kind in "biu":
        return raw.astype(np.int64)
    if raw.dtype.kind == "f" and np.isfinite(raw).all() and (raw == np.round(raw)).all():
        return raw.astype(np.int64)
    if raw.dtype.kind in "US" or all(isinstance(value, str) for value in raw):
        ranks: NDArray[np.int64] = np.unique(raw.astype(str), return_inverse=True)[1]
        return ranks.astype(np.int64)
    raise InvalidInput(f"labels have dtype {raw.dtype}: give whole numbers or text")


def as_points(array: NDArray[Any], *, name: str) -> NDArray[Any]:
    """The array as points (n, D) or images (n, channels, height, width), in a type that torch knows.

    (n,) are points on a line, (n, H, W) images of one channel. (n, a, b, c) has its channels first where a is
    1, 3 or 4, last where c is; where both are, the reading with square images is taken if there is one.

    Raises:
        InvalidInput: for anything but real numbers, and for axes of unclear meaning.
    """
    if array.dtype.kind not in "biuf":
        raise InvalidInput(f"{name} has dtype {array.dtype}: give an array of real numbers")
    if array.ndim == 0:
        raise InvalidInput(f"{name} is a single number: give an array of shape (n, D)")
    if array.ndim > 4:
        raise InvalidInput(f"{name} has shape {array.shape}: give vectors (n, D) or images (n, channels, H, W)")
    array = torch_ready(array)
    if array.ndim == 1:
        return array[:, None]  # (n, 1)
    if array.ndim == 3:
        return array[:, None]  # (n, 1, H, W)
    if array.ndim == 4 and _channels_last(array.shape, name):
        return np.ascontiguousarray(np.moveaxis(array, -1, 1))  # (n, C, H, W)
    return array


def _channels_last(shape: tuple[int, ...], name: str) -> bool:
    """Whether the last of four axes holds the channels."""
    _, a, b, c = shape
    first, last = a in _CHANNELS, c in _CHANNELS
    if first and last and (b == c) != (a == b):  # the reading with square images
        first, last = b == c, a == b
    if first == last:
        why = "axis 1 and axis 3 could both be" if first else "neither axis 1 nor axis 3 can be"
        raise InvalidInput(
            f"{name} has shape {shape}, where {why} channels (1, 3 or 4): "
            "give Dataset(x) with x of shape (n, channels, height, width)"
        )
    return last


def admit(raw: Raw, *, drop_constant: bool = False) -> Dataset:
    """The reading as a data set, checked and with its lattice spacing.

    Raises:
        InvalidInput: for fewer than two points, points without coordinates, NaN or infinity, points
            that all coincide, or constant columns of vectors unless `drop_constant` (constant
            pixels of images, and coordinates of manifolds known by name, are normal).
    """
    x, name = raw.x, raw.name
    if len(x) < 2:
        raise InvalidInput(f"{name} holds {len(x)} points: give at least 2")
    if x[0].size == 0:
        raise InvalidInput(f"{name} has shape {x.shape}: its points have no coordinates")
    bad, unreal, constant = 0, np.zeros(x.shape[1:], bool), np.ones(x.shape[1:], bool)
    for block in _blocks(x):
        infinite = ~np.isfinite(block)
        bad += int(infinite.reshape(len(block), -1).any(1).sum())
        unreal |= infinite.any(0)
        constant &= (block == x[0]).all(0)
    if bad:
        where = "" if x.ndim > 2 else f" ({_columns(unreal, raw.columns)})"
        raise InvalidInput(f"{name} has NaN or infinity in {bad} of {len(x)} points{where}: remove them")
    if constant.all():
        raise InvalidInput(f"{name} holds {len(x)} copies of one point: give distinct points")
    # Drawn from a known law, points may well lie flat in their space or repeat values.
    truth = raw.true_dim is not None or raw.manifold is not None
    if x.ndim == 2 and not truth and constant.any():
        if not drop_constant:
            raise InvalidInput(
                f"{name} is constant in {_columns(constant, raw.columns)}: remove such columns, "
                "or load with drop_constant=True"
            )
        x = x[:, ~constant]
    known = truth or raw.lattice is not None
    lattice = raw.lattice if known else lattice_spacing(x)
    return Dataset(x, name, raw.labels, raw.manifold, lattice, raw.true_dim, raw.noise_sigma)


def _blocks(x: NDArray[Any]) -> Iterator[NDArray[Any]]:
    rows = max(1, _BLOCK_BYTES // x[0].nbytes)
    for start in range(0, len(x), rows):
        yield x[start : start + rows]


def _columns(mask: NDArray[np.bool_], names: Sequence[str] | None, most: int = 8) -> str:
    """The columns in `mask`, in words."""
    index = np.flatnonzero(mask)
    words = [str(i) if names is None else repr(names[i]) for i in index[:most]]
    rest = f" and {len(index) - most} more" if len(index) > most else ""
    return f"column{'s' if len(index) > 1 else ''} {', '.join(words)}{rest}"
