"""Exact laws of noised data: their densities by other means, their scores as gradients, samplers and likelihoods."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.stats import multivariate_normal

import submanifold as sm
from submanifold.errors import InvalidInput, NonFiniteScore, UnfittedModel
from submanifold.geometry import random_signs
from submanifold.models import Diffusion, GaussianMixture
from submanifold.models.diffusion.levels import noise_levels
from submanifold.models.diffusion.likelihood import diffusion_bound, flow_log_prob, likelihood_curve
from submanifold.models.diffusion.oracles import CircleScore, IdealDenoiser, SubspaceGaussian
from submanifold.models.diffusion.samplers import SAMPLERS
from submanifold.transport import circular_wasserstein, wasserstein

FACTOR = torch.tensor([[1.0, 0.2], [0.0, 0.5], [-0.7, 0.3], [0.4, 0.0]], dtype=torch.float64)
MEAN = torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=torch.float64)


def subspace():
    return SubspaceGaussian.of(MEAN, FACTOR)


def circle(D=2, **kwargs):
    return CircleScore((D,), **{"kappa": 1.5, "mu": 0.7, "radius": 1.3} | kwargs).double()


def ideal(n=40, D=3):
    model = IdealDenoiser((D,)).double()
    model.prepare(normal(n, D))
    return model


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


ORACLES = {"subspace": subspace, "circle": circle, "circle in 5": lambda: circle(5), "ideal": ideal}


def near(model, n=50, spread=0.5):
    """Points about as far from the law as noise leads."""
    return model.sample(n, generator=torch.Generator().manual_seed(1)) + spread * normal(n, *model.data_shape, seed=2)


@pytest.mark.parametrize("sigma", [0.05, 0.5, 3.0])
@pytest.mark.parametrize("name", ORACLES)
def test_scores_are_gradients_of_the_density_and_denoise_by_tweedie(name, sigma):
    model = ORACLES[name]()
    x = near(model, spread=sigma).requires_grad_()
    (gradient,) = torch.autograd.grad(model.log_prob_noised(x, sigma).sum(), x)
    score = model.score(x, sigma)
    torch.testing.assert_close(score, gradient, rtol=1e-7, atol=1e-9 / sigma**2)
    torch.testing.assert_close(model.denoise(x, sigma), x + sigma**2 * score, rtol=1e-9, atol=1e-12)
    each = torch.full((len(x),), sigma, dtype=torch.float64)
    torch.testing.assert_close(model.score(x, each), score)


def test_the_density_of_a_gaussian_on_a_subspace():
    x = near(subspace())
    law = stats.multivariate_normal(MEAN.numpy(), (FACTOR @ FACTOR.mT).numpy() + 0.3**2 * np.eye(4))
    np.testing.assert_allclose(subspace().log_prob_noised(x, 0.3), law.logpdf(x), rtol=1e-9)


@pytest.mark.parametrize("sigma", [0.02, 0.3, 4.0])
@pytest.mark.parametrize("D", [2, 5])
def test_the_density_of_a_noised_circle(D, sigma):
    """Against the formula of the manifold, which works with other arithmetic."""
    model = circle(D)
    x = near(model, spread=sigma)
    np.testing.assert_allclose(model.log_prob_noised(x, sigma), model.circle.log_prob_smoothed(x, sigma), rtol=1e-8)


def test_a_denoised_point_is_the_mean_by_quadrature():
    """Of the angle given the noised point, on a grid."""
    model, sigma = circle(), 0.4
    x = near(model)
    angle = torch.linspace(-math.pi, math.pi, 20_001, dtype=torch.float64)[:-1]
    points = 1.3 * torch.stack([angle.cos(), angle.sin()], dim=1)
    logits = 1.5 * (angle - 0.7).cos() - torch.cdist(x, points).square() / (2 * sigma**2)
    torch.testing.assert_close(model.denoise(x, sigma), logits.softmax(dim=1) @ points, rtol=1e-8, atol=1e-8)


def test_an_ideal_denoiser_is_a_mixture_at_its_points():
    model = ideal()
    x, each = near(model), [stats.multivariate_normal(p.numpy(), 0.3**2 * np.eye(3)) for p in model.points]
    expected = np.log(np.mean([law.pdf(x) for law in each], axis=0))
    np.testing.assert_allclose(model.log_prob_noised(x, 0.3), expected, rtol=1e-9)
    torch.testing.assert_close(model.denoise(model.points, 1e-3), model.points)  # it knows them by heart


def test_an_ideal_denoiser_does_not_depend_on_how_points_are_grouped(monkeypatch):
    model = ideal()
    x = near(model)
    expected = model.score(x, 0.3), model.log_prob_noised(x, 0.3)
    monkeypatch.setattr("submanifold.models.diffusion.oracles._BUDGET", 7 * model.points.numel())
    torch.testing.assert_close((model.score(x, 0.3), model.log_prob_noised(x, 0.3)), expected)


@pytest.mark.parametrize("size", [1e-7, 1e7])
def test_laws_know_all_levels_whatever_their_units(size):
    """The score of a law that is `size` times as large is that of the law itself, over `size`."""
    large = IdealDenoiser((3,)).double()
    large.prepare(size * normal(40, 3))
    pairs = [
        (subspace(), SubspaceGaussian.of(size * MEAN, size * FACTOR)),
        (circle(), circle(radius=1.3 * size)),
        (ideal(), large),
    ]
    for one, other in pairs:
        x = near(one)
        for sigma in (0.05, 1.0, 30.0):
            torch.testing.assert_close(
                size * other.score(size * x, size * sigma), one.score(x, sigma), rtol=1e-9, atol=1e-9
            )


@pytest.mark.parametrize("name", ORACLES)
def test_files_keep_the_precision(name, tmp_path):
    model = ORACLES[name]()
    again, x = sm.load(sm.save(model, tmp_path)), near(model)
    assert torch.equal(again.score(x, 0.1), model.score(x, 0.1))


def test_principal_components_are_found():
    x = subspace().sample(20_000, generator=torch.Generator().manual_seed(0))
    found = SubspaceGaussian((4,), 2).double()
    found.prepare(x)
    covariance = found.directions @ found.deviations.square().diag() @ found.directions.mT
    torch.testing.assert_close(covariance, FACTOR @ FACTOR.mT, rtol=0, atol=0.03)
    torch.testing.assert_close(found.mean, MEAN, rtol=0, atol=0.03)


@pytest.mark.parametrize("name", ORACLES)
def test_samples_have_the_law(name):
    """Two samples of the law itself are as far from each other, in W_1, as one is from noised and denoised points."""
    model = ORACLES[name]()
    x = model.sample(500, generator=torch.Generator().manual_seed(0))
    assert float(model.log_prob_noised(x, 0.05).mean()) > float(model.log_prob_noised(near(model), 0.05).mean())
    assert x.shape == (500, *model.data_shape)


SIGMA_MAX = 20.0


def flow(model, name, n, seed, sigma_min=0.01):
    generator = torch.Generator().manual_seed(seed)
    x = model.sample(n, generator=generator)
    x = x + SIGMA_MAX * torch.randn(x.shape, generator=generator, dtype=x.dtype)  # the exact law of the first level
    levels = noise_levels(50, sigma_min, SIGMA_MAX)
    return SAMPLERS[name](lambda y, sigma: model.denoise(y, sigma), x, levels, generator=generator)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("seed", range(2))
def test_fifty_steps_recover_a_gaussian_on_a_subspace(name, seed):
    model, n = subspace(), 500
    y = flow(model, name, n, seed)
    draws = [model.sample(n, generator=torch.Generator().manual_seed(100 + k)) for k in range(3)]
    floor = np.mean([wasserstein(a, b) for a, b in ((draws[0], draws[1]), (draws[1], draws[2]))])
    assert wasserstein(y, draws[0]) < 2 * floor
    off = (y - MEAN) @ torch.linalg.svd(FACTOR)[0][:, 2:]
    assert float(off.square().sum(dim=1).sqrt().mean()) < 0.05  # 0.01 sqrt(pi / 2) is what noise there is


@pytest.mark.parametrize("D", [2, 20])
@pytest.mark.parametrize("name", ["euler", "heun", "dpm-solver++"])
def test_fifty_steps_recover_a_circle(name, D):
    model, n = circle(D), 2000
    y = flow(model, name, n, 0).numpy()
    angles = [model.circle.angle(model.circle.sample(n, seed=k)) for k in range(4)]
    floor = np.mean([circular_wasserstein(angles[0], angles[1]), circular_wasserstein(angles[2], angles[3])])
    assert circular_wasserstein(model.circle.angle(y), angles[0]) < 2 * floor
    assert np.sqrt(np.square(model.circle.distance(y)).mean()) < 2 * 0.01 * math.sqrt(D - 1)


@pytest.mark.parametrize("D", [2, 20])
def test_the_norm_of_the_score_counts_the_codimension(D):
    r"""\sigma^2 E |s|^2 = D - d within 5%, for noise below the radius."""
    model, sigma = circle(D), 0.02
    x = model.sample(20_000, generator=torch.Generator().manual_seed(0)) + sigma * normal(20_000, D)
    found = sigma**2 * float(model.score(x, sigma).square().sum(dim=1).mean())
    assert found == pytest.approx(D - 1, rel=0.05)


@pytest.mark.parametrize("name", ORACLES)
def test_log_densities_along_the_flow_are_those_of_the_formula(name):
    model = ORACLES[name]()
    x = near(model, n=20, spread=0.2)
    found = flow_log_prob(
        lambda y, s: model.score(y, s), x, 0.2, SIGMA_MAX, lambda y: model.log_prob_noised(y, SIGMA_MAX)
    )
    torch.testing.assert_close(found.log_prob, model.log_prob_noised(x, 0.2), rtol=0, atol=1e-3)
    assert not found.error.any()


@pytest.mark.parametrize("seed", range(3))
def test_an_estimated_divergence_is_within_its_error(seed):
    """Of 60 points, the share within two standard errors of 8 directions is that of Student's law, 91.4%."""
    model = circle(5)
    x = near(model, n=60, spread=0.2)
    directions = random_signs(8, x, torch.Generator().manual_seed(seed))
    last = lambda y: model.log_prob_noised(y, SIGMA_MAX)  # noqa: E731
    found = flow_log_prob(
        lambda y, s: model.score(y, s), x, 0.2, SIGMA_MAX, last, directions=directions, tolerance=1e-4
    )
    inside = (found.log_prob - model.log_prob_noised(x, 0.2)).abs() < 2 * found.error + 1e-3
    assert float(inside.double().mean()) >= 0.8


