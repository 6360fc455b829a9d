"""What all diagnostics measure with: projections, intervals, and errors along the manifold and off it."""

import math

import numpy as np
import pytest
from scipy import stats
from toys import Sampler, blind, circle_data

import submanifold as sm
from submanifold.data.manifolds import manifold
from submanifold.errors import InvalidInput
from submanifold.lens.evidence import (
    Tangents,
    Truth,
    data_scale,
    draw,
    manifold_errors,
    mean_distance,
    mean_with_interval,
    proportion,
    replicated,
    setting,
)


def tangents(points, dim, k=12):
    return Tangents(points, dim, k, scale=data_scale(points, dim), tube=0.1)


@pytest.mark.parametrize(("D", "d"), [(3, 2), (10, 4), (4, 1)])
def test_planes_are_projected_on_exactly(D, d):
    rng = np.random.default_rng(D)
    frame = np.linalg.qr(rng.standard_normal((D, D)))[0]
    inside, across = frame[:, :d], frame[:, d:]
    reference = rng.uniform(-1, 1, (2000, d)) @ inside.T
    foot = rng.uniform(-0.5, 0.5, (200, d)) @ inside.T
    height = rng.standard_normal((200, D - d)) * 0.05
    found = tangents(reference, d, k=20).project(foot + height @ across.T)
    np.testing.assert_allclose(found.distance, np.linalg.norm(height, axis=1), atol=0.02 if d == 4 else 1e-9)
    np.testing.assert_allclose(found.points @ across, 0, atol=1e-12)


def test_a_point_beyond_the_data_is_off_the_manifold_even_in_its_plane():
    rng = np.random.default_rng(0)
    reference = np.zeros((3000, 3))
    reference[:, :2] = rng.uniform(-1, 1, (3000, 2))
    beyond = np.array([[3.0, 0.0, 0.0], [0.0, -2.0, 0.0], [6.0, 0.0, 0.0]])
    found = tangents(reference, 2).project(beyond)
    # the neighbours of a far point are a strip of the edge, along which the ball that bounds the patch reaches outwards
    ratio = found.distance / [2.0, 1.0, 5.0]
    assert ((ratio > 0.7) & (ratio < 1.1)).all()


def test_the_sphere_is_missed_by_the_sagitta_alone():
    reference = manifold("sphere").sample(4000, seed=0)
    y = manifold("sphere").sample(300, seed=1)
    radii = np.random.default_rng(2).uniform(0.9, 1.1, 300)
    found = tangents(reference, 2, k=12).project(y * radii[:, None])
    # 12 of 4000 neighbours lie within the cap of area 4 pi 12/4000, whose radius squared is 0.012: sagitta 0.006
    np.testing.assert_allclose(found.distance, np.abs(radii - 1), atol=0.01)


@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_the_projection_does_not_depend_on_position_and_scale(offset):
    rng = np.random.default_rng(0)
    reference, y = rng.standard_normal((500, 3)), rng.standard_normal((100, 3))
    here, there = tangents(reference, 2).project(y), tangents(7 * reference + offset, 2).project(7 * y + offset)
    np.testing.assert_allclose(there.distance, 7 * here.distance, atol=1e-8 * (1 + offset))


