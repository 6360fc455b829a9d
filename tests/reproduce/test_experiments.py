"""The experiments: each claim of the literature holds, with the number that decides it."""

import json
import math

import numpy as np
import pytest
from scipy.special import i0, i1

from submanifold.data.manifolds import manifold
from submanifold.dimension import ESTIMATORS
from submanifold.errors import InvalidInput
from submanifold.reproduce import names, parallel_segments, run
from submanifold.reproduce.circle_overfitting import angular_kl
from submanifold.reproduce.codimension_slope import slope
from submanifold.reproduce.dimension_intervals import _covers_its_mean, coverage, sample
from submanifold.reproduce.outcome import Claim, Outcome


def assert_reproduced(outcome):
    claims = "\n".join(f"{c.statement}: {c.measured} (accepted: {c.accepted}), {c.holds}" for c in outcome.claims)
    assert outcome.reproduced, claims
    written = json.loads(json.dumps(outcome.to_json(), allow_nan=False))
    assert written["reproduced"] is True
    assert len(written["rows"]) == len(outcome.rows) > 0


def test_codimension_slope():
    assert_reproduced(run("codimension-slope"))


@pytest.mark.parametrize("D", [2, 3, 10, 50])
def test_the_slope_is_the_codimension_for_any_law_on_the_circle(D):
    for mu in (0.0, 1.0, math.pi):
        assert slope(D, mu=mu, n=1000, seed=D) == pytest.approx(D - 1, rel=0.02)


def test_score_explosion():
    assert_reproduced(run("score-explosion", seeds=1))


def test_parallel_segments():
    assert_reproduced(run("parallel-segments", seeds=2))


@pytest.mark.parametrize("t", [1e-3, 0.1, 1.0, 3.0])
@pytest.mark.parametrize("h", [0.1, 0.5, 2.0])
def test_mmd_of_parallel_segments_by_quadrature(t, h):
    nodes, weights = np.polynomial.legendre.leggauss(60)
    u, w = (nodes + 1) / 2, weights / 2
    heights = w @ np.exp(-0.5 * (np.subtract.outer(u, u) / h) ** 2) @ w
    squared = 2 * heights * (1 - np.exp(-0.5 * (t / h) ** 2))
    assert parallel_segments.mmd_closed_form(t, h) == pytest.approx(math.sqrt(squared), rel=1e-7)


def test_the_estimate_of_kl_is_right_where_kl_is_finite():
    """Between N(0, I) and N(b, s^2 I) it is (|b|^2 + D) / 2 s^2 - D / 2 + D log s."""
    rng = np.random.default_rng(0)
    b, s = np.array([1.0, 0.5]), 1.5
    x, y = rng.standard_normal((5000, 2)), b + s * rng.standard_normal((8000, 2))
    expected = (b @ b + 2) / (2 * s**2) - 1 + 2 * math.log(s)
    assert parallel_segments.kl_estimate(x, y) == pytest.approx(expected, abs=0.06)


def test_the_bound_of_jensen_and_shannon_is_one():
    """It comes up to the divergence of Gaussians, whose best classifier is logistic, and is none for one law."""
    rng = np.random.default_rng(0)
    x, y, z = rng.standard_normal((3, 4000, 2))
    grid = np.linspace(-8, 10, 20_001)
    p, q = (np.exp(-0.5 * (grid - mean) ** 2) / math.sqrt(2 * math.pi) for mean in (0.0, 2.0))
    step = grid[1] - grid[0]
    exact = 0.5 * step * float((p * np.log(2 * p / (p + q)) + q * np.log(2 * q / (p + q))).sum())
    bound = parallel_segments.jensen_shannon_bound(x, y + np.array([2.0, 0.0]), strength=1.0, seed=0)
    assert exact - 0.03 < bound < exact + 0.02
    assert parallel_segments.jensen_shannon_bound(x, z, strength=1.0, seed=0) < 0.002


