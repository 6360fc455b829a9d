"""The training points, in memory or read batch by batch from a memory map.

Both kinds give batches on the model's device and in its floating type, checked to be finite.
"""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from submanifold.checks import check_tensor, labels_of, points_of
from submanifold.data.dataset import split_rows
from submanifold.models.base import Model, Stage
from submanifold.training.modes import evaluating

__all__ = [
    "MappedPoints",
    "Points",
    "PointsInMemory",
    "apply",
    "chunks",
    "fingerprint",
    "open_points",
    "row_chunks",
    "split",
]

CHUNK = 1024
"""Points per call of a stage's transform."""


class Points(Protocol):
    """n points, and their labels if they have any, that can be asked for by row."""

    labels: Tensor | None

    def __len__(self) -> int: ...

    def batch(self, rows: Tensor) -> Tensor:
        """The points at `rows`, (len(rows), *shape), on the training device."""
        ...

    def labels_at(self, rows: Tensor) -> Tensor | None:
        """The labels at `rows`, (len(rows),) int64, on the training device; None where points have none."""
        ...

    def take(self, rows: Tensor) -> Points:
        """The points at `rows` as points of their own."""
        ...

    def everything(self) -> Tensor:
        """All points, (n, *shape), or as many of them as fit in memory, drawn evenly."""
        ...


class _Labelled:
    """Labels (n,), or None, kept on the training device."""

    def __init__(self, labels: Tensor | None, device: torch.device) -> None:
        self.device = device
        self.labels = None if labels is None else labels.to(device)

    def labels_at(self, rows: Tensor) -> Tensor | None:
        return None if self.labels is None else self.labels[rows.to(self.device)]


class PointsInMemory(_Labelled):
    """Points held as one tensor, on the training device where they fit."""

    def __init__(self, x: Tensor, device: torch.device, *, labels: Tensor | None = None) -> None:
        super().__init__(labels, device)
        self.x = x.to(device) if _fits_on(device, x.nbytes) else x

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, rows: Tensor) -> Tensor:
        return self.x[rows.to(self.x.device)].to(self.device)

    def take(self, rows: Tensor) -> PointsInMemory:
        return PointsInMemory(self.x[rows.to(self.x.device)], self.device, labels=self.labels_at(rows))

    def everything(self) -> Tensor:
        return self.x


