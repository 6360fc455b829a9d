"""Independent parts of an experiment, done side by side, and kept in a folder where one is given."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import submanifold
from submanifold.files import atomic_write_json, writable_folder

__all__ = ["done"]


def done(
    function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], folder: str | os.PathLike[str] | None = None
) -> Iterator[Any]:
    """What `function` returns for the arguments in each of `jobs`, in their order, from as many processes as there are
    processors, with progress to who watches a terminal.

    Results are JSON-able, and come as JSON has them: tuples as lists. Each is kept in `folder` as soon as it is there,
    and not made again by a later call, unless this package or a file among the arguments has changed.

    Raises:
        InvalidInput: `folder` cannot be written to.
    """
    from joblib import Parallel, delayed

    start = time.perf_counter()
    place = None if folder is None else writable_folder(folder, name="folder")
    results = Parallel(n_jobs=-1, return_as="generator")(delayed(_result)(function, job, place) for job in jobs)
    for count in range(1, len(jobs) + 1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of threads in child processes
            result = next(results)
        yield result
        _tell(count, len(jobs), time.perf_counter() - start)


def _result(function: Callable[..., Any], job: tuple[Any, ...], folder: Path | None) -> Any:
    path = None if folder is None else folder / f"{function.__module__.rsplit('.')[-1]}-{_digest(function, job)}.json"
    if path is not None:
        with suppress(OSError, ValueError):  # none yet, or one that is no JSON and is made anew
            return json.loads(path.read_bytes())
    result = json.loads(json.dumps(function(*job), default=float))
    if path is not None:
        atomic_write_json(path, result)
    return result


def _digest(function: Callable[..., Any], job: tuple[Any, ...]) -> str:
    digest = hashlib.sha256(f"{_code()} {function.__module__}.{function.__qualname__} {job!r}".encode())
    for name in job:
        if isinstance(name, str) and Path(name).is_file():  # of data
            digest.update(Path(name).read_bytes())
    return digest.hexdigest()[:16]


@cache
def _code() -> str:
    """A digest of the package's sources."""
    root = Path(submanifold.__file__).parent
    digest = hashlib.sha256(submanifold.__version__.encode())
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def _tell(count: int, total: int, seconds: float) -> None:
    if sys.stderr.isatty():
        left = seconds / count * (total - count) / 60
        end = "\n" if count == total else ""
        print(f"\r{count} of {total} parts, {left:.0f} minutes left ", end=end, file=sys.stderr, flush=True)
