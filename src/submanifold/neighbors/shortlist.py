"""Shortlists: the least values of each query among values that come in tiles."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from submanifold.neighbors.threads import in_threads

__all__ = ["Entries", "Shortlist", "survivors"]

Single = NDArray[np.float32]
Index = NDArray[np.int64]
Entries = tuple[int, NDArray[np.uint64], NDArray[np.int32]]
"""A group of queries, keys (p,) of query and value, and points (p,)."""

_VALUE_BITS = 32


class Shortlist:
    """The `size` least values of each of m queries so far, and what came in since they were last sorted.

    Queries are kept in groups. An entry is sorted by one integer: its query within the group, the bits of its value
    (floats of one sign are ordered as their bits are), and its position, which leads to the point.

    Attributes:
        threshold: a value (m,) that at least `size` values lie below, so that none from there on is needed.
    """

    def __init__(self, m: int, size: int) -> None:
        self.m, self.size = m, size
        self.threshold = np.full(m, np.inf, dtype=np.float32)
        group_bits = 10 if size <= 1024 else 6
        self.group = 1 << group_bits
        self._position_bits = 64 - _VALUE_BITS - group_bits
        self._entries: list[list[Entries]] = [[] for _ in range(0, m, self.group)]
        self._new = [0] * len(self._entries)

    def slices(self, start: int = 0, stop: int | None = None) -> list[slice]:
        """The queries from `start`, the first of a group, to `stop` by groups."""
        stop = self.m if stop is None else stop
        return [slice(a, min(a + self.group, stop)) for a in range(start, stop, self.group)]

    def limits(self, rows: slice, values: Single) -> Single:
        """The thresholds of `rows` (t,); rows without one get theirs from the tile `values` (t, s)."""
        if values.shape[1] > self.size and np.isinf(self.threshold[rows]).any():
            least = np.partition(values, self.size - 1, axis=1)[:, self.size - 1]
            above = np.nextafter(least, np.float32(np.inf))  # since what equals a threshold is not looked at
            self.threshold[rows] = np.minimum(self.threshold[rows], above)
        return self.threshold[rows]

    def entries(self, query: Index, point: Index, value: Single) -> list[Entries]:
        """Entries of the values (p,) of pairs of a query (p,) and a point (p,)."""
        bits = np.maximum(value, np.float32(0)).view(np.uint32).astype(np.uint64)
        within = (query & (self.group - 1)).astype(np.uint64)
        key = (within << np.uint64(64 - self.group.bit_length() + 1)) | (bits << np.uint64(self._position_bits))
        groups = query // self.group
        short = point.astype(np.int32)
        if len(groups) and groups.min() == groups.max():
            return [(int(groups[0]), key, short)]
        return [(int(g), key[groups == g], short[groups == g]) for g in np.unique(groups)]

    def add(self, parts: Iterable[list[Entries]]) -> None:
        """Take in entries."""
        for part in parts:
            for entry in part:
                self._entries[entry[0]].append(entry)
                self._new[entry[0]] += len(entry[1])

    def tighten(self, n_jobs: int, *, force: bool = False) -> None:
        """Sort the groups in which enough came in, keep the least `size` of each query and lower its threshold."""
        full = [g for g, new in enumerate(self._new) if force or new > 2 * self.size * self.group]
        in_threads(self._sort, full, n_jobs)

    def finish(self, n_jobs: int) -> tuple[Index, Single]:
        """The points (m, size) by value, -1 where there are fewer, and the thresholds (m,)."""
        self.tighten(n_jobs, force=True)
        found = np.full((self.m, self.size), -1, dtype=np.int64)
        for parts in self._entries:
            for g, key, point in parts:
                query, rank = self._query_and_rank(key)
                found[query + g * self.group, rank] = point
        return found, self.threshold

    def _sort(self, g: int) -> None:
        parts = self._entries[g]
        if not parts:
            return
        key = np.concatenate([part[1] for part in parts])
        point = np.concatenate([part[2] for part in parts])
        key |= np.arange(len(key), dtype=np.uint64)
        key.sort()
        query, rank = self._query_and_rank(key)
        kept = rank < self.size
        key, query, rank = key[kept], query[kept], rank[kept]
        position_mask = np.uint64((1 << self._position_bits) - 1)
        point = point[(key & position_mask).astype(np.int64)]
        key &= ~position_mask
        last = rank == self.size - 1
        value = ((key[last] >> np.uint64(self._position_bits)) & np.uint64(0xFFFFFFFF)).astype(np.uint32)
        self.threshold[query[last] + g * self.group] = value.view(np.float32)
        self._entries[g], self._new[g] = [(g, key, point)], 0

    def _query_and_rank(self, key: NDArray[np.uint64]) -> tuple[Index, Index]:
        """The query within its group and the place among its values of each of the sorted keys (p,)."""
        query = (key >> np.uint64(64 - self.group.bit_length() + 1)).astype(np.int64)
        counts = np.bincount(query, minlength=self.group)
        return query, np.arange(len(query)) - (np.cumsum(counts) - counts)[query]


def survivors(mask: NDArray[np.bool_], values: Single) -> tuple[Index, Index, Single]:
    """Rows, columns and values (p,) of the entries of a tile (t, s) that `mask` (t, s) marks."""
    flat = np.flatnonzero(mask)
    i, j = np.divmod(flat, mask.shape[1])
    return i, j, values.ravel()[flat]
