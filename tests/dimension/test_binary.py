"""BID: the exact law of independent bits, correlated bits, distances against SciPy, what counts as binary."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.spatial.distance import pdist
from scipy.special import gammaln
from scipy.stats import binom

from submanifold.dimension import binary
from submanifold.dimension.binary import BID, hamming_counts
from submanifold.errors import InvalidInput


def bits(n, D, seed=0):
    return np.random.default_rng(seed).random((n, D)) < 0.5


def chain(n, D, flip, seed=0):
    """Bits of which each differs from the one before with probability `flip`."""
    return np.cumsum(np.random.default_rng(seed).random((n, D)) < flip, axis=1) % 2 == 1


@pytest.mark.parametrize("D", [2, 5, 100, 1000])
def test_the_law_of_independent_bits_is_recovered_exactly(D):
    r = np.arange(D + 1.0)
    P = binom.pmf(r, D, 0.5)
    r, P = r[P > 1e-300], P[P > 1e-300]
    d0, d1, divergence = binary._fit(r, P / P.sum(), D)
    np.testing.assert_allclose((d0, d1), (D, 0), rtol=1e-6, atol=1e-6)
    assert abs(divergence) < 1e-12


def test_a_law_within_the_model_is_recovered():
    r = np.arange(5.0, 60.0)
    d = 70 + 0.4 * r
    P = np.exp(-d * np.log(2) + gammaln(d + 1) - gammaln(r + 1) - gammaln(d - r + 1))
    d0, d1, _ = binary._fit(r, P / P.sum(), 200)
    np.testing.assert_allclose((d0, d1), (70, 0.4), rtol=1e-6)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_three_thousand_by_a_hundred_random_spins(seed):
    fitted = BID().fit(bits(3000, 100, seed))
    assert abs(fitted.dimension_ - 100) < 0.15  # the standard error is 0.04
    assert abs(fitted.slope_) < 0.01
    assert fitted.log_divergence_ < -11
    np.testing.assert_allclose(fitted.probability_.sum(), 1)
    np.testing.assert_allclose(fitted.model_.sum(), 1)
    low, high = fitted.interval_
    assert low < 100 < high < 101


# DADApy 0.3.4 (a random walk of 1e6 steps): Hamming(coordinates=2 * chain(1000, 60, flip) - 1), BID(H, alphamin=0,
# alphamax=..., seed=1, delta=5e-4, Nsteps=1e6): how many distances it fitted, d0, d1, the logarithm of the divergence.
# It leaves out the distance at which alphamax is reached, which the paper's equation keeps.
@pytest.mark.parametrize(
    ("flip", "fitted", "d0", "d1", "log_divergence"),
    [
        (0.5, 36, 59.90597190068859, 0.0033730181360885235, -10.535573441114003),
        (0.5, 17, 59.90069940045039, 0.0027093994460373545, -10.420274921608256),
        (0.2, 46, 40.26672068843672, 0.6293176898719667, -5.8751036419954),
        (0.2, 24, 36.37667911559644, 0.8268861549733953, -8.601305885916583),
        (0.2, 19, 35.29710596526258, 0.9672077421772333, -9.120717573008367),
    ],
)
def test_dadapy_finds_no_better_minimum(flip, fitted, d0, d1, log_divergence):
    every = BID().fit(chain(1000, 60, flip))
    r, P = every.distances_[:fitted].astype(float), every.probability_[:fitted]
    ours = binary._fit(r, P / P.sum(), 60)
    assert np.log(ours[2]) <= log_divergence + 1e-6
    np.testing.assert_allclose(ours[0], d0, rtol=1e-6 if flip < 0.5 else 0.01)  # the walk has not arrived at 0.5


def test_the_minimum_is_a_minimum():
    fitted = BID(alphamax=0.7).fit(chain(1500, 60, 0.2))
    r, P = fitted.distances_.astype(float), fitted.probability_

    def divergence(at):
        d = at[0] + at[1] * r
        log_weight = -d * np.log(2) + gammaln(d + 1) - gammaln(d - r + 1) - gammaln(r + 1)
        Q = np.exp(log_weight - log_weight.max())
        return P @ np.log(P / (Q / Q.sum()))

    here = divergence((fitted.dimension_, fitted.slope_))
    np.testing.assert_allclose(np.log(here), fitted.log_divergence_, rtol=1e-6)
    other = minimize(
        divergence, (fitted.dimension_ * 1.05, fitted.slope_), method="Nelder-Mead", options={"fatol": 1e-14}
    )
    assert here <= other.fun + 1e-12
    np.testing.assert_allclose(other.x, (fitted.dimension_, fitted.slope_), rtol=1e-3)


def test_correlation_lowers_the_dimension():
    found = [BID().fit(chain(2000, 100, flip)).dimension_ for flip in (0.5, 0.3, 0.1, 0.02)]
    assert 99 < found[0] < 101
    assert found == sorted(found, reverse=True)
    assert found[-1] < 15
    assert BID().fit(np.repeat(bits(2000, 50), 2, axis=1)).dimension_ < 80  # every bit twice
    constant = np.hstack([bits(2000, 60), np.ones((2000, 40), bool)])
    assert abs(BID().fit(constant).dimension_ - 60) < 0.2


@pytest.mark.parametrize(("n", "D"), [(2, 1), (50, 7), (50, 8), (300, 64), (1500, 65), (40, 1000)])
def test_counts_are_those_of_all_pairs(n, D, monkeypatch):
    X = bits(n, D)
    expected = np.bincount(np.rint(pdist(X, "hamming") * D).astype(int), minlength=D + 1)
    np.testing.assert_array_equal(hamming_counts(X), expected)
    monkeypatch.delattr(np, "bitwise_count", raising=False)  # as with numpy 1
    np.testing.assert_array_equal(hamming_counts(X), expected)


def test_forms_of_bits_and_copies():
    X = chain(400, 30, 0.2)
    expected = BID().fit(X).dimension_
    order = np.random.default_rng(0).permutation(30)
    for same in (X.astype(int), 2 * X.astype(np.int8) - 1, ~X, X.astype(np.float32), X[:, order], X[::-1]):
        np.testing.assert_allclose(BID().fit(same).dimension_, expected, rtol=1e-9)
    copied = np.vstack([X, X[:200]])  # a distance of 0 is an observation
    assert (BID().fit(copied).distances_ == 0).any()


def test_the_range_of_distances():
    fitted = BID(0.1, 0.4).fit(bits(1000, 100))
    all_r = BID().fit(bits(1000, 100))
    cumulated = np.cumsum(all_r.probability_)
    low, high = (int(all_r.distances_[np.searchsorted(cumulated, level)]) for level in (0.1, 0.4))
    np.testing.assert_array_equal(fitted.distances_, np.arange(low, high + 1))


@pytest.mark.parametrize(
    ("fit", "named"),
    [
        (lambda: BID().fit(np.random.default_rng(0).standard_normal((50, 3))), "150 different values: give binary"),
        (lambda: BID().fit(np.arange(12).reshape(4, 3) % 5), "5 different values: give binary"),
        (lambda: BID(alphamin=0.5, alphamax=0.2).fit(bits(50, 10)), "alphamax=0.2"),
        (lambda: BID(alphamin=-1).fit(bits(50, 10)), "alphamin=-1"),
        (lambda: BID().fit(bits(50, 1)), "2 different Hamming distances"),
        (lambda: BID().fit(np.zeros((50, 4))), "copies of one point"),
    ],
)
def test_refusals(fit, named):
    with pytest.raises(InvalidInput, match=named):
        fit()
