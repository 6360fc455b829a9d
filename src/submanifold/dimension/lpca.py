r"""Local principal components: how many directions a neighbourhood extends in.

The eigenvalues $\lambda_1 \ge \lambda_2 \ge \dots$ of the covariance of a point and its k nearest neighbours split
into d of the order of the neighbourhood's squared radius (tangent directions) and others that are smaller by curvature
or noise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from submanifold.checks import check_choice
from submanifold.dimension.averaging import LocalEstimator
from submanifold.dimension.patches import local_spectra
from submanifold.dimension.pca import SPECTRAL_RULES
from submanifold.dimension.spectrum_rules import RuleSettings
from submanifold.dimension.variance import Patches

__all__ = ["LocalPCA"]

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


class LocalPCA(LocalEstimator):
    r"""Local principal component analysis.

    The local dimension is read off the spectrum of a point and its k neighbours by the rule `ver`:

    - "FO": the number of eigenvalues above $\alpha_{FO} \lambda_1$;
    - "maxgap": the position of the largest ratio $\lambda_i / \lambda_{i+1}$;
    - "ratio": the smallest number of directions that explains the part $\alpha_{Ratio}$ of the variance;
    - "Fan", "participation_ratio", "Kaiser", "broken_stick": see `submanifold.dimension.spectrum_rules`;
    - "MP", "GD", "KN", "Minka", "denoised": ranks of a signal in noise (`submanifold.dimension.rank_rules`). Where
      there is no noise they count curvature as signal, or nothing at all.

    A neighbourhood can show at most k directions, so that `n_neighbors` must exceed the dimension, and by much: among
    Gaussian points the smallest of d tangent eigenvalues is near $(1-\sqrt{d/k})^2 / (1+\sqrt{d/k})^2$ of the largest.

    `interval_` errs on the safe side: where nearly all local dimensions are equal it is several times too wide, though
    by less than 1% of the dimension; where all are equal it is a point.

    References:
        Fukunaga and Olsen 1971, An algorithm for finding intrinsic dimensionality of data, IEEE Transactions on
        Computers C-20; Bruske and Sommer 1998, Intrinsic dimensionality estimation with optimally topology preserving
        maps; Cangelosi and Goriely 2007 (explained variance).

    Args:
        n_neighbors: k, at least 2.
        ver: the rule, see above.
        alphaFO: in (0, 1).
        alphaRatio: in (0, 1).
        alphaFan: gap of the rule "Fan", above 0.
        betaFan: part of the variance in the rule "Fan", in (0, 1].
        PFan: part of the variance that is signal in the rule "Fan", in (0, 1].
        noise_var: variance of the noise in each coordinate, for the ranks; from each spectrum's median by default.
        alphaKN: level of the tests of "KN": 0.1, 0.05, 0.01, 0.005 or 0.001.
        comb: how points are pooled: "mean", "median" or "mle" (harmonic mean).
        random_state: seed of the splits behind `interval_`.

    Attributes:
        dimension_pw_: local dimensions, (n,), whole numbers except for "participation_ratio".
    """

    n_splits = 10
    most_rows = 300
    needs_points = True

    def __init__(
        self,
        n_neighbors: int = 50,
        *,
        ver: str = "FO",
        alphaFO: float = 0.05,
        alphaRatio: float = 0.95,
        alphaFan: float = 10.0,
        betaFan: float = 0.8,
        PFan: float = 0.95,
        noise_var: float | None = None,
        alphaKN: float = 0.05,
        comb: str = "mean",
        random_state: int = 0,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.ver = ver
        self.alphaFO = alphaFO
        self.alphaRatio = alphaRatio
        self.alphaFan = alphaFan
        self.betaFan = betaFan
        self.PFan = PFan
        self.noise_var = noise_var
        self.alphaKN = alphaKN
        self.comb = comb
        self.random_state = random_state

    def required_neighbors(self) -> int:
        check_choice(self.ver, SPECTRAL_RULES, name="ver")
        self._settings().check(self.ver)
        return super().required_neighbors()

    def split_neighbors(self, n: int) -> int:
        # Half the neighbours reach as far in half the data: spectra depend on the radius, through curvature and noise.
        return max(self.fewest, self.required_neighbors() // 2)

    def _settings(self) -> RuleSettings:
        return RuleSettings(
            alphaFO=self.alphaFO,
            alphaRatio=self.alphaRatio,
            alphaFan=self.alphaFan,
            betaFan=self.betaFan,
            PFan=self.PFan,
            noise_var=self.noise_var,
            alphaKN=self.alphaKN,
        )

    def _local(self, patches: Patches, X: Matrix | None) -> Vector:
        assert X is not None
        around = np.column_stack([patches.rows, patches.indices])  # (m, k + 1)
        return SPECTRAL_RULES[self.ver](local_spectra(X, around), self._settings())
