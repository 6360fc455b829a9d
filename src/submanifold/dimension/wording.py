"""What a dimension estimate says, in plain sentences that end in a full stop."""

from __future__ import annotations

import math

import numpy as np

from submanifold.dimension.reference import HIGHEST
from submanifold.dimension.result import DimensionEstimate

_CLIPPED = 0.99  # of the highest dimension: what is beyond cannot be told apart

__all__ = ["how", "near", "p_value", "places", "pooled", "searched", "verdict"]

_REFERENCES = {"ball": "a uniform ball", "cube": "a cube", "gaussian": "a Gaussian", "sphere": "a sphere"}


def verdict(found: DimensionEstimate, name: str, n: int | None = None) -> str:
    """One sentence: which data, and the dimension of the manifold they lie near.

    Args:
        found: the estimate.
        name: what the data are called.
        n: the number of points in all, where the estimate was made from a part of them.
    """
    n = found.n if n is None else n
    where = "" if found.ambient_dim is None else f" in {found.ambient_dim:,} dimensions"
    by = "" if found.metric == "euclidean" else f" with {found.metric} distances"
    truth = "the largest truly has" if found.pieces else "the truth is"
    known = "" if found.true_dim is None else f"; {truth} {found.true_dim}"
    return f"{name}: {n:,} points{where}{by} lie near {near(found)}{known}."


def near(found: DimensionEstimate) -> str:
    """What the data lie near: a manifold with its dimension, or a union of them."""
    if found.pieces:
        each = ", ".join(f"{piece.dimension:.1f} ({piece.share:.0%} of the points)" for piece in found.pieces)
        return f"a union of manifolds of different dimension: {each}"
    curve = found.scale_curve
    bound = ""
    if found.dimension > _CLIPPED * HIGHEST:
        bound = "at least "
    elif not curve.flat and not pooled(found) and found.reading.k >= curve.ks[curve.start]:
        bound = "at most "
    return f"a manifold of {bound}about {found.dimension:.1f} dimensions ({_interval(*found.interval)})"


def pooled(found: DimensionEstimate) -> bool:
    """Whether the consensus is the mean of chosen methods rather than the reading of one scale."""
    return found.pooled and not found.pieces


def how(found: DimensionEstimate) -> tuple[str, ...]:
    """How the number was read: the scale, the raw reading, what each reference law makes of it, and the search."""
    return (*_read(found), searched(found))


def _read(found: DimensionEstimate) -> tuple[str, ...]:
    reading = found.reading
    where = f"k = {reading.k:,} neighbours, whose median distance is {reading.radius:.3g}"
    if reading.n < found.n_distinct:
        where += f" (by the {round(reading.k * reading.n / found.n_distinct):,} nearest of {reading.n:,} random points)"
    if found.pieces:
        return (
            "Each piece was read by itself, at its own scale.",
            f"All points together would read {reading.dimension:.1f} at {where}, which describes none of the pieces.",
        )
    if pooled(found):
        of = "the estimate of" if len(found.by_method) == 1 else "the mean of"
        return (
            f"The number is {of} {', '.join(found.by_method)}, as asked for.",
            f"Read by scale it would be {reading.dimension:.1f}, at {where}.",
        )
    missing = 1 - reading.raw / reading.dimension
    short = f", {missing:.0%} too little" if missing >= 0.01 else ""
    first, *others = (f"{_REFERENCES[name]} of {value:.2f}" for name, value in reading.by_reference.items())
    read = f"Read at {where}: there the maximum likelihood estimate is {reading.raw:.3g}{short}."
    if reading.dimension > _CLIPPED * HIGHEST:
        return (read, f"As many points of no law that is tabulated, up to {HIGHEST:.0f} dimensions, read as much.")
    return (
        read,
        f"As many points of {first} dimensions read the same, which is the estimate; so do those of "
        f"{', '.join(others[:-1])} or {others[-1]}, and the interval spans all of them.",
    )


def searched(found: DimensionEstimate) -> str:
    """How neighbours were searched, and how many of them were found."""
    looked_at = "" if len(found.rows) == found.n else f" of {len(found.rows):,} points among all"
    if found.search == "exact":
        return f"The neighbours{looked_at} were searched exactly."
    if not math.isfinite(found.recall):
        return f"The neighbours{looked_at} were given; whether they are all the nearest ones is not known."
    low, high = found.recall_interval
    return (
        f"The neighbours{looked_at} were searched approximately ({found.search}): {found.recall:.1%} of the true ones "
        f"were found (95% interval {low:.1%} to {high:.1%}, on a sample)."
    )


def places(found: DimensionEstimate) -> str:
    """The local dimension: its quantiles, and whether it differs from place to place."""
    local = found.local
    low, middle, high = np.quantile(local.dimension[np.isfinite(local.dimension)], [0.05, 0.5, 0.95])
    p = p_value(local.p_value)
    if local.varies:
        told = f"it differs from place to place, by about {local.spread:.0%} beyond that error ({p})"
    elif local.p_value < 0.01:
        told = f"it differs a little from place to place, by less than a tenth ({p})"
    else:
        told = f"it is the same everywhere, as far as can be told ({p})"
    error = f"{local.relative_error:.0%}" if math.isfinite(local.relative_error) else "unknown size"
    return (
        f"Around single points (k = {local.n_neighbors}) the dimension is {low:.1f} to {high:.1f}, median "
        f"{middle:.1f}, each with an error of {error}: {told}."
    )


def p_value(p: float) -> str:
    """A p-value in words, down to one in ten thousand."""
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"


def _interval(low: float, high: float) -> str:
    if not math.isfinite(high):
        return f"95% interval {low:.1f} or more"
    return f"95% interval {low:.1f} to {high:.1f}"
