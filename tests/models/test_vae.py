"""The Gaussian VAE against the one case that has a closed form: with linear networks it is probabilistic PCA."""

import math
import warnings

import pytest
import torch
from model_cases import fit_briefly, low_rank_data, make
from scipy import stats

import submanifold as sm
from submanifold.errors import InvalidInput
from submanifold.models import VAE, variational

D, LATENTS, SIGMA = 5, 2, 0.3


def linear_vae(preprocess=(), decoder_scale="learned", seed=0):
    """A VAE with one affine map each way, orthogonal decoder columns and an encoder that is off by a little."""
    torch.manual_seed(seed)
    vae = VAE((D,), LATENTS, hidden=(), preprocess=preprocess, decoder_scale=decoder_scale).double()
    W = torch.linalg.qr(torch.randn(D, LATENTS, dtype=torch.float64)).Q * torch.tensor([2.0, 0.7])
    with torch.no_grad():
        vae.decoder[0].weight.copy_(W)
        if decoder_scale == "learned":
            vae.log_scale.fill_(math.log(SIGMA))
    return vae.eval()


def set_posterior(vae, error=0.0):
    r"""Encode with the exact posterior N(M^{-1} W^T (y - b), \sigma^2 M^{-1}), M = W^T W + \sigma^2 I, and an error."""
    W, b = vae.decoder[0].weight.detach(), vae.decoder[0].bias.detach()
    precision = (W * W).sum(0) + SIGMA**2  # W^T W is diagonal
    mean = W.T / precision[:, None]
    with torch.no_grad():
        vae.encoder[0].weight.zero_()
        vae.encoder[0].weight[:LATENTS] = (1 + error) * mean
        vae.encoder[0].bias[:LATENTS] = -mean @ b + error
        vae.encoder[0].bias[LATENTS:] = (SIGMA / precision.sqrt()).log() + error


def true_law(vae):
    """N(b, W W^T + sigma^2 I) of y."""
    W, b = vae.decoder[0].weight.detach(), vae.decoder[0].bias.detach()
    return stats.multivariate_normal(b.numpy(), (W @ W.T + SIGMA**2 * torch.eye(D)).numpy())


