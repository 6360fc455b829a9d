"""A graph in a file, which only the data that it was made of can open again."""

from __future__ import annotations

import json
import os
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from submanifold.errors import InvalidInput
from submanifold.files import atomic_write_bytes
from submanifold.neighbors.frame import blocks_of
from submanifold.neighbors.points import Points

__all__ = ["fingerprint", "read", "write"]

_FORMAT = "submanifold neighbours 1"
_TENSORS = {"distances": "float64", "indices": "int64", "rows": "int64"}


def fingerprint(data: Points | NDArray[Any], metric: str) -> str:
    """A digest of the points (n, D), or of the distances between them, their shape and the metric."""
    digest = blake2b(f"{metric} {tuple(data.shape)}".encode(), digest_size=16)
    for rows in blocks_of(data.shape[0], data.shape[1], 2**24):
        block = data[rows] if isinstance(data, np.ndarray) else data.block(rows)
        digest.update((np.ascontiguousarray(block, dtype=np.float64) + 0.0).data)  # adding 0 makes -0 a 0
    return digest.hexdigest()


def write(path: str | os.PathLike[str], arrays: dict[str, NDArray[Any]], about: dict[str, Any]) -> None:
    """Write the graph to `path` all or nothing."""
    from safetensors.numpy import save

    tensors = {name: np.ascontiguousarray(arrays[name]) for name in _TENSORS}
    atomic_write_bytes(path, save(tensors, metadata={_FORMAT: json.dumps(about)}))


def read(path: str | os.PathLike[str]) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The arrays and what is known about them.

    Raises:
        InvalidInput: for a file that is missing, damaged, or no graph of neighbours.
    """
    from safetensors import SafetensorError, safe_open

    where = f"path={os.fspath(path)!r}"
    if not os.path.isfile(path):
        raise InvalidInput(f"{where} is no file: give a graph that NeighborGraph.save wrote")
    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            about = json.loads((file.metadata() or {}).get(_FORMAT, "null"))
            arrays = {name: file.get_tensor(name) for name in file.keys() if name in _TENSORS}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise InvalidInput(f"{where} is damaged or no graph: give a file that NeighborGraph.save wrote") from error
    if not isinstance(about, dict) or {name: str(array.dtype) for name, array in arrays.items()} != _TENSORS:
        raise InvalidInput(f"{where} holds no graph of neighbours: give a file that NeighborGraph.save wrote")
    return arrays, about
