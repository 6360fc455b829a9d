"""MMD: the written formula, its closed form between Gaussians, no bias, and a valid p-value."""

import math

import numpy as np
import pytest
from scipy.stats import kstest, ortho_group
from sklearn.metrics.pairwise import rbf_kernel

from submanifold.errors import InvalidInput
from submanifold.transport import mmd


def test_equals_the_formula_term_by_term() -> None:
    rng = np.random.default_rng(0)
    x, y, h = rng.normal(size=(30, 3)), 0.4 + rng.normal(size=(23, 3)), 1.7
    kxx, kyy, kxy = (rbf_kernel(a, b, 0.5 / h**2) for a, b in ((x, x), (y, y), (x, y)))
    expected = (kxx.sum() - 30) / (30 * 29) + (kyy.sum() - 23) / (23 * 22) - 2 * kxy.sum() / (30 * 23)
    assert mmd(x, y, h).statistic == pytest.approx(expected, rel=1e-10)


def test_the_null_is_the_statistic_of_exchanged_samples() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(20, 2)), 1 + rng.normal(size=(15, 2))
    test = mmd(x, y, 1.0, n_permutations=50, seed=3)
    labels = np.repeat([1.0, 0.0], [20, 15])
    draws = np.random.default_rng(3)
    pooled = np.concatenate([x, y])
    for value in test.null:
        in_x = draws.permutation(labels) == 1
        again = mmd(pooled[in_x], pooled[~in_x], 1.0, n_permutations=1).statistic
        assert value == pytest.approx(again, rel=1e-9, abs=1e-13)


def test_the_median_bandwidth_is_the_median_distance() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(30, 40)), rng.normal(size=(20, 40))
    pooled = np.concatenate([x, y])
    gaps = np.linalg.norm(pooled[:, None] - pooled, axis=2)[np.triu_indices(50, 1)]
    assert mmd(x, y).statistic == pytest.approx(mmd(x, y, float(np.median(gaps))).statistic)


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_unbiased_for_gaussians(shift: float) -> None:
    r"""For N(0, 1), N(\mu, 1): MMD^2 = 2 h (h^2 + 2)^{-1/2} (1 - \exp(-\mu^2 / 2 (h^2 + 2)))."""
    h = 0.8
    exact = 2 * h / math.sqrt(h**2 + 2) * (1 - math.exp(-(shift**2) / (2 * (h**2 + 2))))
    values = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=12), shift + rng.normal(size=9)
        values.append(mmd(x, y, h, n_permutations=1).statistic)
    assert abs(np.mean(values) - exact) < 4 * np.std(values) / 20
    assert np.std(values) / 20 < 0.01


def test_p_values_are_uniform_when_the_laws_agree() -> None:
    p_values = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(25, 2)), rng.normal(size=(18, 2))
        p_values.append(mmd(x, y, n_permutations=99, seed=seed).p_value - rng.random() / 100)
    assert kstest(p_values, "uniform").pvalue > 1e-3
    assert np.mean(np.array(p_values) <= 0.05) <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / 300)


def test_power() -> None:
    rejected = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(200, 3)), 0.35 + rng.normal(size=(200, 3))
        rejected += mmd(x, y, n_permutations=99, seed=seed).p_value <= 0.05
    assert rejected >= 18


@pytest.mark.parametrize("D", [3, 50])
def test_motions_offsets_and_units(D: int) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(60, D)), 0.5 + rng.normal(size=(40, D))
    value = mmd(x, y).statistic
    Q = ortho_group.rvs(D, random_state=0)
    assert mmd(x @ Q, y @ Q).statistic == pytest.approx(value, rel=1e-9)
    assert mmd(x + 1e6, y + 1e6).statistic == pytest.approx(value, rel=1e-7)
    assert mmd(100 * x, 100 * y).statistic == pytest.approx(value, rel=1e-9)  # h scales along


def test_bad_input_is_refused() -> None:
    x = np.random.default_rng(0).normal(size=(10, 2))
    with pytest.raises(InvalidInput, match=r"bandwidth='mean' is unknown"):
        mmd(x, x, bandwidth="mean")
    with pytest.raises(InvalidInput, match="bandwidth=0"):
        mmd(x, x, bandwidth=0.0)
    with pytest.raises(InvalidInput, match="most points coincide"):
        mmd(np.zeros((10, 2)), np.zeros((10, 2)))
    with pytest.raises(InvalidInput, match="x holds 1 points"):
        mmd(x[:1], x)
    with pytest.raises(InvalidInput, match="sliced_wasserstein_test"):
        mmd(np.zeros((6000, 2)), np.ones((6000, 2)))
