"""Noise as a remedy: laws of noised data against closed forms, and what noise does to a law on a circle."""

import math
import warnings
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from model_cases import fit_briefly, low_rank_data, make

import submanifold as sm
from submanifold import models
from submanifold.errors import InvalidInput, UnfittedModel
from submanifold.geometry import jacobian
from submanifold.models import (
    Autoencoder,
    CoupledFlow,
    DenoisingFlow,
    Diffusion,
    Flow,
    GaussianMixture,
    Noised,
    PixelCNN,
    SoftFlow,
    TwoStep,
)
from submanifold.transport import circular_wasserstein

DIRECTION = torch.tensor([[3.0], [4.0]])
"""A of the Gaussian x = A z on a line in the plane: 5 long, and s = 5 / sqrt(2)."""


def on_a_line(n, seed=0):
    return torch.randn(n, 1, generator=torch.Generator().manual_seed(seed)) @ DIRECTION.T


def line_under_noise(sigma):
    r"""N(0, A A^\top + \sigma^2 I), \sigma in the units of the data."""
    covariance = DIRECTION @ DIRECTION.T + sigma**2 * torch.eye(2)
    return torch.distributions.MultivariateNormal(torch.zeros(2), covariance)


def gaussian(D=2):
    return GaussianMixture((D,), components=1)


def unit(model):
    """The scale s of the data that the model has seen."""
    return model.preprocess.inverse_lipschitz()


@pytest.mark.parametrize("sigma", [0.03, 0.3])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_gaussian_on_a_line_gets_the_density_of_its_noised_law(sigma, seed):
    x = on_a_line(20_000, seed)
    model = fit_briefly(Noised(gaussian(), sigma=sigma), x)
    assert unit(model) == pytest.approx(5 / math.sqrt(2), rel=0.02)
    truth = line_under_noise(sigma * unit(model))
    at = truth.sample((1000,))
    # three variances of n points each: their log-densities are off by a few sqrt(2 / n)
    assert (model.log_prob(at) - truth.log_prob(at)).abs().mean() < 0.03


def test_a_flow_learns_the_density_of_the_noised_law():
    x = on_a_line(4000)
    torch.manual_seed(0)
    model = Noised(Flow((2,), transforms=2, hidden=(32,)), sigma=0.3)
    sm.fit(model, x, steps=300, batch_size=128, learning_rate=5e-3, device="cpu", progress=False)
    truth = line_under_noise(0.3 * unit(model))
    at = truth.sample((2000,))
    with torch.no_grad():
        divergence = (truth.log_prob(at) - model.log_prob(at)).mean()
    assert -0.02 < float(divergence) < 0.1


@pytest.mark.parametrize("preprocess", [("standardise",), ("scale",), ()])
@pytest.mark.parametrize("sigma", [0.05, 0.5])
def test_tweedie_is_the_mean_of_the_posterior(sigma, preprocess):
    r"""Of x = x_0 + noise, x_0 \sim N(m, C): m + C (C + \sigma^2 I)^{-1} (x - m), whatever the base's own units are."""
    truth = line_under_noise(0.7)
    model = Noised(
        GaussianMixture((2,), components=1, preprocess=preprocess), sigma=sigma, correction="tweedie"
    ).double()
    fit_briefly(model, truth.sample((500,)).double() + 10)
    mean, noised = _moments(model.base)  # m, and C + \sigma^2 I
    clean = noised - (sigma * unit(model)) ** 2 * torch.eye(2, dtype=torch.float64)
    x = torch.randn(50, 2, dtype=torch.float64) * 5 + 10
    expected = mean + (x - mean) @ torch.linalg.solve(noised, clean)
    torch.testing.assert_close(model.posterior_mean(x), expected, rtol=1e-9, atol=1e-9)
    # samples are those of the base, moved
    g, h = (torch.Generator().manual_seed(3) for _ in range(2))
    moved = model.posterior_mean(model.base.sample(20, generator=g))
    assert torch.equal(model.sample(20, generator=h), moved)
    assert not moved.requires_grad


