"""What neighbour statistics read on laws of known dimension: closed forms, simulation, and the inverse."""

import numpy as np
import pytest
from scipy.special import digamma
from scipy.stats import ncx2

from submanifold.dimension import MLE, Calibrated
from submanifold.dimension.reference import REFERENCES, calibrate, expected_mle
from submanifold.dimension.reference_laws import LAWS as REFERENCE_LAWS
from submanifold.errors import InvalidInput

DIMENSIONS = [1, 2, 5, 10, 20]


def ball(n, d, rng):
    X = rng.standard_normal((n, d))
    return X / np.linalg.norm(X, axis=1, keepdims=True) * rng.random((n, 1)) ** (1 / d)


def gaussian(n, d, rng):
    return rng.standard_normal((n, d))


def sphere(n, d, rng):
    X = rng.standard_normal((n, d + 1))
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def cube(n, d, rng):
    return rng.random((n, d))


LAWS = {"ball": ball, "cube": cube, "gaussian": gaussian, "sphere": sphere}


def test_the_circle_in_closed_form():
    """On the circle a chord r holds F = (2 / pi) asin(r / 2), whatever the point."""
    u = np.array([1e-10, 1e-4, 0.1, 0.5, 0.9])
    np.testing.assert_allclose(REFERENCE_LAWS["sphere"](1.0, np.log(u)), np.log(2 * np.sin(np.pi * u / 2)), rtol=1e-12)


def test_the_interval_in_closed_form():
    """In [-1, 1] a ball about x holds min(r, (1 - |x| + r) / 2), whose inverse is averaged over x exactly."""
    u = np.array([1e-8, 1e-3, 0.3, 0.8])
    x = (np.arange(200_000) + 0.5) / 200_000
    exact = [np.log(np.where(v <= 1 - x, v, 2 * v - 1 + x)).mean() for v in u]
    np.testing.assert_allclose(REFERENCE_LAWS["ball"](1.0, np.log(u)), exact, atol=2e-3)


@pytest.mark.parametrize("d", [3.0, 12.0, 60.0])
def test_the_gaussian_by_another_route(d):
    u = np.array([1e-9, 1e-4, 0.2])
    share = (np.arange(4000) + 0.5) / 4000
    from scipy.stats import chi2

    exact = [np.mean(np.log(ncx2.ppf(v, d, chi2.ppf(share, d))) / 2) for v in u]
    np.testing.assert_allclose(REFERENCE_LAWS["gaussian"](d, np.log(u)), exact, atol=1e-3)


@pytest.mark.parametrize("reference", list(REFERENCES))
@pytest.mark.parametrize("d", [0.7, 2.0, 11.0])
def test_small_balls_grow_with_the_power_d(reference, d):
    """log F = d log r + const: between u = 1e-12 and 1e-11 the quantile moves by log(10) / d."""
    low, high = REFERENCE_LAWS[reference](d, np.log([1e-12, 1e-11]))
    np.testing.assert_allclose(high - low, np.log(10) / d, rtol=0.02 if d < 5 else 0.3)


def test_many_points_read_the_dimension_itself():
    for reference in REFERENCES:
        for d in (1, 3, 6):
            assert abs(expected_mle(d, 10**9, 5, reference) / d - 1) < 0.015


@pytest.mark.parametrize("reference", list(REFERENCES))
def test_the_shipped_table_is_what_the_laws_say(reference):
    """To float32, at dimensions and probabilities of its grid and between them."""
    from submanifold.dimension.reference import _DIMENSIONS, _log_quantiles

    log_u = np.log([1e-11, 3e-7, 2e-4, 0.05])
    for row in (4, 11, 20):
        exact = REFERENCE_LAWS[reference](float(_DIMENSIONS[row]), np.concatenate([log_u, np.log([1e-12, 0.95])]))[:4]
        found = _log_quantiles(reference, log_u)[row]
        np.testing.assert_allclose(found - found[0], exact - exact[0], atol=2e-3)


