"""Parts of the data read each by itself: classes, clusters, and pieces of different dimension."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from submanifold.dimension.mixture import LEAST_RATIO, Piece, separate
from submanifold.dimension.pointwise import LocalDimension
from submanifold.dimension.result import MethodEstimate
from submanifold.dimension.scale import Reading, ScaleCurve, scale_curve
from submanifold.dimension.space import Space
from submanifold.neighbors import NeighborGraph

__all__ = ["K_CURVE", "classes_of", "clusters_of", "pieces_of", "read_at"]

Index = NDArray[np.int64]

K_CURVE = 100
"""Neighbours up to which the curve of the dimension against scale is read from one graph."""

_PRECISION = 0.03  # relative error down to which finer scales are preferred
_FEWEST = 42  # points of a class, a cluster or a piece
_LEAST_SHARE = 0.02  # of a cluster
_UNKNOWN = "the graph holds too few neighbours inside {} to be read by {}: give the points, or distances, as well."


def read_at(curve: ScaleCurve, k: int | None) -> Reading:
    """The reading at k neighbours, or at the finest scale that is precise."""
    position = curve.finest(_PRECISION) if k is None else int(np.searchsorted(curve.ks, k))
    return curve.reading(position)


def _alone(space: Space, members: Index, k: int | None, seed: int) -> MethodEstimate | None:
    """The consensus of distinct points by themselves; None where their neighbours among themselves are not known."""
    part = space.part(members, k or 0)
    if part is None:
        return None
    n = len(part)
    graph = part.graph(min(max(K_CURVE, k or 0), n - 1), seed=seed)
    reading = read_at(scale_curve(graph, k_max=min(K_CURVE, n // 2 - 1), also=k, seed=seed), k)
    return MethodEstimate(reading.dimension, reading.interval, sampling_interval=reading.sampling_interval)


def classes_of(
    space: Space, labels: NDArray[Any], place: Index, k: int | None, seed: int
) -> tuple[dict[int | str, MethodEstimate], list[str]]:
    """The estimate among the distinct points of each class, and sentences about the classes without one.

    Args:
        space: the distinct points.
        labels: the class of each point, copies included, (n,).
        place: where each of these is among the distinct points, (n,).
        k: neighbours that fix the scale.
        seed: of all that is random.
    """
    found: dict[int | str, MethodEstimate] = {}
    small, mixed = [], []
    names, which = np.unique(labels, return_inverse=True)
    fewest = max(_FEWEST, 2 * ((k or 0) + 1))
    for position, label in enumerate(names):
        _, first = np.unique(place[which == position], return_index=True)
        if len(first) < fewest:
            small.append(label)
            continue
        one = _alone(space, place[which == position][np.sort(first)], k, seed)
        if one is None:
            mixed.append(label)
        else:
            found[label.item()] = one
    sentences = []
    if small:
        sentences.append(f"{_named(small)} hold{'s' * (len(small) == 1)} too few distinct points for an estimate.")
    if mixed:
        them = ("it", "itself") if len(mixed) == 1 else ("them", "themselves")
        sentences.append(f"{_named(mixed)}: {_UNKNOWN.format(*them)}")
    return found, sentences


def _named(labels: Sequence[Any], shown: int = 5) -> str:
    named = ", ".join(map(str, labels[:shown])) + (f" and {len(labels) - shown:,} more" if len(labels) > shown else "")
    return f"Class{'es' * (len(labels) > 1)} {named}"


def clusters_of(
    graph: NeighborGraph, space: Space, k: int | None, seed: int
) -> tuple[dict[int, MethodEstimate] | None, list[str]]:
    """The estimate in each connected part of the graph of ten neighbours; None where they hang together."""
    near = min(10, graph.k)
    m = len(graph)
    links = csr_array(
        (np.ones(m * near, dtype=bool), graph.indices[:, :near].ravel(), np.arange(m + 1) * near), shape=(m, m)
    )
    _, cluster = connected_components(links, directed=False)
    sizes = np.bincount(cluster)
    large = np.flatnonzero(sizes >= max(_FEWEST, 2 * ((k or 0) + 1), _LEAST_SHARE * m))
    if len(large) < 2:
        return None, []
    order = large[np.argsort(-sizes[large], kind="stable")]
    found = {int(i): _alone(space, np.flatnonzero(cluster == c), k, seed) for i, c in enumerate(order)}
    known = {i: one for i, one in found.items() if one is not None}
    if len(known) == len(found):
        return known, []
    return known or None, [f"The data fall into clusters: {_UNKNOWN.format('each', 'itself')}"]


def pieces_of(
    found: LocalDimension, graph: NeighborGraph, space: Space, first: Index, seed: int
) -> tuple[tuple[Piece, ...], list[str]]:
    """The pieces of different dimension that the points are a union of; none where one dimension will do.

    Pieces that local dimensions tell apart, but that cannot be read each by itself, are told in a sentence.
    """
    which = separate(found, graph)
    if which is None:
        return (), []
    pieces = []
    for one in range(which.max() + 1):
        members = graph.rows[which == one]
        if len(members) < _FEWEST:
            continue
        alone = _alone(space, members, None, seed)
        if alone is None:
            return (), [f"The data seem a union of pieces of different dimension: {_UNKNOWN.format('each', 'itself')}"]
        pieces.append(Piece(alone.dimension, alone.interval, len(members) / len(graph), first[members]))
    differ = all(_differ(lower, upper) for lower, upper in itertools.pairwise(pieces))
    return (tuple(pieces) if len(pieces) > 1 and differ else ()), []


def _differ(lower: Piece, upper: Piece) -> bool:
    """Whether pieces that differ at the scale of local dimensions still do, each by itself at its finest scale."""
    return upper.dimension > LEAST_RATIO * lower.dimension and lower.interval[1] < upper.interval[0]