def test_on_a_subspace_the_likelihood_grows_with_the_codimension():
    """Slope D - d = 2 against log 1 / sigma_min, within 5%, at points of the subspace."""
    model = subspace()
    x, levels = model.sample(20, generator=torch.Generator().manual_seed(0)), [0.1, 0.03, 0.01]
    means = [
        float(
            flow_log_prob(
                lambda y, s: model.score(y, s), x, low, SIGMA_MAX, lambda y: model.log_prob_noised(y, SIGMA_MAX)
            ).log_prob.mean()
        )
        for low in levels
    ]
    slope = np.polyfit(-np.log(levels), means, 1)[0]
    assert slope == pytest.approx(2.0, rel=0.05)


def test_the_bound_of_the_diffusion_is_one_and_close():
    """For exact scores it is the expected log-density, less what the least level blurs: N(0, I) has -D/2 log 2 pi e."""
    model = SubspaceGaussian.of(torch.zeros(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64))
    x = normal(4000, 3)
    bound, error = diffusion_bound(
        lambda y, s: model.score(y, s),
        x,
        0.01,
        50.0,
        lambda y: model.log_prob_noised(y, 50.0),
        levels=32,
        generator=torch.Generator().manual_seed(0),
    )
    exact = model.log_prob_noised(x, 1e-3)
    standard_error = float((bound - exact).std()) / math.sqrt(len(x))
    assert float((bound - exact).mean()) < 3 * standard_error
    assert float((bound - exact).mean()) > -0.05 - 3 * standard_error
    spread = float((bound - exact).std())
    assert float(error.mean()) == pytest.approx(spread, rel=0.25)


