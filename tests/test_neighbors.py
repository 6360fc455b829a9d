"""The search agrees with all differences in float64, whatever the offset, scale, copies and ties of the data."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

from submanifold.errors import InvalidInput
from submanifold.neighbors import NeighborGraph, query


def _normal(n, D, seed=0):
    return np.random.default_rng(seed).standard_normal((n, D))


def _two_clusters():
    X = _normal(600, 10)
    X[300:] += 1e6
    return X


def _outlier():
    X = _normal(600, 10)
    X[0] += 1e9
    return X


def _copies(share):
    X = _normal(600, 6)
    X[: int(600 * share)] = X[-1]
    return X


def _ten_percent_copied():
    X = _normal(600, 6)
    X[:60] = X[60:120]
    return X


CASES = {
    "normal": (_normal(600, 10), 1.0),
    "one coordinate": (_normal(600, 1), 1.0),
    "784 coordinates": (_normal(400, 784), 1.0),
    "low rank in 300": (_normal(500, 8) @ _normal(8, 300, seed=1), 1.0),
    "offset 1e6": (_normal(600, 10) + 1e6, 1.0),
    "scale 1e-200": (_normal(600, 10) * 1e-200, 1e-200),
    "scale 1e160": (_normal(600, 10) * 1e160, 1e160),
    "clusters 1e6 apart": (_two_clusters(), 1.0),
    "one outlier": (_outlier(), 1.0),
    "10% copies": (_ten_percent_copied(), 1.0),
    "half one point": (_copies(0.5), 1.0),
    "binary": (np.random.default_rng(0).integers(0, 2, (600, 20)), 1.0),
    "three points": (_normal(22, 3), 1.0),
}


@pytest.mark.parametrize("case", CASES)
def test_distances_are_those_of_all_differences(case):
    X, unit = CASES[case]
    n, k = len(X), 20
    Y = np.asarray(X, dtype=np.float64) / unit
    graph = NeighborGraph(X, k)
    full = cdist(Y, Y)
    np.testing.assert_allclose(graph.distances / unit, np.take_along_axis(full, graph.indices, 1), rtol=1e-12)
    np.fill_diagonal(full, np.inf)
    np.testing.assert_allclose(graph.distances / unit, np.sort(full, axis=1)[:, :k], rtol=1e-12)

    own = np.arange(n)[:, None]
    assert not (graph.indices == own).any(), "a point is its own neighbour"
    assert all(len(set(row)) == k for row in graph.indices)
    assert (np.diff(graph.distances, axis=1) >= 0).all()


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_agrees_with_scikit_learn_on_centred_data(offset):
    X = _normal(800, 30, seed=3) + offset
    expected, indices = NearestNeighbors(n_neighbors=15, algorithm="brute").fit(X - offset).kneighbors()
    graph = NeighborGraph(X, 15)
    # Rounding X at 1e6 moves each coordinate by up to 6e-11, which is the whole of the tolerance.
    np.testing.assert_allclose(graph.distances, expected, rtol=1e-9)
    np.testing.assert_array_equal(graph.indices, indices)


def test_query_between_two_sets():
    ref, queries = _normal(500, 7), _normal(40, 7, seed=1)
    found = query(ref, queries, 5)
    full = cdist(queries, ref)
    np.testing.assert_allclose(found.distances, np.sort(full, axis=1)[:, :5], rtol=1e-12)
    np.testing.assert_array_equal(found.indices, np.argsort(full, axis=1)[:, :5])
    assert (query(ref, ref[:3], 1).distances == 0).all(), "query excludes nothing"
    assert query(ref, ref, len(ref)).distances.shape == (500, 500)


def test_queries_beyond_the_range_of_float32():
    ref = _normal(300, 4)
    queries = np.vstack([ref[:2] * 1e50, ref[:2]])
    found = query(ref, queries, 3)
    np.testing.assert_allclose(found.distances, np.sort(cdist(queries, ref), axis=1)[:, :3], rtol=1e-12)


def test_rows_and_take_are_parts_of_the_whole_graph():
    X = _normal(400, 5)
    whole = NeighborGraph(X, 8)
    rows = np.array([3, 77, 399])
    for part in (NeighborGraph(X, 8, rows=rows), whole.take(rows)):
        np.testing.assert_array_equal(part.rows, rows)
        np.testing.assert_array_equal(part.indices, whole.indices[rows])
        np.testing.assert_allclose(part.distances, whole.distances[rows], rtol=1e-14)
        assert (part.n_points, part.ambient_dim, part.k) == (400, 5, 8)


def test_invariant_under_rotation_shift_and_scale():
    X = _normal(500, 6)
    Q = np.linalg.qr(_normal(6, 6, seed=2))[0]
    moved = NeighborGraph(3.0 * X @ Q + 100.0, 10)
    np.testing.assert_allclose(moved.distances, 3.0 * NeighborGraph(X, 10).distances, rtol=1e-11)


def test_repeats_exactly_and_leaves_the_data_alone():
    X = _normal(300, 6)
    before = X.copy()
    first, second = NeighborGraph(X, 9), NeighborGraph(X, 9)
    np.testing.assert_array_equal(first.distances, second.distances)
    np.testing.assert_array_equal(first.indices, second.indices)
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((_normal(5, 2), 5), "k=5"),
        ((_normal(5, 2), 0), "k=0"),
        ((_normal(5, 2), 2.5), "k=2.5"),
        (([[0.0, np.nan], [1.0, 2.0], [3.0, 4.0]], 1), "NaN"),
        (([[0.0, np.inf], [1.0, 2.0], [3.0, 4.0]], 1), "infinity"),
        ((np.ones((9, 2)), 2), "one point"),
        ((np.ones((0, 2)), 1), "0 points"),
    ],
)
def test_graph_refuses(arguments, named):
    with pytest.raises(InvalidInput, match=named):
        NeighborGraph(*arguments)


def test_query_refuses():
    with pytest.raises(InvalidInput, match="X_query has 3 coordinates"):
        query(_normal(9, 2), _normal(9, 3), 1)
    with pytest.raises(InvalidInput, match="k=10"):
        query(_normal(9, 2), _normal(9, 2), 10)
    with pytest.raises(InvalidInput, match="rows"):
        NeighborGraph(_normal(9, 2), 3, rows=[9])
