r"""Exact nearest neighbours: the one search that everything needing neighbours uses.

Candidates come from a float32 matrix product (fast), their distances are recomputed in float64 from the differences
$\lVert x - y\rVert$ themselves (accurate), and each row is then *certified*: writing $u = 2^{-24}$, the float32 value
$\tilde\delta$ of a squared distance $\delta$ between centred points satisfies (Higham 2002, Accuracy and Stability of
Numerical Algorithms, section 3.1)

$$ |\tilde\delta - \delta| \le \gamma\,(\lVert x\rVert + \lVert y\rVert)^2,
   \qquad \gamma = (D + 8)\,u / (1 - (D + 8)\,u). $$

A point $y$ that was left out has $\tilde\delta \ge \tilde\delta_{last}$, the largest value among the candidates. Either
$\lVert y\rVert \ge \lVert x\rVert + r_k$, and then it is farther than $r_k$, or its exact squared distance is at least
$\tilde\delta_{last} - \gamma\,(2\lVert x\rVert + r_k)^2$. Where this is no less than $r_k^2$ nothing nearer was missed.
The other rows are searched again by direct differences in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import faiss
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist

from submanifold.checks import check_int, check_matrix
from submanifold.errors import InvalidInput

__all__ = ["NeighborGraph", "Neighbors", "query"]

Matrix = NDArray[np.float64]
Index = NDArray[np.int64]

_UNIT_ROUNDOFF = 2.0**-24
_BLOCK_BYTES = 2**26
_CACHE_BYTES = 2**20
_LARGEST_NORM = 1e15  # its square, and sums of such squares, are far from float32's overflow at 3e38
_UNDERFLOW = 1e-36  # absolute error of a float32 sum of products that may each underflow


@dataclass(frozen=True, eq=False)
class Neighbors:
    """The k nearest reference points of each query point.

    Attributes:
        distances: Euclidean distances, (n, k), ascending along each row, in the units of the data.
        indices: rows of the reference points, (n, k); ties are broken arbitrarily but reproducibly.
    """

    distances: Matrix = field(repr=False)
    indices: Index = field(repr=False)

    @property
    def k(self) -> int:
        """The number of neighbours of each point."""
        return int(self.distances.shape[1])

    def __len__(self) -> int:
        return len(self.distances)


class NeighborGraph(Neighbors):
    """The k nearest other points of each point of `X`.

    A point is excluded from its own neighbours by its index, so that copies of it remain, at distance 0.

    Args:
        X: the data, (n, D).
        k: neighbours of each point, at most n - 1.
        rows: indices of the points whose neighbours are wanted, (m,); all of them by default. The neighbours are
            searched among all points whatever `rows` is.

    Attributes:
        rows: the points of `X` that the rows of `distances` and `indices` belong to, (m,).
        n_points: the number of points in `X`, n.
        ambient_dim: the number of coordinates of a point, D.

    Raises:
        InvalidInput: for data that `submanifold.checks.check_matrix` refuses, or k >= n.
    """

    rows: Index
    n_points: int
    ambient_dim: int

    def __init__(self, X: ArrayLike, k: int, *, rows: ArrayLike | None = None) -> None:
        X = check_matrix(X)
        n, D = X.shape
        if check_int(k, name="k") >= n:
            raise InvalidInput(f"k={k} neighbours were asked of {n} points: give k of at most {n - 1}")
        own = np.arange(n) if rows is None else np.asarray(rows, dtype=np.int64)
        if own.ndim != 1 or len(own) == 0 or own.min() < 0 or own.max() >= n:
            raise InvalidInput(f"rows are not indices of points: give integers from 0 to {n - 1}")
        distances, indices = _search(X, X if rows is None else X[own], k, own)
        self._set(distances=distances, indices=indices, rows=own, n_points=n, ambient_dim=D)

    def take(self, index: ArrayLike) -> NeighborGraph:
        """The graph of the points `rows[index]` alone; their neighbours stay those among all points."""
        index = np.asarray(index)
        part = object.__new__(NeighborGraph)
        part._set(
            distances=self.distances[index],
            indices=self.indices[index],
            rows=self.rows[index],
            n_points=self.n_points,
            ambient_dim=self.ambient_dim,
        )
        return part

    def _set(self, **attributes: Any) -> None:
        for name, value in attributes.items():
            object.__setattr__(self, name, value)


def query(X_ref: ArrayLike, X_query: ArrayLike, k: int) -> Neighbors:
    """The k points of `X_ref` (n, D) nearest to each point of `X_query` (m, D).

    Raises:
        InvalidInput: for data that `submanifold.checks.check_matrix` refuses, different numbers of coordinates,
            or k > n.
    """
    ref = check_matrix(X_ref, name="X_ref", min_rows=1)
    queries = check_matrix(X_query, name="X_query", min_rows=1)
    if ref.shape[1] != queries.shape[1]:
        raise InvalidInput(f"X_query has {queries.shape[1]} coordinates a point: give {ref.shape[1]}, as X_ref has")
    if check_int(k, name="k") > len(ref):
        raise InvalidInput(f"k={k} neighbours were asked of {len(ref)} points: give k <= {len(ref)}")
    return Neighbors(*_search(ref, queries, k, None))


def _search(ref: Matrix, queries: Matrix, k: int, own: Index | None) -> tuple[Matrix, Index]:
    """Distances and indices (m, k) of the nearest rows of `ref`; `own[i]` is the row that query i must not find."""
    center, scale = _frame(ref)
    low_precision = ((ref - center) * scale).astype(np.float32)
    index = faiss.IndexFlatL2(ref.shape[1])
    index.add(low_precision)
    ref, queries = ref * scale, queries * scale
    candidates = min(len(ref), k + (own is not None) + max(8, k // 8))

    distances = np.empty((len(queries), k))
    indices = np.empty((len(queries), k), dtype=np.int64)
    for rows in _blocks(len(queries), candidates + 2 * ref.shape[1]):
        x, x_own = queries[rows], None if own is None else own[rows]
        centred = x - center * scale
        with np.errstate(over="ignore"):  # a query beyond float32's range is not certified
            squared, found = index.search(centred.astype(np.float32), candidates)  # (b, m) each
        distances[rows], indices[rows] = _smallest(_rerank(ref, x, found), found, k, x_own)
        if candidates < len(ref):
            missed = ~_certified(squared[:, -1], distances[rows, -1], centred)
            where = np.flatnonzero(missed) + rows.start
            distances[where], indices[where] = _direct(ref, queries[where], k, None if own is None else own[where])
    return distances / scale, indices


def _frame(ref: Matrix) -> tuple[Matrix, float]:
    """A robust centre (D,), and the power of two that brings the typical norm about it to order one.

    Multiplication by a power of two is exact. Medians keep the frame on the bulk when a few points lie far out.
    """
    sample = ref[:: max(1, len(ref) // 1000)]
    center = np.median(sample / 2, axis=0) * 2  # halves: two values near the largest float must not overflow
    reach = np.abs(ref / 4 - center / 4)
    largest = float(reach.max())
    typical = float(np.median(reach.max(axis=1)))
    typical = max(typical, largest / _LARGEST_NORM)
    exponent = -int(np.frexp(typical)[1]) - 2
    return center, float(np.ldexp(1.0, min(exponent, 1000)))


def _blocks(m: int, row_size: int, *, memory: int = _BLOCK_BYTES) -> Iterator[slice]:
    """Slices of 0..m such that a block of float64 rows of `row_size` fits `memory` bytes."""
    size = max(1, min(8192, memory // (8 * row_size)))
    return (slice(start, min(start + size, m)) for start in range(0, m, size))


def _rerank(ref: Matrix, x: Matrix, found: Index) -> Matrix:
    """Distances (b, m) from each point of `x` (b, D) to its candidates, by differences in float64."""
    exact = np.empty(found.shape)
    for rows in _blocks(len(x), found.shape[1] * ref.shape[1], memory=_CACHE_BYTES):
        difference = ref[found[rows]] - x[rows, None, :]  # (b, m, D)
        exact[rows] = np.sqrt(np.einsum("bmd,bmd->bm", difference, difference))
    return exact


def _smallest(distances: Matrix, indices: Index, k: int, own: Index | None) -> tuple[Matrix, Index]:
    """The k smallest of each row (b, m), ascending, never the point itself."""
    if own is not None:
        distances = np.where(indices == own[:, None], np.inf, distances)
    order = np.lexsort((indices, distances), axis=1)[:, :k]  # (b, k)
    return np.take_along_axis(distances, order, 1), np.take_along_axis(indices, order, 1)


def _certified(last: NDArray[np.float32], r_k: Matrix, centred: Matrix) -> NDArray[np.bool_]:
    """Whether no point that was not a candidate can be nearer than `r_k` (b,); see the module's docstring."""
    D = centred.shape[1]
    gamma = (D + 8) * _UNIT_ROUNDOFF / (1 - (D + 8) * _UNIT_ROUNDOFF)
    reach = 2 * np.linalg.norm(centred, axis=1) + r_k
    error = gamma * reach**2 + D * _UNDERFLOW
    return np.asarray(last.astype(np.float64) - error >= r_k**2)


def _direct(ref: Matrix, queries: Matrix, k: int, own: Index | None) -> tuple[Matrix, Index]:
    """The same by all differences in float64, O(n D) a query."""
    distances = np.empty((len(queries), k))
    indices = np.empty((len(queries), k), dtype=np.int64)
    for rows in _blocks(len(queries), len(ref)):
        full = cdist(queries[rows], ref)  # (b, n)
        x_own = None
        if own is not None:
            x_own = own[rows]
            full[np.arange(len(full)), x_own] = np.inf
        nearest = np.argpartition(full, k - 1, axis=1)[:, :k]  # (b, k)
        distances[rows], indices[rows] = _smallest(np.take_along_axis(full, nearest, 1), nearest, k, x_own)
    return distances, indices
