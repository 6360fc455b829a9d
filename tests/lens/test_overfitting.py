"""The alarm of manifold overfitting, on models whose density, widths and samples are known in closed form."""

import math

import numpy as np
import pytest
import torch
from toys import Gaussian, Identity, KnownWidths, Sampler, SmoothedCircle, assert_draws, blind, circle_data

from submanifold.data.manifolds import manifold
from submanifold.errors import InvalidInput
from submanifold.lens import manifold_overfitting
from submanifold.lens.overfitting import codimension_curve, effective_codimension, local_scales


def test_effective_codimension_is_the_slope_of_the_smoothed_ridges_log_density():
    rng = np.random.default_rng(0)
    scales = np.exp(rng.uniform(-5, 3, (20, 7)))

    def log_density(log_tau):
        return -0.5 * np.log(2 * np.pi * (scales**2 + math.exp(2 * log_tau))).sum(axis=1)

    for tau in (1e-3, 0.1, 10.0):
        h = 1e-4
        slope = (log_density(math.log(tau) + h) - log_density(math.log(tau) - h)) / (2 * h)
        np.testing.assert_allclose(effective_codimension(scales, tau), -slope, atol=1e-6)


@pytest.mark.parametrize("D", [2, 20])
def test_it_is_the_slope_of_a_smoothed_circle_that_has_a_closed_form(D):
    """A circle of width s, smoothed by tau, is a circle smoothed by sqrt(s^2 + tau^2)."""
    circle, s = manifold("circle", kappa=1.0, ambient_dim=D), 0.02
    x = circle.sample(500, seed=0)
    widths = np.array([[1.0] + [s] * (D - 1)])
    for tau in (0.005, 0.02, 0.05):
        h = 1e-3
        upper, lower = (circle.log_prob_smoothed(x, math.hypot(s, tau * math.exp(step))).mean() for step in (h, -h))
        # the width 1 along the circle stands for a direction that hardly counts: tau^2
        assert effective_codimension(widths, tau)[0] == pytest.approx(-(upper - lower) / (2 * h), abs=0.01 * D)


def test_the_curve_falls_from_the_ambient_dimension_to_zero():
    scales = np.array([[1.0, 0.01, 0.001]])
    curve = codimension_curve(scales, np.logspace(-6, 4, 60))
    assert (np.diff(curve) > 0).all()
    assert curve[0] == pytest.approx(0, abs=1e-5)
    assert curve[-1] == pytest.approx(3, abs=1e-5)
    assert codimension_curve(scales, np.array([0.1]))[0] == pytest.approx(2, abs=0.03)


@pytest.mark.parametrize("D", [1, 2, 6])
def test_widths_through_the_hessian_are_the_standard_deviations_of_a_gaussian(D):
    rng = np.random.default_rng(D)
    A = rng.standard_normal((D, D))
    model = Gaussian(rng.standard_normal(D), A @ A.T + 0.1 * np.eye(D))
    x = torch.from_numpy(rng.standard_normal((5, D)))
    expected = np.sqrt(np.linalg.eigvalsh(A @ A.T + 0.1 * np.eye(D)))[::-1]
    np.testing.assert_allclose(local_scales(model, x), np.tile(expected, (5, 1)), rtol=1e-8)


def test_directions_without_curvature_are_infinitely_wide():
    class Valley(Gaussian):
        def log_prob(self, x):
            return x[:, 0].square() - 50 * x[:, 1].square()

    widths = local_scales(Valley([0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]]), torch.zeros(1, 2, dtype=torch.float64))
    np.testing.assert_allclose(widths, [[np.inf, 0.1]])
    np.testing.assert_allclose(effective_codimension(widths, 0.1), [0.5])


def test_a_smoothed_circle_is_as_wide_as_its_noise():
    x = torch.from_numpy(circle_data(20, 0).x)
    for sigma in (0.01, 0.1):
        np.testing.assert_allclose(local_scales(SmoothedCircle(sigma=sigma), x)[:, -1], sigma, rtol=0.01)


