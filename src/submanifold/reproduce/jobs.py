"""Independent parts of an experiment, done side by side."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

__all__ = ["done"]

T = TypeVar("T")


def done(function: Callable[..., T], jobs: Sequence[tuple[Any, ...]]) -> Iterator[T]:
    """What `function` returns for the arguments in each of `jobs`, in their order, from as many processes as there are
    processors, with progress to who watches a terminal."""
    from joblib import Parallel, delayed

    start = time.perf_counter()
    results = Parallel(n_jobs=-1, return_as="generator")(delayed(function)(*job) for job in jobs)
    for count in range(1, len(jobs) + 1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of threads in child processes
            result = next(results)
        yield result
        _tell(count, len(jobs), time.perf_counter() - start)


def _tell(count: int, total: int, seconds: float) -> None:
    if sys.stderr.isatty():
        left = seconds / count * (total - count) / 60
        end = "\n" if count == total else ""
        print(f"\r{count} of {total} parts, {left:.0f} minutes left ", end=end, file=sys.stderr, flush=True)