def points(n=200, seed=1):
    return torch.randn(n, D, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_with_the_exact_posterior_the_importance_bound_is_the_density():
    vae = linear_vae()
    set_posterior(vae)
    expected = torch.tensor(true_law(vae).logpdf(points().numpy()))
    for n_importance in (1, 7):
        assert torch.allclose(vae.log_prob(points(), n_importance), expected, atol=1e-9)
    assert torch.allclose(vae.elbo(points(), 4000, torch.Generator().manual_seed(0)), expected, atol=0.2)


@pytest.mark.parametrize("seed", range(5))
def test_bounds_are_ordered(seed):
    """ELBO <= importance bound <= log p, and the gap to log p closes as samples are added."""
    vae = linear_vae(seed=seed)
    set_posterior(vae, error=0.3)
    x = points(seed=seed + 10)
    truth = float(true_law(vae).logpdf(x.numpy()).mean())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        elbo = float(vae.elbo(x, 64, generator).mean())
        bounds = [float(vae.log_prob(x, k, generator).mean()) for k in (4, 64, 1024)]
    assert elbo < bounds[0] < bounds[1] < bounds[2] + 0.01
    assert bounds[2] <= truth + 0.01  # 200 points, one draw each
    assert truth - bounds[2] < 0.1 * (truth - elbo)


def test_one_importance_sample_is_the_elbo_on_average():
    vae = linear_vae()
    set_posterior(vae, error=0.2)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        elbo = vae.elbo(points(2000), 200, generator).mean()
        single = torch.stack([vae.log_prob(points(2000), 1, generator).mean() for _ in range(20)])
    assert abs(float(single.mean() - elbo)) < 4 * float(single.std()) / math.sqrt(20)


def test_loss_is_minus_the_elbo():
    vae = fit_briefly(linear_vae(preprocess=["scale"]), 10 * points())
    with torch.no_grad():
        losses = torch.stack([vae.loss(10 * points())["loss"] for _ in range(200)])
        elbo = vae.elbo(10 * points(), 200).mean()
    assert abs(float(losses.mean() + elbo)) < 5 * float(losses.std()) / math.sqrt(200)
    terms = vae.loss(10 * points())
    assert torch.allclose(terms["loss"], terms["reconstruction"] + terms["kl"])
    assert float(terms["scale"]) == pytest.approx(vae.decoder_scale_value)


@pytest.mark.parametrize("preprocess", [("scale",), ("standardise",), ("whiten",), ("standardise", "whiten")])
def test_local_scales_are_those_of_the_marginal(preprocess):
    """A linear decoder makes p(x) Gaussian: the scales are the square roots of its covariance's eigenvalues."""
    vae = linear_vae(preprocess=preprocess)
    x = points() * torch.tensor([1.0, 2.0, 3.0, 4.0, 50.0]) @ torch.linalg.qr(points(D)).Q
    vae.preprocess.fit(x)
    A = torch.autograd.functional.jacobian(vae.preprocess.inverse, torch.zeros(D, dtype=torch.float64))
    W = vae.decoder[0].weight.detach()
    covariance = A @ (W @ W.T + SIGMA**2 * torch.eye(D)) @ A.T
    noise = SIGMA**2 * (A @ A.T)
    expected = torch.linalg.eigvalsh(covariance).flip(0).sqrt()
    assert torch.allclose(vae.local_scales(x[:3]), expected.expand(3, D), rtol=1e-6)
    drawn = vae.sample(100_000, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(torch.cov(drawn.T), covariance, atol=0.03 * float(covariance.max()))
    assert vae.decoder_scale_value == pytest.approx(float(noise.diagonal().mean().sqrt()))


@pytest.mark.parametrize("unit", [1e-25, 1.0, 1e22])
def test_units_whose_squares_single_precision_cannot_hold(unit):
    x = unit * low_rank_data((D,), 200).double()
    vae = VAE((D,), LATENTS, hidden=(16,), decoder_scale=0.5 * unit)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # data that vary little beside their size
        sm.fit(vae, x, steps=20, progress=False)
    assert vae.decoder_scale_value == pytest.approx(0.5 * unit, rel=1e-5)
    scales = vae.local_scales(x[:4].float()) / unit
    assert torch.allclose(scales[:, LATENTS:], torch.tensor(0.5).double(), rtol=1e-5)
    assert float(vae.sample(500).double().std() / unit) == pytest.approx(float(x.std() / unit), rel=0.5)


def test_many_points_are_scored_without_the_graph_of_all_and_with_the_same_gradient(monkeypatch):
    vae, x = fit_briefly(make("vae", (D,)), points().float(), steps=5), points().float()
    monkeypatch.setattr(variational, "_BUDGET", 64 * D * 10)  # ten at a time

    def scored():
        at = x.clone().requires_grad_()
        held = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: held.append(t.numel()) or t, lambda t: t):
            total = vae.log_prob(at).sum()
        return sum(held), torch.autograd.grad(total, [at, *vae.parameters()])

    few, again = scored()
    monkeypatch.setattr(variational, "checkpoint", lambda function, *inputs, **_: function(*inputs))
    many, kept = scored()
    assert few < many / 10
    assert all(torch.equal(one, other) for one, other in zip(again, kept, strict=True))
    monkeypatch.undo()
    monkeypatch.setattr(variational, "_BUDGET", 64 * D * 10)
    inside = torch.func.grad(lambda at: vae.log_prob(at).sum())(x)  # which refuses what saves memory
    assert torch.allclose(inside, again[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("factor", [1e-3, 1.0, 255.0])
def test_a_fixed_scale_is_in_the_units_of_the_data(factor):
    x = factor * low_rank_data((D,), 200)
    vae = fit_briefly(make("vae", (D,), decoder_scale=0.1 * factor), x, steps=2)
    assert vae.decoder_scale_value == pytest.approx(0.1 * factor, rel=1e-5)
    noisy, clean = (
        vae.sample(20_000, generator=torch.Generator().manual_seed(0), noise=noise) for noise in (True, False)
    )
    assert float((noisy - clean).std()) == pytest.approx(0.1 * factor, rel=0.02)
    assert all(parameter.grad is None or parameter.numel() for parameter in vae.parameters())


@pytest.mark.parametrize("scale", ["learned", 0.5])
def test_units_of_the_data(scale):
    """log p(c x) of the model of c x is log p(x) - D log c, term by term."""
    x, c = points(), 100.0
    values = []
    for factor in (1.0, c):
        decoder_scale = scale if scale == "learned" else factor * scale
        vae = make("vae", (D,), decoder_scale=decoder_scale).double()
        values.append(fit_briefly(vae, factor * x, steps=10).log_prob(factor * x))
    assert torch.allclose(values[1] - values[0], torch.full((len(x),), -D * math.log(c)).double(), atol=1e-5)


def test_without_a_generator_the_bound_is_the_same_on_every_call():
    vae = fit_briefly(make("vae", (D,)), points().float(), steps=5)
    assert torch.equal(vae.log_prob(points()), vae.log_prob(points()))
    other = vae.log_prob(points(), generator=torch.Generator().manual_seed(1))
    assert not torch.equal(vae.log_prob(points()), other)


def test_the_bound_does_not_depend_on_how_points_are_grouped(monkeypatch):
    vae = linear_vae()
    set_posterior(vae)  # the weights are constant, so that each group draws its noise without consequence
    expected = vae.log_prob(points())
    monkeypatch.setattr("submanifold.models.variational._BUDGET", 64 * D * 7)
    assert torch.allclose(vae.log_prob(points()), expected, atol=1e-9)


def test_active_units_are_the_latents_that_carry_information():
    vae = linear_vae()
    set_posterior(vae)
    with torch.no_grad():
        vae.encoder[0].weight[1] = 0
        vae.encoder[0].bias[1] = 0
        vae.encoder[0].bias[LATENTS + 1] = 0
    kl = vae.kl_per_unit(points())
    assert float(kl[1]) == pytest.approx(0, abs=1e-12)
    mean = vae.encode(points())[:, 0]
    law = torch.distributions.Normal(mean.detach(), vae.encoder[0].bias[LATENTS].detach().exp())
    expected = torch.distributions.kl_divergence(law, torch.distributions.Normal(0.0, 1.0)).mean()
    assert float(kl[0]) == pytest.approx(float(expected))
    assert vae.active_units(points()) == 1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("beta", "used"), [(1.0, True), (3.0, True), (6.0, False)])
def test_latents_are_used_while_beta_is_below_coordinates_by_dimensions(beta, used, seed):
    """On a line in R^4 the bound allows a beta of 4."""
    torch.manual_seed(seed)
    x = torch.randn(1000, 1) * torch.tensor([[0.5, -0.5, 0.5, 0.5]])
    vae = VAE((4,), 1, hidden=(32,), beta=beta)
    fit_briefly(vae, x, steps=600, lr=1e-2)
    assert (vae.decoder_scale_value < 0.15) == used
    assert used or vae.decoder_scale_value == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("decoder_scale", [0.0, -1.0, math.nan, "fixed"])
def test_bad_scales_are_refused(decoder_scale):
    with pytest.raises(InvalidInput, match="decoder_scale"):
        VAE((D,), LATENTS, decoder_scale=decoder_scale)


@pytest.mark.parametrize("name", ["autoencoder", "vae", "two-step"])
def test_latents_are_fewer_than_coordinates_unless_asked_otherwise(name):
    for latent_dim in (2, 3):
        with pytest.raises(InvalidInput, match=f"latent_dim={latent_dim} .* 2 coordinates.*full_latent=True"):
            make(name, (2,), latent_dim=latent_dim)
    assert make(name, (2,), latent_dim=2, full_latent=True).latent_dim == 2
    with pytest.raises(InvalidInput, match="at most 2"):
        make(name, (2,), latent_dim=3, full_latent=True)
    with pytest.raises(InvalidInput, match="latent_dim"):
        make(name, (2,), latent_dim=0)
