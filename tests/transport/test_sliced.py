"""Sliced transport: closed forms, each direction by SciPy, honest errors, and a valid test."""

import math

import numpy as np
import ot
import pytest
from scipy.stats import kstest, ortho_group, wasserstein_distance

from submanifold.errors import InvalidInput
from submanifold.transport import (
    TwoSampleTest,
    sliced_wasserstein,
    sliced_wasserstein_test,
    wasserstein,
)


def directions(D: int, n_projections: int, seed: int) -> np.ndarray:
    U = np.random.default_rng(seed).standard_normal((D, n_projections))
    return U / np.linalg.norm(U, axis=0)


@pytest.mark.parametrize(("n", "m"), [(50, 50), (50, 37), (1, 6)])
@pytest.mark.parametrize("D", [1, 3, 40])
def test_each_direction_is_the_distance_on_a_line(n: int, m: int, D: int) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n, D)), 1 + rng.normal(size=(m, D))
    lines = [wasserstein_distance(x @ u, y @ u) for u in directions(D, 30, seed=4).T]
    result = sliced_wasserstein(x, y, n_projections=30, seed=4)
    assert result.value == pytest.approx(np.mean(lines), rel=1e-12)
    assert result.standard_error == pytest.approx(np.std(lines, ddof=1) / math.sqrt(30), rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("p", [1, 2])
def test_agrees_with_pot(p: int) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(80, 5)), 0.3 + rng.normal(size=(60, 5))
    peer = ot.sliced_wasserstein_distance(x, y, projections=directions(5, 40, seed=0), p=p)
    assert sliced_wasserstein(x, y, p, n_projections=40).value == pytest.approx(peer, rel=1e-9)


@pytest.mark.parametrize("D", [2, 3, 10])
def test_a_shift_has_its_closed_form_within_the_stated_error(D: int) -> None:
    """E|u_1| and E u_1^2 on the sphere; the errors are standard ones, over seeds."""
    x, t = np.random.default_rng(0).normal(size=(20, D)), np.full(D, 0.7)
    length = 0.7 * math.sqrt(D)
    first = length * math.gamma(D / 2) / (math.sqrt(math.pi) * math.gamma((D + 1) / 2))
    for p, exact in ((1, first), (2, length / math.sqrt(D))):
        results = [sliced_wasserstein(x, x + t, p, seed=seed) for seed in range(200)]
        z = np.array([(r.value - exact) / r.standard_error for r in results])
        assert abs(z.mean()) < 0.35
        assert 0.8 < z.std() < 1.2


def test_below_the_exact_distance_and_zero_only_without_a_difference() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(100, 4)), rng.normal(size=(100, 4)) + 0.2
    for p in (1, 2):
        assert sliced_wasserstein(x, y, p).value <= wasserstein(x, y, p)
    assert sliced_wasserstein(x, x[::-1]).value == 0
    assert sliced_wasserstein(x, x[::-1]).standard_error == 0


def test_motions_offsets_and_units() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(100, 6)), rng.normal(size=(80, 6)) * 1.3
    value, error = (r := sliced_wasserstein(x, y, n_projections=2000)).value, r.standard_error
    assert sliced_wasserstein(x + 1e6, y + 1e6, n_projections=2000).value == pytest.approx(value, rel=1e-8)
    assert sliced_wasserstein(7 * x, 7 * y, n_projections=2000).value == pytest.approx(7 * value)
    Q = ortho_group.rvs(6, random_state=0)
    turned = sliced_wasserstein(x @ Q, y @ Q, n_projections=2000)
    assert abs(turned.value - value) < 5 * error


def test_blocks_of_directions_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(40, 3)), rng.normal(size=(30, 3))
    whole, whole_test = sliced_wasserstein(x, y), sliced_wasserstein_test(x, y, 50, 20)
    monkeypatch.setattr("submanifold.transport.sliced._BUDGET", 500)
    assert sliced_wasserstein(x, y).value == pytest.approx(whole.value, rel=1e-12)
    assert sliced_wasserstein_test(x, y, 50, 20).null == pytest.approx(whole_test.null, rel=1e-12)


@pytest.mark.parametrize(("n", "m"), [(40, 40), (40, 25)])
def test_the_statistic_and_its_null_are_sliced_distances(n: int, m: int) -> None:
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(n, 3)), 0.5 + rng.normal(size=(m, 3))
    test = sliced_wasserstein_test(x, y, n_permutations=400, n_projections=30, seed=7)
    direct = sliced_wasserstein(x, y, n_projections=30, seed=7)
    assert test.statistic == pytest.approx(direct.value, rel=1e-12)
    pooled = np.concatenate([x, y])
    splits = (rng.permutation(pooled) for _ in range(400))
    null = [sliced_wasserstein(s[:n], s[n:], n_projections=30, seed=7).value for s in splits]
    error = np.hypot(np.std(null), test.null.std()) / 20
    assert abs(test.floor - np.mean(null)) < 4 * error
    assert test.null.std() == pytest.approx(np.std(null), rel=0.25)


def test_p_values_are_uniform_when_the_laws_agree() -> None:
    p_values, excess = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(30, 2)), rng.normal(size=(20, 2))
        test = sliced_wasserstein_test(x, y, n_permutations=99, n_projections=10, seed=seed)
        p_values.append(test.p_value - rng.random() / 100)  # spread over the steps of 1/100
        excess.append(test.excess)
    assert kstest(p_values, "uniform").pvalue > 1e-3
    assert np.mean(np.array(p_values) <= 0.05) <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / 300)
    assert abs(np.mean(excess)) < 4 * np.std(excess) / math.sqrt(300)


@pytest.mark.parametrize("change", ["shift", "scale", "correlation"])
def test_power(change: str) -> None:
    rejected = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(300, 2)), rng.normal(size=(300, 2))
        if change == "shift":
            y[:, 0] += 0.4
        elif change == "scale":
            y *= 1.4
        else:
            y[:, 1] = 0.8 * y[:, 0] + 0.6 * y[:, 1]
        rejected += sliced_wasserstein_test(x, y, 99, 30, seed).p_value <= 0.05
    assert rejected >= 18


def test_the_outcome_of_a_test_by_hand() -> None:
    test = TwoSampleTest(3.0, np.array([1.0, 2.0, 3.0, 4.0]))
    assert (test.floor, test.excess, test.p_value, float(test)) == (2.5, 0.5, 3 / 5, 3.0)


def test_the_seed_decides_and_the_global_state_is_left_alone() -> None:
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(30, 2)), rng.normal(size=(30, 2))
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first, again = (sliced_wasserstein_test(x, y, 50, 10, seed=1) for _ in range(2))
    np.testing.assert_array_equal(first.null, again.null)
    assert not np.array_equal(first.null, sliced_wasserstein_test(x, y, 50, 10, seed=2).null)
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # noqa: NPY002


def test_bad_input_is_refused() -> None:
    x = np.random.default_rng(0).normal(size=(5, 2))
    with pytest.raises(InvalidInput, match="n_projections=1"):
        sliced_wasserstein(x, x, n_projections=1)
    with pytest.raises(InvalidInput, match="n_permutations=0"):
        sliced_wasserstein_test(x, x, n_permutations=0)
    with pytest.raises(InvalidInput, match="x holds 1 points"):
        sliced_wasserstein_test(x[:1], x)
    with pytest.raises(InvalidInput, match="y has 3 coordinates"):
        sliced_wasserstein(x, np.zeros((5, 3)))