def _moments(mixture):
    """Mean and covariance of a mixture of one component, in the units of the data, off its log-density."""
    zero = torch.zeros(1, 2, dtype=torch.float64)
    precision = -torch.autograd.functional.hessian(lambda x: mixture.log_prob(x[None])[0], zero[0])
    gradient = torch.autograd.functional.jacobian(lambda x: mixture.log_prob(x[None])[0], zero[0])
    return torch.linalg.solve(precision, gradient), torch.linalg.inv(precision)


def test_tweedie_takes_noised_points_back_to_the_line():
    model = fit_briefly(Noised(gaussian(), sigma=0.1, correction="tweedie"), on_a_line(5000))
    normal = torch.tensor([4.0, -3.0]) / 5
    off = (model.sample(2000) @ normal).abs().mean()
    assert off < 0.02 * (model.base.sample(2000) @ normal).abs().mean()


class Seen(Flow):
    """A flow that keeps what it is trained on."""

    def loss(self, x):
        self.batches = [*getattr(self, "batches", []), x.detach()]
        return super().loss(x)


def levels_seen(model, x, steps):
    r"""\sigma / s of each of the steps, off the noise that the base was shown."""
    fit_briefly(model, x, steps=steps)
    return [float((batch - x).square().mean().sqrt()) / unit(model) for batch in model.base.batches]


def test_fixed_noise_stays_at_its_level():
    levels = levels_seen(Noised(Seen((2,)), sigma=0.2), on_a_line(20_000), steps=4)
    assert levels == pytest.approx([0.2] * 4, rel=0.02)


def test_random_noise_is_spread_evenly_between_its_levels():
    r"""Of \sigma \sim U[a, b], E \sigma^2 = (a^2 + a b + b^2) / 3, and E \sigma^4 likewise."""
    a, b, x = 0.2, 0.8, on_a_line(50_000)
    model = Noised(Seen((2,)), sigma=a, sigma_max=b, noise="random")
    (level,) = levels_seen(model, x, steps=1)
    assert level**2 == pytest.approx((a**2 + a * b + b**2) / 3, rel=0.03)
    square = ((model.base.batches[0] - x) / unit(model)).square()
    fourth = (square[:, 0] * square[:, 1]).mean()  # of one level in both coordinates E \sigma^4, of two (E \sigma^2)^2
    assert float(fourth) == pytest.approx((b**5 - a**5) / (5 * (b - a)), rel=0.06)


@pytest.mark.parametrize(("spacing", "halfway"), [("log", math.sqrt(0.05 * 0.8)), ("sigma", 0.425), ("karras", None)])
def test_annealed_noise_falls_to_its_level_and_stays(spacing, halfway):
    model = Noised(Seen((2,)), sigma=0.05, sigma_max=0.8, noise="annealed", anneal_steps=8, spacing=spacing)
    levels = levels_seen(model, on_a_line(20_000), steps=10)
    assert levels[0] == pytest.approx(0.8, rel=0.02)
    assert levels[8:] == pytest.approx([0.05] * 2, rel=0.02)
    assert all(a > 1.02 * b for a, b in pairwise(levels[:9]))
    assert halfway is None or levels[4] == pytest.approx(halfway, rel=0.02)


def test_a_held_out_loss_is_under_the_last_noise_and_moves_nothing():
    x = on_a_line(20_000)
    model = Noised(Seen((2,)), sigma=0.05, noise="annealed", anneal_steps=100)
    with pytest.warns(UserWarning, match="after 3 of the 100 steps"):
        fit_briefly(model, x, steps=3)
    (stage,) = model.stages()
    model.eval()
    for _ in range(2):
        stage.objectives[0].loss(x)  # with gradients too
        assert float((model.base.batches[-1] - x).square().mean().sqrt()) / unit(model) == pytest.approx(0.05, rel=0.02)
    assert int(model.step) == 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit_briefly(model, x, steps=1)  # begins anew
    assert int(model.step) == 1


