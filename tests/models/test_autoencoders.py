"""Autoencoders: their penalties against exact Jacobians, what they are for, and their laws of latents."""

import math

import numpy as np
import pytest
import torch
from model_cases import fit_briefly, low_rank_data, make
from scipy import stats

import submanifold as sm
from submanifold.data import Dataset
from submanifold.errors import InvalidInput
from submanifold.geometry import jacobian
from submanifold.lens.evidence import setting
from submanifold.models import VQVAE, RegularisedAutoencoder, WassersteinAutoencoder
from submanifold.transport import DISCREPANCIES

D = 4


def prepared(model, seed=0):
    x = low_rank_data((D,), 200, seed=seed)
    torch.manual_seed(seed)
    model.prepare(x)
    return model.double(), x.double()


def mean_loss(model, x, draws=2000):
    losses = torch.stack([model.loss(x)["loss"].detach() for _ in range(draws)])
    return float(losses.mean()), float(losses.std()) / math.sqrt(draws)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("penalty", ["contraction", "decoder_penalty", "latent_penalty", "corruption"])
def test_penalties_are_what_they_say(penalty, seed):
    """Means over random directions agree with exact Jacobians; latents and noise with their plain formulas."""
    none = {"contraction": 0.0, "decoder_penalty": 0.0, "latent_penalty": 0.0, "corruption": 0.0}
    model, x = prepared(RegularisedAutoencoder((D,), 2, hidden=(8,), **(none | {penalty: 0.5})), seed)
    x = x[:20]
    y = model.preprocess(x)
    model.requires_grad_(False)
    z = model.encoder(y)
    reconstruct = torch.nn.Sequential(model.encoder, model.decoder)
    error = (y - reconstruct(y)).square().mean()
    if penalty == "contraction":
        expected = error + 0.5 * jacobian(reconstruct, y).square().sum((1, 2)).mean() / D
    elif penalty == "decoder_penalty":
        expected = error + 0.5 * jacobian(model.decoder, z).square().sum((1, 2)).mean() / D
    elif penalty == "latent_penalty":
        expected = error + 0.5 * z.square().sum(1).mean() / D
    else:
        noised = y + 0.5 * torch.randn(4000, *y.shape, dtype=y.dtype)
        expected = (y - reconstruct(noised)).square().mean()
    mean, standard_error = mean_loss(model, x)
    assert abs(mean - float(expected)) < 5 * standard_error + 0.02 * float(expected - error) + 1e-12


def test_a_held_out_loss_has_no_need_of_gradients():
    model, x = prepared(make("rae", (D,), contraction=0.1))
    with torch.no_grad():
        assert model.loss(x)["loss"].isfinite()
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("discrepancy", list(DISCREPANCIES))
def test_the_loss_is_reconstruction_and_mismatch(discrepancy):
    model, x = prepared(WassersteinAutoencoder((D,), 2, discrepancy=discrepancy, weight=3.0))
    terms = model.loss(x)
    assert torch.allclose(terms["loss"], terms["reconstruction"] + 3 * terms["mismatch"])
    torch.manual_seed(0)
    mismatch = model.loss(x)["mismatch"]
    torch.manual_seed(0)
    z = model.encode(x)
    assert torch.allclose(mismatch, DISCREPANCIES[discrepancy](z, torch.randn_like(z)))


def test_one_point_has_no_law_and_is_not_left_alone_by_the_trainer():
    model, x = prepared(make("wae-mmd", (D,)))
    with pytest.raises(InvalidInput, match="batch_size"):
        model.loss(x[:1])
    model = make("wae-mmd", (D,))
    history = sm.fit(model, low_rank_data((D,), 50), held_out=low_rank_data((D,), 17), batch_size=8, steps=2)
    assert math.isfinite(history.records[-1]["held_out_loss"])


