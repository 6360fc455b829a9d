"""Trained diffusion models against known laws, and what they say of themselves."""

import math
import warnings

import numpy as np
import pytest
import torch
from model_cases import check_is_not_flagged, check_learns_the_circle

import submanifold as sm
from submanifold.errors import InvalidInput, NonFiniteScore, UnfittedModel
from submanifold.models import Diffusion
from submanifold.models.diffusion.coupled_flow import CoupledFlow
from submanifold.models.diffusion.probability_flow import WEIGHTINGS
from submanifold.models.diffusion.samplers import SAMPLERS
from submanifold.transport import wasserstein


def exact(D=2, scale=3.0, **kwargs):
    """The model of N(0, scale^2 I): with its networks' output at zero, D = y / (1 + sigma^2), which is right for it."""
    model = Diffusion((D,), hidden=(16,), **kwargs).double()
    model.prepare(normal(5000, D) * scale)
    model.preprocess.maps[0].fit(torch.tensor([[scale], [-scale]], dtype=torch.float64).expand(2, D))
    model.reference.mean.zero_()
    model.reference.variances.fill_(1.0)
    model.reference.rest.fill_(1.0)
    return model


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_an_untrained_network_is_the_model_of_a_gaussian_in_the_units_of_the_data():
    model, x = exact(), 2 * normal(20, 2, seed=1)
    for sigma in (0.1, 1.0, 10.0):
        torch.testing.assert_close(model.score(x, sigma), -x / (9 + sigma**2))
        torch.testing.assert_close(model.denoise(x, sigma), 9 * x / (9 + sigma**2))
    each = torch.tensor([0.1, 10.0], dtype=torch.float64).repeat(10)
    torch.testing.assert_close(model.score(x, each), -x / (9 + each[:, None] ** 2))


@pytest.mark.parametrize("D", [1, 2, 5])
def test_its_log_density_is_that_of_the_gaussian(D):
    model, x = exact(D), 2 * normal(20, D, seed=1)
    variance = 9 * (1 + model.sigma_min**2)
    expected = -0.5 * (x.square().sum(dim=1) / variance + D * math.log(2 * math.pi * variance))
    assert model.log_prob_kind == "exact"
    torch.testing.assert_close(model.log_prob(x), expected, rtol=0, atol=2e-3)
    torch.testing.assert_close(model.local_scales(x), torch.full((20, D), math.sqrt(variance), dtype=torch.float64))


def test_an_estimated_log_density_agrees_and_has_an_error():
    model, x = exact(5, exact_dims=2), 2 * normal(20, 5, seed=1)
    found, sure = model.log_prob_at(x), exact(5).log_prob_at(x)
    assert model.log_prob_kind == "estimate"
    # the Jacobian is a multiple of I, whose trace signs find without error
    torch.testing.assert_close(found.log_prob, sure.log_prob, rtol=0, atol=1e-3)  # steps of the solver differ
    assert float(found.error.max()) < 1e-6
    assert not sure.error.any()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_its_samples_are_those_of_the_gaussian(sampler):
    model, steps = exact(), 10 if sampler == "adaptive" else 100  # between levels it takes steps of its own
    x = model.sample(10_000, generator=torch.Generator().manual_seed(0), sampler=sampler, steps=steps)
    assert float(x.std()) == pytest.approx(3.0, rel=0.06)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("D", [2, 20])
def test_the_loss_is_the_error_of_the_denoised_point(D, weighting):
    """For N(0, I) the best F is 0, and what it misses of the target has mean square 1 at every level."""
    model = exact(D, scale=1.0, weighting=weighting)
    torch.manual_seed(0)
    x = normal(20_000, D)
    sigma = model._drawn_levels(x)
    weight = WEIGHTINGS[weighting]
    share = sigma.square() / (1 + sigma.square())  # of an error of the output in that of the denoised point, squared
    expected = 1.0 if weight is None else float((weight(sigma) * share).mean())
    assert float(model.loss(x).detach()) == pytest.approx(expected, rel=0.05)


def test_levels_in_training_are_within_the_range_and_reach_its_ends():
    torch.manual_seed(0)
    model = exact()
    sigma = model._drawn_levels(torch.zeros(20_000, 2))
    assert float(sigma.min()) >= 0.999 * model.sigma_min
    assert float(sigma.max()) <= 1.001 * model.sigma_max
    assert float((sigma < 0.02).float().mean()) > 0.05


def test_a_sampler_may_be_told_to_stop_early_and_is_watched():
    model, told = exact(final_denoise=False), []
    model.sample(4, steps=7, sigma_min=0.5, callback=told.append)
    assert [p.step for p in told] == list(range(1, 8))
    assert told[-1].sigma == 0.5


