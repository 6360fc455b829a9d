"""`.npy` and `.npz` files. Nothing is ever unpickled."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from submanifold.data.door import Raw, as_points, class_indices
from submanifold.errors import InvalidInput

__all__ = ["read_npy", "read_npz"]

_IN_MEMORY = 1 << 26  # bytes; larger files stay on disk, memory-mapped
_MAX_BYTES = 1 << 33  # of one array in an archive, which is unpacked in memory
_DATA_KEYS = ("x", "X", "data", "arr_0")
_LABEL_KEYS = ("y", "labels", "label", "target")


def read_npy(source: Path, limit: int | None) -> Raw:
    """One array; files over 64 MiB are memory-mapped."""
    try:
        # Mapping checks the length that the header promises before anything is allocated.
        array = np.load(source, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InvalidInput(f"{source} is no complete .npy file of numbers: {_reason(error)}") from None
    if not isinstance(array, np.ndarray):
        array.close()
        raise InvalidInput(f"{source} is an archive of arrays: give it a name ending in .npz")
    if array.nbytes <= _IN_MEMORY:
        array = np.array(array)
    return Raw(as_points(array, name=str(source)), source.stem)


def read_npz(source: Path, limit: int | None, *, key: str | None = None, labels: str | None = None) -> Raw:
    """The array under `key` (else "x", "X", "data", "arr_0", or the only one), with labels under "y" or "labels"."""
    try:
        archive = np.load(source, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise InvalidInput(f"{source} is a single array: give it a name ending in .npy")
        with archive:
            keys = list(archive.files)
            label_key = labels or next((k for k in _LABEL_KEYS if k in keys), None)
            x = _unpacked(archive, source, _data_key(source, [k for k in keys if k != label_key], key))
            y = _unpacked(archive, source, _present(source, keys, label_key)) if label_key else None
    except (ValueError, EOFError, MemoryError, zlib.error, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"{source} is no complete .npz file of numbers: {_reason(error)}") from None
    x = as_points(x, name=str(source))
    return Raw(x, source.stem, None if y is None else class_indices(y, len(x)))


def _unpacked(archive: Any, source: Path, key: str) -> NDArray[Any]:
    """One array of an archive, unless it says that it is too large to be unpacked."""
    size = max(member.file_size for member in archive.zip.infolist() if member.filename in (key, f"{key}.npy"))
    if size > _MAX_BYTES:
        raise InvalidInput(
            f"{source} promises {size} bytes in {key!r}: give an array of at most {_MAX_BYTES}, or a .npy"
        )
    array: NDArray[Any] = archive[key]
    return array


def _data_key(source: Path, keys: list[str], key: str | None) -> str:
    if key is not None:
        return _present(source, keys, key)
    if len(keys) == 1:
        return keys[0]
    for known in _DATA_KEYS:
        if known in keys:
            return known
    raise InvalidInput(f"{source} holds the arrays {', '.join(keys) or 'none'}: name one with key=")


def _present(source: Path, keys: list[str], key: str) -> str:
    if key not in keys:
        raise InvalidInput(f"{source} has no array {key!r}: it holds {', '.join(keys)}")
    return key


def _reason(error: Exception) -> str:
    if any(word in str(error) for word in ("pickle", "Python objects")):
        return "it holds Python objects, and pickles are not read since they can run code"
    return str(error).splitlines()[0].rstrip(".") if str(error) else "it ends early"
