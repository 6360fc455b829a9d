"""Points in memory: arrays, tensors, lists, data sets of ours and of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from submanifold.data.dataset import Dataset
from submanifold.data.door import Raw, as_points, chosen, class_indices
from submanifold.errors import InvalidInput

__all__ = ["is_item_dataset", "read_array", "read_dataset", "read_items", "read_tensor"]


def read_array(source: ArrayLike, limit: int | None) -> Raw:
    """An array, or nested lists of numbers."""
    try:
        array = np.asarray(source)
    except ValueError:  # lists of unequal length
        raise InvalidInput("source is a ragged list: give an array of shape (n, D)") from None
    if array.dtype == object:
        raise InvalidInput(f"source of type {type(source).__name__} is not an array of numbers")
    return Raw(as_points(array, name="source"), "data")


def read_tensor(source: Any, limit: int | None) -> Raw:
    """A torch tensor on any device; bfloat16 becomes float32."""
    tensor = source.detach().cpu().resolve_conj()
    dtype = str(tensor.dtype)
    return Raw(as_points((tensor.float() if dtype == "torch.bfloat16" else tensor).numpy(), name="source"), "data")


def read_dataset(source: Dataset, limit: int | None) -> Raw:
    """A `Dataset` passes as it is, once its shape is one that models know."""
    if np.ndim(source.x) not in (2, 4):
        raise InvalidInput(f"{source.name} has shape {np.shape(source.x)}: give (n, D) or (n, channels, H, W)")
    return Raw(
        source.x,
        source.name,
        source.labels,
        source.manifold,
        source.lattice,
        source.true_dim,
        source.noise_sigma,
    )


def is_item_dataset(source: Any) -> bool:
    """Whether the source is a map-style data set as torch's: items by index, and a length."""
    other = hasattr(source, "__array__") or isinstance(source, list | tuple | str | bytes | Mapping)
    return not other and hasattr(source, "__getitem__") and isinstance(source, Sized)


def read_items(source: Any, limit: int | None) -> Raw:
    """A map-style data set whose items are points, or tuples (point,) or (point, label, ...)."""
    items = [source[int(i)] for i in chosen(len(source), limit)]
    tuples = all(isinstance(item, tuple | list) for item in items)
    points = [_as_array(item[0] if tuples else item) for item in items]
    shapes = {point.shape for point in points}
    if len(shapes) > 1:
        raise InvalidInput(f"source has items of shapes {sorted(shapes)}: give points of one shape")
    x = as_points(np.stack(points), name="source") if points else np.empty((0, 0))
    pairs = tuples and all(len(item) >= 2 for item in items)
    labels = class_indices(np.asarray([_as_array(item[1]) for item in items]), len(items)) if pairs else None
    return Raw(x, type(source).__name__, labels)


def _as_array(point: Any) -> NDArray[Any]:
    return point.detach().cpu().numpy() if hasattr(point, "detach") else np.asarray(point)