def test_a_network_that_breaks_stops_with_the_level():
    model = exact()
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.fill_(torch.nan)
    with pytest.raises(NonFiniteScore, match="at step 1 of 25, at noise level 20"):
        model.sample(3)
    with pytest.raises(NonFiniteScore, match=r"noise level 0\.005"):
        model.log_prob(normal(3, 2))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Diffusion((2,), weighting="snr"), "weighting='snr'"),
        (lambda: Diffusion((2,), sigma_min=0.0), "sigma_min=0"),
        (lambda: Diffusion((2,), sigma_max=0.001), "sigma_max=0.001"),
        (lambda: Diffusion((2,), sampler="hein"), "did you mean 'heun'"),
        (lambda: Diffusion((2,), spacing="even"), "spacing='even'"),
        (lambda: Diffusion((2,), network="unet"), "network='unet'"),
        (lambda: Diffusion((2,), preprocess=("standardise",)), "standardise makes noise unequal"),
        (lambda: exact().sample(3, steps=0), "steps=0"),
        (lambda: exact().score(normal(3, 2), 0.0), "sigma=0.0"),
        (lambda: exact().log_prob_at(normal(3, 2), 0.0), "sigma_min=0"),
        (lambda: exact(sigma_min=0.1).log_prob_at(normal(3, 2), 0.05), r"sigma_min=0.05 .* in \[0.1, 20\]"),
        (lambda: exact(sigma_min=0.1).sample(3, sigma_min=0.05), r"sigma_min=0.05 .* in \[0.1, 20\]"),
        (lambda: exact().sample(3, sigma_min=30.0), r"sigma_min=30.0 .* in \[0.005, 20\]"),
        (lambda: exact().elbo(normal(3, 2), levels=1), "levels=1"),
        (lambda: exact().elbo(normal(3, 2), labels=1), "a model without classes"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()


def test_levels_may_be_off_by_rounding():
    """As those of a logarithmic grid are, which begins at the least level."""
    model, x = exact(sigma_min=0.1), normal(3, 2)
    least = 0.1 * (1 - 1e-5)
    torch.testing.assert_close(model.log_prob_at(x, least).log_prob, model.log_prob(x), rtol=0, atol=1e-3)
    assert model.sample(3, sigma_min=least).isfinite().all()


@pytest.mark.parametrize("model", [Diffusion, CoupledFlow])
def test_data_of_another_deviation_than_one_are_warned_about_unless_they_are_scaled(model):
    x = 100 * normal(200, 2).float()
    with pytest.warns(UserWarning, match=r"preprocess=\['dequantise'\] leaves .* a deviation of 9\d.*add \"scale\""):
        model((2,), hidden=(8,), preprocess=("dequantise",)).prepare(x.round())
    with pytest.warns(UserWarning, match="a deviation of 0.2"):
        model((2,), hidden=(8,), preprocess=()).prepare(x / 400)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model((2,), hidden=(8,)).prepare(x)
        model((2,), hidden=(8,), preprocess=("dequantise", "scale")).prepare(x.round())
        model((2,), hidden=(8,), preprocess=()).prepare(x / 150)


def test_nothing_is_sampled_before_training():
    with pytest.raises(UnfittedModel):
        Diffusion((2,)).sample(3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("D", [2, 20])
def test_a_law_on_a_circle_is_learned(D, seed):
    """And the codimension is known from the scores."""
    circle = sm.data.manifold("circle", kappa=1.0, ambient_dim=D)
    torch.manual_seed(seed)
    model = Diffusion((D,))
    check_learns_the_circle(model, circle, seed)
    sigma = 4 * model.sigma_range[0]
    clean = torch.as_tensor(circle.sample(4000, seed=77)).float()
    noised = clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    found = sigma**2 * float(model.score(noised, sigma).square().sum(dim=1).mean())
    assert found == pytest.approx(D - 1, rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_law_on_a_torus_is_learned(seed):
    """In R^10: W_1 of projected samples below twice its floor, and half of the samples nearer than 0.03."""
    torus = sm.data.manifold("torus", ambient_dim=10)
    torch.manual_seed(seed)
    model = Diffusion((10,))
    x = torus.sample(5000, seed=seed)
    sm.fit(model, x, steps=6000, learning_rate=2e-3, ema=0.998, seed=seed, progress=False)
    drawn = model.sample(3000, generator=torch.Generator().manual_seed(seed)).double().numpy()
    true = [torus.sample(1000, seed=1000 * (seed + 1) + k) for k in range(6)]
    floor = np.mean([wasserstein(a, b) for a, b in zip(true[:3], true[3:], strict=True)])
    parts = np.array_split(torus.project(drawn), 3)
    assert np.mean([wasserstein(a, b) for a, b in zip(parts, true[:3], strict=True)]) < 2 * floor
    assert np.median(torus.distance(drawn)) < 0.03
    check_is_not_flagged(model, x, torus.sample(1000, seed=500 + seed), dim=2)
