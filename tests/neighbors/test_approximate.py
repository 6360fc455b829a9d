"""Approximate neighbours: their distances are exact, and the recall they claim is the recall they have."""

import numpy as np
import pytest

from submanifold.dimension import MLE, TwoNN
from submanifold.errors import InvalidInput
from submanifold.neighbors import NeighborGraph, approximate, frame, strategy
from submanifold.neighbors.approximate import Effort, recall_interval, recalls


def _normal(n, D, seed=0):
    return np.random.default_rng(seed).standard_normal((n, D))


def _sphere(n, d, seed=0):
    x = _normal(n, d + 1, seed)
    return (x / np.linalg.norm(x, axis=1, keepdims=True)) @ _normal(d + 1, 30, seed=9)


def _clusters(n, seed=0):
    return _normal(n, 8, seed) + 20 * _normal(7, 8, seed=5)[np.arange(n) % 7]


DATA = {
    "ball of 10 in 50": lambda: _normal(4000, 10) @ _normal(10, 50, seed=1),
    "sphere": lambda: _sphere(4000, 7),
    "clusters": lambda: _clusters(4000),
}


@pytest.mark.parametrize("name", DATA)
def test_the_claimed_recall_is_true(name, monkeypatch):
    """Measured on 500 rows, with a descent so short that neighbours are missed, and true on all of them."""
    X = DATA[name]()
    monkeypatch.setattr(approximate, "_LEAST_RECALL", 0.5)
    monkeypatch.setattr(approximate, "_EFFORTS", (Effort(1.25, 8, 4, 1.0),))
    exact, graph = NeighborGraph(X, 15, method="exact"), NeighborGraph(X, 15, method="nn-descent")
    assert graph.method == "nn-descent"
    true = recalls(graph.distances, exact.distances).mean()
    low, high = graph.recall_interval
    assert low <= true <= high
    assert low <= graph.recall <= high
    differences = np.linalg.norm(X[:, None] - X[graph.indices], axis=2)
    np.testing.assert_allclose(graph.distances, differences, rtol=1e-10)
    assert (graph.indices != np.arange(len(X))[:, None]).all()
    assert all(len(set(row)) == 15 for row in graph.indices)


def test_recall_is_at_least_99_per_cent_and_estimates_hardly_change():
    X = DATA["ball of 10 in 50"]()
    exact, graph = NeighborGraph(X, 40, method="exact"), NeighborGraph(X, 40, method="nn-descent")
    assert graph.method == "nn-descent"
    assert graph.recall >= 0.99
    for estimator in (MLE, TwoNN):
        change = estimator().fit(X, graph=graph).dimension_ / estimator().fit(X, graph=exact).dimension_ - 1
        assert abs(change) < 0.005


def test_repeats_with_the_seed():
    X = DATA["sphere"]()
    first, second = (NeighborGraph(X, 10, method="nn-descent", seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.indices, second.indices)
    assert first.recall == second.recall


def test_threads_change_nothing():
    X = DATA["sphere"]()
    one, two = (NeighborGraph(X, 10, method="nn-descent", n_jobs=threads) for threads in (1, 2))
    np.testing.assert_array_equal(one.indices, two.indices)
    np.testing.assert_array_equal(one.distances, two.distances)


def test_descends_in_a_file(tmp_path, monkeypatch):
    """Points that are not held, and are descended in principal coordinates."""
    X = DATA["ball of 10 in 50"]().astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    monkeypatch.setattr(frame, "_HELD_BYTES", 0)
    monkeypatch.setattr(approximate, "_HELD_BYTES", 0)
    graph = NeighborGraph(np.load(tmp_path / "X.npy", mmap_mode="r"), 10, method="nn-descent")
    assert graph.method == "nn-descent"
    near = graph.indices[:, -1]
    np.testing.assert_allclose(graph.distances[:, -1], np.linalg.norm(X.astype(float) - X[near], axis=1), rtol=1e-10)


def test_a_trial_spares_a_descent_that_would_fail(monkeypatch):
    """Forty dimensions are too many for a short descent: it is tried on some points and never made on all."""
    sizes, graph_of = [], approximate._graph
    monkeypatch.setattr(approximate, "_TRIAL", 1000)
    monkeypatch.setattr(approximate, "_EFFORTS", (Effort(1.25, 8, 4, 1.0),))
    monkeypatch.setattr(approximate, "_graph", lambda x, *rest: sizes.append(len(x)) or graph_of(x, *rest))
    graph = NeighborGraph(_normal(4000, 40), 10, method="nn-descent")
    assert graph.method == "exact"
    assert sizes == [1000]


def test_gives_way_to_exact_search(monkeypatch):
    X = DATA["sphere"]()[:1500]
    expected = NeighborGraph(X, 10)
    monkeypatch.setattr(approximate, "_LEAST_RECALL", 1.1)
    graph = NeighborGraph(X, 10, method="nn-descent")
    np.testing.assert_array_equal(graph.indices, expected.indices)
    for given in (graph, NeighborGraph(X[:50], 10, method="nn-descent")):
        assert (given.method, given.recall) == ("exact", 1.0)


def test_auto_takes_what_is_faster(monkeypatch):
    X = DATA["sphere"]()
    assert NeighborGraph(X, 10).method == "exact"
    monkeypatch.setattr(strategy, "_FEW", 1000)
    assert NeighborGraph(X, 10).method == "exact", "4000 points are searched exactly in no time"
    monkeypatch.setattr(Effort, "seconds", lambda self, n, k, d: 0.0)
    assert NeighborGraph(X, 10).method == "nn-descent"
    assert NeighborGraph(X, 10, method="exact").method == "exact"
    assert NeighborGraph(X, 10, rows=[1, 2]).method == "exact"
    with pytest.raises(InvalidInput, match="all points"):
        NeighborGraph(X, 10, rows=[1, 2], method="nn-descent")


def test_the_interval_covers_when_rows_miss_together():
    """Rows lose all or few of their neighbours: intervals of independent neighbours would be far too narrow."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        bad = rng.random(500) < 0.03
        found = np.where(bad, rng.binomial(20, 0.6, 500), 20) / 20
        low, high = recall_interval(found)
        covered += low <= 1 - 0.03 * 0.4 <= high
    assert 0.93 <= covered / 400 <= 0.995


def test_an_interval_of_perfect_rows_does_not_claim_certainty():
    low, high = recall_interval(np.ones(500))
    assert high == 1.0
    assert low == pytest.approx(0.025 ** (1 / 500), rel=1e-9)
