"""The experiments: each claim of the literature holds, with the number that decides it."""

import json
import math

import numpy as np
import pytest
import torch
from scipy.interpolate import LSQUnivariateSpline
from scipy.special import i0, i1

from submanifold.data.manifolds import manifold
from submanifold.dimension import ESTIMATORS
from submanifold.errors import InvalidInput
from submanifold.nn.kan.grids import refine
from submanifold.nn.kan.network import KAN
from submanifold.reproduce import figure, kan_scaling, names, parallel_segments, run, spectral_bias
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
    assert {row["repetitions"] for row in outcome.rows} == {4}
    # A count does not depend on how repetitions are shared out, nor on what else is counted.
    (alone,) = coverage("ball", 5, 120, 4, ["mle"])
    assert alone in outcome.rows


def test_laws_of_bits_are_fair_and_as_dependent_as_they_say():
    rng = np.random.default_rng(0)
    for law, agreement in (("independent bits", 0.5), ("chain of bits", 0.75)):
        X = sample(law, 20_000, 6, rng)  # a frequency scatters by 0.0035
        np.testing.assert_allclose(X.mean(axis=0), 0.5, atol=0.015)
        np.testing.assert_allclose((X[:, 1:] == X[:, :-1]).mean(axis=0), agreement, atol=0.015)


def test_splines_of_least_squares_are_those_of_scipy():
    x = np.linspace(-1, 1, 4001)
    for intervals, error in zip((5, 20), kan_scaling.spline_errors((5, 20)), strict=True):
        inner = np.linspace(-1, 1, intervals + 1)[1:-1]
        residual = LSQUnivariateSpline(x, np.sin(np.pi * x), inner, k=3)(x) - np.sin(np.pi * x)
        assert error == pytest.approx(np.sqrt(np.mean(residual**2)), rel=1e-3)


def test_the_widest_interval_of_each_grid():
    kan = KAN([2, 1], grid=5)
    for intervals, widest in zip(kan_scaling.GRIDS, kan_scaling.WIDEST, strict=True):
        refine(kan, intervals)
        assert 2 / float(kan[0].basis.breakpoints.diff().max()) == pytest.approx(widest)


def test_twice_the_grid_brings_a_kan_of_the_right_shape_four_binary_digits():
    """By the theorem, and 4.35 of them in the median of six seeds."""
    coarse, fine = kan_scaling.network_errors((2, 1, 1), seed=0, grids=(5, 10))
    for key in ("train RMSE", "test RMSE"):
        assert 3.5 < math.log2(coarse[key] / fine[key]) < 5


@pytest.mark.parametrize("kind", spectral_bias.AMPLITUDES)
def test_what_is_known_of_a_wave_is_read_off_it(kind):
    """All of itself, half of its half, and nothing of what has no frequency or another phase."""
    wave, z = spectral_bias.Wave(kind, 0), torch.linspace(0, 1, 200, dtype=torch.float64)
    torch.testing.assert_close(wave.shares(wave(z)), torch.ones(10, dtype=torch.float64))
    torch.testing.assert_close(wave.shares(0.5 * wave(z) + 3), torch.full((10,), 0.5, dtype=torch.float64))
    quarter = z + 1 / (4 * 5)  # turns k = 5 by a quarter, k = 10 by half
    shares = wave.shares(wave(quarter))
    torch.testing.assert_close(shares[:4], torch.tensor([0.0, -1.0, 0.0, 1.0], dtype=torch.float64))


def test_networks_side_by_side_learn_as_each_does_alone():
    contender, waves = spectral_bias.kan(10), [spectral_bias.Wave(kind, 3) for kind in spectral_bias.AMPLITUDES]
    rows = spectral_bias.train(contender, waves, steps=20)
    x = torch.linspace(-1, 1, 200)[:, None]
    for wave, row in zip(waves, rows, strict=True):
        torch.manual_seed(wave.seed)
        network, y = contender.make(), wave(0.5 * (x[:, 0].double() + 1))[:, None].float()
        optimiser = torch.optim.Adam(network.parameters(), lr=contender.rate)
        for _ in range(20):
            optimiser.zero_grad()
            (network(x) - y).square().mean().backward()
            optimiser.step()
        learned = network(x).detach()
        assert row["train MSE"] == pytest.approx(float((learned - y).square().mean()), rel=1e-3)
        np.testing.assert_allclose(row["ratios"][-1], wave.shares(learned[:, 0]), atol=1e-3)


def test_networks_that_are_compared_are_of_equal_size():
    size = spectral_bias.kan(10).parameters
    sizes = [mlp.parameters for mlp in spectral_bias.mlps_of_size(size)]
    assert len(sizes) == 10
    assert size <= min(sizes) <= max(sizes) <= 1.11 * size


