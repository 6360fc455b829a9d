"""What all estimators of the intrinsic dimension share: points in, a dimension with its interval out."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted, validate_data

from submanifold.checks import check_choice, check_dense, check_int, check_matrix, points_of
from submanifold.errors import InvalidInput
from submanifold.neighbors import NeighborGraph

__all__ = ["DimensionEstimator", "smoothed"]

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


class DimensionEstimator(BaseEstimator, ABC):  # type: ignore[misc]
    """An estimator of the intrinsic dimension in scikit-learn's conventions.

    Two kinds derive from it: `submanifold.dimension.neighborhood.NeighborEstimator`, a statistic of the nearest
    neighbours of each point, and `submanifold.dimension.cloud.CloudEstimator`, a statistic of the whole cloud. Names of
    parameters and attributes are those of scikit-dimension where the estimator is the same. What its `fit` methods take
    there is taken here too; there is no `transform`, which in scikit-learn must give one row a point.

    Attributes:
        dimension_: the estimate.
        interval_: 95% interval of the estimator about its own mean over samples of this size, from differences between
            halves of the data (`submanifold.dimension.variance`). It accounts for overlapping neighbourhoods; it cannot
            account for the bias of an estimator, which grows with the dimension. Computed when first asked for.
        dimension_pw_: the local dimension at each point of X, (n,), or at each row of the graph given in its
            place, where the estimator has one.
        dimension_pw_smooth_: the same averaged over each point and its neighbours, where `fit` was told to smooth.
        n_features_in_: the number of coordinates, D.
    """

    random_state: int
    n_splits: ClassVar[int] = 20
    needs_points: ClassVar[bool] = True  # coordinates, for angles or spectra, beyond distances
    most_rows: ClassVar[int | None] = None  # points looked at by `estimate`, where each is costly

    dimension_: float
    dimension_pw_: Vector
    dimension_pw_smooth_: Vector
    n_features_in_: int

    @abstractmethod
    def fit(self, X: Any, y: Any = None) -> Self:
        """Estimate the dimension of `X` (n, D)."""

    @property
    def interval_(self) -> tuple[float, float]:
        """The 95% interval of the estimate; see the class."""
        if "_interval_known" not in vars(self):
            if "_interval_later" not in vars(self):
                raise AttributeError(f"{type(self).__name__} has no interval_ before it is fitted")
            self._interval_known: tuple[float, float] = self._interval_later()
            del self._interval_later
        return self._interval_known

    def fit_transform(self, X: Any, y: Any = None, **fit_arguments: Any) -> float:
        """The dimension of `X`: `fit(X).dimension_`."""
        return self.fit(X, y, **fit_arguments).dimension_

    def fit_transform_pw(self, X: Any, y: Any = None, **fit_arguments: Any) -> Vector:
        """The local dimension at each point: `fit_pw(X).dimension_pw_`."""
        return self.fit_pw(X, y, **fit_arguments).dimension_pw_

    def transform_pw(self) -> Vector:
        """The local dimensions found by the last fit, (n,)."""
        check_is_fitted(self, "dimension_pw_")
        return self.dimension_pw_

    def fit_pw(
        self,
        X: Any,
        y: Any = None,
        *,
        n_neighbors: int = 100,
        precomputed_knn: NDArray[np.int64] | None = None,
        smooth: bool | str = False,
        n_jobs: int | None = None,
    ) -> Self:
        """Estimate the dimension of each neighbourhood by itself: the nearest neighbours of a point without the point.

        Args:
            X: points, (n, D).
            y: ignored.
            n_neighbors: size of the neighbourhood.
            precomputed_knn: indices of the neighbours, (n, k), in place of a search.
            smooth: also average over neighbourhoods, into `dimension_pw_smooth_`: "mean" (or True) or "harmonic".
            n_jobs: processes that share the work.

        Sets `dimension_pw_` (n,), NaN where a neighbourhood tells nothing, and `dimension_` to the mean of the others.

        Raises:
            InvalidInput: for what `fit` refuses, indices that are none, or where no neighbourhood tells anything.
        """
        self._forget()
        points = self._validated(X)
        if precomputed_knn is None:
            n_neighbors = check_int(n_neighbors, name="n_neighbors", low=2, high=len(points) - 1)
            precomputed_knn = self._nearest(points, n_neighbors)
        near = _indices(precomputed_knn, len(points))
        local = self._dimensions_of(points, near, n_jobs)
        self.dimension_pw_ = local
        self.dimension_ = float(np.mean(local[np.isfinite(local)]))
        self._interval_known = (0.0, float("inf"))
        self._smooth(smooth, np.column_stack([np.arange(len(points)), near]))
        return self

    def _dimensions_of(self, X: Matrix, near: NDArray[np.int64], n_jobs: int | None) -> Vector:
        """The dimension of each neighbourhood `near` (n, k), (n,)."""
        from joblib import Parallel, delayed

        found = Parallel(n_jobs=n_jobs)(delayed(_dimension_of)(self, self._part(X, patch)) for patch in near)
        local = np.array([value for value, _ in found])
        if not np.isfinite(local).any():
            raise InvalidInput(f"no neighbourhood of {near.shape[1]} points has a dimension: {found[0][1]}")
        return local

    def __getstate__(self) -> Any:
        """Without the data that an interval not yet asked for would be computed from."""
        if "_interval_later" in vars(self):
            _ = self.interval_
        return super().__getstate__()

    def _forget(self) -> None:
        """Drop what an earlier fit has learned, of which not all need be learned again."""
        for name in [name for name in vars(self) if name.endswith("_") or name.startswith("_interval_")]:
            delattr(self, name)

    def _adopt(self, fitted: Self) -> Self:
        """Take over what an estimator with other parameters has learned; the parameters stay."""
        self._forget()
        parameters = self.get_params(deep=False)
        self.__dict__.update({name: value for name, value in vars(fitted).items() if name not in parameters})
        return self

    def _remember(self, interval: Callable[[], tuple[float, float]]) -> None:
        """Compute the interval when it is first asked for."""
        self._interval_later = interval

    def _smooth(self, how: bool | str, around: NDArray[np.int64]) -> None:
        if how is not False:
            kind = check_choice("mean" if how is True else str(how), ("mean", "harmonic"), name="smooth")
            self.dimension_pw_smooth_ = smoothed(self.dimension_pw_, around, harmonic=kind == "harmonic")

    def _validated(self, X: Any) -> Matrix:
        """The points as `check_matrix` has them, with the names of their features kept as scikit-learn does."""
        check_int(self.random_state, name="random_state", low=0)
        X = points_of(X)
        check_dense(X, name="X")
        if hasattr(X, "detach") or (isinstance(X, np.ndarray) and X.ndim > 2):
            X = check_matrix(X)
        if isinstance(X, np.ndarray) and X.ndim == 1:
            raise InvalidInput(f"X has shape {X.shape}: give points as rows, (n, D), such as X[:, None]")
        try:
            X = validate_data(self, X, dtype=np.float64, ensure_min_samples=2, ensure_all_finite=False)
        except ValueError as error:
            raise InvalidInput(str(error).splitlines()[0]) from error
        return check_matrix(X)

    def _nearest(self, X: Matrix, k: int) -> NDArray[np.int64]:
        """The k nearest neighbours of each point, (n, k)."""
        return NeighborGraph(X, k).indices

    def _part(self, X: Matrix, rows: NDArray[np.int64]) -> Matrix:
        """The data of the points `rows` alone."""
        return X[rows]

    def _warn_of_copies(self, n: int, n_distinct: int) -> None:
        if n_distinct < n:
            warnings.warn(f"X holds {n - n_distinct} copies of other points among {n}: they were dropped", stacklevel=4)


def smoothed(local: Vector, around: NDArray[np.int64], *, harmonic: bool) -> Vector:
    """The mean, or harmonic mean, of `local` (n,) over the points `around` (m, k) of each neighbourhood, (m,)."""
    values = local[around]  # (m, k)
    if not harmonic:
        return np.asarray(values.mean(axis=1))
    with np.errstate(divide="ignore"):
        return np.asarray(1 / np.mean(1 / values, axis=1))


def _indices(near: Any, n: int) -> NDArray[np.int64]:
    indices = np.asarray(near)
    if indices.ndim != 2 or len(indices) != n or indices.dtype.kind not in "iu":
        raise InvalidInput(f"precomputed_knn has shape {indices.shape}: give the neighbours of {n} points, (n, k)")
    if indices.min() < 0 or indices.max() >= n:
        raise InvalidInput(f"precomputed_knn names points from {indices.min()} to {indices.max()}: there are {n}")
    return indices.astype(np.int64)


def _dimension_of(estimator: DimensionEstimator, X: Matrix) -> tuple[float, str]:
    """The dimension of a neighbourhood, or NaN and the reason."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            return float(clone(estimator).fit(X).dimension_), ""
        except InvalidInput as refusal:
            return float("nan"), str(refusal)
