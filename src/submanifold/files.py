"""Files that are the old one or the new one: a crash or a full disk never leaves half of either."""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from submanifold.errors import InvalidInput

__all__ = ["atomic_write", "atomic_write_bytes", "atomic_write_json", "writable_folder"]


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Write to `path` all or nothing: a binary file that takes its place when the block ends.

    The bytes are on the disk before the name changes hands; if the block or the disk fails, the
    previous file stays as it was and nothing is left behind. Permissions are those of the previous file.

    Raises:
        OSError: the disk is full or refuses; the message names `path`.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    try:
        file = temporary.open("xb")
    except OSError as error:
        raise _naming(path, error) from error
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            temporary.chmod(path.stat().st_mode & 0o777)
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise _naming(path, error) from error
        raise
    _sync_folder(path.parent)


def atomic_write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path` all or nothing, see `atomic_write`."""
    with atomic_write(path) as file:
        file.write(data)


def atomic_write_json(path: str | os.PathLike[str], data: Any) -> None:
    """Write JSON-able `data` to `path` all or nothing, see `atomic_write`."""
    atomic_write_bytes(path, (json.dumps(data, indent=2) + "\n").encode())


def writable_folder(path: str | os.PathLike[str], *, name: str) -> Path:
    """The folder `path`, made if it is missing, after a file was written to it as a trial.

    Raises:
        InvalidInput: `path` is a file, or the folder cannot be made or written to.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InvalidInput(
            f"{name}={str(folder)!r} cannot be written to ({error.strerror}): give another folder"
        ) from error
    return folder


def _naming(path: Path, error: OSError) -> OSError:
    """`error` with the file it is about and what became of it."""
    kept = "the previous file is unchanged" if path.exists() else "nothing was left behind"
    return OSError(error.errno, f"{error.strerror or error}; {kept}", str(path))


def _sync_folder(folder: Path) -> None:
    """Bring the change of name itself to the disk, where the system has a way to."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
