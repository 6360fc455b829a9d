"""The outcome of a two-sample test: a discrepancy beside the values that it takes by chance."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["TwoSampleTest"]


@dataclass(frozen=True, eq=False)
class TwoSampleTest:
    """A discrepancy between two samples, and its law when both come from one distribution.

    A plug-in distance between two samples of one law is not zero but has a floor, set by the sample
    sizes. Exchanging points between the samples at random shows the floor, and how far above it
    chance alone carries the discrepancy.

    Attributes:
        statistic: the discrepancy of the samples as given.
        null: the discrepancy after each random exchange of points, (n_permutations,).
    """

    statistic: float
    null: NDArray[np.float64] = field(repr=False)

    @property
    def floor(self) -> float:
        """The value that two samples of one law have at these sizes: the mean of `null`."""
        return float(self.null.mean())

    @property
    def excess(self) -> float:
        """The discrepancy beyond the floor; about zero for two samples of one law."""
        return self.statistic - self.floor

    @property
    def p_value(self) -> float:
        """(1 + #{null >= statistic}) / (1 + n_permutations), valid at every sample size.

        Reference: Phipson and Smyth 2010, arXiv 1603.05766.
        """
        return float(1 + np.count_nonzero(self.null >= self.statistic)) / (1 + len(self.null))

    def __float__(self) -> float:
        return self.statistic
