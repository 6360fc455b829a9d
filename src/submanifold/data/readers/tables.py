"""Tables: `.csv` and `.parquet` files and data frames, read through Arrow; a column is a feature or the label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from submanifold.checks import nearest_match
from submanifold.data.door import Raw, class_indices
from submanifold.errors import InvalidInput

__all__ = ["read_csv", "read_frame", "read_parquet"]

_LABEL_NAMES = ("label", "labels", "class", "target", "y")


def read_csv(source: Path, limit: int | None, *, labels: str | None = None) -> Raw:
    """A text table; a first line of numbers is data, otherwise it names the columns."""
    import pyarrow as pa
    from pyarrow import csv

    try:
        table = csv.read_csv(source)
        if all(_is_number(name) for name in table.column_names):
            options = csv.ReadOptions(autogenerate_column_names=True)
            table = csv.read_csv(source, read_options=options)
    except pa.ArrowInvalid as error:
        raise InvalidInput(f"{source} is no readable table: {_first_line(error)}") from None
    return _read(table, source.stem, labels)


def read_parquet(source: Path, limit: int | None, *, labels: str | None = None) -> Raw:
    """A Parquet table."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(source)
    except (pa.ArrowInvalid, OSError) as error:
        raise InvalidInput(f"{source} is no readable Parquet file: {_first_line(error)}") from None
    return _read(table, source.stem, labels)


def read_frame(source: Any, limit: int | None, *, labels: str | None = None) -> Raw:
    """A data frame of any library that has the interchange protocol."""
    from pyarrow.interchange import from_dataframe

    try:
        table = from_dataframe(source)
    except NotImplementedError:  # columns of objects have no type in the protocol
        raise InvalidInput(
            f"data has columns of mixed or unknown type ({_few(_untyped(source))}): remove them, or convert each to "
            "numbers or to text"
        ) from None
    return _read(table, "data", labels)


def _untyped(frame: Any) -> list[str]:
    """The columns that the interchange protocol has no type for."""
    exchanged = frame.__dataframe__()
    untyped = []
    for column in exchanged.column_names():
        try:
            _ = exchanged.get_column_by_name(column).dtype
        except NotImplementedError:
            untyped.append(column)
    return untyped


def _few(columns: Sequence[str], most: int = 8) -> str:
    """The columns in words, the first of them by name."""
    rest = f" and {len(columns) - most} more" if len(columns) > most else ""
    return ", ".join(map(repr, columns[:most])) + rest


def _read(table: Any, name: str, labels: str | None) -> Raw:
    twice = [column for column in table.column_names if table.column_names.count(column) > 1]
    if twice:
        raise InvalidInput(f"{name} has several columns called {twice[0]!r}: give each a name of its own")
    label = _label_column(table, name, labels)
    features = [column for column in table.column_names if column != label]
    text = [column for column in features if not _is_numeric(table.schema.field(column).type)]
    if text:
        raise InvalidInput(
            f"{name} has columns that are not numbers ({_few(text)}): remove them, "
            "encode them as numbers, or name one of them with labels="
        )
    if not features:
        raise InvalidInput(f"{name} has no columns of numbers")
    columns = [_numbers(table.column(column)) for column in features]
    x = np.stack(columns, axis=1)  # (n, D)
    y = None if label is None else class_indices(_values(table.column(label)), len(x))
    return Raw(x, name, y, columns=features)


def _label_column(table: Any, name: str, asked: str | None) -> str | None:
    """The column asked for, or one with a usual name that holds text or whole numbers."""
    columns = table.column_names
    if asked is not None:
        if asked not in columns:
            raise InvalidInput(f"{name} has no column {asked!r}: {nearest_match(asked, columns)}")
        return asked
    for column in columns:
        coordinate = column.lower() == "y" and "x" in map(str.lower, columns)
        if column.lower() in _LABEL_NAMES and not coordinate and _is_class(table.column(column)):
            return str(column)
    return None


def _is_class(column: Any) -> bool:
    if not _is_numeric(column.type):
        return True
    values = _numbers(column)
    return bool((values == np.round(values)).all())


def _is_numeric(kind: Any) -> bool:
    from pyarrow import types

    tests = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
    return any(test(kind) for test in tests)


def _numbers(column: Any) -> NDArray[np.float64]:
    """A column as float64; missing values become NaN."""
    import pyarrow as pa

    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    return np.asarray(column.cast(pa.float64(), safe=False), dtype=np.float64)


def _values(column: Any) -> NDArray[Any]:
    return _numbers(column) if _is_numeric(column.type) else np.array(column.to_pylist())


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".")
