"""The estimators by name."""

from __future__ import annotations

from submanifold.dimension.base import DimensionEstimator
from submanifold.dimension.lpca import LocalPCA
from submanifold.dimension.mle import MLE
from submanifold.dimension.twonn import TwoNN
from submanifold.registry import Registry

__all__ = ["ESTIMATORS", "names"]

ESTIMATORS: Registry[type[DimensionEstimator]] = Registry("dimension estimator")
ESTIMATORS.register("mle")(MLE)
ESTIMATORS.register("twonn")(TwoNN)
ESTIMATORS.register("lpca")(LocalPCA)


def names() -> list[str]:
    """The names of all estimators, for `submanifold.dimension.estimate(methods=...)` and the command line."""
    return list(ESTIMATORS)
