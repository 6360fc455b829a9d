"""What `submanifold.dimension.estimate` returns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from submanifold.dimension.mixture import Piece
from submanifold.dimension.pointwise import LocalDimension
from submanifold.dimension.scale import Reading, ScaleCurve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["DimensionEstimate", "MethodEstimate"]

_Z = 1.959963984540054


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


@dataclass(frozen=True)
class MethodEstimate:
    """One dimension and its 95% interval.

    Attributes:
        dimension: the estimate.
        interval: its 95% interval.
        sampling_interval: the part of it that is sampling error, where it holds other errors too.
        expected: what the method would read in a ball of the dimension that the consensus found, if known.
    """

    dimension: float
    interval: tuple[float, float]
    sampling_interval: tuple[float, float] | None = None
    expected: float | None = None

    @property
    def log_variance(self) -> float:
        """The sampling variance of the logarithm of the estimate that the interval stands for."""
        low, high = self.sampling_interval or self.interval
        return (math.log(high / low) / (2 * _Z)) ** 2 if low > 0 and math.isfinite(high) else math.inf

    def __str__(self) -> str:
        return f"{self.dimension:.2f} [{self.interval[0]:.2f}, {self.interval[1]:.2f}]"

    def to_json(self) -> dict[str, Any]:
        """The estimate as JSON-able data; an unbounded end becomes None."""
        return {
            "dimension": _finite(self.dimension),
            "interval": [_finite(end) for end in self.interval],
            "expected": _finite(self.expected),
        }


@dataclass(frozen=True, eq=False)
class DimensionEstimate:
    """The intrinsic dimension of a data set: a consensus over scales and methods, and what it hides.

    Attributes:
        dimension: the consensus; NaN where `pieces` of different dimension make one number meaningless.
        interval: its 95% interval; it covers sampling error and, unless methods were chosen, the choice of the
            reference law of the calibration; with chosen methods, their disagreement.
        pooled: whether the consensus is the mean of chosen methods, rather than the reading of one scale.
        reading: the scale at which the consensus was read, the raw number there, and every reference law's.
        by_method: the estimate of each method, and what it would read in a ball of the consensus' dimension.
        local: the dimension around each point, its uncertainty, and the test whether it varies.
        scale_curve: the estimate against the number of neighbours, with its plateau.
        by_class: the estimate inside each class, or None without labels.
        by_cluster: the estimate inside each connected part of the data, largest first, or None where there is one.
        pieces: the pieces of different dimension that the data are a union of; mostly none.
        warnings: what the numbers do not show, in plain sentences.
        n: the number of points, copies included.
        n_distinct: the number of distinct ones.
        ambient_dim: the number of coordinates, D; None where distances alone are known.
        metric: the name of the distance, "precomputed" for one without a name.
        search: how neighbours were searched, "exact" or "nn-descent", or "given" where they were not.
        recall: the part of the true neighbours that the search found, 1 for an exact one, NaN where it is not known.
        recall_interval: its 95% interval; measured on a sample.
        true_dim: the dimension of what the points were drawn from, where a data set knows it.
    """

    dimension: float
    interval: tuple[float, float]
    pooled: bool
    reading: Reading
    by_method: Mapping[str, MethodEstimate]
    local: LocalDimension = field(repr=False)
    scale_curve: ScaleCurve = field(repr=False)
    by_class: Mapping[int | str, MethodEstimate] | None
    by_cluster: Mapping[int, MethodEstimate] | None
    pieces: tuple[Piece, ...]
    warnings: tuple[str, ...]
    n: int
    n_distinct: int
    ambient_dim: int | None
    metric: str = "euclidean"
    search: str = "exact"
    recall: float = 1.0
    recall_interval: tuple[float, float] = (1.0, 1.0)
    true_dim: int | None = None

    @property
    def pointwise(self) -> NDArray[np.float64]:
        """The dimension around each of the points `rows`, (m,)."""
        return self.local.dimension

    @property
    def rows(self) -> NDArray[np.int64]:
        """The points of X that were looked at, (m,): all, or a random part of large data."""
        return self.local.rows

    @property
    def largest(self) -> float:
        """The dimension that a space must have to hold the data: the consensus, or the largest piece's dimension."""
        return max(piece.dimension for piece in self.pieces) if self.pieces else self.dimension

    @property
    def rounded(self) -> int:
        """The whole number nearest to `largest`, at least 1 and at most the ambient dimension, where there is one."""
        nearest = max(round(self.largest), 1)
        return nearest if self.ambient_dim is None else min(nearest, self.ambient_dim)

    def to_json(self) -> dict[str, Any]:
        """Everything but the pointwise values, of which quantiles are given, as JSON-able data."""
        reading = self.reading
        return {
            "dimension": _finite(self.dimension),
            "interval": [_finite(end) for end in self.interval],
            "rounded": self.rounded,
            "raw": _finite(reading.raw),
            "sampling_interval": [_finite(end) for end in reading.sampling_interval],
            "by_reference": reading.by_reference,
            "scale": {"k": reading.k, "radius": reading.radius},
            "by_method": {name: one.to_json() for name, one in self.by_method.items()},
            "by_class": _group_json(self.by_class),
            "by_cluster": _group_json(self.by_cluster),
            "pieces": [piece.to_json() for piece in self.pieces],
            "local": self.local.to_json(),
            "scale_curve": _plain(self.scale_curve.to_json()),
            "warnings": list(self.warnings),
            "n": self.n,
            "n_distinct": self.n_distinct,
            "ambient_dim": self.ambient_dim,
            "metric": self.metric,
            "search": self.search,
            "recall": _finite(self.recall),
            "recall_interval": list(self.recall_interval),
            "true_dim": self.true_dim,
        }

    def figure(self) -> Figure:
        """The scale curve with the consensus, and the estimates by method and class with their intervals."""
        from submanifold.dimension.figure import draw

        return draw(self)

    def __str__(self) -> str:
        where = f"of {self.n} points"
        if self.ambient_dim is not None:
            where += f" in {self.ambient_dim} dimensions"
        if self.metric != "euclidean":
            where += f" with {self.metric} distances"
        if self.pieces:
            found = ", ".join(f"{piece.dimension:.1f} ({piece.share:.0%} of the points)" for piece in self.pieces)
            lines = [f"no single intrinsic dimension {where}, but pieces of dimension {found}"]
        else:
            lines = [f"intrinsic dimension {MethodEstimate(self.dimension, self.interval)} {where}"]
        lines += [
            *(f"  {name:<8} {one}" for name, one in self.by_method.items()),
            *(f"  class {label!s:<8} {one}" for label, one in (self.by_class or {}).items()),
            *(f"  cluster {label!s:<6} {one}" for label, one in (self.by_cluster or {}).items()),
            *(f"  note: {sentence}" for sentence in self.warnings),
        ]
        return "\n".join(lines)


def _group_json(group: Mapping[Any, MethodEstimate] | None) -> dict[str, Any] | None:
    return None if group is None else {str(label): one.to_json() for label, one in group.items()}


def _plain(columns: dict[str, Any]) -> dict[str, Any]:
    """Lists of numbers in which what is not finite becomes None."""
    return {
        name: [_finite(value) for value in column] if isinstance(column, list) else column
        for name, column in columns.items()
    }