def test_the_square_by_another_route():
    """In two dimensions the saddlepoint's formula is at its worst, and only where u is of order one."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-1, 1, (2, 300, 1, 2)), rng.uniform(-1, 1, (2, 1, 40_000, 2))
    r = np.sort(np.linalg.norm(x[0] - y[0], axis=2), axis=1)  # (300, 40000)
    u = np.array([0.01, 0.05, 0.2])
    found = REFERENCE_LAWS["cube"](2.0, np.log(np.concatenate([[1e-12], u, [0.95]])))[1:4]
    simulated = np.log(r[:, (u * 40_000).astype(int)]).mean(axis=0)
    assert (np.abs(np.diff(found) / np.diff(simulated) - 1) < [0.03, 0.08]).all()


def test_weights_are_those_of_order_statistics():
    """On a law with Q = log(u) / d the statistic is digamma(k) minus the mean of digamma(j), j < k, over d: 1 / d."""
    from submanifold.dimension.reference import _weights

    for n, k in ((50, 2), (50, 24), (2500, 5), (10**6, 100)):
        log_u, weights = _weights(n, k)
        exact = (digamma(k) - digamma(np.arange(1, k))).mean()
        np.testing.assert_allclose(weights @ log_u, exact, rtol=2e-3)
        np.testing.assert_allclose(exact, 1.0, rtol=1e-12)
        assert abs(weights.sum()) < 1e-9


@pytest.mark.parametrize("law", list(LAWS))
@pytest.mark.parametrize("d", [2, 10, 30])
def test_simulation_reads_what_is_expected(law, d):
    n, k = 400, 10
    read = [MLE(k).fit(LAWS[law](n, d, np.random.default_rng([s, d]))).dimension_ for s in range(12)]
    error = np.std(read, ddof=1) / np.sqrt(len(read))
    assert abs(np.mean(read) - expected_mle(d, n, k, law)) < 4 * error + 0.003 * d


@pytest.mark.parametrize("reference", list(REFERENCES))
def test_calibration_undoes_the_expectation(reference):
    for n, k in ((60, 3), (2500, 2), (100_000, 50)):
        for d in (0.5, 1, 4, 17, 70):
            np.testing.assert_allclose(
                calibrate(expected_mle(d, n, k, reference), n, k, reference).dimension, d, rtol=2e-3
            )


def test_elasticity_is_the_derivative():
    raw, step = 12.0, 1e-4
    low, high = (calibrate(raw * np.exp(s), 2500, 5, "ball").dimension for s in (-step, step))
    np.testing.assert_allclose(
        calibrate(raw, 2500, 5, "ball").elasticity, (np.log(high) - np.log(low)) / (2 * step), rtol=1e-3
    )


def test_calibration_is_vectorised_and_increasing():
    raw = np.geomspace(0.2, 60, 50)
    values = calibrate(raw, 1000, 5, "sphere").dimension
    assert (np.diff(values) > 0).all()
    np.testing.assert_allclose(values[7], calibrate(raw[7], 1000, 5, "sphere").dimension)


@pytest.mark.parametrize("law", list(LAWS))
@pytest.mark.parametrize("d", [1, 5, 20, 60])
def test_calibrated_is_unbiased_on_its_own_reference(law, d):
    values = [
        Calibrated(5, reference=law).fit(LAWS[law](500, d, np.random.default_rng([s, d, 7]))).dimension_
        for s in range(10)
    ]
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    assert abs(np.mean(values) - d) < 4 * error + 0.01 * d


def test_calibrated_tells_all_references():
    fitted = Calibrated(5).fit(gaussian(600, 12, np.random.default_rng(0)))
    assert fitted.by_reference_.keys() == set(REFERENCES)
    assert fitted.dimension_ == fitted.by_reference_["ball"]
    assert fitted.raw_dimension_ < min(fitted.by_reference_.values())
    (low, high), (inner_low, inner_high) = fitted.interval_, fitted.sampling_interval_
    assert low <= inner_low < fitted.dimension_ < inner_high <= high
    assert low < fitted.by_reference_["gaussian"] < high
    np.testing.assert_allclose(
        fitted.raw_dimension_, MLE(5).fit(gaussian(600, 12, np.random.default_rng(0))).dimension_
    )


def test_calibrated_refuses_an_unknown_reference():
    with pytest.raises(InvalidInput, match="reference='bal' is unknown: did you mean 'ball'"):
        Calibrated(reference="bal").fit(gaussian(50, 2, np.random.default_rng(0)))


@pytest.mark.slow
@pytest.mark.parametrize("n", [500, 5000])
@pytest.mark.parametrize("d", DIMENSIONS)
@pytest.mark.parametrize("law", list(LAWS))
def test_calibrated_covers_the_true_dimension(law, d, n):
    """At 100 repetitions a true coverage of 96% is below 90% less than once in a hundred times."""
    hits = 0
    for seed in range(100):
        low, high = Calibrated(random_state=seed).fit(LAWS[law](n, d, np.random.default_rng([seed, d, n]))).interval_
        hits += low <= d <= high
    assert hits >= 90
