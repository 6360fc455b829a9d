r"""Principal components of a whole cloud: how many directions of space it extends in.

A cloud on a curved manifold extends in more directions than the manifold has; what is estimated is the dimension of
the linear span, or the rank of a linear signal. `fit_pw` looks at neighbourhoods, as does
`submanifold.dimension.lpca.LocalPCA` for the dimension of the manifold.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from submanifold.checks import check_choice, check_int
from submanifold.dimension.cloud import CloudEstimator
from submanifold.dimension.patches import local_spectra
from submanifold.dimension.rank_rules import RANK_RULES
from submanifold.dimension.spectrum_nulls import DATA_RULES, NullSettings, eigenvalues
from submanifold.dimension.spectrum_rules import RULES, RuleSettings, Spectra
from submanifold.errors import InvalidInput
from submanifold.neighbors import NeighborGraph

__all__ = ["SPECTRAL_RULES", "lPCA"]

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

SPECTRAL_RULES = {**RULES, **RANK_RULES}
_WEISZFELD_STEPS = 100


class lPCA(CloudEstimator):  # noqa: N801  # the name of the same estimator in scikit-dimension
    r"""Dimension or signal rank from the spectrum of the covariance of all points.

    The spectrum is $\lambda_1 \ge \lambda_2 \ge \dots$. Rules `ver=` of explained variance
    (`submanifold.dimension.spectrum_rules`): "FO", "Fan", "maxgap", "ratio", "participation_ratio", "Kaiser",
    "broken_stick". Ranks of a linear signal in noise (`submanifold.dimension.rank_rules`,
    `submanifold.dimension.spectrum_nulls`): "MP", "GD", "KN", "Minka", "parallel", "denoised", "scRMT".

    One point far away from all others has a direction to itself and shrinks all others in proportion, so that "FO"
    finds one direction. `robust=True` guards against up to half of such points: points farther from the spatial median
    than the median distance are moved in to it, which leaves the directions of an elliptical cloud and the order of its
    eigenvalues as they are (Raymaekers and Rousseeuw 2019).

    Where scikit-dimension differs: its `alphaRatio` is 0.05, with which "ratio" is 1 for almost any data; its "maxgap"
    counts the zero eigenvalue that centring leaves when n <= D, and rounding errors where data are flat, as gaps; its
    "scRMT" finds none of the directions planted in long data (n = 500, D = 30). Both "scRMT" presume that noise has one
    variance after each coordinate is standardised, which strong signals in few coordinates spoil.

    References:
        Fukunaga and Olsen 1971; Fan, Gu, Qiao and Zhang 2010, arXiv:1002.2050; Gavish and Donoho 2014, The optimal hard
        threshold for singular values is 4/sqrt(3); Kritchman and Nadler 2008, Determining the number of components in a
        factor model from limited noisy data; Minka 2000, Automatic choice of dimensionality for PCA; Horn 1965, A
        rationale and test for the number of factors; Lun, McCarthy and Marioni 2016; Aparicio et al. 2020, A random
        matrix theory approach to denoise single-cell data; Raymaekers and Rousseeuw 2019, A generalized spatial sign
        covariance matrix.

    Args:
        ver: the rule.
        alphaRatio: part of the variance to retain, for "ratio", in (0, 1].
        alphaFO: part of the largest eigenvalue that others must exceed, for "FO".
        alphaFan: gap, for "Fan".
        betaFan: part of the variance, for "Fan".
        PFan: part of the variance that is signal, for "Fan".
        verbose: ignored.
        center: subtract the mean; without, eigenvalues are those of $X^T X / n$.
        fit_explained_variance: `fit` takes the eigenvalues themselves, (D,); not for "parallel" and "scRMT".
        n_samples: points behind such eigenvalues; needed by the ranks.
        noise_var: variance of the noise in each coordinate, for "MP", "GD", "KN", and "denoised", which takes also one
            for each coordinate; from the median of the spectrum (in "KN" from its tail) by default.
        alphaKN: level of the tests of "KN": 0.1, 0.05, 0.01, 0.005 or 0.001.
        n_permutations: draws of noise, for "parallel".
        quantile: of the eigenvalues of noise that is to be exceeded, for "parallel".
        null: "permute" or "signflip", for "parallel".
        robust: draw points far from the centre in; not with `center=False` or eigenvalues.
        random_state: seed of "parallel" and of the splits behind `interval_`.

    Attributes:
        explained_var_: the eigenvalues, (min(n, D),).
        gap_: each eigenvalue over the next.
        threshold_: what eigenvalues of standardised data had to exceed, for "scRMT".
    """

    drops_copies = False
    least_points = 2

    explained_var_: Vector
    gap_: Vector
    threshold_: float

    def __init__(
        self,
        ver: str = "FO",
        alphaRatio: float = 0.95,
        alphaFO: float = 0.05,
        alphaFan: float = 10.0,
        betaFan: float = 0.8,
        PFan: float = 0.95,
        verbose: bool = True,
        center: bool = True,
        fit_explained_variance: bool = False,
        *,
        n_samples: int | None = None,
        noise_var: Any = None,
        alphaKN: float = 0.05,
        n_permutations: int = 100,
        quantile: float = 0.95,
        null: str = "permute",
        robust: bool = False,
        random_state: int = 0,
    ) -> None:
        self.ver = ver
        self.alphaRatio = alphaRatio
        self.alphaFO = alphaFO
        self.alphaFan = alphaFan
        self.betaFan = betaFan
        self.PFan = PFan
        self.verbose = verbose
        self.center = center
        self.fit_explained_variance = fit_explained_variance
        self.n_samples = n_samples
        self.noise_var = noise_var
        self.alphaKN = alphaKN
        self.n_permutations = n_permutations
        self.quantile = quantile
        self.null = null
        self.robust = robust
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, graph: NeighborGraph | None = None, *, n_jobs: int | None = None) -> Self:
        """Find the dimension of `X`: points (n, D), or eigenvalues (D,) with `fit_explained_variance`.

        A `graph` and `n_jobs` are ignored, as by all estimators of the whole cloud.

        Raises:
            InvalidInput: for data that scikit-learn refuses, an unknown rule, or parameters that make no sense.
        """
        self._check()
        return self._fit_spectrum(X) if self.fit_explained_variance else super().fit(X, y, graph, n_jobs=n_jobs)

    def _dimensions_of(self, X: Matrix, near: NDArray[np.int64], n_jobs: int | None) -> Vector:
        self._check()
        if self.ver in DATA_RULES or self.robust or not self.center:
            return super()._dimensions_of(X, near, n_jobs)
        return SPECTRAL_RULES[self.ver](local_spectra(X, near), self._settings())  # many at a time

    def _check(self) -> None:
        check_choice(self.ver, [*SPECTRAL_RULES, *DATA_RULES], name="ver")
        self._settings().check(self.ver)
        self._nulls().check()
        if self.robust and not self.center:
            raise InvalidInput("robust=True is not accepted with center=False: it needs a centre")

    def _settings(self) -> RuleSettings:
        return RuleSettings(
            self.alphaFO, self.alphaRatio, self.alphaFan, self.betaFan, self.PFan, self.noise_var, self.alphaKN
        )

    def _nulls(self) -> NullSettings:
        return NullSettings(self.n_permutations, self.quantile, self.null)

    def _fit_spectrum(self, values: Any) -> Self:
        self._forget()
        values = np.asarray(values, dtype=np.float64)
        if values.ndim != 1 or not np.isfinite(values).all() or not values.size or values.min() < 0:
            raise InvalidInput("X is no spectrum: give eigenvalues, (D,), finite and not negative")
        check_choice(self.ver, SPECTRAL_RULES, name="ver")
        if self.n_samples is None and self.ver in RANK_RULES:
            raise InvalidInput(
                f"n_samples=None is not accepted with ver={self.ver!r}: say how many points it came from"
            )
        values = np.sort(values)[::-1]
        n = len(values) + 1 if self.n_samples is None else check_int(self.n_samples, name="n_samples", low=2)
        spectra = Spectra(values[None], n, len(values))
        self.dimension_ = float(SPECTRAL_RULES[self.ver](spectra, self._settings())[0])
        self._keep(values, 1.0)
        self.n_features_in_ = len(values)
        self._interval_known = (0.0, float("inf"))
        return self

    def _estimate(self, X: Matrix, rng: np.random.Generator) -> float:
        dimension, values, scale, threshold = self._found(X, rng)
        self._keep(values, scale)
        if threshold is not None:
            self.threshold_ = threshold
        return dimension

    def _found(self, X: Matrix, rng: np.random.Generator) -> tuple[float, Vector, float, float | None]:
        """The dimension, the eigenvalues of the data over `scale`, that scale, and the threshold where there is one."""
        n, D = X.shape
        P, scale = _about_centre(X, center=bool(self.center), robust=bool(self.robust))
        s = Spectra(np.empty((1, 0)), n, D, centred=bool(self.center))
        values = eigenvalues(P, s.degrees)  # (min(n, D),)
        with np.errstate(over="ignore", under="ignore"):
            unit = np.float64(scale) ** 2
        if self.ver in DATA_RULES:
            dimension, threshold = DATA_RULES[self.ver](P, s.degrees, self._nulls(), rng)
            return float(dimension), values, scale, threshold
        s = Spectra(values[None], n, D, centred=bool(self.center), unit=np.array([unit]))
        return float(SPECTRAL_RULES[self.ver](s, self._settings())[0]), values, scale, None

    def _keep(self, values: Vector, scale: float) -> None:
        with np.errstate(over="ignore", under="ignore"):  # the square of the unit may be beyond float64
            self.explained_var_ = values * scale * scale
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            self.gap_ = values[:-1] / values[1:]


def _about_centre(X: Matrix, *, center: bool, robust: bool) -> tuple[Matrix, float]:
    """The points about their centre in units of the largest coordinate, and that unit."""
    origin = X[0] if center else np.zeros(X.shape[1])
    scale = float(max(np.abs(X - origin).max(), np.finfo(np.float64).tiny))
    P = (X - origin) / scale
    if robust:
        return _drawn_in(P), scale
    return (P - P.mean(axis=0) if center else P), scale


def _drawn_in(P: Matrix) -> Matrix:
    """Points about their spatial median, none farther from it than the median distance."""
    centre = np.median(P, axis=0)
    for _ in range(_WEISZFELD_STEPS):
        r = np.linalg.norm(P - centre, axis=1)
        weights = 1 / np.maximum(r, 1e-6 * np.median(r) + np.finfo(np.float64).tiny)
        moved = weights @ P / weights.sum()
        settled = np.linalg.norm(moved - centre) < 1e-9 * np.median(r)
        centre = moved
        if settled:
            break
    V = P - centre
    r = np.linalg.norm(V, axis=1)
    return np.asarray(V * np.minimum(1.0, np.median(r) / np.maximum(r, np.finfo(np.float64).tiny))[:, None])