def test_scores_work_on_images_as_many_as_they_are_wide():
    model = IdealDenoiser((1, 4, 4)).double()
    model.prepare(normal(30, 1, 4, 4))
    x, sigma = normal(4, 1, 4, 4, seed=1), torch.tensor([0.1, 0.5, 1.0, 2.0], dtype=torch.float64)
    together = model.denoise(x, sigma)
    for i in range(4):
        torch.testing.assert_close(together[i : i + 1], model.denoise(x[i : i + 1], float(sigma[i])))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: circle().score(normal(3, 2), 0.0), InvalidInput, r"sigma=0.0 .* in \(0, inf\)"),
        (lambda: circle().score(normal(3, 2), math.inf), InvalidInput, "sigma=inf"),
        (lambda: circle().denoise(normal(3, 2), -1.0), InvalidInput, "sigma=-1.0"),
        (lambda: circle().score(normal(3, 2), torch.ones(2)), InvalidInput, r"sigma has shape \(2,\)"),
        (lambda: circle().log_prob_noised(normal(3, 2), math.nan), InvalidInput, "sigma=nan"),
        (lambda: CircleScore((1,)), InvalidInput, "data_shape=1"),
        (lambda: SubspaceGaussian((3,), 4), InvalidInput, "latent_dim=4"),
        (
            lambda: IdealDenoiser((3,), preprocess=("standardise",)),
            InvalidInput,
            r"unequal, give .*scale.*, or .*dequantise.*scale",
        ),
        (lambda: SubspaceGaussian((3,), 2).score(torch.zeros(1, 3), 1.0), UnfittedModel, "fit the model first"),
        (lambda: IdealDenoiser((3,)).score(torch.zeros(1, 3), 1.0), UnfittedModel, "fit the model first"),
        (
            lambda: flow_log_prob(lambda y, s: y * math.nan, normal(2, 2), 0.1, 1.0, lambda y: y[:, 0]),
            NonFiniteScore,
            "at noise level 0.1",
        ),
    ],
)
def test_refusals(call, error, words):
    with pytest.raises(error, match=words):
        call()


