r"""Exact Euclidean search: candidates in float32, distances in float64, and a certificate for each row.

Writing $u = 2^{-24}$, the float32 value $\tilde\delta$ of a squared distance $\delta$ between centred points satisfies
(Higham 2002, Accuracy and Stability of Numerical Algorithms, section 3.1)

$$ |\tilde\delta - \delta| \le \gamma\,(\lVert x\rVert + \lVert y\rVert)^2,
   \qquad \gamma = (D + 8)\,u / (1 - (D + 8)\,u). $$

A point $y$ that was left out has $\tilde\delta \ge \tilde\delta_{last}$, the threshold of the shortlist. Either
$\lVert y\rVert \ge \lVert x\rVert + r_k$, and then it is farther than $r_k$, or its exact squared distance is at least
$\tilde\delta_{last} - \gamma\,(2\lVert x\rVert + r_k)^2$. Where this is no less than $r_k^2$ nothing nearer was missed.
For the other rows all points with $\tilde\delta \le r_k^2 + \gamma\,(2\lVert x\rVert + r_k)^2$ are compared in float64,
and where those are very many (values on a lattice), all points.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from submanifold.neighbors.candidates import Single, ball, between, extended, within
from submanifold.neighbors.frame import RELATIVE_ERROR, Framed, blocks_of
from submanifold.neighbors.points import Points
from submanifold.neighbors.progress import Report
from submanifold.neighbors.projection import Projection, choose
from submanifold.neighbors.threads import limited

__all__ = ["Plan", "by_tree", "rounding_error", "search", "smallest"]

Matrix = NDArray[np.float64]
Index = NDArray[np.int64]

_UNIT_ROUNDOFF = 2.0**-24
_UNDERFLOW = 1e-36  # absolute error of a float32 sum of products that may each underflow
_TREE_DIM = 6  # up to which a k-d tree is faster than matrix products, by measurement
_QUERY_BYTES = 2**28
_BLOCK_BYTES = 2**26
_SAMPLE = 4096
_SPREAD_SEED = 0


def search(
    ref: Points, queries: Points | None, k: int, own: Index | None, *, n_jobs: int, report: Report
) -> tuple[Matrix, Index]:
    """Distances and indices (m, k) of the points of `ref` nearest to each query.

    Args:
        ref: the points among which to search, (n, D).
        queries: the points whose neighbours are wanted, (m, D); None for all of `ref`.
        k: neighbours of each.
        own: the point that query i must not find, (m,).
        n_jobs: threads.
        report: told of the progress, in pairs of points.
    """
    framed = Framed(ref)
    if queries is not None:
        framed.check_reach(queries)
    if by_tree(ref):
        return _by_tree(framed, framed if queries is None else Framed(queries, like=framed), k, own, n_jobs)
    plan = Plan.of(framed, k, None if queries is None else len(queries))
    if queries is None:
        return plan.everyone(k, n_jobs=n_jobs, report=report)
    return plan.of_queries(Framed(queries, like=plan.framed), k, own, n_jobs=n_jobs, report=report)


def by_tree(ref: Points) -> bool:
    """Whether a k-d tree is the way to search among these points."""
    return ref.shape[1] <= _TREE_DIM and not ref.is_memory_mapped


@dataclass(frozen=True)
class Plan:
    """How to search among points: their frame, and the projection that finds candidates, if one pays.

    Attributes:
        framed: the points, (n, D).
        projection: their projection, or None to search among all coordinates.
        seconds: what the search will cost, about.
    """

    framed: Framed
    projection: Projection | None
    seconds: float

    @classmethod
    def of(cls, framed: Framed, k: int, n_queries: int | None) -> Plan:
        """The plan for `n_queries` queries of k neighbours, or for all points of `framed`."""
        n = len(framed)
        with limited(1):
            pairs = n * (n / 2 if n_queries is None else n_queries)
            projection, seconds = choose(framed, k + 1, pairs)
        return cls(framed, projection, seconds)

    def everyone(self, k: int, *, n_jobs: int, report: Report) -> tuple[Matrix, Index]:
        """The neighbours of all points, (n, k)."""
        own = np.arange(len(self.framed))
        if not self.framed.in_memory and self.projection is None:
            return self.of_queries(self.framed, k, own, n_jobs=n_jobs, report=report)
        with limited(1):
            return _Search(self, self.framed, k, own, n_jobs, report).everyone()

    def of_queries(
        self, queries: Framed, k: int, own: Index | None, *, n_jobs: int, report: Report
    ) -> tuple[Matrix, Index]:
        """The neighbours of `queries` (m, D) in the same frame, (m, k)."""
        distances, indices = np.empty((len(queries), k)), np.empty((len(queries), k), dtype=np.int64)
        with limited(1):
            for rows in _slices(len(queries), max(1, _QUERY_BYTES // (8 * self.framed.shape[1]))):
                some = Framed(queries.points.take(np.arange(rows.start, rows.stop)), like=self.framed)
                mine = None if own is None else own[rows]
                distances[rows], indices[rows] = _Search(self, some, k, mine, n_jobs, report).some()
        return distances, indices

    def of_rows(self, rows: Index, k: int, *, n_jobs: int, report: Report) -> tuple[Matrix, Index]:
        """The neighbours of some of the points, (m, k)."""
        some = Framed(self.framed.points.take(rows), like=self.framed)
        return self.of_queries(some, k, rows, n_jobs=n_jobs, report=report)


class _Search:
    """One search: `ref` (n, D), `queries` (m, D), and the point that each query must not find."""

    def __init__(self, plan: Plan, queries: Framed, k: int, own: Index | None, n_jobs: int, report: Report) -> None:
        self.ref, self.projection = plan.framed, plan.projection
        self.queries, self.k, self.own, self.n_jobs, self.report = queries, k, own, n_jobs, report
        size = k + max(2, k // 16)
        if self.projection is not None:
            size = max(size, self.projection.size)
        self.size = min(len(self.ref) - (own is not None), size)

    def everyone(self) -> tuple[Matrix, Index]:
        """The neighbours of all points, each pair of which is looked at once."""
        order = np.random.default_rng(_SPREAD_SEED).permutation(len(self.ref))  # sorted data would keep thresholds high
        points = self.ref.held_single if self.projection is None else self.projection.points
        found, last = within(points[order], self.size, n_jobs=self.n_jobs, step=self.report)
        back = np.argsort(order)
        found = np.where(found < 0, -1, order[found])[back]
        return self._settled(found, last[back])

    def some(self) -> tuple[Matrix, Index]:
        """The neighbours of the queries."""
        n = len(self.ref)
        drawn = np.sort(np.random.default_rng(_SPREAD_SEED).choice(n, min(n, max(_SAMPLE, 4 * self.k)), replace=False))
        sample = self._extended(self.ref.centred(drawn), self.projection)
        blocks = self._blocks(self.projection)
        queries = self._queries(self.projection)
        found, last = between(
            queries, blocks, (drawn, sample), self.own, self.size, n_jobs=self.n_jobs, step=self.report
        )
        return self._settled(found, last)

    def _settled(self, found: Index, last: Single) -> tuple[Matrix, Index]:
        """Exact distances of the candidates, and the rows that need more than these searched again."""
        exact = self.queries.distances(self.ref, found, self.n_jobs)  # (m, s)
        distances, indices = smallest(exact, found, self.k)
        if self.size < len(self.ref) - (self.own is not None):
            missed = np.flatnonzero(~self._certified(last, distances[:, -1]))
            for start in range(0, len(missed), 8192):
                some = missed[start : start + 8192]
                distances[some], indices[some] = self._again(some, distances[some, -1], self.projection)
        return distances / self.ref.scale, indices

    def _error(self, r_k: Matrix, norms: Matrix, projection: Projection | None) -> Matrix:
        return rounding_error(self.ref.shape[1] if projection is None else projection.coordinates, r_k, norms)

    def _certified(self, last: Single, r_k: Matrix) -> NDArray[np.bool_]:
        """Whether no point that is no candidate can be nearer than `r_k` (m,)."""
        reach = (r_k * (1 + RELATIVE_ERROR)) ** 2
        error = self._error(r_k, self.queries.norms, self.projection)
        known = np.where(np.isfinite(last), last, -np.inf)  # infinite: float32 overflowed, and nothing is known
        return np.asarray((2 * known.astype(np.float64) - error >= reach) | (r_k == 0))

    def _again(self, rows: Index, r_k: Matrix, projection: Projection | None) -> tuple[Matrix, Index]:
        """The neighbours of `rows` (b,) among all points that float32 cannot tell to be farther than `r_k` (b,)."""
        with np.errstate(over="ignore"):
            limits = ((r_k * (1 + RELATIVE_ERROR)) ** 2 + self._error(r_k, self.queries.norms[rows], projection)) / 2
            single = np.nextafter(limits.astype(np.float32), np.float32(np.inf))
        most = max(1024, 8 * self.k)
        query, point, many = ball(
            self._queries(projection, rows), self._blocks(projection), single, most=most, n_jobs=self.n_jobs
        )
        if self.own is not None:
            other = point != self.own[rows][query]
            query, point = query[other], point[other]
        many |= np.bincount(query, minlength=len(rows)) < self.k
        query, point = query[~many[query]], point[~many[query]]
        exact = np.sqrt(self.queries.squares_between(rows[query], self.ref, point))
        order = np.lexsort((point, exact, query))
        rank = np.arange(len(query)) - np.searchsorted(query, query)
        order, kept = order[rank < self.k], rank < self.k
        distances, indices = np.empty((len(rows), self.k)), np.empty((len(rows), self.k), dtype=np.int64)
        distances[query[kept], rank[kept]] = exact[order]
        indices[query[kept], rank[kept]] = point[order]
        if many.any() and projection is not None:
            distances[many], indices[many] = self._again(rows[many], r_k[many], None)
        elif many.any():
            distances[many], indices[many] = self._direct(rows[many])
        return distances, indices

    def _direct(self, rows: Index) -> tuple[Matrix, Index]:
        """The neighbours of `rows` (b,) by all differences in float64, O(n D) each."""
        distances, indices = np.full((len(rows), self.k), np.inf), np.full((len(rows), self.k), -1, dtype=np.int64)
        for some in _slices(len(rows), 1024):
            x = self.queries.scaled(rows[some])  # (b, D)
            for block in blocks_of(len(self.ref), max(self.ref.shape[1], len(x)), _BLOCK_BYTES):
                at = np.arange(block.start, block.stop)
                full = cdist(x, self.ref.scaled(at))  # (b, t)
                if self.own is not None:
                    full[self.own[rows[some], None] == at] = np.inf
                near = np.argpartition(full, min(self.k, len(at)) - 1, axis=1)[:, : self.k]  # (b, k)
                both = np.hstack([distances[some], np.take_along_axis(full, near, 1)])
                distances[some], indices[some] = smallest(both, np.hstack([indices[some], at[near]]), self.k)
        return distances, indices

    def _blocks(self, projection: Projection | None) -> Iterable[tuple[slice, Single]]:
        return self.ref.extended_blocks() if projection is None else projection.blocks()

    def _queries(self, projection: Projection | None, rows: Index | None = None) -> Single:
        """The extended points of the queries, or of `rows` of them."""
        if projection is None and self.queries.in_memory:
            return self.queries.held_single if rows is None else self.queries.held_single[rows]
        parts = np.arange(len(self.queries)) if rows is None else rows
        width = self.ref.shape[1] if projection is None else projection.points.shape[1] - 2
        found = np.empty((len(parts), width + 2), dtype=np.float32)
        for some in blocks_of(len(parts), self.ref.shape[1], _BLOCK_BYTES):
            found[some] = self._extended(self.queries.centred(parts[some]), projection)
        return found

    def _extended(self, centred: Matrix, projection: Projection | None) -> Single:
        return extended(centred) if projection is None else projection.of(centred)


def rounding_error(coordinates: int, r_k: Matrix, norms: Matrix) -> Matrix:
    """The largest error of a float32 squared distance that matters, (b,); see the module's docstring."""
    gamma = (coordinates + 8) * _UNIT_ROUNDOFF / (1 - (coordinates + 8) * _UNIT_ROUNDOFF)
    with np.errstate(over="ignore"):
        return np.asarray(gamma * (2 * norms + r_k) ** 2 + coordinates * _UNDERFLOW)