CASES = [
    # model: mean angle, noise; truth known or estimated; verdict
    ("right and sharp", {"sigma": 0.01}, "healthy"),
    ("wrong and sharp", {"mu": math.pi, "sigma": 0.01}, "overfitting"),
    ("a quarter turn, sharp", {"mu": math.pi / 2, "sigma": 0.03}, "overfitting"),
    ("wrong and broad", {"mu": math.pi, "sigma": 0.5}, "inconclusive"),
    ("sharp around another circle", {"mu": math.pi, "sigma": 0.01, "radius": 0.5}, "inconclusive"),
]


@pytest.mark.parametrize("kind", [SmoothedCircle, KnownWidths])
@pytest.mark.parametrize(("settings", "verdict"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_the_verdict_on_oracles_whatever_the_seed(kind, settings, verdict):
    for seed in range(2):
        held_out, known = circle_data(500, 100 + seed), circle_data(800, 200 + seed)
        if seed:
            held_out, known = blind(held_out), blind(known)
        found = manifold_overfitting(kind(**settings), held_out, reference=known, seed=seed)
        assert found.verdict == verdict, found
        tau = 0.1 * _scale(known.x)
        expected = 1 / (1 + (settings["sigma"] / tau) ** 2) if settings["sigma"] < tau else 0.0
        if kind is KnownWidths:
            assert found.numbers["effective_codimension"].value == pytest.approx(expected, abs=0.03)


def _scale(x):
    return math.sqrt(x.var(axis=0).sum())


def test_the_right_law_is_never_accused():
    for seed in range(8):
        found = manifold_overfitting(
            KnownWidths(sigma=0.01), circle_data(300, 300 + seed), reference=circle_data(300, 400 + seed), seed=seed
        )
        assert found.verdict in ("healthy", "inconclusive")


def test_few_points_decide_nothing_rather_than_wrongly():
    verdicts = [
        manifold_overfitting(KnownWidths(sigma=0.01), circle_data(40, seed), dim=1.0, seed=seed).verdict
        for seed in range(20)
    ]
    assert "overfitting" not in verdicts


def test_many_wide_directions_are_not_a_collapse():
    """An isotropic Gaussian of the data's variance in R^64: no direction is narrow."""
    rng = np.random.default_rng(0)
    frame = np.linalg.qr(rng.standard_normal((64, 9)))[0]
    held_out, known = (rng.standard_normal((n, 9)) @ frame.T for n in (300, 1000))
    broad = Gaussian(np.zeros(64), np.eye(64) * 9 / 64)
    found = manifold_overfitting(broad, held_out, reference=known, dim=9.0)
    assert found.numbers["narrowest_width"].value > 0.3
    assert found.numbers["effective_codimension"].value < 0.5


def test_a_model_without_density_is_judged_by_samples_alone():
    copy = circle_data(5000, 7, mu=math.pi).x
    model = Sampler(lambda n, rng: copy[rng.choice(5000, n, replace=False)])
    found = manifold_overfitting(model, circle_data(500, 0), reference=circle_data(500, 1))
    assert found.verdict == "inconclusive"
    assert "effective_codimension" not in found.numbers
    assert any("no density" in assumption for assumption in found.assumptions)
    assert_draws(found)


def test_the_slope_over_training_is_that_of_the_records():
    class History:
        records = tuple({"smallest_scale": math.exp(-k), "log_likelihood": 3.0 * k + 1} for k in range(6))

    found = manifold_overfitting(KnownWidths(), circle_data(200, 0), reference=circle_data(200, 1), history=History)
    assert found.numbers["training_slope"].value == pytest.approx(3.0)


def test_finding_draws_and_the_seed_decides_it():
    held_out, known = circle_data(300, 0), circle_data(300, 1)
    first, second = (manifold_overfitting(KnownWidths(mu=2.0), held_out, reference=known, seed=5) for _ in range(2))
    assert first.to_json() == second.to_json()
    assert_draws(first)


def test_a_model_that_cannot_sample_is_refused():
    with pytest.raises(InvalidInput, match="Identity cannot sample"):
        manifold_overfitting(Identity(), circle_data(100, 0))