def two_components():
    """A mixture of a narrow and a wide Gaussian in the plane, in units of its own, with its parameters."""
    model = GaussianMixture((2,), components=2).double()
    x = torch.cat([noise(3000, 2) * torch.tensor([0.3, 1.0]) - 2, 3 + 0.5 * noise(3000, 2, seed=1)])
    model.prepare(x)
    return model


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_noised_mixtures_have_the_density_of_their_convolution():
    """Against SciPy, with covariances that preprocessing has taken apart; and without noise the density itself."""
    model, x, sigma = two_components(), 3 * noise(12, 2, seed=2), 0.7
    scale = model.preprocess.maps[0].scale.double()
    means = model.preprocess.inverse(model.means)
    factors = scale[:, None] * model.scale_trils
    density = sum(
        float(w) * multivariate_normal(m.numpy(), (L @ L.T + sigma**2 * torch.eye(2)).numpy()).pdf(x.numpy())
        for w, m, L in zip(model.weights, means, factors, strict=True)
    )
    np.testing.assert_allclose(model.log_prob_noised(x, sigma).numpy(), np.log(density), rtol=1e-7)
    torch.testing.assert_close(model.log_prob_noised(x, 0.0), model.log_prob(x))


@pytest.mark.parametrize("sigma", [0.05, 1.0, torch.linspace(0.1, 4, 12).double()])
def test_the_score_of_a_mixture_is_the_slope_of_its_noised_density(sigma):
    model, x, h = two_components(), 3 * noise(12, 2, seed=2), 1e-5
    slopes = [
        (model.log_prob_noised(x + h * e, sigma) - model.log_prob_noised(x - h * e, sigma)) / (2 * h)
        for e in torch.eye(2, dtype=torch.float64)
    ]
    torch.testing.assert_close(model.score(x, sigma), torch.stack(slopes, dim=1), rtol=1e-6, atol=1e-6)
    each = torch.as_tensor(sigma).expand(12)[:, None].double()
    torch.testing.assert_close(model.denoise(x, sigma), x + each**2 * model.score(x, sigma))


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_recover_a_mixture(name):
    """In 50 steps W_1 is below twice its floor, over five draws."""
    model, found, floors = two_components(), [], []
    levels = noise_levels(5 if name == "adaptive" else 50, 0.01, 40.0)  # between which that takes steps of its own
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        start = model.sample(800, generator=generator)
        start = start + 40.0 * torch.randn(800, 2, generator=generator, dtype=torch.float64)
        x = SAMPLERS[name](model.denoise, start, levels, generator=generator).numpy()
        a, b = (model.sample(800, generator=torch.Generator().manual_seed(100 + 2 * seed + k)).numpy() for k in (0, 1))
        found.append(wasserstein(x, a))
        floors.append(wasserstein(a, b))
    assert np.mean(found) < 2 * np.mean(floors)


