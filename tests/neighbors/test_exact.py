"""The search agrees with all differences in float64, whatever the offset, scale, copies and ties of the data."""

import dataclasses
import os
import signal
import threading
import time

import faiss
import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_info, threadpool_limits

from submanifold.errors import InvalidInput
from submanifold.neighbors import NeighborGraph, exact, frame, projection, query
from submanifold.neighbors.threads import limited


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
    "offset 1e8": (_normal(600, 10) + 1e8, 1.0),
    "lattice": (np.random.default_rng(0).integers(0, 4, (600, 8)) * 0.1, 1.0),
    "two coordinates, copied": (np.repeat(_normal(200, 2), 3, axis=0), 1.0),
    "more points than a tile": (_normal(2500, 9), 1.0),
    "sorted": (_normal(2500, 9)[np.argsort(_normal(2500, 9)[:, 0])], 1.0),
    "k + 1 points": (_normal(21, 9), 1.0),
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


@pytest.mark.parametrize("D", [3, 10])
def test_points_too_far_out_for_squares_are_refused(D):
    """Not answered with distances of 0 or infinity."""
    X = _normal(300, D)
    far = X.copy()
    far[7] = 1e170
    with pytest.raises(InvalidInput, match="far out"):
        NeighborGraph(far, 5)
    with pytest.raises(InvalidInput, match="far out"):
        query(X, far, 5)
    far[7] = 1e100
    full = cdist(X, X)
    np.fill_diagonal(full, np.inf)
    others = np.delete(np.arange(300), 7)
    expected = np.sort(full[:, others], axis=1)[others, :5]
    np.testing.assert_allclose(NeighborGraph(far, 5).distances[others], expected, rtol=1e-12)


def test_a_threshold_that_overflowed_certifies_nothing():
    """Half squares around float32's largest number: some products are infinite, others not."""
    ref = np.vstack([_normal(400, 8), 1e14 * _normal(200, 8, seed=1)])
    queries = np.vstack([2.0 ** np.arange(60, 70)[:, None] * _normal(10, 8, seed=s) for s in range(4)])
    found = query(ref, queries, 5)
    np.testing.assert_allclose(found.distances, np.sort(cdist(queries, ref), axis=1)[:, :5], rtol=1e-12)


def test_rows_may_repeat_and_arrays_may_lie_anyhow():
    X = _normal(700, 9)
    graph, rows = NeighborGraph(X, 6), [5, 699, 5, 0, 5]
    some = NeighborGraph(X, 6, rows=rows)
    np.testing.assert_array_equal(some.indices, graph.indices[rows])
    wide = np.zeros((1400, 18))
    wide[::2, ::2] = X
    for given in (np.asfortranarray(X), wide[::2, ::2], np.ascontiguousarray(X[::-1])[::-1]):
        np.testing.assert_array_equal(NeighborGraph(given, 6).distances, graph.distances)


@pytest.mark.parametrize("seed", range(8))
def test_random_shapes_scales_and_layouts(seed):
    """Distances of every order within one cloud, and clouds of every order."""
    rng = np.random.default_rng(seed)
    n, D = int(rng.choice([22, 100, 300])), int(rng.choice([1, 7, 8, 40]))
    clusters = rng.standard_normal((3, D))[rng.integers(0, 3, n)] * 10.0 ** rng.integers(0, 8)
    clouds = (clusters + 1e-6 * rng.standard_normal((n, D)), rng.standard_cauchy((n, D)))
    orders = rng.standard_normal((n, D)) * 10.0 ** rng.integers(-30, 30, (n, 1))
    for X, device in ((clouds[0], None), (clouds[0], "cpu"), (clouds[1], None), (orders, None), (orders, "cpu")):
        full = cdist(X, X)
        np.fill_diagonal(full, np.inf)
        graph = NeighborGraph(X, 20, device=device)
        np.testing.assert_allclose(graph.distances, np.sort(full, axis=1)[:, :20], rtol=1e-10)


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


def test_threads_change_nothing():
    X = _normal(2500, 40)
    one, two = NeighborGraph(X, 12, n_jobs=1), NeighborGraph(X, 12, n_jobs=2)
    np.testing.assert_array_equal(one.indices, two.indices)
    np.testing.assert_array_equal(one.distances, two.distances)


def test_threads_of_other_libraries_are_given_back():
    before = faiss.omp_get_max_threads(), [pool["num_threads"] for pool in threadpool_info()]
    NeighborGraph(_normal(300, 9), 4, n_jobs=1)
    assert (faiss.omp_get_max_threads(), [pool["num_threads"] for pool in threadpool_info()]) == before


