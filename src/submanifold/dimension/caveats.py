"""What a dimension estimate does not show by itself, in plain sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from submanifold.data.lattice import lattice_spacing
from submanifold.dimension.pooling import heterogeneity_p_value
from submanifold.dimension.result import MethodEstimate

__all__ = ["caveats"]

_RATIO_OF_METHODS = 1.25
_RATIO_OF_CLASSES = 1.1
_RATIO_OF_POINTS = 1.75  # between the 90% and the 10% quantile; 1.1 to 1.5 on homogeneous data


def caveats(
    X: NDArray[np.float64],
    n_distinct: int,
    dimension: float,
    by_method: Mapping[str, MethodEstimate],
    by_class: Mapping[int | str, MethodEstimate] | None,
    pointwise: NDArray[np.float64],
) -> tuple[str, ...]:
    """The sentences that apply to an estimate of `X` (n, D), most of them none."""
    sentences = [
        _duplicates(len(X), n_distinct),
        _lattice(X),
        _too_few(n_distinct, dimension),
        _methods(by_method),
        _classes(by_class),
        _points(pointwise),
    ]
    return tuple(sentence for sentence in sentences if sentence)


def _duplicates(n: int, n_distinct: int) -> str:
    if n == n_distinct:
        return ""
    return f"{n - n_distinct} of {n} points are copies of others and were dropped."


def _lattice(X: NDArray[np.float64]) -> str:
    spacing = lattice_spacing(X)
    if spacing is None:
        return ""
    return (
        f"All values are multiples of {spacing:.3g}: distances of the order of this spacing are rounded, which "
        "distorts the estimates at the smallest scales, TwoNN above all."
    )


def _too_few(n: int, dimension: float) -> str:
    """Eckmann and Ruelle 1992, Fundamental limitations for estimating dimensions, equation 3, with rho = 0.1."""
    limit = 2 * math.log10(n)
    if dimension <= limit:
        return ""
    return (
        f"{n} points resolve dimensions up to about {limit:.1f} (2 log10 n): above it, estimates from distances to "
        "neighbours are too low, and the data may have more dimensions than they say."
    )


def _methods(by_method: Mapping[str, MethodEstimate]) -> str:
    values = {name: one.dimension for name, one in by_method.items()}
    least, most = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    if values[most] < _RATIO_OF_METHODS * values[least]:
        return ""
    return (
        f"The methods disagree, from {values[least]:.1f} ({least}) to {values[most]:.1f} ({most}): "
        "look at the scale curve before trusting any one of them."
    )


def _classes(by_class: Mapping[int | str, MethodEstimate] | None) -> str:
    if by_class is None or len(by_class) < 2:
        return ""
    values = {label: one.dimension for label, one in by_class.items()}
    least, most = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    p = heterogeneity_p_value(list(values.values()), [one.log_variance for one in by_class.values()])
    if p > 0.01 or values[most] < _RATIO_OF_CLASSES * values[least]:
        return ""
    return (
        f"The dimension differs between classes, from {values[least]:.1f} (class {least}) to "
        f"{values[most]:.1f} (class {most}): no single number describes all of them."
    )


def _points(pointwise: NDArray[np.float64]) -> str:
    low, high = np.quantile(pointwise[np.isfinite(pointwise)], [0.1, 0.9])
    if high < _RATIO_OF_POINTS * low:
        return ""
    return (
        f"The dimension differs from place to place, from {low:.1f} to {high:.1f} (10% and 90% quantiles of "
        "the local dimension): the data may be a union of pieces of different dimension."
    )
