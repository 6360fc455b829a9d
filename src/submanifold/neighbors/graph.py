"""The graph of nearest neighbours, and neighbours between two sets."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from submanifold.checks import check_choice, check_int
from submanifold.errors import InvalidInput
from submanifold.neighbors.devices import check_device
from submanifold.neighbors.exact import search
from submanifold.neighbors.metrics import Metric, check_distances, check_metric, name_of, nearest_of
from submanifold.neighbors.points import Points
from submanifold.neighbors.progress import Report
from submanifold.neighbors.storage import fingerprint, read, write
from submanifold.neighbors.strategy import METHODS, Found, find
from submanifold.neighbors.threads import check_n_jobs

__all__ = ["NeighborGraph", "Neighbors", "query"]

Matrix = NDArray[np.float64]
Index = NDArray[np.int64]

_ARRAYS = ("distances", "indices", "rows")


@dataclass(frozen=True, eq=False)
class Neighbors:
    """The k nearest reference points of each query point.

    Attributes:
        distances: Euclidean distances, (n, k), ascending along each row, in the units of the data.
        indices: rows of the reference points, (n, k); ties are broken arbitrarily but reproducibly.
    """

    distances: Matrix = field(repr=False)
    indices: Index = field(repr=False)

    @property
    def k(self) -> int:
        """The number of neighbours of each point."""
        return int(self.distances.shape[1])

    def __len__(self) -> int:
        return len(self.distances)


class NeighborGraph(Neighbors):
    """The k nearest other points of each point of `X`.

    A point is excluded from its own neighbours by its index, so that copies of it remain, at distance 0. Euclidean
    distances have a relative error below 1e-10 whatever the offset and scale of the data.

    Args:
        X: the data, (n, D), as an array, tensor, data set or `Points`; memory-mapped files are read by blocks and never
            held as a whole. For `metric="precomputed"` distances, (n, n), or (m, n) for m rows.
        k: neighbours of each point, at most n - 1.
        rows: indices of the points whose neighbours are wanted, (m,); all of them by default. The neighbours are
            searched among all points whatever `rows` is.
        metric: "euclidean", "precomputed", another name that scikit-learn's `pairwise_distances` knows, or a function
            of two points.
        method: "exact"; "nn-descent" for nearest-neighbour descent, whose recall is measured on 500 rows, and which
            gives way to exact search where 0.99 is out of reach, as a trial on some of the points tells; or "auto",
            the one estimated to be faster, exact for some rows, few points (some 30,000 at least) and metrics other
            than "euclidean".
        n_jobs: threads; all processors by default.
        device: the torch device that exact search uses, such as "cuda"; by default that of a tensor on a graphics
            card, and otherwise the processor, without torch.
        seed: decides all that is random.
        progress: whether to show a bar on standard error.

    Attributes:
        rows: the points of `X` that the rows of `distances` and `indices` belong to, (m,).
        n_points: the number of points in `X`, n.
        ambient_dim: the number of coordinates of a point, D; None for precomputed distances.
        metric: the name of the distance.
        method: "exact", "nn-descent", or "given" for a graph made by `from_arrays`.
        recall: the share of the k nearest neighbours that was found: 1 for exact search, else measured.
        recall_interval: its 95% interval.

    Raises:
        InvalidInput: for data that `Points.of` refuses, points 1e140 times as far out as most, k >= n, or arguments
            that are unknown or do not go together.
    """

    rows: Index
    n_points: int
    ambient_dim: int | None
    metric: str
    method: str
    recall: float
    recall_interval: tuple[float, float]
    _data: Points | NDArray[Any] | None

    def __init__(
        self,
        X: ArrayLike | Points,
        k: int,
        *,
        rows: ArrayLike | None = None,
        metric: Metric = "euclidean",
        method: str = "auto",
        n_jobs: int | None = None,
        device: str | None = None,
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        metric, threads = check_metric(metric), check_n_jobs(n_jobs)
        check_choice(method, METHODS, name="method")
        if method == "nn-descent" and (rows is not None or metric != "euclidean"):
            raise InvalidInput("method='nn-descent' is for all points and metric='euclidean': give method='exact'")
        data = _data_of(X, metric, rows)
        n = int(data.shape[1 if metric == "precomputed" else 0])
        if check_int(k, name="k") >= n:
            raise InvalidInput(f"k={k} neighbours were asked of {n} points: give k of at most {n - 1}")
        own = np.arange(n) if rows is None else _own_rows(rows, n)
        if isinstance(data, Points):
            found = find(
                data,
                k,
                None if rows is None else own,
                metric=metric,
                method=method,
                n_jobs=threads,
                device=check_device(device, data.device),
                seed=seed,
                progress=progress,
            )
        else:
            found = Found(*nearest_of(data, k, own))
        self._set(
            **vars(found),
            rows=own,
            n_points=n,
            ambient_dim=int(data.shape[1]) if isinstance(data, Points) else None,
            metric=name_of(metric),
            _data=data,
        )

    @classmethod
    def from_arrays(
        cls,
        distances: ArrayLike,
        indices: ArrayLike,
        *,
        rows: ArrayLike | None = None,
        n_points: int | None = None,
        ambient_dim: int | None = None,
        metric: str = "precomputed",
    ) -> NeighborGraph:
        """The graph of neighbours that were found elsewhere; nothing about their completeness is known.

        Args:
            distances: distances (m, k), ascending along each row.
            indices: the points they lead to, (m, k), without the point itself.
            rows: the points that the rows belong to, (m,); 0..m-1 by default.
            n_points: the number of points in all; m by default.
            ambient_dim: the number of coordinates of a point, if known.
            metric: the name of the distance.

        Raises:
            InvalidInput: for shapes that do not agree, distances that are negative, not finite or not ascending,
                and indices that are not those of other points.
        """
        far, near = np.asarray(distances, dtype=np.float64), np.asarray(indices)
        if far.ndim != 2 or far.shape != near.shape or far.size == 0 or near.dtype.kind not in "iu":
            raise InvalidInput(
                f"distances {far.shape} and indices {near.shape} ({near.dtype}) are not accepted: give two arrays "
                "of one shape (m, k), the second of integers"
            )
        n = check_int(len(far) if n_points is None else n_points, name="n_points", low=2)
        own = _own_rows(np.arange(len(far)) if rows is None else rows, n)
        if len(own) != len(far):
            raise InvalidInput(f"rows names {len(own)} points for {len(far)} rows of distances: give one for each")
        if not np.isfinite(far).all() or far.min() < 0 or (np.diff(far, axis=1) < 0).any():
            raise InvalidInput("distances are not accepted: give finite ones from 0, ascending along each row")
        if near.min() < 0 or near.max() >= n or (near == own[:, None]).any():
            raise InvalidInput(f"indices are not accepted: give integers from 0 to {n - 1}, never the point itself")
        return cls._made(
            distances=far,
            indices=near.astype(np.int64),
            rows=own,
            n_points=n,
            ambient_dim=ambient_dim,
            metric=metric,
            method="given",
            recall=float("nan"),
            recall_interval=(0.0, 1.0),
            _data=None,
        )

    def take(self, index: ArrayLike) -> NeighborGraph:
        """The graph of the points `rows[index]` alone; their neighbours stay those among all points."""
        index = np.asarray(index)
        parts = {name: getattr(self, name)[index] for name in _ARRAYS}
        return self._made(**{**vars(self), **parts})

    def nearest(self, k: int) -> NeighborGraph:
        """The graph of the `k` nearest neighbours alone, of those that are held."""
        k = check_int(k, name="k", high=self.k)
        if k == self.k:
            return self
        return self._made(**{**vars(self), "distances": self.distances[:, :k], "indices": self.indices[:, :k]})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the graph to a file (safetensors), with a digest of the data that `load` compares.

        Raises:
            OSError: the disk is full or refuses; the file at `path` is then what it was.
        """
        about = {
            "n_points": self.n_points,
            "ambient_dim": self.ambient_dim,
            "metric": self.metric,
            "method": self.method,
            "recall": self.recall,
            "recall_interval": self.recall_interval,
            "data": None if self._data is None else fingerprint(self._data, self.metric),
        }
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        write(path, arrays, about)

    @classmethod
    def load(cls, path: str | os.PathLike[str], X: ArrayLike | Points | None = None) -> NeighborGraph:
        """The graph in a file that `save` wrote.

        Args:
            path: the file.
            X: the data that it should be the graph of; without them that is not checked.

        Raises:
            InvalidInput: for a file that is missing, damaged or no graph, or the graph of other data than `X`.
        """
        arrays, about = read(path)
        where = f"path={os.fspath(path)!r}"
        try:
            far, near, rows = (arrays[name] for name in _ARRAYS)
            graph = cls.from_arrays(far, near, rows=rows, n_points=about["n_points"], metric=str(about["metric"]))
            low, high = map(float, about["recall_interval"])
            D = about["ambient_dim"]
            D = None if D is None else check_int(D, name="ambient_dim")
            recall, method = float(about["recall"]), str(about["method"])
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"{where} holds a graph that contradicts itself ({error}): make it anew") from error
        data = None
        if X is not None:
            data = _data_of(X, graph.metric, graph.rows)
            if about.get("data") != fingerprint(data, graph.metric):
                raise InvalidInput(f"{where} is the graph of other data: give the data it was made of, or make it anew")
        graph._set(method=method, recall=recall, recall_interval=(low, high), ambient_dim=D, _data=data)
        return graph

    def __getstate__(self) -> dict[str, Any]:
        """Without the data."""
        return {**vars(self), "_data": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._set(**state)

    @classmethod
    def _made(cls, **attributes: Any) -> NeighborGraph:
        graph = object.__new__(cls)
        graph._set(**attributes)
        return graph

    def _set(self, **attributes: Any) -> None:
        for name, value in attributes.items():
            object.__setattr__(self, name, value)


def query(X_ref: ArrayLike | Points, X_query: ArrayLike | Points, k: int, *, n_jobs: int | None = None) -> Neighbors:
    """The k points of `X_ref` (n, D) nearest to each point of `X_query` (m, D).

    Raises:
        InvalidInput: for data that `Points.of` refuses, points 1e140 times as far out as most of `X_ref`, different
            numbers of coordinates, or k > n.
    """
    ref = Points.of(X_ref, name="X_ref", min_rows=1)
    queries = Points.of(X_query, name="X_query", min_rows=1)
    if ref.shape[1] != queries.shape[1]:
        raise InvalidInput(f"X_query has {queries.shape[1]} coordinates a point: give {ref.shape[1]}, as X_ref has")
    if check_int(k, name="k") > len(ref):
        raise InvalidInput(f"k={k} neighbours were asked of {len(ref)} points: give k <= {len(ref)}")
    with Report(len(ref) * len(queries), False) as report:
        return Neighbors(*search(ref, queries, k, None, n_jobs=check_n_jobs(n_jobs), report=report))


def _own_rows(rows: ArrayLike, n: int) -> Index:
    own = np.asarray(rows)
    if own.ndim != 1 or len(own) == 0 or own.dtype.kind not in "iu" or own.min() < 0 or own.max() >= n:
        raise InvalidInput(f"rows are not indices of points: give integers from 0 to {n - 1}")
    return own.astype(np.int64)


def _data_of(X: Any, metric: Metric, rows: ArrayLike | None) -> Points | NDArray[Any]:
    return check_distances(X, rows) if isinstance(metric, str) and metric == "precomputed" else Points.of(X)
