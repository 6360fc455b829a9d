"""Other distances and precomputed ones give the neighbours that sorting all of them gives."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist, squareform

from submanifold.errors import InvalidInput
from submanifold.neighbors import NeighborGraph


def _normal(n, D, seed=0):
    return np.random.default_rng(seed).standard_normal((n, D))


def _sup(x, y):
    return np.abs(x - y).max()


@pytest.mark.parametrize(
    "metric", ["manhattan", "cosine", "chebyshev", "correlation", "braycurtis", "sqeuclidean", _sup]
)
def test_neighbours_by_any_metric(metric):
    X = _normal(150, 6)
    full = cdist(X, X, "cityblock" if metric == "manhattan" else metric)
    np.fill_diagonal(full, np.inf)
    graph = NeighborGraph(X, 9, metric=metric)
    np.testing.assert_allclose(graph.distances, np.sort(full, axis=1)[:, :9], rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(graph.indices, np.argsort(full, axis=1)[:, :9])
    assert graph.metric == (metric if isinstance(metric, str) else "_sup")
    some = NeighborGraph(X, 9, metric=metric, rows=[5, 100])
    np.testing.assert_array_equal(some.indices, graph.indices[[5, 100]])


def test_precomputed_distances_give_the_same_graph():
    X = _normal(200, 5)
    full, graph = squareform(pdist(X)), NeighborGraph(X, 8)
    for given, rows in ((full, None), (full.astype(np.float32), None), (full, [3, 9]), (full[[3, 9]], [3, 9])):
        found = NeighborGraph(given, 8, metric="precomputed", rows=rows)
        expected = graph if rows is None else graph.take(rows)
        np.testing.assert_array_equal(found.indices, expected.indices)
        np.testing.assert_allclose(found.distances, expected.distances, rtol=1e-6)
        assert found.ambient_dim is None
        assert found.n_points == 200


def test_ties_go_to_the_lowest_index():
    full = np.ones((6, 6)) - np.eye(6)
    assert NeighborGraph(full, 3, metric="precomputed").indices[5].tolist() == [0, 1, 2]


def _spoilt(i, j, value):
    full = squareform(pdist(_normal(6, 2)))
    full[i, j] = value
    return full


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"X": np.ones((4, 3))}, "square"),
        ({"X": np.ones((4, 9)), "rows": [1, 2]}, "m points of rows"),
        ({"X": np.ones((4, 4, 1))}, "holds no distances"),
        ({"X": _spoilt(1, 2, -1.0)}, "negative"),
        ({"X": _spoilt(1, 2, np.nan)}, "NaN"),
        ({"X": _spoilt(1, 1, 0.5)}, "diagonal"),
        ({"X": _spoilt(1, 2, 77.0)}, "symmetric"),
        ({"X": np.zeros((4, 4))}, "all 0"),
        ({"X": _normal(9, 2), "metric": "manhatan"}, "manhattan"),
        ({"X": _normal(9, 2), "metric": 3}, "metric=3"),
        ({"X": _normal(9, 2), "metric": lambda x: 0.0}, "function of two points"),
        ({"X": _normal(9, 2), "metric": lambda x, y: -1.0}, "negative or not finite"),
        ({"X": _normal(9, 2), "metric": "manhattan", "method": "nn-descent"}, "method='exact'"),
        ({"X": _normal(9, 2), "metric": "euclidean", "method": "hnsw"}, "hnsw"),
        ({"X": _normal(9, 2), "metric": "euclidean", "device": "abacus"}, "device"),
    ],
)
def test_refuses(arguments, named):
    with pytest.raises(InvalidInput, match=named):
        NeighborGraph(arguments.pop("X"), 2, **{"metric": "precomputed", **arguments})
