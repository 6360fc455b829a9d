r"""Candidates by matrix products: for each query the points of least $\lVert x - y\rVert^2 / 2$ in float32.

With $h(x) = \lVert x\rVert^2 / 2$ that half square is one product of extended points,

$$ \tfrac12\lVert x - y\rVert^2 = (x,\, 1,\, h(x)) \cdot (-y,\, h(y),\, 1). $$

A query keeps its `size` least values so far; the largest of them is its threshold, and of each further tile of values
only the few below a threshold are looked at. Thresholds never drop a point that belongs to the final shortlist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from submanifold.neighbors.shortlist import Entries, Shortlist, survivors
from submanifold.neighbors.threads import in_threads

__all__ = ["Single", "ball", "between", "extended", "opposite", "within"]

Single = NDArray[np.float32]
Index = NDArray[np.int64]
Blocks = Iterable[tuple[slice, Single]]
Step = Callable[[float], None]

_TILE = 1024


def extended(x: NDArray[np.floating]) -> Single:
    """The extended points $(x, 1, h(x))$, (b, d + 2), of centred points (b, d)."""
    rows = np.empty((len(x), x.shape[1] + 2), dtype=np.float32)
    with np.errstate(over="ignore"):  # queries beyond float32's range are searched in float64
        rows[:, :-2] = x
        rows[:, -2] = 1
        rows[:, -1] = np.einsum("bd,bd->b", x, x, dtype=np.float64) / 2
    return rows


def opposite(x: Single) -> Single:
    """$(-y, h(y), 1)$ of extended points $(y, 1, h(y))$."""
    other = np.negative(x)
    other[:, -2], other[:, -1] = x[:, -1], 1
    return other


def within(x: Single, size: int, *, n_jobs: int, step: Step) -> tuple[Index, Single]:
    """The `size` least values among all other points for each of the extended points `x` (n, d + 2), in random order.

    Each pair is computed once: a tile serves both of its sides.

    Returns:
        Their indices (n, size), -1 where there are fewer, and the threshold (n,) that no other point lies below.
    """
    n = len(x)
    short = Shortlist(n, size)
    width = _TILE * max(1, -(-4 * size // _TILE))

    for start in range(0, n, width):
        strip = slice(start, min(start + width, n))
        columns = opposite(x[strip])

        def tile(rows: slice, strip: slice = strip, columns: Single = columns) -> list[Entries]:
            values = _product(x[rows], columns)  # (t, s)
            same = np.arange(max(rows.start, strip.start), min(rows.stop, strip.stop))
            values[same - rows.start, same - strip.start] = np.inf
            beyond = rows.start >= strip.stop
            limits = short.limits(rows, values)
            mask = values < limits[:, None]
            if beyond:
                mask |= values < short.threshold[strip]
            i, j, value = survivors(mask, values)
            forth = value < limits[i]
            found = short.entries(i[forth] + rows.start, j[forth] + strip.start, value[forth])
            if beyond:
                back = value < short.threshold[strip][j]
                found += short.entries(j[back] + strip.start, i[back] + rows.start, value[back])
            return found

        short.add(in_threads(tile, short.slices(strip.start, strip.stop), n_jobs))
        short.add(in_threads(tile, short.slices(strip.stop), n_jobs))
        short.tighten(n_jobs)
        step(2 * (n - start) * (strip.stop - start))
    return short.finish(n_jobs)


def between(
    queries: Single,
    blocks: Blocks,
    sample: tuple[Index, Single],
    own: Index | None,
    size: int,
    *,
    n_jobs: int,
    step: Step,
) -> tuple[Index, Single]:
    """The `size` least values among reference points, which come in `blocks`, for each of `queries` (m, d + 2).

    Args:
        queries: extended points.
        blocks: slices of the reference points and their extended points.
        sample: indices and extended points of some of them, drawn at random, for first thresholds.
        own: for each query the reference point that it must not find, (m,).
        size: the length of the shortlists.
        n_jobs: threads.
        step: told of the products done.

    Returns:
        As `within`.
    """
    short = Shortlist(len(queries), size)
    drawn, points = sample
    if len(drawn) > 2 * size:
        columns = opposite(points)

        def first(rows: slice) -> None:
            values = _product(queries[rows], columns)
            if own is not None:
                values[drawn[None, :] == own[rows, None]] = np.inf
            limits = np.partition(values, size, axis=1)[:, size]  # one more than needed, as rounding may differ
            short.threshold[rows] = np.nextafter(limits, np.float32(np.inf))

        in_threads(first, short.slices(), n_jobs)
    for block, x in blocks:
        columns = opposite(x)

        def tile(rows: slice, block: slice = block, columns: Single = columns) -> list[Entries]:
            values = _product(queries[rows], columns)
            if own is not None:
                inside = np.flatnonzero((own[rows] >= block.start) & (own[rows] < block.stop))
                values[inside, own[rows][inside] - block.start] = np.inf
            i, j, value = survivors(values < short.limits(rows, values)[:, None], values)
            return short.entries(i + rows.start, j + block.start, value)

        short.add(in_threads(tile, short.slices(), n_jobs))
        short.tighten(n_jobs)
        step(len(queries) * len(x))
    return short.finish(n_jobs)


def ball(
    queries: Single, blocks: Blocks, limits: Single, *, most: int, n_jobs: int
) -> tuple[Index, Index, NDArray[np.bool_]]:
    """All reference points with a value of at most `limits` (m,), for each of `queries` (m, d + 2).

    Returns:
        Pairs of query and point, (p,) each, ordered by query, and which queries have more than `most` points, so
        that theirs were not collected, (m,).
    """
    left_out = ~np.isfinite(limits)
    found: list[tuple[Index, Index]] = []
    counts = np.zeros(len(queries), dtype=np.int64)
    tiles = [slice(start, min(start + _TILE, len(queries))) for start in range(0, len(queries), _TILE)]
    for block, x in blocks:
        columns = opposite(x)

        def tile(rows: slice, block: slice = block, columns: Single = columns) -> tuple[Index, Index]:
            values = _product(queries[rows], columns)
            mask = values <= limits[rows, None]
            counts[rows] += np.count_nonzero(mask, axis=1)
            left_out[rows] |= counts[rows] > most
            mask[left_out[rows]] = False
            i, j, _ = survivors(mask, values)
            return i + rows.start, j + block.start

        found.extend(in_threads(tile, tiles, n_jobs))
    query, point = (np.concatenate([part[side] for part in found]) for side in (0, 1))
    order = np.argsort(query, kind="stable")
    query, point = query[order], point[order]
    kept = ~left_out[query]
    return query[kept], point[kept], left_out


def _product(x: Single, y: Single) -> Single:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(x @ y.T)
