"""Points are the rows of an array whatever holds it, and only what is asked for is read."""

import numpy as np
import pytest
import torch

from submanifold.data import Dataset
from submanifold.errors import InvalidInput
from submanifold.neighbors import NeighborGraph, Points, distinct_rows


def _normal(n, D, seed=0):
    return np.random.default_rng(seed).standard_normal((n, D)).astype(np.float32)


@pytest.fixture
def mapped(tmp_path):
    path = tmp_path / "points.npy"
    np.save(path, _normal(500, 12).reshape(500, 3, 2, 2))
    return np.load(path, mmap_mode="r")


def test_images_in_a_file_are_points(mapped):
    points, X = Points.of(mapped), np.array(mapped).reshape(500, 12)
    assert points.shape == (500, 12)
    assert points.dtype == np.float32
    assert points.is_memory_mapped
    np.testing.assert_array_equal(points.block(slice(3, 7)), X[3:7])
    np.testing.assert_array_equal(points.gather([[4, 4], [0, 499]]), X[[[4, 4], [0, 499]]])
    np.testing.assert_array_equal(np.concatenate([points.block(rows) for rows in points.blocks(1000)]), X)


def test_rows_left_out_compose(mapped):
    X = np.array(mapped).reshape(500, 12)
    some = Points.of(mapped).take(np.arange(100, 200)).take(np.arange(100) % 3 == 0)
    assert some.is_memory_mapped
    assert len(some) == 34
    np.testing.assert_array_equal(some.array(), X[100:200:3])
    np.testing.assert_array_equal(some.gather([5, 1]), X[[115, 103]])


def test_graph_of_a_file_is_that_of_the_array(mapped):
    X = np.array(mapped).reshape(500, 12)
    for part, rows in (
        (Points.of(mapped), np.arange(500)),
        (Points.of(mapped).take(np.arange(50, 300)), slice(50, 300)),
    ):
        graph, expected = NeighborGraph(part, 7), NeighborGraph(X[rows], 7)
        np.testing.assert_array_equal(graph.indices, expected.indices)
        np.testing.assert_allclose(graph.distances, expected.distances, rtol=1e-12)
        assert graph.ambient_dim == 12


@pytest.mark.parametrize(
    ("make", "dtype"),
    [
        (lambda x: x.tolist(), np.float64),
        (torch.tensor, np.float64),
        (lambda x: torch.tensor(x).float(), np.float32),
        (lambda x: torch.tensor(x).bfloat16(), np.float32),
        (lambda x: x.astype(np.float16), np.float32),
        (lambda x: (10 * x).astype(np.int64), np.float64),
        (lambda x: (10 * x).astype(np.uint8), np.float32),
        (lambda x: x > 0, np.float32),
        (lambda x: np.asfortranarray(x)[::-1], np.float64),
        (lambda x: x.astype(">f8"), np.float64),
        (lambda x: Dataset(x=torch.tensor(x)), np.float64),
    ],
)
def test_whatever_holds_numbers_is_accepted(make, dtype):
    given = make(_normal(20, 4).astype(np.float64))
    points = Points.of(given)
    assert points.shape == (20, 4)
    assert points.block(slice(0, 3)).dtype == dtype
    held = getattr(given, "x", given)
    exact = held.double().numpy() if isinstance(held, torch.Tensor) else np.asarray(held, dtype=np.float64)
    np.testing.assert_array_equal(points.array(), exact)


def test_is_read_only_in_effect():
    X = _normal(300, 8)
    before = X.copy()
    NeighborGraph(X, 5)
    distinct_rows(X)
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["a", "b"], "dtype"),
        (np.ones((3, 2)) + 1j, "complex"),
        (3.0, "single number"),
        ([[1.0], [1.0, 2.0]], "ragged"),
        (np.ones((1, 2)), "1 points"),
        (np.ones((4, 0)), "no coordinates"),
        (np.ones((4, 2)), "copies of one point"),
        ([[np.inf, 0.0], [1.0, 2.0]], "infinity in 1 of 2"),
    ],
)
def test_refuses(given, named):
    with pytest.raises(InvalidInput, match=named):
        Points.of(given)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.uint8])
@pytest.mark.parametrize("D", [1, 3, 200])
def test_distinct_rows_are_those_of_unique(dtype, D):
    rng = np.random.default_rng(D)
    X = (5 * rng.standard_normal((40, D))).astype(dtype)[rng.integers(0, 40, 1000)]
    first, place = distinct_rows(X)
    np.testing.assert_array_equal(X[first][place], X)
    assert len(first) == len(np.unique(X, axis=0))
    assert (np.diff(first) > 0).all()
    assert (first[place] <= np.arange(1000)).all(), "not the first appearance"


def test_single_bits_tell_points_apart():
    X = np.tile(_normal(1, 64).astype(np.float64), (65 * 52, 1))
    bits = X.view(np.uint64)
    for i in range(64):
        for bit in range(52):
            bits[52 * i + bit, i] ^= np.uint64(1) << np.uint64(bit)
    first, _ = distinct_rows(X)
    assert len(first) == 64 * 52 + 1


def test_zero_and_minus_zero_are_one_point():
    first, place = distinct_rows([[0.0, 1.0], [-0.0, 1.0], [0.0, 2.0]])
    assert first.tolist() == [0, 2]
    assert place.tolist() == [0, 0, 1]


def test_colliding_hashes_are_seen_through(monkeypatch):
    from submanifold.neighbors import distinct

    monkeypatch.setattr(distinct, "_hashes", lambda points: np.zeros(len(points), dtype=np.uint64))
    X = np.array([[1.0], [2.0], [1.0], [3.0], [2.0], [3.0]])
    first, place = distinct.distinct_rows(X)
    assert first.tolist() == [0, 1, 3]
    assert place.tolist() == [0, 1, 0, 2, 1, 2]
