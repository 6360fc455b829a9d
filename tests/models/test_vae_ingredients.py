"""Posteriors, priors and bounds of VAEs, against marginals that have a closed form: the decoder is linear."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from model_cases import fit_briefly, make
from scipy import stats

from submanifold.errors import InvalidInput
from submanifold.models import VAE

D, SIGMA = 3, 0.4


def linear_vae(seed=0, latent_dim=1, **ingredients):
    """A VAE with a linear decoder; its q(z | x) is wide and far from the posterior, so that bounds need log q right."""
    torch.manual_seed(seed)
    vae = VAE((D,), latent_dim, hidden=(), preprocess=(), **ingredients).double()
    with torch.no_grad():
        if "spread" not in ingredients:
            vae.log_scale.fill_(math.log(SIGMA))
        for parameter in vae.encoder.parameters():
            parameter *= 0.2
        for parameter in [*vae.prior.parameters(), *vae.posterior.parameters()]:
            parameter += 0.15 * torch.randn_like(parameter)
    return vae.eval()


def points(n=64, seed=1):
    return torch.randn(n, D, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def marginal(vae, x, nodes=4000):
    """log p(x) of a model with one latent, by quadrature over it."""
    z = torch.linspace(-12, 12, nodes, dtype=torch.float64)[:, None]
    with torch.no_grad():
        log_prior = vae.prior.log_prob(z, vae._moments)
        each = torch.stack([vae._log_likelihood(x, z[i].expand(len(x), 1)) for i in range(nodes)])
        return (each + log_prior[:, None]).logsumexp(dim=0) + math.log(24 / (nodes - 1))


INGREDIENTS = [
    {},
    {"posterior": "flow"},
    {"prior": "mixture", "components": 3},
    {"prior": "vampprior", "components": 3},
    {"prior": "flow"},
    {"posterior": "flow", "prior": "flow"},
    {"spread": SIGMA},
]


@pytest.mark.parametrize("ingredients", INGREDIENTS, ids=str)
def test_bounds_rise_to_the_density(ingredients):
    """ELBO < bound with few samples < bound with many < log p, which the last comes close to."""
    x = points()
    for seed in range(3):
        vae = linear_vae(seed, **ingredients)
        truth = marginal(vae, x)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            elbo = float(vae.elbo(x, 200, generator).mean())
            few, many = (float(vae.log_prob(x, k, generator).mean()) for k in (8, 20_000))
        assert elbo < few < many < float(truth.mean()) + 0.02
        assert many > float(truth.mean()) - 0.15


@pytest.mark.parametrize("prior", ["normal", "mixture", "vampprior", "flow"])
def test_a_prior_is_a_law_and_draws_from_itself(prior):
    for seed in range(3):
        vae = linear_vae(seed, prior=prior, components=4)
        grid = torch.linspace(-15, 15, 20_001, dtype=torch.float64)
        density = vae.prior.log_prob(grid[:, None], vae._moments).exp().detach().numpy()
        cumulative = np.cumsum(density) * 30 / 20_000
        assert cumulative[-1] == pytest.approx(1, abs=1e-3)
        drawn = vae.sample_latent(2000, generator=torch.Generator().manual_seed(seed))[:, 0].numpy()
        assert stats.kstest(drawn, partial(np.interp, xp=grid, fp=cumulative)).pvalue > 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_a_flow_posterior_draws_from_the_density_that_it_states(seed):
    vae = linear_vae(seed, posterior="flow")
    features = vae.encoder(points(1))
    eps = torch.linspace(-8, 8, 16_001, dtype=torch.float64)[:, None, None]
    z, log_q = vae.posterior.draw(features, eps)
    order = z[:, 0, 0].argsort()
    assert torch.trapezoid(log_q[order, 0].exp(), z[order, 0, 0]).item() == pytest.approx(1, abs=1e-4)
    assert torch.allclose(vae.posterior.centre(features), z[8000])


def test_beta_weighs_the_divergence():
    vae = fit_briefly(make("beta-vae", (D,), beta=7.0), points().float())
    terms = vae.loss(points().float())
    assert torch.allclose(terms["loss"], terms["reconstruction"] + 7 * terms["kl"])


def test_the_loss_of_iwae_is_minus_its_bound():
    vae = linear_vae(importance_samples=5)
    with torch.no_grad():
        losses = torch.stack([vae.loss(points())["loss"] for _ in range(400)])
        bounds = torch.stack(
            [vae.log_prob(points(), 5, torch.Generator().manual_seed(seed)).mean() for seed in range(400)]
        )
    error = math.hypot(float(losses.std()), float(bounds.std())) / math.sqrt(400)
    assert abs(float(losses.mean() + bounds.mean())) < 4 * error


def test_pseudo_inputs_begin_as_points_of_the_data():
    x = points(40).float()
    vae = make("vampprior-vae", (D,), components=8)
    vae.prepare(x)
    y = vae.preprocess(x)
    assert torch.cdist(vae.prior.pseudo_inputs, y).amin(1).max() == 0


def test_a_spread_model_is_trained_on_blurred_data_and_sampled_sharp():
    """Its loss is minus the bound at x + noise; its samples are on the image of the decoder, a line."""
    vae = linear_vae(spread=SIGMA)
    x = points()
    with torch.no_grad():
        losses = torch.stack([vae.loss(x)["loss"] for _ in range(500)])
        blurred = torch.stack([vae.elbo(x + SIGMA * torch.randn_like(x)).mean() for _ in range(500)])
    assert abs(float(losses.mean() + blurred.mean())) < 4 * math.hypot(*(float(v.std()) for v in (losses, blurred))) / (
        math.sqrt(500)
    )
    sharp, blurred = (vae.sample(500, noise=noise) for noise in (None, True))
    assert torch.linalg.svdvals(sharp - sharp.mean(0))[1] < 1e-10
    assert torch.linalg.svdvals(blurred - blurred.mean(0))[1] > SIGMA
    assert vae.decoder_scale_value == pytest.approx(SIGMA)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"posterior": "gausian"}, "did you mean 'gaussian'"),
        ({"prior": "uniform"}, "prior='uniform'"),
        ({"posterior": "flow", "prior": "vampprior"}, "mixture of posteriors"),
        ({"beta": 2.0, "importance_samples": 4}, "beta=2.0 with importance_samples=4"),
        ({"beta": -1.0}, "beta"),
        ({"importance_samples": 0}, "importance_samples"),
        ({"components": 0, "prior": "mixture"}, "components"),
        ({"spread": 0.0}, "spread"),
        ({"spread": 0.1, "decoder_scale": 0.1}, "the spread is the scale"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(arguments, reason):
    with pytest.raises(InvalidInput, match=reason):
        VAE((D,), 2, **arguments)


def test_latents_without_a_divergence_of_their_own_are_not_counted():
    vae = fit_briefly(make("mixture-vae", (D,)), points().float(), steps=2)
    with pytest.raises(InvalidInput, match="no divergence of their own"):
        vae.active_units(points())
