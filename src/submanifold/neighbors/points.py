"""Points that may be larger than memory: validated, flattened, gathered and left out without a copy of the whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from submanifold.checks import check_dense, from_torch, points_of
from submanifold.errors import InvalidInput

__all__ = ["Points"]

Floats = NDArray[np.float32] | NDArray[np.float64]
Index = NDArray[np.int64]

_BLOCK_BYTES = 2**26


class Points:
    """n points of D real coordinates in an array, a tensor or a memory-mapped file, of which some rows may be left out.

    Points are read by blocks, as float32 where that holds the values of the array exactly (float32, float16,
    small integers) and as float64 otherwise. Nothing larger than a block is ever converted or copied.

    Attributes:
        shape: (n, D), after flattening of images (n, C, H, W) and after rows were left out.
        dtype: float32 or float64, that of the blocks.
        device: the device of the tensor that was given, such as "cpu" or "cuda:0"; None for arrays.
    """

    def __init__(self, raw: NDArray[Any], rows: Index | None = None, device: str | None = None) -> None:
        self._raw = raw  # (N, ...)
        self._rows = rows  # (n,) of 0..N-1, or None for all
        self.device = device
        n = len(raw) if rows is None else len(rows)
        self.shape = (n, int(np.prod(raw.shape[1:])))
        exact = raw.dtype.itemsize <= (4 if raw.dtype.kind == "f" else 2)
        self.dtype = np.dtype(np.float32 if exact else np.float64)

    @classmethod
    def of(cls, X: ArrayLike | Points, *, name: str = "X", min_rows: int = 2) -> Points:
        """The points of an array (n, ...), tensor, list or data set with an attribute `x`.

        Raises:
            InvalidInput: for text or objects, complex numbers, NaN or infinity, fewer than `min_rows` points,
                points without coordinates, or points that all coincide.
        """
        if isinstance(X, Points):
            return X
        raw, device = points_of(X), None
        if hasattr(raw, "detach"):
            device = str(raw.device)
            raw = from_torch(raw)
        elif not isinstance(raw, np.memmap):
            check_dense(raw, name=name)
            raw = _array(raw, name)
        if raw.dtype.kind not in "biuf":
            raise InvalidInput(f"{name} has dtype {raw.dtype}: give real numbers")
        if raw.ndim == 0:
            raise InvalidInput(f"{name} is a single number: give an array of shape (n, D)")
        if len(raw) < min_rows:
            raise InvalidInput(f"{name} holds {len(raw)} points: give at least {min_rows}")
        if raw.size == 0 and len(raw):
            raise InvalidInput(f"{name} has shape {raw.shape}: its points have no coordinates")
        points = cls(raw, device=device)
        points._check_values(name, distinct=min_rows > 1)
        return points

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"Points(n={self.shape[0]}, D={self.shape[1]}, {self.dtype.name})"

    @property
    def is_memory_mapped(self) -> bool:
        """Whether the points are read from a file on demand."""
        base: Any = self._raw
        while base is not None and not isinstance(base, np.memmap):
            base = getattr(base, "base", None)
        return base is not None

    def block(self, rows: slice) -> Floats:
        """The points of a slice, (b, D) contiguous in memory; to be read only, as it may be a view of the data."""
        raw = self._raw[rows] if self._rows is None else self._raw[self._rows[rows]]
        return self._flat(raw)

    def gather(self, index: ArrayLike) -> Floats:
        """The points at the positions `index` (...), as an array (..., D)."""
        index = np.asarray(index)
        own = index if self._rows is None else self._rows[index]
        return self._flat(self._raw[own.ravel()]).reshape(*index.shape, self.shape[1])  # (..., D)

    def take(self, index: ArrayLike) -> Self:
        """The points at the positions `index` (m,) alone, without a copy of them."""
        index = np.asarray(index)
        index = np.flatnonzero(index) if index.dtype.kind == "b" else index.astype(np.int64)
        rows = index if self._rows is None else self._rows[index]
        return type(self)(self._raw, rows, self.device)

    def blocks(self, memory: int = _BLOCK_BYTES) -> Iterator[slice]:
        """Slices that cover all points, each of a block of about `memory` bytes in float64."""
        size = max(1, memory // (8 * self.shape[1]))
        return (slice(start, min(start + size, len(self))) for start in range(0, len(self), size))

    def array(self) -> Floats:
        """All points in memory, (n, D)."""
        return self.block(slice(0, len(self)))

    def _flat(self, raw: NDArray[Any]) -> Floats:
        flat = np.ascontiguousarray(raw, dtype=self.dtype).reshape(len(raw), self.shape[1])  # (b, D)
        return np.asarray(flat)

    def _check_values(self, name: str, *, distinct: bool) -> None:
        first = self.block(slice(0, 1))
        bad, copies = 0, distinct
        for rows in self.blocks():
            block = self.block(rows)
            if self._raw.dtype.kind == "f" and not np.isfinite(block).all():
                bad += int((~np.isfinite(block)).any(axis=1).sum())
            copies = copies and bool((block == first).all())
        if bad:
            raise InvalidInput(f"{name} has NaN or infinity in {bad} of {len(self)} points: remove them")
        if copies:
            raise InvalidInput(f"{name} holds {len(self)} copies of one point: give distinct points")


def _array(raw: Any, name: str) -> NDArray[Any]:
    try:
        return np.asarray(raw)
    except ValueError:  # lists of unequal length
        raise InvalidInput(f"{name} is a ragged list: give an array of shape (n, D)") from None