class MappedPoints(_Labelled):
    """Points that stay in a file larger than memory; `transform` is applied to each batch anew."""

    def __init__(
        self,
        array: NDArray[Any],
        data_shape: tuple[int, ...],
        device: torch.device,
        dtype: torch.dtype,
        *,
        labels: Tensor | None = None,
        rows: NDArray[np.int64] | None = None,
        transform: Callable[[Tensor, Tensor | None], Tensor] | None = None,
    ) -> None:
        super().__init__(labels, device)
        self.array = array
        self.data_shape = data_shape
        self.dtype = dtype
        self.rows = np.arange(len(array)) if rows is None else rows
        self.transform = transform

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: Tensor) -> Tensor:
        chosen = self.rows[rows.cpu().numpy()]
        order = np.argsort(chosen, kind="stable")  # the file is read forwards
        block = np.empty((len(chosen), *self.array.shape[1:]), dtype=self.array.dtype)
        block[order] = self.array[chosen[order]]
        x = check_tensor(block, self.data_shape, name="X").to(self.device, self.dtype)
        return x if self.transform is None else self.transform(x, self.labels_at(rows))

    def take(self, rows: Tensor) -> MappedPoints:
        return MappedPoints(
            self.array,
            self.data_shape,
            self.device,
            self.dtype,
            labels=self.labels_at(rows),
            rows=self.rows[rows.cpu().numpy()],
            transform=self.transform,
        )

    def everything(self) -> Tensor:
        size = self.batch(torch.arange(1)).nbytes
        most = max(int(_spare_memory() / 4 // size), 2)
        step = max(-(-len(self) // most), 1)
        return torch.cat([self.batch(part) for part in torch.split(torch.arange(0, len(self), step), CHUNK)])


def open_points(
    X: Any, data_shape: tuple[int, ...], device: torch.device, dtype: torch.dtype, *, name: str = "X"
) -> Points:
    """The points of an array, tensor or `Dataset`; a memory map that does not fit in memory stays one.

    Raises:
        InvalidInput: the points have another shape than the model's, are not numbers, or not finite.
    """
    raw, labels = points_of(X), labels_of(X)
    if labels is not None:
        labels = torch.from_numpy(np.asarray(labels, dtype=np.int64))
    if isinstance(raw, np.memmap) and _needed(raw, dtype) > _spare_memory() / 4:
        check_tensor(np.array(raw[:1]), data_shape, name=name)
        return MappedPoints(raw, data_shape, device, dtype, labels=labels)
    x = check_tensor(raw, data_shape, name=name).detach()
    _warn_of_rounding(x, dtype, name)
    return PointsInMemory(x.to(dtype=dtype), device, labels=labels)


def _warn_of_rounding(x: Tensor, dtype: torch.dtype, name: str) -> None:
    """Say so where coordinates vary so little beside their size that `dtype` keeps less than two digits of it."""
    if torch.finfo(x.dtype).eps >= torch.finfo(dtype).eps or len(x) < 2:
        return
    spread, size = x.std(0), x.abs().amax(0)
    lost = (torch.finfo(dtype).eps * size > 0.01 * spread) & (spread > 1e-12 * size)  # below that, it is rounding
    if lost.any():
        warnings.warn(
            f"{name} varies in {int(lost.sum())} of {lost.numel()} coordinates by hardly more than {str(dtype)[6:]} "
            "can tell so far from 0: subtract the mean of the data before the model sees them, or fit model.double()",
            stacklevel=4,
        )


def split(points: Points, fraction: float, seed: int) -> tuple[Points, Points]:
    """Shuffle and split into (training, held out), with the rows of `Dataset.split(fraction, seed=seed)`."""
    rest, held = (torch.from_numpy(rows) for rows in split_rows(len(points), fraction, seed))
    return points.take(rest), points.take(held)


def chunks(points: Points) -> Iterator[Tensor]:
    """The points in order, some at a time, (CHUNK, *shape)."""
    for rows in row_chunks(len(points), CHUNK):
        yield points.batch(rows)


def row_chunks(n: int, size: int, *, most: int | None = None) -> Iterator[Tensor]:
    """The rows of n points in order, `size` at a time; the first `most` of them.

    A point that would be left alone at the end goes with those before it: laws are not seen in one point.
    """
    n = n if most is None else min(most, n)
    ends = [*range(size, n, size), n]
    if len(ends) > 1 and ends[-1] - ends[-2] == 1:
        del ends[-2]
    for start, end in pairwise([0, *ends]):
        yield torch.arange(start, end)


def apply(stage: Stage, points: Points, model: Model) -> Points:
    """What the stage of the model's training trains on: the transform of all points, once, or batch by batch where the
    result does not fit in memory; without gradients, and with the model in evaluation mode."""
    transform, labelled = stage.transform, stage.labelled
    if transform is None:
        return points

    @torch.no_grad()
    def of(x: Tensor, labels: Tensor | None) -> Tensor:
        with evaluating(model):
            return transform(x, labels) if labelled else transform(x)

    def transformed(rows: Tensor) -> Tensor:
        return of(points.batch(rows), points.labels_at(rows))

    first = transformed(torch.arange(1))
    if isinstance(points, MappedPoints) and first.nbytes * len(points) > _spare_memory() / 4:
        return MappedPoints(
            points.array,
            points.data_shape,
            points.device,
            points.dtype,
            labels=points.labels,
            rows=points.rows,
            transform=of,
        )
    x = torch.cat([transformed(rows) for rows in row_chunks(len(points), CHUNK)])
    return PointsInMemory(x, first.device, labels=points.labels)


def fingerprint(X: Any) -> str:
    """A digest of the shape, the type and the values of the data; of large data, of evenly spaced points."""
    raw, labels = points_of(X), labels_of(X)
    raw = raw.detach().cpu().numpy() if isinstance(raw, Tensor) else np.asarray(raw)
    step = max(raw.nbytes // 2**26, 1)
    digest = hashlib.blake2b(repr((raw.shape, str(raw.dtype))).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(raw[::step]).tobytes())
    if labels is not None:
        digest.update(np.asarray(labels, dtype=np.int64).tobytes())
    return digest.hexdigest()


def _needed(array: NDArray[Any], dtype: torch.dtype) -> int:
    return math.prod(array.shape) * dtype.itemsize


def _spare_memory() -> int:
    """Bytes of memory that are free, or 8 GiB where the system does not tell."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 2**33


def _fits_on(device: torch.device, nbytes: int) -> bool:
    """Whether the accelerator can hold the data and leave three quarters of its free memory to training."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return nbytes <= free / 4