def test_codes_are_nearest_and_gradients_pass_rounding_unchanged():
    model = fit_briefly(make("vq-vae", (D,), codes=8, code_dim=1), low_rank_data((D,), 200), steps=20)
    x = low_rank_data((D,), 50, seed=1)
    z = model.encoder(model.preprocess(x))
    e = model.encode(x)
    for group in range(2):
        distances = (z[:, group, None] - model.codebooks[group, :, 0]).abs()  # (n, codes)
        assert torch.equal((e[:, group] - z[:, group]).abs(), distances.amin(1))
    assert torch.equal(model._entries(model._nearest(e)), e)
    weight = model.encoder[-1].weight
    model.commitment = 0.0
    (passed,) = torch.autograd.grad(model.eval().loss(x)["loss"], weight)
    leaf = e.detach().requires_grad_()
    (at_codes,) = torch.autograd.grad((model.preprocess(x) - model.decoder(leaf)).square().mean(), leaf)
    (expected,) = torch.autograd.grad(z, weight, at_codes)
    assert torch.allclose(passed, expected, atol=1e-7)


def test_codes_move_only_in_training():
    model = fit_briefly(make("vq-vae", (D,), codes=8), low_rank_data((D,), 200), steps=5)
    before = model.codebooks.clone()
    model.eval().loss(low_rank_data((D,), 50))
    assert torch.equal(model.codebooks, before)
    model.train().loss(low_rank_data((D,), 50))
    assert not torch.equal(model.codebooks, before)


def test_codes_settle_at_the_means_of_what_is_rounded_to_them():
    """Of four atoms each becomes a code, and codes that no atom needs begin anew at atoms."""
    model = VQVAE((2,), 1, codes=6, preprocess=())
    model.train()
    atoms = torch.tensor([-3.0, -1.0, 1.0, 3.0])[:, None, None]
    z = atoms[torch.randint(4, (512,))] + 0.01 * torch.randn(512, 1, 1)
    for _ in range(500):
        model._follow(z, model._nearest(z[:, 0]))
    nearest = (model.codebooks[0] - atoms[:, 0].T).abs().amin(0)
    assert float(nearest.max()) < 0.02
    assert float((model.codebooks[0] - atoms[:, 0].T).abs().amin(1).max()) < 0.05


@pytest.mark.parametrize("groups", [1, 3])
def test_the_law_of_codes_sums_to_one_and_is_sampled(groups):
    """All words of codes have probabilities that sum to 1, and are drawn as often as they say."""
    torch.manual_seed(0)
    model = VQVAE((8,), 2 * groups, codes=3, code_dim=2, law_hidden=(16,), preprocess=())
    with torch.no_grad():
        for parameter in model.law.parameters():
            parameter += 0.5 * torch.randn_like(parameter)
        words = torch.cartesian_prod(*[torch.arange(3)] * groups).reshape(-1, groups)
        e = model._entries(words)
        log_mass = torch.stack([-model.law_loss(row[None]) for row in e])
        assert float(log_mass.exp().sum()) == pytest.approx(1, abs=1e-5)
        drawn = model._nearest(model.sample_latent(20_000, generator=torch.Generator().manual_seed(0)))
    numbers = (drawn * 3 ** torch.arange(groups - 1, -1, -1)).sum(1)
    shares = torch.bincount(numbers, minlength=3**groups) / 20_000
    assert float((shares - log_mass.exp()).abs().max()) < 5 * math.sqrt(0.25 / 20_000)


def test_a_code_is_its_own_nearest_however_far_from_zero():
    """Of many close codes; squared distances by a matrix product would lose them in rounding."""
    torch.manual_seed(0)
    model = VQVAE((8,), 4, preprocess=())
    model.codebooks.copy_(200 + 0.3 * torch.randn_like(model.codebooks))
    index = torch.arange(model.codes)[:, None]
    assert torch.equal(model._nearest(model._entries(index)), index)


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("rae", {"corruption": -1.0}, "corruption"),
        ("rae", {"components": 0}, "components"),
        ("wae-mmd", {"discrepancy": "kl"}, "discrepancy='kl'"),
        ("wae-mmd", {"weight": math.nan}, "weight"),
        ("bigan", {"hidden": ()}, "hidden"),
        ("avb", {"hidden": ()}, "hidden"),
        ("vq-vae", {"codes": 1}, "codes"),
        ("vq-vae", {"code_dim": 3}, "divisor"),
    ],
)
def test_bad_arguments_are_refused(name, arguments, reason):
    with pytest.raises(InvalidInput, match=reason):
        make(name, (D,), **arguments)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rae", "denoising-autoencoder", "contractive-autoencoder", "wae-mmd", "sliced-wae"])