@pytest.mark.parametrize(
    ("model", "sigma", "words"),
    [
        (lambda: two_components(), -1.0, "sigma=-1.0 is not accepted"),
        (lambda: two_components(), torch.ones(3), "sigma=tensor"),
        (lambda: GaussianMixture((2,), preprocess=("logit",)), 1.0, "bends the components"),
    ],
)
def test_scores_of_mixtures_are_refused(model, sigma, words):
    model = model()
    if not model.preprocess.is_fitted:
        model.prepare(noise(50, 2).float())
    with pytest.raises(InvalidInput, match=words):
        model.score(noise(12, 2), sigma)


class Flat(torch.nn.Module):
    """What a network should say of a Gaussian of these variances, some of them 0: v, coordinate by coordinate."""

    def __init__(self, variances):
        super().__init__()
        self.variances = torch.nn.Parameter(torch.as_tensor(variances, dtype=torch.float64), requires_grad=False)

    def forward(self, x_t, level):
        sigma = (4 * level).exp()[:, None]
        scale = (1 + sigma**2).rsqrt()
        noise = sigma * scale
        slope = noise * scale * (1 - self.variances) / ((scale**2) * self.variances + noise**2)
        return slope * x_t


@pytest.mark.parametrize("d", [1, 2, 4])
def test_log_likelihoods_rise_with_the_codimension_as_the_noise_falls(d):
    """The slope is D - d within 5% for a Gaussian on a subspace, and 0 where it has a density."""
    D, variances = 4, [1.0] * d + [0.0] * (4 - d)
    model = Diffusion((D,), network=Flat(variances), preprocess=()).double()
    x = noise(60, D) * torch.tensor(variances, dtype=torch.float64).sqrt()
    curve = likelihood_curve(model, x, [0.005, 0.01, 0.02, 0.05])
    assert curve.slope == pytest.approx(D - d, rel=0.05, abs=0.01)
    assert abs(curve.slope - (D - d)) < 5 * curve.slope_error + 0.02
    assert (curve.sigmas.diff() > 0).all()
    assert curve.log_prob.shape == curve.error.shape == (4,)


@pytest.mark.parametrize(("sigmas", "n"), [([0.1], 5), ([0.1, 0.1], 5), ([0.1, 0.2], 1)])
def test_a_curve_needs_two_levels_and_two_points(sigmas, n):
    with pytest.raises(InvalidInput, match="at least two levels and two points"):
        likelihood_curve(Diffusion((2,)), torch.zeros(n, 2), sigmas)
