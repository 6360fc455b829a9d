"""The auditor of scores: what it measures of laws known exactly, and of scores that are wrong in a known way."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2
from toys import Identity, assert_draws, blind

import submanifold as sm
from submanifold.data import Dataset
from submanifold.data.manifolds import manifold
from submanifold.errors import InvalidInput, NonFiniteScore
from submanifold.lens import examine, score_health
from submanifold.lens.evidence import setting
from submanifold.lens.score_curves import field_of, find_plateau, score_curve
from submanifold.lens.score_truth import exact_field, exact_score, score_errors
from submanifold.models.base import Score
from submanifold.models.diffusion.diffusion import Diffusion
from submanifold.models.diffusion.oracles import CircleScore, IdealDenoiser, SubspaceGaussian

QUICK = {"samples": 300, "steps": 30}


def data(n, seed, name="circle", **kwargs):
    truth = manifold(name, **kwargs)
    return Dataset(truth.sample(n, seed=seed), name, manifold=truth)


class Wrong(CircleScore):
    """The score of a von Mises law on the unit circle, changed by `f(y, sigma, score)`."""

    def __init__(self, f, D=2):
        super().__init__((D,), kappa=1.0)
        self.f = f

    def _score(self, y, sigma):
        return self.f(y, sigma[:, None], super()._score(y, sigma))


def turning(strength):
    """Adds a field of constant length along the circle."""

    def f(y, sigma, score):
        along = torch.stack([-y[:, 1], y[:, 0]], dim=1)
        return score + strength * along / along.norm(dim=1, keepdim=True)

    return f


def curve_of(model, x, *, seed=0, levels=24, draws=2):
    score = field_of(model, (x.shape[1],))
    return score_curve(score, x, np.geomspace(1e-3, 20, levels), draws=draws, seed=seed)


@pytest.mark.parametrize("D", [2, 20])
@pytest.mark.parametrize("seed", range(3))
def test_the_norm_has_a_plateau_at_the_codimension_and_ends_at_the_ambient_dimension(D, seed):
    x = data(2000, seed, ambient_dim=D).x
    curve = curve_of(CircleScore((D,), kappa=1.0).double(), x, seed=seed)
    plateau = find_plateau(curve, low=0.0, high=0.3)
    assert plateau.codimension.value == pytest.approx(D - 1, rel=0.05)
    assert plateau.dimension.value == pytest.approx(1, abs=0.05)
    assert plateau.unexplained.value == pytest.approx(1, abs=0.05)
    assert plateau.low == pytest.approx(1e-3)
    assert plateau.high > 0.1
    assert curve.size(23).value == pytest.approx(D, rel=0.02)
    assert curve.smallest_reliable(plateau) == 0


@pytest.mark.parametrize(("d", "D"), [(1, 2), (3, 8), (5, 40)])
def test_of_a_gaussian_on_a_subspace_the_whole_curve_is_known(d, D):
    r"""\sigma^2 E|s|^2 = D - d + sum_i \sigma^2 / (\lambda_i + \sigma^2), and E|noise + sigma s|^2 is D minus it."""
    scales = np.linspace(0.5, 2.0, d)
    gaussian = data(3000, d, "linear", dim=d, scales=scales, ambient_dim=D)
    curve = curve_of(exact_score(gaussian.manifold), gaussian.x, draws=1)
    share = curve.sigmas[:, None] ** 2 / (scales**2 + curve.sigmas[:, None] ** 2)
    expected = D - d + share.sum(axis=1)
    for level, value in enumerate(expected):
        found = curve.size(level)
        error = (found.high - found.low) / 3.92
        assert abs(found.value - value) < 4 * error + 1e-6 * D
        assert error < 0.05 * d**0.5 + 0.02  # noise across the subspace has no part in it
    assert find_plateau(curve, low=0.0, high=0.15).codimension.value == pytest.approx(D - d, rel=0.05)


def test_intervals_of_the_codimension_hold_it_as_often_as_they_say():
    model, hits = CircleScore((5,), kappa=1.0).double(), 0
    for seed in range(60):
        x = data(200, seed, ambient_dim=5).x
        curve = score_curve(field_of(model, (5,)), x, np.geomspace(1e-3, 0.02, 6), draws=1, seed=seed)
        number = find_plateau(curve, low=0.0, high=1.0).codimension
        hits += number.low <= 4 <= number.high
    assert hits >= 51  # of 57 expected; fewer have a probability of 1%


def test_a_law_with_a_density_has_codimension_zero():
    model = SubspaceGaussian.of(torch.zeros(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64))
    x = np.random.default_rng(0).standard_normal((1000, 3))
    plateau = find_plateau(curve_of(model, x), low=0.0, high=0.3)
    assert abs(plateau.codimension.value) < 0.05
    assert plateau.dimension.value == pytest.approx(3, abs=0.05)


def test_no_plateau_is_made_up():
    x = data(2000, 0).x
    sloping = Wrong(lambda y, sigma, s: s * (1 - 0.3 * sigma.log() / math.log(10))).double()
    assert find_plateau(curve_of(sloping, x), low=0.0, high=0.3) is None
    few = curve_of(CircleScore((2,)).double(), data(20, 0).x, draws=1)
    assert find_plateau(few, low=0.01, high=0.04) is None  # flat within errors that are too large to say anything
    assert find_plateau(curve_of(CircleScore((2,)).double(), x), low=0.2, high=0.3) is None  # too few levels


@pytest.mark.parametrize("factor", [0.7, 0.9, 1.1, 1.5])
def test_a_score_that_is_too_long_is_found_by_its_factor_without_the_truth(factor):
    curve = curve_of(Wrong(lambda y, sigma, s: factor * s).double(), data(2000, 1).x)
    for level in (0, 12, 23):
        ratio = curve.calibration(level)
        assert ratio.low - 1e-3 <= factor <= ratio.high + 1e-3
    assert curve.smallest_reliable() is None


def test_the_smallest_reliable_level_is_where_the_score_gives_out():
    """A score that is the true one down to noise of 0.03, and half of it below."""
    model = Wrong(lambda y, sigma, s: torch.where(sigma < 0.03, 0.5 * s, s)).double()
    curve = curve_of(model, data(2000, 2).x)
    level = curve.sigmas[curve.smallest_reliable()]
    assert 0.03 <= level < 0.03 * (curve.sigmas[1] / curve.sigmas[0])


def test_a_score_that_says_less_than_the_noise_has_left_the_plateau():
    """The true one on one half of the circle and nothing on the other: as long as it should be for what it knows."""
    model = Wrong(lambda y, sigma, s: torch.where((sigma < 0.03) & (y[:, :1] > 0), torch.zeros_like(s), s))
    curve = curve_of(model.double(), data(2000, 2).x)
    assert curve.calibrated().all()
    assert curve.smallest_reliable() == 0
    plateau = find_plateau(curve, low=0.03, high=0.3)
    assert 0.03 <= curve.sigmas[curve.smallest_reliable(plateau)] < 0.05


def errors_of(model, x, truth, *, sigmas=(0.01, 0.1, 0.5), exact=True):
    score, right = field_of(model, (x.shape[1],)), exact_score(truth)
    return score_errors(
        score,
        field_of(right, (x.shape[1],)) if exact else None,
        truth,
        x,
        np.array(sigmas),
        scale=1.0,
        seed=0,
    )


@pytest.mark.parametrize("D", [2, 20])
def test_the_exact_score_has_no_error_in_either_direction(D):
    circle = data(400, 0, ambient_dim=D)
    found = errors_of(CircleScore((D,), kappa=1.0).double(), circle.x, circle.manifold)
    for part in ("normal", "tangential"):
        assert found.at(part, 0.1).value < 1e-9
    assert found.drift().value < 1e-9
    near = errors_of(CircleScore((D,), kappa=1.0).double(), circle.x, circle.manifold, exact=False)
    assert set(near.parts) == {"normal"}
    assert list(near.sigmas) == [0.01, 0.1]  # beyond a tenth of the scale the leading order says nothing
    # the curvature is left over: E[r] - 1 is sigma^2 / 2 on a circle, over noise sigma and sqrt(D - 1)
    assert near.at("normal", 0.1).value == pytest.approx(0.05 / math.sqrt(D - 1), rel=0.1)
    assert near.at("normal", 0.01).value == pytest.approx(0.005 / math.sqrt(D - 1), rel=0.1)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_scaled_score_is_off_by_its_factor_in_both_directions(factor):
    circle = data(4000, 0)
    found = errors_of(Wrong(lambda y, sigma, s: factor * s).double(), circle.x, circle.manifold)
    assert found.at("normal", 0.01).value == pytest.approx(0.1, rel=0.05)
    scale = math.sqrt(max(1.0, _tangential_square(circle)))
    assert found.at("tangential", 0.01).value == pytest.approx(
        0.1 * math.sqrt(_tangential_square(circle)) / scale, rel=0.05
    )


def _tangential_square(circle):
    """E of the squared derivative of log p along the circle, sin^2 of the angle."""
    return float(np.square(np.sin(circle.manifold.angle(circle.x))).mean())


def test_a_field_along_the_manifold_is_an_error_along_it_alone():
    circle = data(1000, 0)
    found = errors_of(Wrong(turning(0.5)).double(), circle.x, circle.manifold)
    for sigma in (0.01, 0.1):
        assert found.at("normal", sigma).value < 1e-6
        assert found.at("tangential", sigma).value == pytest.approx(0.5, rel=1e-3)
    assert found.drift().value == pytest.approx(0.5 * (0.5**2 - 0.01**2) / 2, rel=0.05)  # of noise up to 0.5


@pytest.mark.parametrize(("name", "kwargs"), [("sphere", {"ambient_dim": 6}), ("torus", {"ambient_dim": 5})])
def test_normal_and_tangential_parts_are_told_apart_on_any_manifold(name, kwargs):
    """A score that is right to leading order, plus a tangential field from the derivative of an isometry."""
    torus = data(300, 0, name, **kwargs)
    D, F = torus.manifold.ambient_dim, torch.from_numpy(torus.manifold.frame)
    turn = torch.zeros(F.shape[1], F.shape[1], dtype=torch.float64)
    turn[0, 1], turn[1, 0] = 1.0, -1.0  # turns about the third axis, which both have for a symmetry

    class Leading(CircleScore):
        def _score(self, y, sigma):
            at = torch.from_numpy(torus.manifold.project(y.numpy()))
            return (at - y) / sigma.square()[:, None] + 3.0 * at @ F @ turn @ F.mT

    found = errors_of(Leading((D,)).double(), torus.x, torus.manifold, sigmas=(1e-3, 1e-2), exact=False)
    assert found.at("normal", 1e-2).value < 1e-5


@pytest.mark.parametrize("size", [1e-5, 1.0, 1e5])
def test_an_exact_score_has_no_error_in_any_units(size):
    """Then there is no direction in which to look for the tangential part."""
    circle = data(200, 0, radius=size)
    found = score_errors(
        exact_field(circle.manifold),
        exact_field(circle.manifold),
        circle.manifold,
        circle.x,
        size * np.array([0.01, 0.1, 0.5]),
        scale=size,
        seed=0,
    )
    for part in ("normal", "tangential"):
        assert found.at(part, 0.1 * size).value == 0


class Thicker(CircleScore):
    """The score of a law on the unit circle that has noise `own` before any is added."""

    def __init__(self, own, D=2):
        super().__init__((D,), kappa=1.0)
        self.own = own

    def _score(self, y, sigma):
        return super()._score(y, (sigma.square() + self.own**2).sqrt())


def test_the_law_of_a_gaussian_with_noise_of_its_own_is_a_gaussian():
    linear = manifold("linear", dim=2, scales=[0.5, 2.0], ambient_dim=4)
    x, factor = linear.sample(50, seed=0), linear.frame @ np.linalg.cholesky(linear.covariance)
    covariance = factor @ factor.T + (0.3**2 + 0.4**2) * np.eye(4)
    np.testing.assert_allclose(exact_field(linear, noise=0.3)(x, 0.4), -np.linalg.solve(covariance, x.T).T, rtol=1e-9)


@pytest.mark.parametrize("D", [2, 6])
@pytest.mark.parametrize("seed", range(3))
def test_of_data_with_noise_of_their_own_the_right_score_is_that_of_their_law(D, seed):
    """Offsets are medians of 400 distances and more: they scatter by 7% across one coordinate, and less across five."""
    known, held_out = (
        sm.data.load("circle", n=n, seed=s, noise=0.2, ambient_dim=D) for n, s in ((500, seed), (800, 90))
    )
    own = known.noise_sigma
    found = score_health(
        Thicker(own, D).double(), held_out, reference=known, levels=12, seed=seed, samples=400, steps=30
    )
    numbers, least = found.numbers, found.numbers["least_sigma"].value
    for name in ("normal_error_at_least_sigma", "tangential_error_at_least_sigma", "tangential_drift"):
        assert numbers[name].value < 1e-6, name
    theory = numbers["offset_in_theory"]
    assert theory.value == pytest.approx(math.hypot(least, own) * math.sqrt(chi2.median(D - 1)))
    for name in ("offset", "offset_of_data"):
        assert numbers[name].value == pytest.approx(theory.value, rel=0.25 if D == 2 else 0.1)
    assert found.verdict != "score off"
    assert any("noise of deviation" in assumption for assumption in found.assumptions)
    # the score of the law without that noise is wrong where the levels are smaller than it
    clean = score_health(CircleScore((D,), kappa=1.0).double(), held_out, reference=known, levels=12, **QUICK)
    assert clean.numbers["normal_error_at_least_sigma"].value > 5


def test_the_leading_order_is_under_all_noise():
    sphere = sm.data.load("sphere", n=300, noise=0.01, ambient_dim=4)

    class Leading(CircleScore):
        def _score(self, y, sigma):
            at = torch.from_numpy(sphere.manifold.project(y.numpy()))
            return (at - y) / (sigma.square() + sphere.noise_sigma**2)[:, None]

    def errors(noise):
        score, sigmas = field_of(Leading((4,)).double(), (4,)), np.array([1e-3, 1e-2, 0.099])
        return score_errors(score, None, sphere.manifold, sphere.x, sigmas, scale=1.0, noise=noise, seed=0)

    assert errors(sphere.noise_sigma).at("normal", 1e-3).value < 1e-9
    assert list(errors(0.05).sigmas) == [1e-3, 1e-2]  # with so much noise a tenth of the scale is exceeded sooner
    assert errors(0.2) is None


def test_without_a_manifold_there_is_one_error():
    circle = data(500, 0)
    model, truth = Wrong(lambda y, sigma, s: 1.2 * s).double(), CircleScore((2,), kappa=1.0).double()
    found = score_errors(
        field_of(model, (2,)), field_of(truth, (2,)), None, circle.x, np.array([0.05]), scale=1.0, seed=0
    )
    assert found.at("total", 0.05).value == pytest.approx(0.2, rel=1e-6)
    assert score_errors(field_of(model, (2,)), None, None, circle.x, np.array([0.05]), scale=1.0, seed=0) is None


@pytest.mark.parametrize("D", [2, 20])
@pytest.mark.parametrize("seed", range(3))
def test_an_exact_score_is_healthy_and_its_samples_are_as_far_off_as_their_noise(D, seed):
    known, held_out = data(500, seed, ambient_dim=D), data(500, 100 + seed, ambient_dim=D)
    model = CircleScore((D,), kappa=1.0)
    found = score_health(model, held_out, reference=known, seed=seed, **QUICK)
    assert found.verdict == "healthy", found
    assert found.numbers["sde_ode_gap_p_value"].value > 0.005
    offset, theory = found.numbers["offset"], found.numbers["offset_in_theory"].value
    assert theory == pytest.approx(found.numbers["least_sigma"].value * math.sqrt(chi2.median(D - 1)))
    for name in ("offset", "offset_stochastic", "offset_of_data"):
        assert found.numbers[name].value == pytest.approx(theory, rel=0.2 if D == 2 else 0.05)
    assert offset.low < offset.value < offset.high
    assert found.numbers["codimension"].value == pytest.approx(D - 1, rel=0.05)
    assert found.numbers["tangential_drift"].value < 1e-4


def test_what_is_not_known_is_not_needed():
    held_out, known = blind(data(600, 0)), blind(data(600, 1))
    found = score_health(CircleScore((2,), kappa=1.0), held_out, reference=known, **QUICK)
    assert found.verdict == "healthy"
    assert not any("error" in name for name in found.numbers)
    assert any("not known" in assumption for assumption in found.assumptions)
    assert_draws(found)
    with_truth = score_health(
        Wrong(lambda y, sigma, s: 1.02 * s), held_out, reference=known, truth=CircleScore((2,), kappa=1.0), **QUICK
    )
    assert with_truth.numbers["total_error_at_least_sigma"].value == pytest.approx(0.02, rel=0.05)


def test_the_two_ways_of_sampling_disagree_if_the_score_turns():
    """Without noise a field along the circle turns samples; with noise, half as much again."""
    found = score_health(Wrong(turning(1.0)), data(600, 0), reference=data(600, 1), samples=600, steps=30)
    assert found.verdict == "score off"
    assert found.standing == "bad"
    assert found.numbers["sde_ode_gap_p_value"].value < 0.01
    assert found.numbers["sde_ode_gap"].value > 3 * found.numbers["sde_ode_gap_floor"].value
    assert "apart in sliced W1" in found.summary
    assert_draws(found)


def test_samples_farther_off_than_their_noise_are_found():
    blurred = Wrong(lambda y, sigma, s: s * sigma**2 / (sigma**2 + 0.05**2))
    found = score_health(blurred, data(600, 0), reference=data(600, 1), **QUICK)
    assert found.verdict == "score off"
    assert found.numbers["offset"].low > 10 * found.numbers["offset_in_theory"].value
    assert "off the manifold, where their noise explains" in found.summary


def test_a_score_that_gives_out_at_the_least_noise_alone_is_no_cause_for_alarm():
    """Half of the score at the two least levels: samples, which pass them last, show nothing of it."""
    model = Wrong(lambda y, sigma, s: torch.where(sigma < 0.0013, 0.8 * s, s))
    found = score_health(model, data(600, 0), reference=data(600, 1), **QUICK)
    assert (found.verdict, found.standing) == ("score off", "unsure")
    assert 0.0013 <= found.numbers["smallest_reliable_sigma"].value < 0.002
    assert f"sigma_min = {found.numbers['smallest_reliable_sigma'].value:.2g}" in found.advice


@pytest.mark.parametrize("seed", range(2))
def test_the_ideal_denoiser_of_few_points_memorises(seed):
    known = data(60, seed)
    model = IdealDenoiser((2,))
    model.prepare(torch.from_numpy(known.x).float())
    found = score_health(model, data(500, 50 + seed), reference=known, seed=seed, **QUICK)
    assert found.verdict == "memorising"
    assert found.numbers["copies"].value > 0.95
    assert found.numbers["smallest_reliable_sigma"].value > 0.05  # points are 0.1 apart
    alone = score_health(model, data(500, 50 + seed), seed=seed, **QUICK)
    assert alone.verdict == "score off"
    assert "copies" not in alone.numbers
    assert any("no training data" in assumption for assumption in alone.assumptions)
    half = score_health(model, setting(data(500, 50 + seed), seed=seed), seed=seed, **QUICK)
    assert half.to_json() == alone.to_json()  # prepared by hand or not, nobody gave training data
    assert_draws(found)


def test_few_points_decide_nothing():
    found = score_health(CircleScore((2,), kappa=1.0), data(80, 0), reference=data(500, 1), **QUICK)
    assert (found.verdict, found.standing) == ("inconclusive", "unsure")


def test_images_pass_as_images():
    images = Dataset(data(300, 0, ambient_dim=16).x.reshape(-1, 1, 4, 4))
    model = CircleScore((1, 4, 4), kappa=1.0)
    found = score_health(model, images, reference=Dataset(images.x), dim=1.0, **QUICK)
    assert found.numbers["codimension"].value == pytest.approx(15, rel=0.05)


def test_the_seed_decides_every_number():
    arguments = (CircleScore((2,), kappa=1.0), data(200, 0))
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first, second = (score_health(*arguments, reference=data(200, 1), seed=4, **QUICK) for _ in range(2))
    assert first.to_json() == second.to_json()
    assert torch.equal(torch.get_rng_state(), state)


def test_every_number_lies_in_its_interval_and_is_explained():
    found = score_health(Wrong(turning(0.3)), data(200, 0), reference=data(200, 1), **QUICK)
    for name, number in found.numbers.items():
        assert math.isfinite(number.value), name
        assert number.meaning, name
        assert number.low is None or number.low <= number.value <= number.high, name


def test_unusable_arguments_are_refused():
    circle, narrow = data(100, 0), CircleScore((2,))
    narrow.sigma_max = 20.0
    for arguments, kwargs, word in [
        ((Identity(), circle), {}, "model=Identity knows no scores"),
        ((CircleScore((2,)), circle), {"truth": Identity()}, "truth=Identity knows no scores"),
        ((CircleScore((3,)), circle), {}, "X has 2 coordinates"),
        ((CircleScore((2,)), circle), {"levels": 3}, "levels=3"),
        ((CircleScore((2,)), circle), {"samples": 1}, "samples=1"),
        ((narrow, Dataset(1e10 * circle.x)), {"dim": 1.0}, "no noise levels"),
    ]:
        with pytest.raises(InvalidInput, match=word):
            score_health(*arguments, **kwargs)
    with pytest.raises(NonFiniteScore, match="not finite at noise level"):
        score_health(Wrong(lambda y, sigma, s: s / 0), circle)


def test_the_examination_audits_models_that_know_scores():
    report = examine(data(500, 0), {"oracle": CircleScore((2,), kappa=1.0)}, progress=False)
    assert [finding.name for finding in report.cards[0].findings][-1] == "score_health"
    found = report.finding("oracle", "score_health")
    assert found.subject == "oracle"
    assert found.verdict == "healthy"
    assert "copies" not in found.numbers  # it was not trained on any of these data
    assert any("no training data" in assumption for assumption in found.assumptions)


def test_the_examination_looks_for_copies_of_what_it_trained_on():
    report = examine(data(200, 0), "diffusion", steps=2, progress=False)
    assert "copies" in report.finding("diffusion", "score_health").numbers


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_a_trained_diffusion_model_knows_the_codimension_down_to_its_smallest_reliable_noise(seed):
    train, held_out = data(5000, 100 + seed), data(2000, 200 + seed)
    torch.manual_seed(seed)
    model = Diffusion((2,))
    assert isinstance(model, Score)
    sm.fit(model, train, steps=1500, batch_size=256, learning_rate=2e-3, ema=0.998, seed=seed, progress=False)
    numbers = score_health(model, held_out, reference=train, seed=seed).numbers
    assert numbers["norm_at_smallest_reliable_sigma"].value == pytest.approx(1, rel=0.15)
    assert numbers["codimension"].value == pytest.approx(1, rel=0.05)
    assert numbers["smallest_reliable_sigma"].value < 0.03
    assert numbers["tangential_drift"].value < 0.1
