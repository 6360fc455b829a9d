"""Threads: how many, and the libraries' own held to one meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache
from threading import Lock
from typing import TypeVar

import faiss
from threadpoolctl import ThreadpoolController

from submanifold.errors import InvalidInput

__all__ = ["check_n_jobs", "in_threads", "limited"]

S = TypeVar("S")
T = TypeVar("T")


def check_n_jobs(n_jobs: int | None) -> int:
    """The number of threads that `n_jobs` means: None or -1 for one on each processor that we may use."""
    if n_jobs is None or n_jobs == -1:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, int) or n_jobs < 1:
        raise InvalidInput(f"n_jobs={n_jobs!r} is not accepted: give a number of threads from 1, -1 or None for all")
    return n_jobs


@cache
def _controller(api: str) -> ThreadpoolController:
    """Found once, which takes longer than most products."""
    return ThreadpoolController().select(user_api=api)


class _Blas:
    """The limit on BLAS, which counts threads for the whole process: calls that overlap share that of the first."""

    def __init__(self) -> None:
        self._lock, self._limit, self._calls = Lock(), ExitStack(), 0

    @contextmanager
    def limited(self, threads: int) -> Iterator[None]:
        with self._lock:
            if self._calls == 0:
                self._limit.enter_context(_controller("blas").limit(limits=threads))
            self._calls += 1
        try:
            yield
        finally:
            with self._lock:
                self._calls -= 1
                if self._calls == 0:
                    self._limit.close()


_BLAS = _Blas()


@contextmanager
def limited(threads: int) -> Iterator[None]:
    """Hold matrix products and faiss to so many threads, and give them theirs back once no call needs them held."""
    before = faiss.omp_get_max_threads()  # OpenMP counts for each calling thread by itself
    try:
        with _controller("openmp").limit(limits=threads), _BLAS.limited(threads):
            faiss.omp_set_num_threads(threads)
            yield
    finally:
        faiss.omp_set_num_threads(before)


def in_threads(function: Callable[[S], T], tasks: Sequence[S], n_jobs: int) -> list[T]:
    """The results in the order of the tasks, by `n_jobs` threads; an interruption drops the tasks not yet begun."""
    if n_jobs == 1 or len(tasks) < 2:
        return list(map(function, tasks))
    pool = ThreadPoolExecutor(n_jobs)
    try:
        return list(pool.map(function, tasks))
    finally:
        pool.shutdown(cancel_futures=True)
