"""IDX files, the format of MNIST, gzipped or not.

A file is two zero bytes, one byte for the type, one for the number of axes, a big-endian 32-bit length for each axis,
and the values, big-endian (LeCun, Cortes, Burges, *The MNIST database*).
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from submanifold.data.door import Raw, as_points, class_indices
from submanifold.errors import InvalidInput

__all__ = ["find_idx_images", "is_idx_file", "read_idx", "read_idx_folder"]

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_BYTES = 1 << 33
_MAX_AXES = 4


def is_idx_file(path: Path) -> bool:
    """Whether the file's name says IDX, as in `t10k-images-idx3-ubyte.gz` or `digits.idx`."""
    stem = path.name.removesuffix(".gz")
    return stem.endswith((".idx", ".idx3", ".idx1")) or "-idx" in stem or ".idx" in stem


def find_idx_images(folder: Path) -> list[Path]:
    """The image files `*-images-idx3-ubyte[.gz]` in a folder; of two that differ in `.gz` only, the unpacked one."""
    found = {
        path.name.removesuffix(".gz"): path
        for path in sorted(folder.glob("*images*idx3-ubyte*"), reverse=True)
        if path.name.removesuffix(".gz").endswith("idx3-ubyte")
    }
    return sorted(found.values())


def read_idx_folder(source: Path, limit: int | None, *, part: str | None = None) -> Raw:
    """The images and labels in a folder laid out as MNIST; of several parts, "train" unless another is asked for."""
    parts = {path.name.split("-")[0]: path for path in find_idx_images(source)}
    if part is None:
        part = "train" if "train" in parts else next(iter(parts))
    if part not in parts:
        raise InvalidInput(f"part={part!r} is not in {source}: it holds {', '.join(parts)}")
    raw = read_idx(parts[part], limit)
    return Raw(raw.x, source.resolve().name, raw.labels)


def read_idx(source: Path, limit: int | None) -> Raw:
    """An IDX file; beside a file of images, its labels are looked for under the usual name."""
    x = as_points(_read(source), name=str(source))
    labels = None
    for name in _label_names(source):
        if (path := source.with_name(name)).is_file():
            labels = class_indices(_read(path), len(x))
            break
    return Raw(x, source.name.removesuffix(".gz"), labels)


def _label_names(source: Path) -> list[str]:
    """Where the labels of an image file are."""
    if "images" not in source.name:
        return []
    name = source.name.replace("images", "labels").replace("idx3", "idx1").removesuffix(".gz")
    return [name, f"{name}.gz"]


def _read(path: Path) -> NDArray[Any]:
    try:
        with _open(path) as file:
            return _parse(file, path)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InvalidInput(f"{path} is no complete gzip file: {error}") from None


def _open(path: Path) -> gzip.GzipFile | IO[bytes]:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else path.open("rb")


def _parse(file: gzip.GzipFile | IO[bytes], path: Path) -> NDArray[Any]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES:
        raise InvalidInput(f"{path} is no IDX file: it begins with {magic.hex() or 'nothing'}")
    axes = magic[3]
    if not 1 <= axes <= _MAX_AXES:
        raise InvalidInput(f"{path} has {axes} axes: give an IDX file with 1 to {_MAX_AXES}")
    header = file.read(4 * axes)
    if len(header) < 4 * axes:
        raise InvalidInput(f"{path} is truncated: it ends within its header")
    shape = struct.unpack(f">{axes}I", header)
    dtype = np.dtype(_TYPES[magic[2]])
    size = math.prod(shape) * dtype.itemsize
    if size > _MAX_BYTES:
        raise InvalidInput(f"{path} promises {size} bytes: give a file of at most {_MAX_BYTES}")
    content = file.read(size)
    if len(content) < size:
        raise InvalidInput(f"{path} is truncated: it promises {size} bytes and holds {len(content)}")
    if file.read(1):
        raise InvalidInput(f"{path} is longer than the {size} bytes it promises")
    return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="))
