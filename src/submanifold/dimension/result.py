"""What `submanifold.dimension.estimate` returns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from submanifold.dimension.scale import ScaleCurve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["DimensionEstimate", "MethodEstimate"]

_Z = 1.959963984540054


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


@dataclass(frozen=True)
class MethodEstimate:
    """One dimension and its 95% interval."""

    dimension: float
    interval: tuple[float, float]

    @property
    def log_variance(self) -> float:
        """The variance of the logarithm of the estimate that the interval stands for."""
        low, high = self.interval
        return (math.log(high / low) / (2 * _Z)) ** 2 if low > 0 else math.inf

    def __str__(self) -> str:
        return f"{self.dimension:.2f} [{self.interval[0]:.2f}, {self.interval[1]:.2f}]"

    def to_json(self) -> dict[str, Any]:
        """The estimate as JSON-able data; an unbounded end becomes None."""
        return {
            "dimension": _finite(self.dimension),
            "interval": [_finite(end) for end in self.interval],
        }


@dataclass(frozen=True, eq=False)
class DimensionEstimate:
    """The intrinsic dimension of a data set: a consensus of methods and what it hides.

    Attributes:
        dimension: the consensus (`submanifold.dimension.pooling`).
        interval: its 95% interval; it covers sampling error and the disagreement of the methods, not a bias that
            all methods share.
        by_method: the estimate of each method.
        pointwise: local dimension at the points `rows`, (m,): the harmonic mean of the maximum likelihood estimates of
            a point and its neighbours.
        rows: the points of X that were looked at, (m,): all, or a random part of large data.
        scale_curve: the estimate against the number of neighbours.
        by_class: the estimate inside each class, or None without labels.
        warnings: what the numbers do not show, in plain sentences.
        n: the number of points, copies included.
        ambient_dim: the number of coordinates, D.
    """

    dimension: float
    interval: tuple[float, float]
    by_method: Mapping[str, MethodEstimate]
    pointwise: NDArray[np.float64] = field(repr=False)
    rows: NDArray[np.int64] = field(repr=False)
    scale_curve: ScaleCurve = field(repr=False)
    by_class: Mapping[int | str, MethodEstimate] | None
    warnings: tuple[str, ...]
    n: int
    ambient_dim: int

    @property
    def rounded(self) -> int:
        """The whole number nearest to the consensus, at least 1 and at most the ambient dimension."""
        return min(max(round(self.dimension), 1), self.ambient_dim)

    def to_json(self) -> dict[str, Any]:
        """Everything but the pointwise values, of which quantiles are given, as JSON-able data."""
        local = self.pointwise[np.isfinite(self.pointwise)]
        quantiles = (0.05, 0.25, 0.5, 0.75, 0.95)
        return {
            "dimension": self.dimension,
            "interval": list(self.interval),
            "rounded": self.rounded,
            "by_method": {name: one.to_json() for name, one in self.by_method.items()},
            "by_class": None
            if self.by_class is None
            else {str(label): one.to_json() for label, one in self.by_class.items()},
            "pointwise_quantiles": dict(zip(map(str, quantiles), np.quantile(local, quantiles).tolist(), strict=True)),
            "scale_curve": self.scale_curve.to_json(),
            "warnings": list(self.warnings),
            "n": self.n,
            "ambient_dim": self.ambient_dim,
        }

    def figure(self) -> Figure:
        """The scale curve with the consensus, and the estimates by method and class with their intervals."""
        from submanifold.dimension.figure import draw

        return draw(self)

    def __str__(self) -> str:
        consensus = MethodEstimate(self.dimension, self.interval)
        lines = [
            f"intrinsic dimension {consensus} of {self.n} points in {self.ambient_dim} dimensions",
            *(f"  {name:<8} {one}" for name, one in self.by_method.items()),
            *(f"  class {label!s:<8} {one}" for label, one in (self.by_class or {}).items()),
            *(f"  note: {sentence}" for sentence in self.warnings),
        ]
        return "\n".join(lines)
