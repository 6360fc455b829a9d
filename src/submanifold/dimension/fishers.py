r"""Fisher separability, after Albergante, Bac and Zinovyev.

A point x is separable from y by Fisher's rule with threshold $\alpha$ if
$\langle x, y \rangle < \alpha \langle x, x \rangle$ after whitening. In high dimensions almost all points are separable
from all others: the probability that they are not tells the dimension.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import lambertw

from submanifold.checks import check_real
from submanifold.dimension.cloud import CloudEstimator
from submanifold.errors import InvalidInput

__all__ = ["FisherS", "separability_dimension"]

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

_BLOCK_VALUES = 2**17
_REACH = 0.9  # the part of the largest usable threshold at which the dimension is read
_ROUNDING = 1e-12


class FisherS(CloudEstimator):
    r"""The dimension of the sphere whose uniform points are as often inseparable as the data.

    Data are centred, projected on the principal components whose eigenvalue is at least the largest over
    `conditional_number`, whitened and, with `project_on_sphere`, normalised. $p_\alpha(x)$ is the part of the other
    points from which x is not separable, $\bar p_\alpha$ its mean. Points uniform on a sphere in $\mathbb{R}^d$ have

    $$ \bar p_\alpha = \frac{(1 - \alpha^2)^{(d-1)/2}}{\alpha \sqrt{2 \pi d}}, \qquad
       d_\alpha = \frac{1}{-\log(1 - \alpha^2)}\, W\Big( \frac{-\log(1 - \alpha^2)}
                  {2 \pi \bar p_\alpha^2 \alpha^2 (1 - \alpha^2)} \Big) $$

    for large d, with W the function of Lambert. The dimension is $d_\alpha$ at the $\alpha$ nearest to 0.9 times the
    largest with $\bar p_\alpha > 0$.

    It is a dimension of the cloud as a whole: curvature counts as far as it bends into directions that are kept. Pairs
    are counted block by block, so that memory does not grow with the square of n; time does.

    On laws that look the same from every point, such as a sphere, its variance falls as $1/n^2$, and
    `interval_` is about 1.4 times too wide.

    References:
        Albergante, Bac and Zinovyev 2019, Estimating the effective dimension of large biological datasets using Fisher
        separability analysis, IJCNN, arXiv:1901.06328; Gorban, Golubkov, Grechuk, Mirkes and Tyukin
        2018, Correction of AI systems by linear discriminants.

    Args:
        conditional_number: the largest ratio of eigenvalues that are kept, at least 1.
        project_on_sphere: normalise points after whitening.
        alphas: thresholds in (0, 1), ascending, of shape (a,) or (1, a); 0.6, 0.62, ..., 0.98 by default.
        produce_plots: not accepted: draw `n_alpha_` against `alphas_`.
        verbose: ignored.
        limit_maxdim: no $d_\alpha$ above the number of coordinates.
        random_state: seed of the splits behind `interval_`.

    Attributes:
        alphas_: thresholds, (1, a).
        n_alpha_: $d_\alpha$, (a,); NaN where all points are separable.
        p_alpha_: $p_\alpha(x)$, (a, n); of distinct points.
        separable_fraction_: the part of points that are separable from all others, at each threshold, (a,).
        Xp_: the points after whitening, (n, components).
    """

    n_splits = 10

    alphas_: Matrix
    n_alpha_: Vector
    p_alpha_: Matrix
    separable_fraction_: Vector
    Xp_: Matrix

    def __init__(
        self,
        conditional_number: float = 10,
        project_on_sphere: bool = True,
        alphas: Any = None,
        produce_plots: bool = False,
        verbose: bool = False,
        limit_maxdim: bool = False,
        *,
        random_state: int = 0,
    ) -> None:
        self.conditional_number = conditional_number
        self.project_on_sphere = project_on_sphere
        self.alphas = alphas
        self.produce_plots = produce_plots
        self.verbose = verbose
        self.limit_maxdim = limit_maxdim
        self.random_state = random_state

    def point_inseparability_to_pointID(  # noqa: N802  # the name of the same method in scikit-dimension
        self, idx: int | str = "all_inseparable", force_definite_dim: bool = True, verbose: bool = False
    ) -> tuple[Vector, NDArray[np.int64]]:
        """The dimension at each point, from its own $p_\\alpha$, and the indices of these points.

        Args:
            idx: a position in `alphas_`; "all_inseparable" for the largest threshold at which no point is separable
                from all others (the smallest threshold where there is none), "selected" for that of `dimension_`.
            force_definite_dim: give points separable from all others the dimension of $p = 1 / (n - 1)$; without, they
                are left out.
            verbose: ignored.

        Returns:
            Dimensions (m,) and indices (m,), of distinct points where X held copies.
        """
        p, alphas = self.p_alpha_, self.alphas_[0]
        chosen = _chosen(idx, p, alphas)
        own, n = p[chosen], p.shape[1]
        indices = np.arange(n) if force_definite_dim else np.flatnonzero(own > 0)
        return separability_dimension(np.maximum(own[indices], 1 / (n - 1)), alphas[chosen]), indices

    def _estimate(self, X: Matrix, rng: np.random.Generator) -> float:
        alphas = self._thresholds()
        Xp = self._whitened(X)
        p = _inseparable(Xp, alphas)  # (a, n)
        mean = p.mean(axis=1)
        d = separability_dimension(mean, alphas)
        if self.limit_maxdim:
            d = np.minimum(d, X.shape[1])
        self.alphas_, self.Xp_, self.p_alpha_, self.n_alpha_ = alphas[None], Xp, p, d
        self.separable_fraction_ = (p == 0).mean(axis=1)
        return float(d[_selected(mean, alphas)]) if (mean > 0).any() else float("nan")

    def _thresholds(self) -> Vector:
        check_real(self.conditional_number, name="conditional_number", low=1.0)
        if self.produce_plots:
            raise InvalidInput("produce_plots=True is not accepted: draw n_alpha_ against alphas_")
        alphas = np.arange(0.6, 1, 0.02) if self.alphas is None else np.ravel(np.asarray(self.alphas, dtype=np.float64))
        if not (len(alphas) and (alphas > 0).all() and (alphas < 1).all() and (np.diff(alphas) > 0).all()):
            raise InvalidInput(f"alphas={self.alphas!r} is not accepted: give ascending numbers between 0 and 1")
        return alphas

    def _whitened(self, X: Matrix) -> Matrix:
        P = X - X[0]
        P /= np.abs(P).max()  # squares stay inside float64
        P -= P.mean(axis=0)
        _, s, Vt = np.linalg.svd(P, full_matrices=False)
        kept = s**2 >= s[0] ** 2 / self.conditional_number
        Z = P @ Vt[kept].T / s[kept] * np.sqrt(len(P) - 1)  # (n, components)
        if self.project_on_sphere:
            norm = np.linalg.norm(Z, axis=1, keepdims=True)
            Z = Z / np.where(norm > _ROUNDING, norm, 1.0)  # a point at the mean has no direction and stays there
        return np.asarray(Z)


def separability_dimension(p: Vector, alpha: Vector | float) -> Vector:
    r"""$d_\alpha$ for mean inseparability p at threshold alpha; NaN where p is 0."""
    a2 = np.square(np.asarray(alpha, dtype=np.float64))
    log = -np.log1p(-a2)
    with np.errstate(divide="ignore", invalid="ignore"):
        w = log / (2 * np.pi * np.square(p) * a2 * (1 - a2))
        d = lambertw(np.where(np.isfinite(w), w, np.nan)).real / log
    return np.asarray(d)


def _inseparable(Z: Matrix, alphas: Vector) -> Matrix:
    """The part of the other points y with <x, y> >= alpha <x, x>, (a, n)."""
    n = len(Z)
    squares = np.einsum("ij,ij->i", Z, Z)
    # Thresholds are met up to rounding, as a point whose mirror image or copy by symmetry lies exactly at one.
    bounds = alphas * (1 - _ROUNDING)
    p = np.empty((len(alphas), n))
    step = max(1, _BLOCK_VALUES // n)
    block = np.empty((min(step, n), n))  # written again and again: it stays in the processor's cache
    for start in range(0, n, step):
        rows = np.arange(start, min(n, start + step))
        unit = np.where(squares[rows] > 0, squares[rows], np.inf)
        C = np.matmul(Z[rows] / unit[:, None], Z.T, out=block[: len(rows)])  # (b, n)
        C[np.arange(len(rows)), rows] = -np.inf
        near = bounds[0] <= C
        values = np.split(C[near], np.cumsum(near.sum(axis=1))[:-1])
        for row, own in zip(rows, values, strict=True):
            own.sort()
            p[:, row] = len(own) - own.searchsorted(bounds)
    return p / (n - 1)


def _selected(mean: Vector, alphas: Vector) -> int:
    return int(np.argmin(np.abs(alphas - _REACH * alphas[mean > 0].max())))


def _chosen(idx: int | str, p: Matrix, alphas: Vector) -> int:
    if isinstance(idx, str):
        if idx not in ("all_inseparable", "selected"):
            raise InvalidInput(f"idx={idx!r} is not accepted: give 'all_inseparable', 'selected' or a position")
        if idx == "selected":
            return _selected(p.mean(axis=1), alphas)
        whole = np.flatnonzero((p > 0).all(axis=1))
        return int(whole[-1]) if len(whole) else 0
    if not -len(alphas) <= idx < len(alphas):
        raise InvalidInput(f"idx={idx} is not accepted: give a position among {len(alphas)} thresholds")
    return int(idx)