def reflowing(**kwargs):
    flow = CoupledFlow((2,), hidden=(8,), coupling="independent", reflows=1, sample_steps=2)
    return Noised(flow, noise="annealed", sigma=0.1, **kwargs)


def test_stages_of_what_was_made_beforehand_count_no_steps():
    """A reflow is shown pairs of the flow, made of data under the last noise; before it the noise has fallen."""
    model = reflowing(anneal_steps=4)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "training ended")
        fit_briefly(model, on_a_line(100), steps=5)
    assert int(model.step) == 5
    assert float(model.level) == pytest.approx(0.1)
    with pytest.warns(UserWarning, match="after 5 of the 9 steps") as told:
        fit_briefly(reflowing(anneal_steps=9), on_a_line(100), steps=5)
    assert sum("training ended" in str(one.message) for one in told) == 1


def test_data_are_left_as_they_are_and_their_units_follow():
    """In units a thousand times as fine, all is a thousand times as large."""
    x = on_a_line(500)
    kept, drawn = x.clone(), []
    for scale in (1.0, 1000.0):
        model = fit_briefly(Noised(gaussian(), sigma=0.1, correction="tweedie"), scale * x)
        drawn.append(model.sample(50, generator=torch.Generator().manual_seed(0)) / scale)
    assert torch.equal(x, kept)
    torch.testing.assert_close(*drawn, rtol=1e-3, atol=1e-4)


def test_values_on_levels_are_on_none_under_noise():
    """The base does not dequantise what is noised already: its density is smooth at the levels."""
    x = low_rank_data((3,), 500).round()
    model = fit_briefly(Noised(Flow((3,), preprocess=("dequantise", "scale"))), x, steps=2)
    assert float(model.base.preprocess.maps[0].step) == 0
    assert torch.equal(model.base.log_prob(x), model.base.train().log_prob(x))