def test_figures_are_drawn_of_outcomes_that_have_one(monkeypatch):
    monkeypatch.setattr(kan_scaling, "STEPS", 8)
    for name, settings in {"kan-scaling": {}, "spectral-bias": {"steps": 2, "large_steps": 1}}.items():
        outcome = run(name, seeds=1, **settings)
        json.dumps(outcome.to_json(), allow_nan=False)
        assert not outcome.reproduced  # nothing is learned in so few steps
        drawn = figure(outcome)
        panels = [axes for axes in drawn.axes if axes.get_label() != "<colorbar>"]
        assert len(panels) == {"kan-scaling": 1, "spectral-bias": 10}[name]
        assert all(axes.has_data() and axes.get_title("left") for axes in panels)
    with pytest.raises(InvalidInput, match="kan-scaling, spectral-bias"):
        figure(Outcome("codimension-slope", []))


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
@pytest.mark.parametrize("name", ["circle-overfitting", "circle-autoencoder", "kan-scaling", "spectral-bias"])
def test_trained_experiments(name):
    assert_reproduced(run(name))


def test_kans_and_mlps_are_compared_on_images_of_ones_own(tmp_path):
    images = np.random.default_rng(0).random((60, 5, 5))
    np.savez(tmp_path / "some.npz", x=images, labels=np.arange(60) % 2)
    outcome = run("kan-models", seeds=1, steps=2, data=(str(tmp_path / "some.npz"),), models=("vae",))
    assert {row["network"] for row in outcome.rows if "network" in row} == {"mlp", "kan", "kan in equal time"}
    np.save(tmp_path / "bare.npy", images)
    with pytest.raises(InvalidInput, match="labels"):
        run("kan-models", seeds=1, steps=2, data=(str(tmp_path / "bare.npy"),), models=("vae",))


def test_kans_of_equal_size_are_found_for_every_model():
    from submanifold.reproduce import kan_models

    for model, (_, hidden) in kan_models.MODELS.items():
        widths = kan_models._widths_of_equal_size(model, (3,), 1)
        sizes = [
            sum(p.numel() for p in kan_models._make(model, (3,), 1, *network).parameters())
            for network in (("mlp", hidden), ("kan", widths))
        ]
        assert sizes[1] == pytest.approx(sizes[0], rel=0.15)


def test_kans_and_mlps_are_compared_at_equal_size():
    outcome = run("kan-models", seeds=2, steps=3, data=("circle", "coil"), models=("vae",))
    runs = [row for row in outcome.rows if "network" in row and row["data"] == "circle"]
    sizes = {row["network"]: row["parameters"] for row in runs}
    assert sizes["kan"] == pytest.approx(sizes["mlp"], rel=0.15)
    assert len([row for row in outcome.rows if "budget" in row]) == 4
    cells = [row for row in outcome.rows if "budget" in row and row["data"] == "circle"]
    for cell in cells:
        kind = "kan" if "steps" in cell["budget"] else "kan in equal time"
        own = {(row["network"], row["seed"]): row["distance"] for row in runs}
        ratios = [math.log(own[kind, seed] / own["mlp", seed]) for seed in (0, 1)]
        assert math.log(cell["ratio"]) == pytest.approx(np.mean(ratios))
        # of two numbers with mean m and half a difference h, the interval is m +- t h, t = 12.706 for one degree
        reach = 12.706 * abs(ratios[0] - ratios[1]) / 2
        assert math.log(cell["low"]) == pytest.approx(np.mean(ratios) - reach, abs=1e-3)
        assert (cell["better"] == "neither") == (cell["low"] <= 1 <= cell["high"])


@pytest.mark.parametrize(("factor", "answer"), [(0.5, "KANs"), (2.0, "MLPs"), (1.0, "neither")])
def test_whichever_networks_are_better_is_the_verdict(monkeypatch, factor, answer):
    """In two models over three seeds, whose own spread of 1.05 is the same for both kinds."""
    from submanifold.reproduce import kan_models

    def compared(data, model, seed, steps):
        chance = 1.05 ** (seed - 1)
        distances = {"mlp": 1.0, "kan": factor * chance, "kan in equal time": factor * chance}
        return [
            {"data": data, "model": model, "network": kind, "seed": seed, "distance": distance}
            for kind, distance in distances.items()
        ]

    monkeypatch.setattr(kan_models.jobs, "done", lambda function, parts, folder: [compared(*part) for part in parts])
    outcome = run("kan-models", seeds=3, data=("circle",), models=("vae", "flow"))
    assert outcome.reproduced
    reach = 4.303 * math.log(1.05) / math.sqrt(3)  # of Student's t with two degrees of freedom
    interval = f"{factor:.2f} [{factor * math.exp(-reach):.2f}, {factor * math.exp(reach):.2f}]"
    for claim in outcome.claims:
        assert claim.measured.startswith(f"{answer}: distances with KANs are {interval} times those with MLPs")
        better = {"KANs": ("2 of 2", "0 of 2"), "MLPs": ("0 of 2", "2 of 2"), "neither": ("0 of 2", "0 of 2")}[answer]
        assert f"KANs are better in {better[0]}" in claim.measured
        assert f"MLPs are better in {better[1]}" in claim.measured
    for claim in run("kan-models", seeds=1, data=("circle",), models=("vae", "flow")).claims:
        assert claim.measured.startswith("one seed cannot say: ")
