"""Local dimension: values, errors that are true, the test that nothing varies, and pieces of different dimension."""

import json

import numpy as np
import pytest

import submanifold as sm
from submanifold.dimension.mixture import separate
from submanifold.dimension.variance import both_halves, graph_size
from submanifold.errors import InvalidInput
from submanifold.neighbors import NeighborGraph


def ball(n, d, rng):
    X = rng.standard_normal((n, d))
    return X / np.linalg.norm(X, axis=1, keepdims=True) * rng.random((n, 1)) ** (1 / d)


def apart(parts, D=10, gap=3.0):
    """The clouds `parts` in one space of D dimensions, `gap` apart along the last axis."""
    padded = [np.pad(part, ((0, 0), (0, D - part.shape[1]))) for part in parts]
    for height, part in enumerate(padded):
        part[:, -1] += gap * height
    return np.vstack(padded)


@pytest.mark.parametrize("d", [1, 3, 10])
def test_values_and_errors_on_a_ball(d):
    """In a homogeneous cloud the scatter of local dimensions is their error."""
    found = sm.dimension.local(ball(1500, d, np.random.default_rng(d)))
    assert abs(np.median(found.dimension) / d - 1) < 0.05
    low, high = np.quantile(np.log(found.dimension), [0.16, 0.84])
    assert 0.75 < (high - low) / 2 / found.relative_error < 1.25
    assert ((found.low < found.dimension) & (found.dimension < found.high)).all()
    assert np.mean((found.low <= d) & (d <= found.high)) > 0.88
    assert not found.varies


def test_p_values_are_not_small_when_nothing_varies():
    p = [
        sm.dimension.local(np.random.default_rng(s).random((400, 2)) @ np.eye(2, 5), 10, seed=s).p_value
        for s in range(25)
    ]
    assert np.mean(np.array(p) < 0.01) <= 0.08  # boundaries are felt a little
    assert np.median(p) > 0.1


def test_halves_around_a_row_hold_the_true_neighbours_of_each_half():
    X = np.random.default_rng(0).standard_normal((200, 3))
    graph = NeighborGraph(X, graph_size(5, 200))
    for first, second, here in both_halves(graph, 5, 2, np.random.default_rng(1)):
        assert len(here) > 190
        members = [np.unique(part.indices) for part in (first, second)]
        assert not np.intersect1d(*members).size
        for part, side in zip((first, second), members, strict=True):
            for row, near in zip(part.rows[:20], part.distances[:20], strict=True):
                others = side[side != row]
                np.testing.assert_allclose(near, np.sort(np.linalg.norm(X[others] - X[row], axis=1))[:5], rtol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_line_disc_and_ball_are_told_apart(seed):
    rng = np.random.default_rng(seed)
    X = apart([ball(500, d, rng) for d in (1, 2, 3)])
    found = sm.dimension.estimate(X, seed=seed)
    assert np.isnan(found.dimension)
    assert len(found.pieces) == 3
    for d, piece in zip((1, 2, 3), found.pieces, strict=True):
        assert abs(piece.dimension - d) < 0.25
        assert abs(piece.share - 1 / 3) < 0.03
        assert np.mean(piece.members // 500 == d - 1) > 0.97
    assert found.local.varies
    assert found.local.p_value < 1e-6


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("d", [1, 5, 15])
def test_one_dimension_is_not_taken_apart(d, seed):
    rng = np.random.default_rng([seed, d])
    clouds = (ball(900, d, rng), rng.standard_normal((900, d)), apart([ball(450, d, rng), 3 * ball(450, d, rng)], 20))
    for X in clouds:
        graph = NeighborGraph(X, graph_size(20, len(X)))
        assert separate(sm.dimension.local(None, 20, graph=graph), graph) is None


def test_copies_share_the_dimension_of_their_point():
    X = ball(300, 2, np.random.default_rng(0))
    found = sm.dimension.local(np.vstack([X, X[:40]]))
    assert found.dimension.shape == (340,)
    np.testing.assert_array_equal(found.dimension[300:], found.dimension[:40])


def test_map_and_json():
    X = ball(300, 3, np.random.default_rng(0))
    found = sm.dimension.local(X)
    left, right, bar = found.figure(X).axes
    assert left.get_xlabel() == "principal axis 1"
    assert bar.get_ylabel() == "local dimension"
    assert right.get_xlabel() == "local dimension"
    assert json.loads(json.dumps(found.to_json()))["n_neighbors"] == 20


@pytest.mark.parametrize(
    ("X", "k", "named"),
    [(np.eye(30), 20, "30 distinct points"), (np.eye(30), 2, "k=2"), ([[np.nan], [1.0]], 5, "NaN")],
)
def test_refuses(X, k, named):
    with pytest.raises(InvalidInput, match=named):
        sm.dimension.local(X, k)


def test_a_graph_with_too_few_neighbours_is_refused():
    graph = NeighborGraph(ball(300, 3, np.random.default_rng(0)), 20)
    with pytest.raises(InvalidInput, match="graph holds 20 neighbours a point: give 63 for k=20"):
        sm.dimension.local(None, 20, graph=graph)


def test_ties_leave_no_p_value_undefined():
    found = sm.dimension.local(np.eye(60), 10)
    assert found.p_value == 1.0
    json.dumps(found.to_json(), allow_nan=False)