@pytest.mark.parametrize("base", ["kernel-density", "made", "continuous-flow", "vae", "ebm"])
def test_any_density_can_be_noised(base):
    options = {"latent_dim": 1} if base == "vae" else {}
    model = models.create("noised", (2,), base=base, options=options, correction="tweedie")
    x = low_rank_data((2,), 64)
    fit_briefly(model, x, steps=3)
    assert model.log_prob_kind == model.base.log_prob_kind
    assert torch.equal(model.log_prob(x), model.base.log_prob(x))
    assert model.sample(8).shape == (8, 2)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Noised("flow"), "base='flow' is not accepted: give a model"),
        (lambda: Noised(Autoencoder((3,), latent_dim=1)), "base=Autoencoder"),
        (lambda: Noised(TwoStep(Autoencoder((3,), latent_dim=1))), "density on a manifold"),
        (lambda: Noised(PixelCNN((1, 4, 4))), "lattice"),
        (lambda: Noised(Flow((3,), preprocess=("logit",))), "logit"),
        (lambda: Noised(gaussian(), sigma=0.0), "sigma=0.0"),
        (lambda: Noised(gaussian(), sigma=0.5, sigma_max=0.1, noise="random"), "sigma_max=0.1"),
        (lambda: Noised(gaussian(), noise="aneal"), "noise='aneal' is unknown"),
        (lambda: Noised(gaussian(), spacing="logs"), "spacing='logs' is unknown"),
        (lambda: Noised(gaussian(), correction="tweedy"), "did you mean 'tweedie'"),
        (lambda: Noised(gaussian(), correction="tweedie", noise="random"), "one level"),
        (lambda: Noised(gaussian(), noise="random").posterior_mean(torch.zeros(1, 2)), "no one level"),
        (lambda: Noised(Diffusion((2,)), correction="tweedie"), "Diffusion, whose log-density has no gradients"),
        (lambda: Noised(Noised(CoupledFlow((2,))), correction="tweedie"), 'give correction="none"'),
        (lambda: SoftFlow((2,), sigma_min=0.2, sigma_max=0.1), "sigma_max=0.1"),
        (lambda: SoftFlow((2,), preprocess=("standardise",)), "unequal"),
        (lambda: DenoisingFlow((2,), 2), "latent_dim=2"),
        (lambda: DenoisingFlow((2,), 1, sigma=0.0), "sigma=0.0"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()


def test_unfitted_models_know_no_noise():
    with pytest.raises(UnfittedModel):
        Noised(gaussian()).posterior_mean(torch.zeros(1, 2))
    with pytest.raises(UnfittedModel):
        SoftFlow((2,)).sample(2, sigma=0.1)


def briefly_soft(shape=(2,), seed=0):
    return fit_briefly(make("softflow", shape, seed=seed), low_rank_data(shape, 300, seed=seed), steps=60).double()


def test_a_soft_flow_is_a_density_at_every_level():
    model = briefly_soft()
    low, high = model.sigma_range
    axis = torch.linspace(-20, 26, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    densities = []
    for sigma in (low, high):
        with torch.no_grad():
            densities.append(torch.cat([model.log_prob(part, sigma=sigma) for part in grid.split(100_000)]))
        assert abs(float(densities[-1].exp().sum()) * float(axis[1] - axis[0]) ** 2 - 1) < 0.01
    assert torch.equal(densities[0], torch.cat([model.log_prob(part).detach() for part in grid.split(100_000)]))
    assert (densities[0] - densities[1]).abs().max() > 0.1  # the level matters


@pytest.mark.parametrize("shape", [(1,), (3,), (1, 2, 2)])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_the_scores_of_a_soft_flow_are_the_gradients_of_its_densities(shape, share):
    model, x = briefly_soft(shape), low_rank_data(shape, 10).double()
    low, high = model.sigma_range
    sigma = low + share * (high - low)
    levels = torch.full((10,), sigma, dtype=torch.float64)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(model.log_prob(x, sigma=levels).sum(), x)
    torch.testing.assert_close(model.score(x.detach(), sigma), gradient, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(model.denoise(x.detach(), levels), x.detach() + sigma**2 * gradient)


def test_samples_of_a_soft_flow_are_of_the_level_asked_for():
    """A Gaussian on a line: the width across it is that of the noise; for the least of it, it is on its way there."""
    torch.manual_seed(0)
    model = SoftFlow((2,), sigma_min=0.05, sigma_max=1.0, transforms=2, hidden=(32,))
    sm.fit(model, on_a_line(4000), steps=400, batch_size=128, learning_rate=1e-2, device="cpu", progress=False)
    normal, low = torch.tensor([4.0, -3.0]) / 5, model.sigma_range[0]
    widths = [float((model.sample(4000, sigma=k * low) @ normal).std()) / low for k in (1, 4, 20)]
    assert widths[1:] == pytest.approx([4, 20], rel=0.15)
    assert widths[0] < 0.75 * widths[1]
    assert float((model.sample(4000) @ normal).std()) / low == pytest.approx(widths[0], rel=0.1)
    with pytest.raises(InvalidInput, match="sigma="):
        model.sample(2, sigma=0.5 * low)


def briefly_denoising(D, d, seed=0):
    model = make("denoising-flow", (D,), latent_dim=d, seed=seed, sigma=0.3)
    return fit_briefly(model, low_rank_data((D,), 200, rank=d, seed=seed)).double()


@pytest.mark.parametrize(("D", "d"), [(2, 1), (4, 1), (4, 3)])
def test_the_density_of_a_denoising_flow_is_that_of_the_change_of_variables(D, d):
    """Latents in units of their law are standard normal; the Jacobian comes from autograd."""
    model, x = briefly_denoising(D, d), low_rank_data((D,), 20, rank=d).double()
    log_normal = -0.5 * (model._normalise(x).square() + math.log(2 * math.pi)).sum(dim=1)
    expected = log_normal + torch.linalg.slogdet(jacobian(model._normalise, x)).logabsdet
    torch.testing.assert_close(model.log_prob(x), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("D", "d"), [(2, 1), (4, 1), (4, 3)])
def test_a_denoising_flow_encodes_what_it_decodes(D, d):
    model = briefly_denoising(D, d)
    z = model.sample_latent(50, generator=torch.Generator().manual_seed(0))
    x = model.decode(z)
    assert torch.equal(x, model.sample(50, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(model.encode(x), z, rtol=1e-4, atol=1e-4)
    assert torch.linalg.matrix_rank(jacobian(model.decode, z)).eq(d).all()


def test_a_denoising_flow_finds_the_line_and_the_law_on_it():
    """Off the line it is a tenth of the noise at most; deflated, its density there is that of the Gaussian."""
    torch.manual_seed(0)
    model = DenoisingFlow((2,), 1, sigma=0.1, transforms=2, hidden=(16,))
    sm.fit(model, on_a_line(4000), steps=400, batch_size=128, learning_rate=1e-2, device="cpu", progress=False)
    noise, normal = 0.1 * unit(model), torch.tensor([4.0, -3.0]) / 5
    samples = model.sample(4000)
    assert (samples @ normal).abs().mean() < 0.1 * noise
    assert float((samples @ DIRECTION / 5).std()) == pytest.approx(5, rel=0.1)
    x = on_a_line(1000, seed=10)
    deflated = model.log_prob(x).detach() + 0.5 * math.log(2 * math.pi * noise**2)
    truth = torch.distributions.Normal(0.0, 5.0).log_prob(x @ DIRECTION / 5)[:, 0]
    assert (deflated - truth).mean().abs() < 0.1


CIRCLE = sm.data.manifold("circle", ambient_dim=2)


def on_circle(name, seed, **arguments):
    """The model, fitted to 5000 points of the von Mises law."""
    torch.manual_seed(seed)
    model = models.create(name, (2,), **arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a plain flow overfits, as it should
        sm.fit(model, CIRCLE.sample(5000, seed=seed), steps=1500, seed=seed, device="cpu", progress=False)
    return model


def judged(x, seed):
    """Circular W_1 to the law, a mean over ten samples of it, and the mean distance from the circle."""
    x = x.double().numpy()
    angles = [CIRCLE.angle(CIRCLE.sample(2000, seed=1000 * (seed + 1) + k)) for k in range(10)]
    return np.mean([circular_wasserstein(CIRCLE.angle(x), a) for a in angles]), CIRCLE.distance(x).mean()


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@cache
def plain_flow(seed):
    """How a flow of data without noise is judged."""
    return judged(on_circle("flow", seed).sample(2000, generator=seeded(seed)), seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["noised-flow", "mollified-flow"])
def test_noise_lets_a_flow_learn_the_law_on_a_circle(name, seed):
    """Along it its error is less than half that of a flow without noise, and Tweedie's step takes samples to it."""
    model = on_circle(name, seed)
    along, off = judged(model.sample(2000, generator=seeded(seed)), seed)
    along_noised, off_noised = judged(model.base.sample(2000, generator=seeded(seed)), seed)
    assert max(along, along_noised) < 0.5 * plain_flow(seed)[0]
    assert off < 0.7 * off_noised


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_flow_that_is_told_the_noise_learns_more_of_the_law_on_a_circle(seed):
    model = on_circle("softflow", seed)
    along, off = judged(model.sample(2000, generator=seeded(seed)), seed)
    _, off_noised = judged(model.sample(2000, sigma=model.sigma_range[1], generator=seeded(seed)), seed)
    assert along < 0.8 * plain_flow(seed)[0]
    assert off < 0.3 * off_noised


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_density_of_a_noised_flow_is_that_of_the_noised_circle(seed):
    """Its divergence from the closed form falls below a tenth of a nat."""
    model = on_circle("noised-flow", seed)
    noise = model.sigma * unit(model)
    x = model.noised(torch.as_tensor(CIRCLE.sample(5000, seed=seed + 50), dtype=torch.float32))
    truth = torch.as_tensor(CIRCLE.log_prob_smoothed(x.double().numpy(), noise))
    with torch.no_grad():
        divergence = (truth - model.log_prob(x)).mean()
    assert -0.02 < float(divergence) < 0.1
