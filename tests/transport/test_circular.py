"""Transport on the circle against linear programmes, closed forms and rotations."""

import numpy as np
import ot
import pytest

from submanifold.errors import InvalidInput
from submanifold.transport import circular_wasserstein, wasserstein


def by_brute_force(theta: np.ndarray, phi: np.ndarray, p: float) -> float:
    gap = np.abs(np.subtract.outer(theta, phi)) % (2 * np.pi)
    arc = np.minimum(gap, 2 * np.pi - gap)
    return float(ot.emd2(ot.unif(len(theta)), ot.unif(len(phi)), arc**p) ** (1 / p))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 7), (12, 12), (12, 18), (25, 32)])
@pytest.mark.parametrize("p", [1, 2, 3.5])
def test_agrees_with_a_linear_programme(seed: int, n: int, m: int, p: float) -> None:
    rng = np.random.default_rng(seed)
    theta, phi = 2 * np.pi * rng.random(n), rng.vonmises(0, 2, m)
    value = circular_wasserstein(theta, phi, p)
    assert value == pytest.approx(by_brute_force(theta, phi, p), rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_ties_and_whole_turns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    theta, phi = rng.integers(0, 6, 15) * np.pi / 3, rng.integers(0, 6, 10) * np.pi / 3
    value = circular_wasserstein(theta, phi)
    assert value == pytest.approx(by_brute_force(theta, phi, 1), abs=1e-12)
    turns = 2 * np.pi * rng.integers(-3, 4, 15)
    assert circular_wasserstein(theta + turns, phi) == pytest.approx(value, abs=1e-12)
    assert circular_wasserstein(theta, theta + turns) == pytest.approx(0, abs=1e-12)


def test_a_rotation_takes_the_short_way() -> None:
    theta = np.random.default_rng(0).vonmises(0, 1000, 200)  # concentrated: W1 is the angle
    for turn in (0.1, -0.1, 2.8, 2 * np.pi - 0.1):
        arc = min(turn % (2 * np.pi), -turn % (2 * np.pi))
        assert circular_wasserstein(theta, theta + turn) == pytest.approx(arc, rel=1e-9)


def test_rotating_both_or_exchanging_them_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    theta, phi = rng.vonmises(1, 1, 300), rng.vonmises(-1, 2, 211)
    value = circular_wasserstein(theta, phi)
    assert circular_wasserstein(phi, theta) == pytest.approx(value, rel=1e-12)
    assert circular_wasserstein(-theta, -phi) == pytest.approx(value, rel=1e-12)
    for turn in (0.3, 2.0, 5.0, 1e3):
        assert circular_wasserstein(theta + turn, phi + turn) == pytest.approx(value, rel=1e-10)


def test_far_from_the_cut_the_circle_is_a_line() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.uniform(1.0, 2.0, 100), rng.uniform(1.5, 3.0, 80)
    for p in (1, 2):
        assert circular_wasserstein(x, y, p) == pytest.approx(wasserstein(x, y, p), rel=1e-12)


def test_antipodal_points_are_half_a_turn_apart() -> None:
    assert circular_wasserstein([0.0], [np.pi]) == pytest.approx(np.pi)
    assert circular_wasserstein([0.0, np.pi], [np.pi / 2, 3 * np.pi / 2]) == pytest.approx(np.pi / 2)


def test_large_unequal_samples_are_fast_enough_to_be_exact() -> None:
    """Between von Mises samples and themselves thinned by 7: below the thinning's discrepancy."""
    theta = np.sort(np.random.default_rng(3).vonmises(0, 1, 70_001))
    assert circular_wasserstein(theta, theta[3::7]) < 1e-3


def test_bad_angles_are_refused() -> None:
    with pytest.raises(InvalidInput, match="theta has 2 coordinates"):
        circular_wasserstein(np.zeros((3, 2)), [0.0])
    with pytest.raises(InvalidInput, match="phi has NaN"):
        circular_wasserstein([0.0], [np.nan])
    with pytest.raises(InvalidInput, match="p=0"):
        circular_wasserstein([0.0], [1.0], p=0)
