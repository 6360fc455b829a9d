r"""How estimators did on manifolds of known dimension.

With $\hat d_M$ the estimate on manifold M of dimension d_M, of m manifolds, an estimator is scored by the mean absolute
percentage error

$$ \text{MAPE} = \frac{100}{m} \sum_M \frac{|\hat d_M - d_M|}{d_M}, $$

once as it is and once rounded to whole numbers, of 1 to D.

References:
    Campadelli et al. 2015, "Intrinsic dimension estimation: relevant techniques and a benchmark framework", section 4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Benchmark", "ManifoldScore", "MethodScore"]


@dataclass(frozen=True)
class MethodScore:
    """How one estimator did.

    Attributes:
        name: as in `submanifold.dimension.names()`.
        estimates: the dimension that it found on each manifold.
        refused: what it said of each manifold on which it found none.
        mape: mean absolute error in per cent over the manifolds with an estimate.
        mape_rounded: the same of estimates rounded to whole numbers.
        worst: the manifold with the largest error.
        worst_error: that error in per cent, with its sign.
        seconds: processor time for all manifolds, without the search for neighbours that all share.
    """

    name: str
    estimates: Mapping[str, float]
    refused: Mapping[str, str]
    mape: float
    mape_rounded: float
    worst: str
    worst_error: float
    seconds: float


@dataclass(frozen=True)
class ManifoldScore:
    """What the consensus found on one manifold.

    Attributes:
        name, dim, ambient_dim: the manifold and its two dimensions.
        dimension: the consensus, or the largest piece's dimension where it found pieces.
        interval: its 95% interval.
        rounded: the whole number.
        raw: the maximum likelihood estimate at the scale that was read.
        by_reference: the dimension with each reference law.
        k: the neighbours that were looked at.
        pieces: how many pieces it took the data for; mostly none.
    """

    name: str
    dim: int
    ambient_dim: int
    dimension: float
    interval: tuple[float, float]
    rounded: int
    raw: float
    by_reference: Mapping[str, float]
    k: int
    pieces: int

    @property
    def error(self) -> float:
        """The error of the consensus in per cent, with its sign."""
        return 100 * (self.dimension / self.dim - 1)

    @property
    def covered(self) -> bool:
        """Whether the interval holds the true dimension."""
        return self.interval[0] <= self.dim <= self.interval[1]


@dataclass(frozen=True)
class Benchmark:
    """The scores of the consensus, manifold by manifold, and of single methods.

    Attributes:
        n: points of each manifold.
        seed: of the points and of all estimators.
        noise: added to the points, see `submanifold.data.benchmarks.BenchmarkManifold.sample`.
        manifolds: the consensus on each manifold.
        methods: the single methods, best first.
        skipped: methods that accept none of the manifolds, and why.
        consensus_seconds: processor time of the consensus for all manifolds, its search and intervals included.
        search_seconds: processor time of the searches that the single methods share.
    """

    n: int
    seed: int
    noise: float
    manifolds: tuple[ManifoldScore, ...]
    methods: tuple[MethodScore, ...]
    skipped: Mapping[str, str]
    consensus_seconds: float
    search_seconds: float

    @property
    def mape(self) -> float:
        """Mean absolute error of the consensus in per cent."""
        return float(np.mean([abs(one.error) for one in self.manifolds]))

    @property
    def mape_rounded(self) -> float:
        """The same of the consensus rounded to whole numbers."""
        return float(np.mean([100 * abs(one.rounded / one.dim - 1) for one in self.manifolds]))

    @property
    def worst(self) -> ManifoldScore:
        """The manifold with the largest error of the consensus."""
        return max(self.manifolds, key=lambda one: abs(one.error))

    @property
    def coverage(self) -> float:
        """The part of the manifolds whose dimension is inside the consensus' interval."""
        return float(np.mean([one.covered for one in self.manifolds]))

    def to_json(self) -> dict[str, Any]:
        """All scores as JSON-able data."""
        return {
            "schema": "submanifold.benchmark/1",
            "n": self.n,
            "seed": self.seed,
            "noise": self.noise,
            "consensus": {
                "mape": self.mape,
                "mape_rounded": self.mape_rounded,
                "worst": self.worst.name,
                "worst_error": self.worst.error,
                "coverage": self.coverage,
                "seconds": self.consensus_seconds,
            },
            "methods": {
                one.name: {
                    "mape": _finite(one.mape),
                    "mape_rounded": _finite(one.mape_rounded),
                    "worst": one.worst,
                    "worst_error": _finite(one.worst_error),
                    "seconds": one.seconds,
                    "estimates": dict(one.estimates),
                    "refused": dict(one.refused),
                }
                for one in self.methods
            },
            "manifolds": {
                one.name: {
                    "dim": one.dim,
                    "ambient_dim": one.ambient_dim,
                    "dimension": one.dimension,
                    "interval": [_finite(end) for end in one.interval],
                    "rounded": one.rounded,
                    "error": one.error,
                    "covered": one.covered,
                    "raw": _finite(one.raw),
                    "by_reference": dict(one.by_reference),
                    "k": one.k,
                    "pieces": one.pieces,
                }
                for one in self.manifolds
            },
            "skipped": dict(self.skipped),
            "search_seconds": self.search_seconds,
        }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
