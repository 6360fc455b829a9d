"""The door: what enters the library is checked once, here, and refused in one sentence."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from submanifold.errors import InvalidInput

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "check_choice",
    "check_dense",
    "check_int",
    "check_ints",
    "check_matrix",
    "check_real",
    "check_tensor",
    "from_torch",
    "labels_of",
    "nearest_match",
    "points_of",
    "torch_ready",
]


def nearest_match(name: str, known: Iterable[str]) -> str:
    """A clause that suggests the known name closest to `name`, or lists all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"


def check_choice(value: str, known: Iterable[str], *, name: str) -> str:
    """Refuse a `value` that is not one of `known`, with the nearest match."""
    known = list(known)
    if value not in known:
        raise InvalidInput(f"{name}={value!r} is unknown: {nearest_match(str(value), known)}")
    return value


def check_int(value: Any, *, name: str, low: int = 1, high: int | None = None) -> int:
    """Refuse a `value` that is not an integer in [low, high]."""
    accepted = f"an integer of at least {low}" + ("" if high is None else f" and at most {high}")
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InvalidInput(f"{name}={value!r} is not accepted: give {accepted}")
    if value < low or (high is not None and value > high):
        raise InvalidInput(f"{name}={value} is not accepted: give {accepted}")
    return int(value)


def check_ints(values: Any, *, name: str, low: int = 1) -> list[int]:
    """Refuse `values` that are not a sequence of integers of at least `low`."""
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise InvalidInput(f"{name}={values!r} is not accepted: give a list of integers of at least {low}")
    return [check_int(value, name=name, low=low) for value in values]


def check_real(value: Any, *, name: str, low: float = 0.0, high: float = float("inf"), open_low: bool = False) -> float:
    """Refuse a `value` that is not a finite number in [low, high] (or (low, high] with `open_low`)."""
    number = value if isinstance(value, int | float | np.floating | np.integer) else float("nan")
    if not np.isfinite(number) or number < low or number > high or (open_low and number == low):
        left = "(" if open_low else "["
        raise InvalidInput(f"{name}={value!r} is not accepted: give a number in {left}{low}, {high}]")
    return float(number)


def points_of(X: Any) -> Any:
    """The array behind X: the points of a data set, anything else as it is (a table with a column x included)."""
    points = getattr(X, "x", None)
    return points if isinstance(points, np.ndarray) or hasattr(points, "detach") else X


def labels_of(X: Any) -> Any:
    """The labels of a data set, (n,), or None: a column of that name in a table is data."""
    return None if points_of(X) is X else getattr(X, "labels", None)


def check_dense(x: Any, *, name: str) -> None:
    """Refuse sparse matrices of SciPy and sparse tensors: distances and directions need every coordinate."""
    if hasattr(x, "toarray") and hasattr(x, "nnz"):
        raise InvalidInput(f"{name} is a sparse matrix: give {name}.toarray()")
    if "sparse" in str(getattr(x, "layout", "")):
        raise InvalidInput(f"{name} is a sparse tensor: give {name}.to_dense()")


def check_matrix(X: ArrayLike, *, name: str = "X", min_rows: int = 2) -> NDArray[np.float64]:
    """The data as a finite float64 matrix (n, D); each point is flattened.

    Arrays, tensors and anything with an `x` attribute holding one (a `submanifold.data.Dataset`) are accepted.
    A copy is made only where the dtype changes.

    Raises:
        InvalidInput: for text or objects, complex numbers, sparse matrices, NaN or infinity, fewer than `min_rows`
            points, points without coordinates, or points that all coincide.
    """
    raw = points_of(X)
    check_dense(raw, name=name)
    raw = from_torch(raw) if hasattr(raw, "detach") else _array(raw, name)
    if raw.dtype.kind not in "biuf":
        raise InvalidInput(f"{name} has dtype {raw.dtype}: give real numbers")
    if raw.ndim == 0:
        raise InvalidInput(f"{name} is a single number: give an array of shape (n, D)")
    matrix = raw.reshape(len(raw), -1) if raw.size else raw.reshape(len(raw), 0)  # (n, D)
    if len(matrix) < min_rows:
        raise InvalidInput(f"{name} holds {len(matrix)} points: give at least {min_rows}")
    if matrix.shape[1] == 0:
        raise InvalidInput(f"{name} has shape {raw.shape}: its points have no coordinates")
    matrix = matrix.astype(np.float64, copy=False)
    if not np.isfinite(matrix).all():
        bad = int((~np.isfinite(matrix)).any(axis=1).sum())
        raise InvalidInput(f"{name} has NaN or infinity in {bad} of {len(matrix)} points: remove them")
    if min_rows > 1 and (matrix == matrix[0]).all():
        raise InvalidInput(f"{name} holds {len(matrix)} copies of one point: give distinct points")
    return matrix


def _array(raw: Any, name: str) -> NDArray[Any]:
    try:
        return np.asarray(raw)
    except ValueError:  # lists of unequal length
        raise InvalidInput(f"{name} is a ragged list: give an array of shape (n, D)") from None


def from_torch(tensor: Any) -> NDArray[Any]:
    """The values of a tensor, without gradients and off its device; of bfloat16, which NumPy lacks, as float32."""
    tensor = tensor.detach().cpu()
    return np.asarray(tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor)


def torch_ready(array: NDArray[Any]) -> NDArray[Any]:
    """The array in native byte order, without negative strides, in a type that torch has; a copy only if it must."""
    dtype = array.dtype.newbyteorder("=")
    if dtype.kind == "b":
        dtype = np.dtype(np.uint8)
    if dtype.kind == "f" and dtype.itemsize > 8:
        dtype = np.dtype(np.float64)
    array = array.astype(dtype, copy=False)
    return np.ascontiguousarray(array) if any(stride < 0 for stride in array.strides) else array


def check_tensor(x: Any, data_shape: tuple[int, ...], *, name: str = "x") -> Tensor:
    """The points as a finite floating tensor (n, *data_shape), without mutating or copying needlessly.

    Images are accepted where a model takes vectors of the same number of coordinates (they are flattened);
    any other change of shape is refused, since it would mix up channels.
    """
    import torch

    raw = points_of(x)
    check_dense(raw, name=name)
    if not isinstance(raw, torch.Tensor):
        raw = _array(raw, name)
        if raw.dtype.kind not in "biufc":
            raise InvalidInput(f"{name} has dtype {raw.dtype}: give real numbers")
        if not raw.flags.writeable:
            raw = np.array(raw)  # torch has no read-only tensors, and warns
        raw = torch.from_numpy(torch_ready(raw))
    tensor: Tensor = raw
    if tensor.is_complex():
        raise InvalidInput(f"{name} has dtype {tensor.dtype}: give real numbers")
    if not tensor.is_floating_point():
        tensor = tensor.to(torch.get_default_dtype())
    given = tuple(tensor.shape[1:])
    if tensor.ndim and not len(tensor):
        raise InvalidInput(f"{name} holds 0 points: give at least one")
    flattens = len(data_shape) == 1 and int(np.prod(given)) == data_shape[0] and tensor.ndim > 1
    if given != data_shape and not flattens:
        wanted = ", ".join(map(str, ("n", *data_shape)))
        raise InvalidInput(f"{name} has shape {tuple(tensor.shape)}: give shape ({wanted})")
    tensor = tensor.reshape(len(tensor), *data_shape)  # (n, *data_shape)
    values = torch.func.debug_unwrap(tensor, recurse=True)  # a question vmap would not answer
    if not torch.isfinite(values).all():
        raise InvalidInput(f"{name} has NaN or infinity: remove such points")
    return tensor