def test_samples_are_on_the_circle_and_along_it_as_the_data(name):
    """Off the circle by less than a tenth of its radius, and W1 along it below three floors, over three seeds."""
    circle = sm.data.manifold("circle")
    for seed in range(3):
        X = circle.sample(4000, seed=seed)
        torch.manual_seed(seed)
        model = make(name, (2,), latent_dim=1, hidden=(128, 128))
        sm.fit(model, X, steps=2000, seed=seed, progress=False)
        known, held_out = (Dataset(x, "circle", manifold=circle) for x in (X, circle.sample(2000, seed=100 + seed)))
        errors = setting(held_out, known).errors(model, seed=seed)
        assert errors.off.value < 0.1
        assert errors.along.value < 3 * errors.floor.value


def test_what_the_coder_of_a_bigan_minimises_the_critic_maximises():
    model, x = prepared(make("bigan", (D,), reconstruction=0.0))
    torch.manual_seed(0)
    coder = model.loss(x)["loss"]
    torch.manual_seed(0)
    critic = model.critic_loss(x)
    assert torch.allclose(coder, model.penalty * critic["penalty"] - critic["loss"])


class Bimodal(torch.nn.Module):
    """Latents of noise (..., 2) alone, of half N(a + b, c^2) and half N(a - b, c^2)."""

    def __init__(self, features, a, b, c):
        super().__init__()
        self.features, self.a, self.b, self.c = features, a, b, c

    def forward(self, inputs):
        e = inputs[..., self.features :]
        return self.a + self.b * e[..., :1].sign() + self.c * e[..., 1:]

    def log_prob(self, z):
        parts = [stats.norm(self.a + sign * self.b, self.c).logpdf(z) for sign in (1, -1)]
        return torch.as_tensor(np.logaddexp(*parts) - math.log(2))


class BestCritic(torch.nn.Module):
    """log q - log r, and a disturbance of it, for latents in units of r."""

    def __init__(self, q, mean, deviation):
        super().__init__()
        self.q, self.r, self.disturbance = q, stats.norm(float(mean), float(deviation)), lambda z: 0 * z

    def forward(self, y, z):
        u = float(self.r.mean()) + float(self.r.std()) * z
        return self.q.log_prob(u.detach()) - torch.as_tensor(self.r.logpdf(u.detach())) + self.disturbance(z)


@pytest.mark.parametrize(("a", "b", "c"), [(1.0, 0.0, 0.5), (0.0, 0.9, 0.3), (0.5, 0.6, 0.2)])
def test_avb_knows_the_divergence_of_a_posterior_without_density_by_its_best_critic(a, b, c):
    """From N(0, 1), by quadrature; and any other critic has a larger loss."""
    model, x = prepared(make("avb", (D,), latent_dim=1, noise_dim=2))
    model.mix = q = Bimodal(model.mix[0].in_features - 2, a, b, c)
    _, mean, deviation = model._posterior(model.preprocess(x))
    model.critic = critic = BestCritic(q, mean[0], deviation[0])
    points = torch.linspace(-6, 6, 100_001, dtype=torch.float64)
    log_q = q.log_prob(points)
    kl = float(torch.trapezoid(log_q.exp() * (log_q - torch.as_tensor(stats.norm.logpdf(points))), points))
    x = low_rank_data((D,), 5000).double()
    torch.manual_seed(0)
    found = torch.stack([model.loss(x)["kl"] for _ in range(20)])
    assert abs(float(found.mean()) - kl) < 4 * float(found.std()) / math.sqrt(len(found))

    def critic_loss():
        torch.manual_seed(0)
        return float(torch.stack([model.critic_loss(x) for _ in range(10)]).mean())

    best = critic_loss()
    for disturbance in (lambda z: 0.3 + 0 * z, lambda z: 0.3 * z, lambda z: -0.3 * z, lambda z: 0.3 * z.cos()):
        critic.disturbance = disturbance
        assert critic_loss() > best