def test_threads_are_given_back_after_limits_that_overlap():
    def of_blas():  # where the whole process has one number, as OpenMP has not
        pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
        return [pool["num_threads"] for pool in pools if pool["threading_layer"] != "openmp"]

    with threadpool_limits(2, user_api="blas"):
        before = of_blas()
        first, second = limited(1), limited(1)
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)  # as the first of two threads does
        assert set(of_blas()) <= {1}
        second.__exit__(None, None, None)
        assert of_blas() == before


@pytest.fixture
def interruptible():
    """Shells start what runs in the background with interruptions ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("options", [{"n_jobs": 1}, {"n_jobs": 2}, {"metric": "manhattan", "n_jobs": 2}])
def test_an_interruption_gets_through_and_leaves_no_threads(options):
    X, before, sent = _normal(12_000, 600), threading.active_count(), []

    def interrupt():
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.3, interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        NeighborGraph(X, 20, **options)
    assert time.monotonic() - sent[0] < 5, "the search went on"
    timer.join()
    assert threading.active_count() == before


@pytest.mark.parametrize("n_jobs", [0, -2, 1.5, True, "2"])
def test_refuses_n_jobs(n_jobs):
    with pytest.raises(InvalidInput, match="n_jobs"):
        NeighborGraph(_normal(9, 2), 3, n_jobs=n_jobs)


SPECTRA = {
    "few directions": _normal(1200, 6) @ _normal(6, 60, seed=1),
    "few directions and noise": _normal(1200, 6) @ _normal(6, 60, seed=1) + 0.3 * _normal(1200, 60, seed=2),
    "few directions far off": _normal(1200, 6) @ _normal(6, 60, seed=1) + 1e6,
    "more and more directions": _normal(1200, 60) * np.geomspace(1, 0.05, 60),
    "copies": np.repeat(_normal(300, 6) @ _normal(6, 60, seed=1), 4, axis=0),
    "one point far out": np.vstack([_normal(1199, 6) @ _normal(6, 60, seed=1), np.full((1, 60), 1e7)]),
}


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("size", [None, 16])
def test_projection_loses_no_neighbour(name, size, monkeypatch):
    """Not even where shortlists are so short that most rows are searched a second time."""
    X, k = SPECTRA[name], 15
    choose = projection.choose

    def chosen(ref, k, pairs):
        monkeypatch.setattr(projection, "_LEAST_WORK", 0)
        monkeypatch.setattr(projection, "_CANDIDATE", 0)  # so that it is projected whatever candidates that costs
        monkeypatch.setattr(projection, "_GATHER", 0)
        plan, seconds = choose(ref, k, pairs)
        assert plan is not None
        return dataclasses.replace(plan, size=size or plan.size), seconds

    monkeypatch.setattr(exact, "choose", chosen)
    full = cdist(X, X)
    np.fill_diagonal(full, np.inf)
    nearest = np.sort(full, axis=1)[:, :k]
    rows = np.arange(0, 1200, 7)
    np.testing.assert_allclose(NeighborGraph(X, k).distances, nearest, rtol=1e-10)
    np.testing.assert_allclose(NeighborGraph(X, k, rows=rows).distances, nearest[rows], rtol=1e-10)
    np.testing.assert_allclose(query(X, X[rows], k).distances, np.sort(cdist(X[rows], X), axis=1)[:, :k], rtol=1e-10)


def test_streams_what_is_not_held_in_memory(monkeypatch):
    X = _normal(3000, 30).astype(np.float32)
    held, rows = NeighborGraph(X, 10), np.arange(0, 3000, 11)
    monkeypatch.setattr(frame, "_HELD_BYTES", 0)
    monkeypatch.setattr(frame, "_BLOCK_BYTES", 2**17)
    for part in (NeighborGraph(X, 10), NeighborGraph(X, 10, rows=rows)):
        expected = held.take(part.rows)
        np.testing.assert_array_equal(part.indices, expected.indices)
        np.testing.assert_allclose(part.distances, expected.distances, rtol=1e-12)


def test_progress_shows_and_ends(capsys):
    NeighborGraph(_normal(300, 9), 4, progress=True)
    assert "100%" in capsys.readouterr().err
    NeighborGraph(_normal(300, 9), 4)
    assert capsys.readouterr().err == ""
