r"""Local principal components: how many directions a neighbourhood extends in.

The eigenvalues $\lambda_1 \ge \lambda_2 \ge \dots$ of the covariance of a point and its k nearest neighbours split
into d of the order of the neighbourhood's squared radius (tangent directions) and others that are smaller by curvature
or noise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from submanifold.checks import check_choice, check_int, check_real
from submanifold.dimension.base import DimensionEstimator
from submanifold.dimension.variance import Patches
from submanifold.errors import InvalidInput

__all__ = ["LocalPCA", "lPCA"]

Vector = NDArray[np.float64]

_BLOCK_VALUES = 2**22
_ROUNDING = 1e-12  # eigenvalues below this part of the largest are zero up to rounding


class LocalPCA(DimensionEstimator):
    r"""Local principal component analysis.

    The local dimension is, with `ver=`

    - "FO": the number of eigenvalues above $\alpha_{FO} \lambda_1$;
    - "maxgap": the position of the largest ratio $\lambda_i / \lambda_{i+1}$;
    - "ratio": the smallest number of directions that explains the part $\alpha_{Ratio}$ of the variance.

    A neighbourhood can show at most k directions, so that `n_neighbors` must exceed the dimension, and by much: among
    Gaussian points the smallest of d tangent eigenvalues is near $(1-\sqrt{d/k})^2 / (1+\sqrt{d/k})^2$ of the largest.

    References:
        Fukunaga and Olsen 1971, An algorithm for finding intrinsic dimensionality of data, IEEE Transactions on
        Computers C-20; Bruske and Sommer 1998, Intrinsic dimensionality estimation with optimally topology preserving
        maps; Cangelosi and Goriely 2007 (explained variance).

    Args:
        n_neighbors: k, at least 3.
        ver: the rule, see above.
        alphaFO: in (0, 1).
        alphaRatio: in (0, 1).
        comb: how points are pooled: "mean" or "median".
        random_state: seed of the splits behind `interval_`.

    Attributes:
        dimension_pw_: local dimensions, (n,), whole numbers.
    """

    n_splits = 10
    most_rows = 500

    def __init__(
        self,
        n_neighbors: int = 50,
        *,
        ver: str = "FO",
        alphaFO: float = 0.05,
        alphaRatio: float = 0.95,
        comb: str = "mean",
        random_state: int = 0,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.ver = ver
        self.alphaFO = alphaFO
        self.alphaRatio = alphaRatio
        self.comb = comb
        self.random_state = random_state

    def required_neighbors(self) -> int:
        check_choice(self.ver, ("FO", "maxgap", "ratio"), name="ver")
        check_choice(self.comb, ("mean", "median"), name="comb")
        check_real(self.alphaFO, name="alphaFO", high=1.0, open_low=True)
        check_real(self.alphaRatio, name="alphaRatio", high=1.0, open_low=True)
        return check_int(self.n_neighbors, name="n_neighbors", low=3)

    def split_neighbors(self) -> int:
        # Half the neighbours reach as far in half the data: spectra depend on the radius, through curvature and noise.
        return max(2, self.required_neighbors() // 2)

    def _local(self, patches: Patches, X: NDArray[np.float64] | None) -> Vector:
        if X is None:
            raise InvalidInput("X is None: LocalPCA needs the points themselves, not their distances alone")
        rule = getattr(self, f"_{self.ver.lower()}")
        return np.asarray(rule(_spectra(X, patches)), dtype=np.float64)

    def _pool(self, local: Vector) -> float:
        return float(np.mean(local) if self.comb == "mean" else np.median(local))

    def _pointwise(self, local: Vector) -> Vector:
        return local

    def _fo(self, spectra: Vector) -> NDArray[np.int64]:
        return np.asarray((spectra > self.alphaFO * spectra[:, :1]).sum(axis=1))

    def _maxgap(self, spectra: Vector) -> NDArray[np.int64]:
        floored = np.maximum(spectra, _ROUNDING * spectra[:, :1])  # (m, r)
        if floored.shape[1] == 1:
            return np.ones(len(floored), dtype=np.int64)
        return np.asarray(np.argmax(floored[:, :-1] / floored[:, 1:], axis=1)) + 1

    def _ratio(self, spectra: Vector) -> NDArray[np.int64]:
        explained = np.cumsum(spectra, axis=1) / spectra.sum(axis=1, keepdims=True)  # (m, r)
        return np.asarray((explained < self.alphaRatio).sum(axis=1)) + 1


lPCA = LocalPCA  # noqa: N816  # the name of the same estimator in scikit-dimension


def _spectra(X: NDArray[np.float64], patches: Patches) -> Vector:
    """Eigenvalues (m, min(k, D)), descending, of each neighbourhood's covariance over its squared radius."""
    m, k = patches.indices.shape
    D = X.shape[1]
    r = min(k, D)
    spectra = np.empty((m, r))
    step = max(1, _BLOCK_VALUES // ((k + 1) * D))
    for start in range(0, m, step):
        rows = slice(start, start + step)
        own = X[patches.rows[rows], None, :]  # (b, 1, D)
        # The radius as unit keeps squares inside float64 whatever the units of the data are.
        P = (X[patches.indices[rows]] - own) / patches.distances[rows, -1, None, None]  # (b, k, D)
        P = np.concatenate([np.zeros_like(P[:, :1]), P], axis=1)  # (b, k + 1, D)
        P -= P.mean(axis=1, keepdims=True)
        Pt = P.transpose(0, 2, 1)
        gram = Pt @ P if k >= D else P @ Pt  # (b, D, D) or (b, k + 1, k + 1)
        spectra[rows] = np.linalg.eigvalsh(gram)[:, ::-1][:, :r] / k
    return np.maximum(spectra, 0.0)