@pytest.mark.parametrize("n", [1, 5, 40, 1000])
def test_proportions_have_wilsons_interval(n):
    for hits in {0, 1, n // 3, n}:
        number = proportion(np.arange(n) < hits)
        expected = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
        np.testing.assert_allclose([number.low, number.high], [expected.low, expected.high], atol=1e-6)
        assert number.low <= number.value <= number.high


def test_means_have_the_normal_interval_and_replicates_the_spread_of_one():
    v = np.random.default_rng(0).standard_normal(50)
    low, high = stats.norm.interval(0.95, v.mean(), stats.sem(v))
    assert (mean_with_interval(v).low, mean_with_interval(v).high) == pytest.approx((low, high), abs=1e-6)
    low, high = stats.norm.interval(0.95, v.mean(), v.std(ddof=1))
    assert (replicated(v).low, replicated(v).high) == pytest.approx((low, high), abs=1e-6)
    assert math.isnan(mean_with_interval([1.0]).low)


def test_mean_distance_of_the_uniform_circle():
    x = manifold("circle", kappa=0.0).sample(20_000, seed=0)
    assert mean_distance(x, seed=0) == pytest.approx(4 / math.pi, rel=0.02)  # E 2 sin(U pi / 2)


def errors(samples, n=600, seed=0, **kwargs):
    held_out = circle_data(n, 500 + seed)
    return manifold_errors(samples, held_out.x, setting(held_out, circle_data(600, 900 + seed)).manifold, **kwargs)


def test_samples_of_the_same_law_have_no_excess_and_uniform_p_values():
    found = [errors(circle_data(600, seed).x, n=300, seed=seed, replicates=4) for seed in range(30)]
    excess = np.array([e.excess.value for e in found])
    assert abs(excess.mean()) < 0.01
    assert np.abs(excess).max() < 0.08
    assert not [e for e in found if e.learned_distribution == "no"]
    assert sum(e.learned_distribution == "yes" for e in found) >= 15
    # neighbouring p-values are 1/501 apart: near enough to continuous
    assert stats.kstest([e.test.p_value for e in found], "uniform").pvalue > 1e-3


def test_a_rotated_law_is_found_on_the_manifold_and_not_off_it():
    for seed in range(5):
        found = errors(circle_data(600, seed, mu=math.pi / 2).x, seed=seed)
        assert found.learned_distribution == "no"
        assert found.learned_manifold == "yes"
        assert found.off.value < 1e-9
        assert found.test.p_value < 0.01


def test_normal_noise_of_size_s_is_off_by_its_mean_absolute_value():
    s = 0.05
    for seed in range(5):
        x = circle_data(4000, seed).x
        noise = s * np.random.default_rng(seed).standard_normal(4000)
        found = errors((1 + noise[:, None]) * x, seed=seed)
        assert found.off.value == pytest.approx(s * math.sqrt(2 / math.pi), rel=0.05)
        assert found.off.low < s * math.sqrt(2 / math.pi) * 1.01
        tube = 0.1 * data_scale(circle_data(600, 900 + seed).x, 1)
        expected = 2 * stats.norm.cdf(tube / s) - 1
        assert found.inside.value == pytest.approx(expected, abs=0.03)


def test_figures_are_in_the_units_of_the_data_and_answers_have_none():
    x, y = circle_data(400, 1).x, circle_data(400, 2, mu=1.0).x
    reference = circle_data(400, 3).x
    found = [
        manifold_errors(c * y, c * x, setting(c * x, c * reference, dim=1.0).manifold, replicates=4)
        for c in (1.0, 1000.0)
    ]
    assert found[1].along.value == pytest.approx(1000 * found[0].along.value, rel=1e-6)
    assert found[1].excess.value == pytest.approx(found[0].excess.value, rel=1e-6)
    assert found[1].learned_distribution == found[0].learned_distribution


def test_the_order_of_the_data_plays_no_part():
    """Data sorted by class, as tables often are, in more points than exact transport takes."""
    rng = np.random.default_rng(0)
    x = np.sort(rng.standard_normal(3000))[:, None] * [1.0, 0.0] + 1e-3 * rng.standard_normal((3000, 2))
    y = rng.standard_normal((3000, 1)) * [1.0, 0.0]
    reference = setting(x, rng.permutation(x), dim=1.0).manifold
    assert manifold_errors(y, x, reference, limit=600).test.p_value > 0.01


def test_setting_knows_the_truth_where_the_data_do():
    data, known = circle_data(200, 0), circle_data(300, 1)
    found = setting(data, known, dim=7.0)
    assert isinstance(found.manifold, Truth)
    assert found.dim == 1
    assert found.manifold.scale == pytest.approx(math.sqrt(known.x.var(axis=0).sum()))
    assert setting(found) is found


def test_setting_estimates_what_it_is_not_told_and_splits_what_it_is_given():
    data = blind(circle_data(600, 0))
    found = setting(data, seed=3)
    assert isinstance(found.manifold, Tangents)
    assert found.dim == pytest.approx(1.0, abs=0.3)
    assert len(found.held_out) == len(found.known) == 300
    rows = np.concatenate([found.held_out.x, found.known.x])
    assert len(np.unique(rows, axis=0)) == 600  # no point on both sides
    held_out = (found.manifold.project(found.x).distance <= found.manifold.tube).mean()
    assert held_out >= 0.95
    np.testing.assert_array_equal(setting(data, seed=3).x, found.x)


def test_setting_knows_whether_it_holds_training_data():
    data, known = circle_data(200, 0), circle_data(300, 1)
    for given in (data, blind(data)):
        assert setting(given, known, dim=1.0).trained_on
        assert not setting(given, known, dim=1.0, trained_on=False).trained_on
        assert not setting(given, dim=1.0).trained_on  # half of the data, that no model has seen


@pytest.mark.parametrize(
    ("given", "reference", "word"),
    [
        (np.random.default_rng(0).standard_normal((39, 2)), None, "at least 40"),
        (np.zeros((50, 2)), None, "copies of one point"),
        (np.random.default_rng(0).standard_normal((50, 2)), np.ones((50, 3)) * np.arange(50)[:, None], "coordinates"),
        (np.full((50, 2), np.nan), None, "NaN"),
        (np.random.default_rng(0).standard_normal((50, 2)), np.zeros((5, 2)), "reference holds 5"),
    ],
)
def test_unusable_data_are_refused(given, reference, word):
    with pytest.raises(InvalidInput, match=word):
        setting(given, reference, dim=1.0)


def test_one_coordinate_and_float32_are_data_too():
    x = np.random.default_rng(0).standard_normal((200, 1)).astype(np.float32)
    found = setting(x, dim=1.0)
    assert manifold_errors(found.x, found.x, found.manifold, replicates=2).learned_manifold == "yes"


def test_samples_that_are_not_numbers_are_refused():
    with pytest.raises(InvalidInput, match="3 of 10 samples"):
        draw(Sampler(lambda n, rng: np.where(np.arange(n)[:, None] < 3, np.nan, 0.0) * np.ones((n, 2))), 10, seed=0)


def test_the_tube_of_a_known_manifold_holds_data_that_are_noisy():
    """95% of |N(0, s^2)| are within 1.96 s."""
    data, known = (sm.data.load("circle", n=2000, seed=seed, noise=0.3) for seed in range(2))
    found = setting(data, known)
    inside = found.manifold.project(found.x).distance < found.manifold.tube
    assert inside.mean() == pytest.approx(0.95, abs=0.002)
    assert found.manifold.tube == pytest.approx(1.96 * data.noise_sigma, rel=0.05)
    exact = setting(sm.data.load("circle", n=2000, seed=0), known)
    assert exact.manifold.tube == pytest.approx(0.1 * exact.manifold.scale)
