"""The scale curve: flat where the manifold is, noise named, thinning consistent with more neighbours."""

import numpy as np
import pytest

import submanifold as sm
from submanifold.dimension.scale import scale_curve
from submanifold.dimension.space import space_of
from submanifold.neighbors import NeighborGraph


def curve_of(X, k_max=60):
    return scale_curve(NeighborGraph(X, 100), space_of(X), k_max=k_max)


def noisy_circle(n, sd, D, rng):
    a = rng.uniform(0, 2 * np.pi, n)
    return np.stack([np.cos(a), np.sin(a)], axis=1) @ np.eye(2, D) + sd * rng.standard_normal((n, D))


@pytest.mark.parametrize("d", [2, 10, 30])
def test_corrected_curve_is_flat_on_a_ball(d):
    """The raw one falls by a third in 30 dimensions; the corrected one stays within its error of d at every scale."""
    rng = np.random.default_rng(d)
    X = rng.standard_normal((1600, d))
    X *= (rng.random((1600, 1)) ** (1 / d)) / np.linalg.norm(X, axis=1, keepdims=True)
    curve = curve_of(X)
    assert (np.abs(np.log(curve.calibrated / d)) < 3.5 * curve.relative_error + 0.01).all()
    assert (curve.start, curve.flat, curve.noisy) == (0, True, False)
    assert curve.stop == len(curve.ks)
    if d == 30:
        assert curve.dimension[-1] < 0.55 * d


def test_thinning_goes_on_where_the_graph_ends():
    """On the same data more neighbours and fewer points see the same scales."""
    X = np.random.default_rng(0).random((2000, 3))
    short, long = curve_of(X, k_max=30), scale_curve(NeighborGraph(X, 100), None, k_max=100)
    assert short.ks[-1] > 100
    assert (np.diff(short.ks) > 0).all()
    assert (np.diff(short.radii) > 0).all()
    assert set(short.sizes) == {2000, 500}
    shared = (short.ks > 30) & (short.ks <= 100)
    other = np.exp(np.interp(np.log(short.ks), np.log(long.ks), np.log(long.calibrated)))
    assert (np.abs(np.log(short.calibrated / other))[shared] < 4 * short.relative_error[shared]).all()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sd", [0.002, 0.004])
def test_noise_is_named_and_left_behind(sd, seed):
    X = noisy_circle(3000, sd, 8, np.random.default_rng(seed))
    found = sm.dimension.estimate(X, seed=seed)
    curve = found.scale_curve
    assert curve.noisy
    assert curve.flat
    assert curve.calibrated[0] > 2.5
    assert found.dimension < 1.45
    assert found.reading.k >= curve.ks[curve.start] > 2
    assert "see noise" in " ".join(found.warnings)


def test_noise_that_drowns_the_manifold_gives_an_upper_bound():
    found = sm.dimension.estimate(noisy_circle(1500, 0.03, 10, np.random.default_rng(0)))
    assert not found.scale_curve.flat
    assert found.interval[0] == 0.0
    assert "at most the last one" in " ".join(found.warnings)


@pytest.mark.parametrize("name", ["M13b_Spiral", "Mp2_Paraboloid", "M8_Nonlinear"])
def test_bends_and_tails_at_large_scales_are_not_noise(name):
    found = sm.dimension.estimate(sm.data.benchmark(name).sample(1500, seed=1))
    assert not found.scale_curve.noisy
    assert found.reading.k <= 5


def test_finest_scale_is_as_precise_as_asked():
    X = np.random.default_rng(1).random((500, 4))
    curve = curve_of(X)
    position = curve.finest(0.03)
    assert 1.3 / np.sqrt(500 * (curve.ks[position] - 1)) <= 0.03 < 1.3 / np.sqrt(500 * (curve.ks[position - 1] - 1))
    assert 0.5 < curve.relative_error[position] / 0.03 < 1.5
    reading = curve.reading(position)
    assert reading.dimension == pytest.approx(curve.calibrated[position])
    assert reading.interval[0] <= reading.sampling_interval[0] < reading.dimension < reading.interval[1]
    assert reading.by_reference["ball"] == reading.dimension