def _by_tree(ref: Framed, queries: Framed, k: int, own: Index | None, n_jobs: int) -> tuple[Matrix, Index]:
    """The same by a k-d tree, for few coordinates."""
    extra = int(own is not None)
    tree = cKDTree(ref.scaled(np.arange(len(ref))))
    distances, indices = tree.query(queries.scaled(np.arange(len(queries))), k + extra, workers=n_jobs)
    distances, indices = distances.reshape(len(queries), -1), indices.reshape(len(queries), -1)  # (m, k + 1)
    if own is not None:
        same = indices == own[:, None]
        same[~same.any(axis=1), -1] = True  # among many copies a point need not find itself
        distances, indices = (part[~same].reshape(len(same), k) for part in (distances, indices))
    return _sorted(distances / ref.scale, indices.astype(np.int64))


def smallest(distances: Matrix, indices: Index, k: int) -> tuple[Matrix, Index]:
    """The k smallest of each row (b, m), ascending; ties by index."""
    if distances.shape[1] > 2 * k + 8:
        near = np.argpartition(distances, k, axis=1)[:, : k + 1]
        distances, indices = np.take_along_axis(distances, near, 1), np.take_along_axis(indices, near, 1)
    distances, indices = _sorted(distances, indices)
    return distances[:, :k], indices[:, :k]


def _sorted(distances: Matrix, indices: Index) -> tuple[Matrix, Index]:
    order = np.argsort(distances, axis=1, kind="stable")
    distances, indices = np.take_along_axis(distances, order, 1), np.take_along_axis(indices, order, 1)
    tied = (distances[:, 1:] == distances[:, :-1]).any(axis=1)
    if tied.any():
        order = np.lexsort((indices[tied], distances[tied]), axis=1)
        indices[tied] = np.take_along_axis(indices[tied], order, 1)
    return distances, indices


def _slices(n: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]