def test_angular_kl_against_closed_forms():
    """KL from von Mises to the uniform law is kappa A(kappa) - log I_0(kappa), from a turned one A (1 - cos)."""
    kappa = 1.0
    A = i1(kappa) / i0(kappa)
    circle, n = manifold("circle", kappa=kappa), 200_000
    for other, expected in [
        (circle, 0.0),
        (manifold("circle", kappa=0.0), kappa * A - math.log(i0(kappa))),
        (manifold("circle", kappa=kappa, mu=1.0), kappa * A * (1 - math.cos(1.0))),
    ]:
        assert angular_kl(circle, other.sample(n, seed=1)) == pytest.approx(expected, abs=0.004)


@pytest.mark.parametrize(
    ("share", "line", "holds"), [(0.95, 0.95, True), (0.95, 0.85, True), (0.95, 0.5, True), (0.8, 0.95, False)]
)
def test_where_the_variance_falls_slowly_coverage_is_told_and_not_asked(share, line, holds):
    rows = [
        {"law": "gaussian", "d": d, "repetitions": 300, "is a single value": 0.0, "covers its mean": covered}
        for d, covered in [(1, line), (2, share), (5, share)]
    ]
    claim = _covers_its_mean("knn", rows)
    assert claim.holds == holds
    assert f"not asked: {line:.1%}" in claim.measured
    assert not _covers_its_mean("mle", [{**rows[0], "covers its mean": 0.85}, *rows[1:]]).holds


def test_a_case_is_judged_by_the_samples_it_was_counted_in():
    """22 of 25 may be chance where 93% are asked, 258 of 300 are not; and cases weigh as much as they have samples."""

    def claim(*cases):
        return _covers_its_mean(
            "mle",
            [
                {"law": "ball", "d": d, "repetitions": n, "is a single value": 0.0, "covers its mean": share}
                for d, (n, share) in enumerate(cases)
            ],
        )

    assert claim((300, 0.95), (25, 22 / 25)).holds
    assert not claim((2700, 0.95), (300, 0.86)).holds
    assert claim((300, 0.95), (100, 0.9)).measured.startswith("93.8%")


def test_intervals_of_every_estimator_are_counted():
    outcome = run("dimension-intervals", seeds=4, sizes=(110, 120), dimensions=(5,))
    assert {row["estimator"] for row in outcome.rows} == set(ESTIMATORS)
    assert len(outcome.claims) == len(set(ESTIMATORS)) + 1
    json.dumps(outcome.to_json(), allow_nan=False)
    repetitions = {(row["estimator"], row["n"]): row["repetitions"] for row in outcome.rows}
    assert [repetitions.get((name, 110)) for name in ("mle", "tle", "ph")] == [4, 2, 1]
    assert [repetitions.get((name, 120)) for name in ("mle", "tle", "ph")] == [4, 1, None]
    # A count does not depend on how repetitions are shared out, nor on what else is counted.
    (alone,) = coverage("ball", 5, 120, 4, ["mle"])
    assert alone in outcome.rows


def test_laws_of_bits_are_fair_and_as_dependent_as_they_say():
    rng = np.random.default_rng(0)
    for law, agreement in (("independent bits", 0.5), ("chain of bits", 0.75)):
        X = sample(law, 20_000, 6, rng)  # a frequency scatters by 0.0035
        np.testing.assert_allclose(X.mean(axis=0), 0.5, atol=0.015)
        np.testing.assert_allclose((X[:, 1:] == X[:, :-1]).mean(axis=0), agreement, atol=0.015)


def test_a_claim_that_fails_fails_the_outcome():
    good, bad = (Claim("a", "1", "1", holds) for holds in (True, False))
    assert Outcome("x", [good, good]).reproduced
    assert not Outcome("x", [good, bad]).reproduced
    assert np.array_equal([c["holds"] for c in Outcome("x", [good, bad]).to_json()["claims"]], [True, False])


def test_names_are_known_and_others_refused_with_the_nearest():
    assert {"codimension-slope", "circle-overfitting", "circle-autoencoder"} <= set(names())
    with pytest.raises(InvalidInput, match="circle-overfitting"):
        run("circle-overfiting")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["circle-overfitting", "circle-autoencoder"])
def test_trained_experiments(name):
    assert_reproduced(run(name))
