"""`load`: any source of data becomes a `Dataset`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import ArrayLike

from submanifold.checks import check_dense, check_int, nearest_match
from submanifold.data.arguments import call
from submanifold.data.benchmarks.catalogue import BENCHMARK
from submanifold.data.dataset import Dataset
from submanifold.data.door import Raw, admit, chosen, class_indices
from submanifold.data.manifolds.base import Manifold
from submanifold.data.manifolds.catalogue import MANIFOLDS
from submanifold.data.readers import arrays, idx, images, named, numpy_files, tables
from submanifold.data.rendered import IMAGE_MANIFOLDS
from submanifold.errors import InvalidInput

__all__ = ["load", "source_names"]


class Reader(NamedTuple):
    """What reads a source that it accepts."""

    accepts: Callable[[Any], bool]
    read: Callable[..., Raw]


def _ends(*suffixes: str) -> Callable[[Path], bool]:
    return lambda path: path.suffix.lower() in suffixes


# In each table the first that accepts the source reads it.
NAMES = (
    Reader(lambda name: name == "digits", named.read_digits),
    Reader(lambda name: name in MANIFOLDS, named.read_manifold),
    Reader(lambda name: name in BENCHMARK, named.read_benchmark),
    Reader(lambda name: name in IMAGE_MANIFOLDS, named.read_image_manifold),
)
FILES = (
    Reader(_ends(".npy"), numpy_files.read_npy),
    Reader(_ends(".npz"), numpy_files.read_npz),
    Reader(_ends(".csv"), tables.read_csv),
    Reader(_ends(".parquet", ".pq"), tables.read_parquet),
    Reader(idx.is_idx_file, idx.read_idx),
)
FOLDERS = (
    Reader(lambda folder: bool(idx.find_idx_images(folder)), idx.read_idx_folder),
    Reader(lambda folder: True, images.read_images),
)
OBJECTS = (
    Reader(lambda source: isinstance(source, Dataset), arrays.read_dataset),
    Reader(lambda source: isinstance(source, Manifold), named.read_manifold),
    Reader(lambda source: hasattr(source, "detach"), arrays.read_tensor),
    Reader(lambda source: hasattr(source, "__dataframe__"), tables.read_frame),
    Reader(arrays.is_item_dataset, arrays.read_items),
    Reader(lambda source: True, arrays.read_array),
)


def load(
    source: Any,
    *,
    labels: ArrayLike | str | None = None,
    name: str | None = None,
    limit: int | None = None,
    drop_constant: bool = False,
    **options: Any,
) -> Dataset:
    """Points from a name, a file, a folder, or anything that holds numbers.

    | source                                        | points                   | options                     |
    |-----------------------------------------------|--------------------------|-----------------------------|
    | "digits": scikit-learn's handwritten digits   | (1797, 1, 8, 8), 0 to 16 |                             |
    | a manifold's name ("circle", "torus", ...)    | (n, D), with `.manifold` | n, seed, noise, and its own |
    | a benchmark manifold's ("M1_Sphere", ...)     | (n, D)                   | n, seed, noise              |
    | an image manifold's ("squares", "blobs", ...) | (n, 1, H, W), 0 to 1     | n, seed, noise, and its own |
    | `.npy` (over 64 MiB memory-mapped), `.npz`    | the array                | `.npz`: key                 |
    | `.csv`, `.parquet`, a data frame              | (n, columns)             |                             |
    | a folder of images, classes in subfolders     | (n, 1 or 3, H, W)        |                             |
    | IDX files (MNIST), or a folder of them        | (n, 1, H, W)             | folder: part                |
    | an array, a tensor, a torch data set          | the array                |                             |
    | a `Dataset`                                   | the same                 |                             |

    A name wins over a file of that name: give "./digits" for the file. Nothing is written, and no pickle is read.
    `noise` is the root mean square length of isotropic Gaussian noise over the root mean square distance of the
    noise-free points from their mean; `.manifold` is then the manifold before the noise, and `.noise_sigma` the
    deviation of the noise in each coordinate.
    In a table, a column called label, class, target or y that holds text or whole numbers is the label.

    Args:
        source: where the points are.
        labels: class of each point, (n,); or the name of a table's column or of an `.npz` file's array.
        name: what to call the data in reports.
        limit: largest number of points; a random subset, always the same, is taken of more.
        drop_constant: drop columns of vectors that are constant, rather than refuse them.
        options: what only this kind of source knows.

    Raises:
        InvalidInput: for sources that cannot be read, with one sentence that says why; and for data with fewer than two
            points, NaN or infinity, constant columns, or points that all coincide.
    """
    if limit is not None:
        check_int(limit, name="limit", low=2)
    if isinstance(labels, str):
        labels, options = None, {**options, "labels": labels}
    label, where, read = _reader(source)
    try:
        raw = call(read, options, where, None if labels is not None else limit, name=label)
    except OSError as error:
        raise InvalidInput(f"{label} cannot be read: {error.strerror or error}") from None
    if labels is not None:
        raw = replace(raw, labels=class_indices(labels, len(raw.x)))
    if limit is not None and limit < len(raw.x):
        index = chosen(len(raw.x), limit)
        kept = None if raw.labels is None else raw.labels[index]
        raw = replace(raw, x=raw.x[index], labels=kept)
    return admit(replace(raw, name=name or raw.name), drop_constant=drop_constant)


def source_names() -> list[str]:
    """Names that `load` knows beside paths."""
    return ["digits", *MANIFOLDS, *BENCHMARK, *IMAGE_MANIFOLDS]


def _reader(source: Any) -> tuple[str, Any, Callable[..., Raw]]:
    """What to call the source in messages, the source as its reader wants it, and the reader."""
    if not isinstance(source, str | Path):
        check_dense(source, name="source")
        return f"a source of type {type(source).__name__}", source, _first(OBJECTS, source)
    label = f"source={str(source)!r}"
    if isinstance(source, str) and source in source_names():
        return label, source, _first(NAMES, source)
    path = Path(source).expanduser()
    if path.is_dir():
        return label, path, _first(FOLDERS, path)
    if not path.exists():
        hint = nearest_match(str(source), source_names()) if _may_be_name(path) else "check the path"
        raise InvalidInput(f"{label} is neither a known name nor an existing file or folder: {hint}")
    if not any(reader.accepts(path) for reader in FILES):
        raise InvalidInput(f"{label} is of no known kind: give .npy, .npz, .csv, .parquet, IDX, or a folder of images")
    return label, path, _first(FILES, path)


def _first(readers: Sequence[Reader], source: Any) -> Callable[..., Raw]:
    return next(reader.read for reader in readers if reader.accepts(source))


def _may_be_name(path: Path) -> bool:
    return len(path.parts) == 1 and not path.suffix
