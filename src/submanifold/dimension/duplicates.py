"""Copies of points, between which there is no distance to measure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from submanifold.neighbors import NeighborGraph
from submanifold.neighbors.distinct import distinct_rows

__all__ = ["distinct_by_distance", "distinct_in_graph", "drop_duplicates"]

Index = NDArray[np.int64]

_BLOCK_VALUES = 2**22


def drop_duplicates(
    X: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The distinct rows of `X` (n, D) in order of first appearance, and for each row of `X` its place among them."""
    first, place = distinct_rows(X)
    return (X if len(first) == len(X) else X[first]), place


def distinct_by_distance(distances: NDArray[np.floating]) -> tuple[Index, Index]:
    """Points between which no distance in the matrix (n, n) is 0: where each appears first, and the place of all.

    As of `submanifold.neighbors.distinct_rows`: `first` (m,), ascending, and `place` (n,) among these.
    """
    n = len(distances)
    rows, columns = [], []
    step = max(1, _BLOCK_VALUES // n)
    for start in range(0, n, step):
        row, column = np.nonzero(distances[start : start + step] == 0)
        rows.append(row + start)
        columns.append(column)
    return _merged(np.concatenate(rows), np.concatenate(columns), n)


def distinct_in_graph(graph: NeighborGraph) -> tuple[Index, Index]:
    """The same of the points of a `graph`, as far as it knows their neighbours."""
    row, column = np.nonzero(graph.distances == 0)
    return _merged(graph.rows[row], graph.indices[row, column], graph.n_points)


def _merged(one: Index, other: Index, n: int) -> tuple[Index, Index]:
    """The first of each set of points that pairs `one` and `other` link, and the place of all n among them."""
    links = coo_array((np.ones(len(one), dtype=bool), (one, other)), shape=(n, n))
    _, group = connected_components(links, directed=False)
    _, leader, place = np.unique(group, return_index=True, return_inverse=True)
    order = np.argsort(leader)  # groups by first appearance
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return leader[order].astype(np.int64), rank[place]
