r"""Fewer coordinates first: an orthogonal projection bounds every distance from below.

For orthonormal $Q \in \mathbb R^{D \times m}$ and residual norms $\rho(x) = \lVert x - QQ^\top x\rVert$,

$$ \lVert x - y\rVert^2 \ge \lVert Q^\top (x - y)\rVert^2 + (\rho(x) - \rho(y))^2. $$

Where few points have a bound below the distance of the k-th neighbour, as with data near a subspace of few dimensions,
the candidates are found among m + 1 coordinates instead of D, and the search stays exact. Whether that pays is measured
on a few points.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from submanifold.neighbors.candidates import Single, extended, opposite
from submanifold.neighbors.frame import Framed, blocks_of

__all__ = ["Projection", "choose", "principal_coordinates"]

Matrix = NDArray[np.float64]

_DIMS = (12, 24, 48, 96)
_PROBES = 128
_LEAST_WORK = 2e10  # products of two numbers, below which planning costs more than it saves
_SAMPLE = 2048
_BLOCK_BYTES = 2**25

# Seconds on one processor, measured; their ratios matter.
_PAIR, _PRODUCT, _CANDIDATE, _GATHER = 2e-9, 3.3e-11, 1e-6, 1e-9


@dataclass(frozen=True)
class Projection:
    """Points in m coordinates and the norm of what is left, extended for products.

    Attributes:
        basis: Q, (D, m).
        points: the extended points, (n, m + 3).
        size: the length of shortlists with which nearly all rows will be certified.
    """

    basis: Matrix
    points: Single
    size: int

    @property
    def coordinates(self) -> int:
        r"""Coordinates that the rounding error grows with.

        A residual norm in float64, the root of a difference of squares, is wrong by up to $\sqrt{D}\,2^{-25.5}$ of the
        norm, which moves a bound as far as $\sqrt D$ more coordinates do.
        """
        D, m = map(int, self.basis.shape)
        return m + 1 + math.isqrt(D) + 1

    def of(self, centred: Matrix) -> Single:
        """The extended projections of centred points (b, D)."""
        inside, rest = _projected(centred, self.basis, [self.basis.shape[1]])
        return _extended(inside, rest[:, 0])

    def blocks(self) -> Iterator[tuple[slice, Single]]:
        """Slices and their extended points."""
        for rows in blocks_of(len(self.points), self.points.shape[1], 2**22):
            yield rows, self.points[rows]


def choose(ref: Framed, k: int, pairs: float) -> tuple[Projection | None, float]:
    """The projection with which `pairs` distances are searched fastest (None for no projection), and the seconds.

    Args:
        ref: the reference points, (n, D).
        k: neighbours of each query, itself included.
        pairs: the number of products to be made.
    """
    n, D = ref.shape
    queries = pairs / n
    dims = [m for m in _DIMS if m <= min(n, D) // 3]
    if not dims or pairs * D < _LEAST_WORK:
        return None, _seconds(pairs, D, queries * 1.1 * k, D)
    rng = np.random.default_rng(0)
    sample = ref.centred(np.sort(rng.choice(n, min(n, _SAMPLE), replace=False)))  # (s, D)
    basis = _principal(sample, dims[-1])  # (D, m)
    probes = sample[rng.choice(len(sample), min(len(sample), _PROBES), replace=False)]  # (p, D)
    probe = _projected(probes, basis, dims)
    without = _seconds(pairs, D, queries * 1.1 * k, D)

    def best(points: tuple[Any, Any], reach: Any) -> tuple[float, int, int]:
        """The least seconds, the place of their m in `dims`, and the length of shortlists, as `points` (l, m) tell."""
        plans = []
        for i, m in enumerate(dims):
            below = _counts_below(probe, points, i, m, reach) * (n / len(points[0]))  # (p,)
            size = max(int(np.quantile(below, 0.95) * 1.1), k) + 2
            # Of the rows that fail, points within the known distance are looked at in a second product.
            again = _seconds(0.05 * pairs, m, 0.05 * queries * float(below.max()), D)
            plans.append((_seconds(pairs, m, queries * size, D) + again, i, size))
        return min(plans)

    # The sample alone tells where no projection comes near to paying, before all points are read.
    squared = _squares(extended(probes), extended(sample))
    rank = min(max(1, round(k * len(sample) / n)), len(sample) - 1)
    if best(_projected(sample, basis, dims), np.partition(squared, rank, axis=1)[:, rank])[0] > without:
        return None, without

    inside = np.empty((n, dims[-1]), dtype=np.float32)
    rest = np.empty((n, len(dims)), dtype=np.float32)
    nearest = np.full((len(probes), k + 1), np.inf)  # squared distances, the probe itself included
    for rows in blocks_of(n, D, _BLOCK_BYTES):
        x = ref.block(rows)
        inside[rows], rest[rows] = _projected(x, basis, dims)
        both = np.hstack([nearest, _squares(extended(probes), extended(x))])
        nearest = np.partition(both, k, axis=1)[:, : k + 1]
    seconds, i, size = best((inside, rest), nearest.max(axis=1) * (1 + 1e-4))
    if seconds >= without or size >= n - 1:
        return None, without
    points = _extended(inside[:, : dims[i]], rest[:, i])
    return Projection(np.ascontiguousarray(basis[:, : dims[i]]), points, size), seconds


def _counts_below(probe: tuple[Matrix, Matrix], points: tuple[Any, Any], i: int, m: int, reach: Matrix) -> Matrix:
    """Of `points`, those with a bound from m coordinates below `reach` (p,) of each probe, (p,)."""
    queries = _extended(probe[0][:, :m], probe[1][:, i])
    below = np.zeros(len(queries))
    for rows in blocks_of(len(points[0]), len(queries) + m, _BLOCK_BYTES):
        bounds = _squares(queries, _extended(points[0][rows, :m], points[1][rows, i]))
        below += np.count_nonzero(bounds <= reach[:, None], axis=1)
    return below


def _seconds(pairs: float, m: int, candidates: float, D: int) -> float:
    """For products of m coordinates, and `candidates` distances among D."""
    return pairs * (_PAIR + _PRODUCT * m) + candidates * (_CANDIDATE + _GATHER * D)


def principal_coordinates(ref: Framed, m: int) -> Single:
    """The m principal coordinates of the points, (n, m), whatever they leave out."""
    drawn = np.random.default_rng(0).choice(len(ref), min(len(ref), _SAMPLE), replace=False)
    basis = _principal(ref.centred(np.sort(drawn)), m)
    x = np.empty((len(ref), m), dtype=np.float32)
    for rows in blocks_of(len(ref), ref.shape[1], _BLOCK_BYTES):
        x[rows] = ref.block(rows) @ basis
    return x


def _principal(sample: Matrix, m: int) -> Matrix:
    """An orthonormal basis (D, m) of the directions of largest variance, by subspace iteration."""
    sample = sample - sample.mean(axis=0)
    basis = np.random.default_rng(0).standard_normal((sample.shape[1], m + 8))
    for _ in range(3):
        basis = np.linalg.qr(sample.T @ (sample @ basis))[0]  # (D, m + 8)
    _, _, rows = np.linalg.svd(sample @ basis, full_matrices=False)
    return np.ascontiguousarray(basis @ rows.T[:, :m])


def _projected(centred: Matrix, basis: Matrix, dims: Sequence[int]) -> tuple[Matrix, Matrix]:
    """Coordinates (b, m), and the residual norms (b, l) after the first of each of `dims`."""
    inside = centred @ basis  # (b, m)
    squares = np.einsum("bd,bd->b", centred, centred)
    rest = [squares - np.einsum("bm,bm->b", inside[:, :m], inside[:, :m]) for m in dims]
    return inside, np.sqrt(np.maximum(np.stack(rest, axis=1), 0))


def _extended(inside: NDArray[np.floating], rest: NDArray[np.floating]) -> Single:
    return extended(np.column_stack([inside, rest]))


def _squares(x: Single, y: Single) -> Single:
    return np.asarray(2 * (x @ opposite(y).T))
