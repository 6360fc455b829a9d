"""The maximum likelihood estimate, corrected for what it misses at equal n and k on laws of known dimension."""

from __future__ import annotations

import numpy as np

from submanifold.checks import check_choice, check_int
from submanifold.dimension.base import Matrix, Vector
from submanifold.dimension.mle import inverse_mle
from submanifold.dimension.neighborhood import NeighborEstimator
from submanifold.dimension.reference import REFERENCES, calibrate
from submanifold.dimension.variance import Patches
from submanifold.neighbors import NeighborGraph

__all__ = ["Calibrated"]


class Calibrated(NeighborEstimator):
    r"""The dimension of a reference law that reads what the data read.

    Estimates from neighbours are too low in high dimension, by half for 2500 points in 70 dimensions. With
    L(d; n, k) the exact expectation of the pooled maximum likelihood estimate on n points of a d-dimensional
    reference law (`submanifold.dimension.reference`), the calibrated estimate solves

    $$ L(\hat d; n, k) = \hat m_k, \qquad \hat m_k^{-1} = \frac1n \sum_i \hat m_k(x_i)^{-1} . $$

    The law is a uniform ball unless told otherwise: most data have a boundary. How much the choice matters is told by
    `by_reference_`, and is part of `interval_`.

    References:
        The correction puts expectations in place of the simulations of Camastra and Vinciarelli 2002, Estimating the
        intrinsic dimension of data with a fractal-based method, section 3, and of Ceruti et al. 2014, DANCo, Pattern
        Recognition 47; the estimate is that of MacKay and Ghahramani 2005.

    Args:
        n_neighbors: k, at least 2. The fewest see the least of curvature and boundary, more of them average over noise.
        reference: "ball", "cube", "gaussian" or "sphere".
        random_state: seed of the splits behind `interval_`.

    Attributes:
        dimension_: \hat d with the chosen reference; at most `submanifold.dimension.reference.HIGHEST`.
        interval_: 95% interval for the dimension of the data: from the lowest to the highest end over all references,
            so that it covers data that are like any of them.
        sampling_interval_: 95% interval of the estimator about its own mean, with the chosen reference alone.
        by_reference_: \hat d with each reference.
        raw_dimension_: \hat m_k, without the correction.
    """

    def __init__(self, n_neighbors: int = 2, *, reference: str = "ball", random_state: int = 0) -> None:
        self.n_neighbors = n_neighbors
        self.reference = reference
        self.random_state = random_state

    raw_dimension_: float
    reference_: str
    by_reference_: dict[str, float]

    def required_neighbors(self) -> int:
        check_choice(self.reference, REFERENCES, name="reference")
        return check_int(self.n_neighbors, name="n_neighbors", low=2)

    def least_neighbors(self) -> int:
        return 2

    @property
    def sampling_interval_(self) -> tuple[float, float]:
        """The 95% interval of the estimator about its own mean."""
        low, high = self._calibrated(super().interval_, self.reference_)
        return low, high

    @property
    def interval_(self) -> tuple[float, float]:
        """The 95% interval over all references; see the class."""
        ends = [self._calibrated(super(Calibrated, self).interval_, name) for name in REFERENCES]
        return min(low for low, _ in ends), max(high for _, high in ends)

    def _local(self, patches: Patches, X: Matrix | None) -> Vector:
        return inverse_mle(patches.distances)

    def _pool(self, local: Vector) -> float:
        with np.errstate(divide="ignore"):
            return float(1 / np.mean(local))

    def _learn(self, graph: NeighborGraph) -> None:
        self.raw_dimension_, self.reference_ = self.dimension_, self.reference
        self.by_reference_ = {name: self._calibrated((self.raw_dimension_,), name)[0] for name in REFERENCES}
        self.dimension_ = self.by_reference_[self.reference_]

    def _calibrated(self, values: tuple[float, ...], reference: str) -> tuple[float, ...]:
        """The dimensions that read `values`; 0 and infinity stay what they are."""
        return tuple(
            float(calibrate(value, self.n_points_, self.n_neighbors_, reference).dimension)
            if 0 < value < np.inf
            else value
            for value in values
        )
