"""Minimum spanning trees of many subsets of the same points, of many points from one set of lists of neighbours.

Borůvka's algorithm joins every component to the point outside that is nearest to it, until one component is left. Lists
of the nearest few neighbours of each point, made once, show nearly all of these edges in every subset that is not much
smaller, and it can be told where they do not: what a list leaves out is at least as far as its last entry. The largest
component never has to look for an edge itself, so that rows of distances are read in full for the few points alone that
stay apart from it. Of few points SciPy's single-linkage clustering, Prim's algorithm in O(n^2), is quicker: the heights
at which clusters merge are the lengths of the edges.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform

__all__ = ["SpanningTrees"]

Vector = NDArray[np.float64]
Indices = NDArray[np.int64]

_LISTED = 24  # neighbours; of which 12 are in half of the points
_FEW = 700  # points
_BLOCK = 128  # rows of distances at a time, which stay in the processor's cache


class SpanningTrees:
    """Minimum spanning trees of subsets of points with the matrix `distances` (n, n), symmetric, of zero diagonal.

    Args:
        distances: (n, n).
    """

    def __init__(self, distances: Vector) -> None:
        n = len(distances)
        k = min(n - 1, _LISTED)
        blocks = (distances[i : i + _BLOCK] for i in range(0, n, _BLOCK))
        nearest = np.concatenate([np.argpartition(rows, k, axis=1)[:, : k + 1] for rows in blocks])
        nearest.sort(axis=1)
        lengths = np.take_along_axis(distances, nearest, axis=1)
        order = np.argsort(lengths, axis=1, kind="stable")  # by length, then index
        self._distances = distances
        self._nearest = np.take_along_axis(nearest, order, axis=1)  # (n, k + 1), the points themselves among them
        self._lengths = np.take_along_axis(lengths, order, axis=1)
        self._reach = self._lengths[:, -1] if k < n - 1 else np.full(n, np.inf)  # nothing is left out below it

    def lengths(self, chosen: Indices) -> Vector:
        """Lengths of the edges of the tree of the distinct points `chosen` (m,), ascending: (m - 1,)."""
        chosen = np.sort(chosen)
        m = len(chosen)
        if m < _FEW:
            own = squareform(self._distances[np.ix_(chosen, chosen)], checks=False)
            return np.asarray(linkage(own, "single")[:, 2])
        position = np.full(len(self._distances), -1)
        position[chosen] = np.arange(m)
        nearest, lengths, reach = position[self._nearest[chosen]], self._lengths[chosen], self._reach[chosen]
        listed = (nearest >= 0) & (lengths < reach[:, None])
        component, tree = np.arange(m), [np.empty(0)]
        while (count := int(component.max()) + 1) > 1:
            outside = listed & (component[nearest] != component[:, None])
            first = outside.argmax(axis=1)[:, None]
            shown = np.take_along_axis(outside, first, axis=1)[:, 0]
            length = np.where(shown, np.take_along_axis(lengths, first, axis=1)[:, 0], np.inf)
            target = np.take_along_axis(nearest, first, axis=1)[:, 0]
            ends = _ends(component, count, length, target)
            least = np.full(count, np.inf)
            np.minimum.at(least, component[~shown], reach[~shown])
            sure = length[ends] < least
            if not sure.any():
                sure = np.arange(count) != np.bincount(component).argmax()
                rows = np.flatnonzero(~shown & sure[component] & (reach <= length[ends][component]))
                around = self._distances[np.ix_(chosen[rows], chosen)]
                around[component[rows][:, None] == component] = np.inf
                target[rows] = around.argmin(axis=1)
                length[rows] = around.min(axis=1)
                ends = _ends(component, count, length, target)
            ends = ends[sure]
            edges = np.sort(np.stack([ends, target[ends]]), axis=0)
            _, distinct = np.unique(edges[0] * m + edges[1], return_index=True)  # two components may choose one edge
            tree.append(length[ends[distinct]])
            joined = component[edges[:, distinct]]
            graph = coo_array((np.ones(len(distinct)), (joined[0], joined[1])), shape=(count, count))
            component = connected_components(graph, directed=False)[1].astype(np.int64)[component]
        return np.sort(np.concatenate(tree))


def _ends(component: Indices, count: int, length: Vector, target: Indices) -> Indices:
    """The point of each component (count,) from which its shortest edge leads, of equal ones that of the first pair.

    One strict order of all pairs keeps components from choosing equal edges in a circle.
    """
    least = np.full(count, np.inf)
    np.minimum.at(least, component, length)
    points = np.flatnonzero(length == least[component])
    pair = np.minimum(points, target[points]) * len(component) + np.maximum(points, target[points])
    first = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(first, component[points], pair)
    points = points[pair == first[component[points]]]
    ends = np.empty(count, dtype=np.int64)
    ends[component[points]] = points
    return ends
