"""The experiments: each claim of the literature holds, with the number that decides it."""

import json
import math

import numpy as np
import pytest
from scipy.special import i0, i1

from submanifold.data.manifolds import manifold
from submanifold.dimension import ESTIMATORS
from submanifold.errors import InvalidInput
from submanifold.reproduce import names, run
from submanifold.reproduce.circle_overfitting import angular_kl
from submanifold.reproduce.codimension_slope import slope
from submanifold.reproduce.dimension_intervals import coverage, sample
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


def test_intervals_of_every_estimator_are_counted():
    outcome = run("dimension-intervals", seeds=4, sizes=(110, 120), dimensions=(5,))
    assert {row["estimator"] for row in outcome.rows} == set(ESTIMATORS)
    assert len(outcome.claims) == len(set(ESTIMATORS)) + 1
    json.dumps(outcome.to_json(), allow_nan=False)
    repetitions = {row["estimator"]: row["repetitions"] for row in outcome.rows}
    assert (repetitions["mle"], repetitions["tle"], repetitions["ph"]) == (4, 2, 1)
    assert {row["n"] for row in outcome.rows if row["estimator"] == "tle"} == {110}
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
