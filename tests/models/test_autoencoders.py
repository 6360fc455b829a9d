"""Autoencoders: their penalties against exact Jacobians, what they are for, and their laws of latents."""

import math

import pytest
import torch
from model_cases import fit_briefly, low_rank_data, make

import submanifold as sm
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


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("rae", {"corruption": -1.0}, "corruption"),
        ("rae", {"components": 0}, "components"),
        ("wae-mmd", {"discrepancy": "kl"}, "discrepancy='kl'"),
        ("wae-mmd", {"weight": math.nan}, "weight"),
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
        errors = setting(circle.sample(2000, seed=100 + seed), circle).errors(model, seed=seed)
        assert errors.off.value < 0.1
        assert errors.along.value < 3 * errors.floor.value


def test_what_the_coder_of_a_bigan_minimises_the_critic_maximises():
    model, x = prepared(make("bigan", (D,), penalty=0.0, reconstruction=0.0))
    torch.manual_seed(0)
    coder = model.loss(x)["loss"]
    torch.manual_seed(0)
    critic = model.critic_loss(x)["loss"]
    assert torch.allclose(coder, -critic)


def test_the_critic_of_avb_learns_the_divergence_of_its_posterior():
    """An encoder that makes N(1, 1/4) of every point has KL(q || N(0, 1)) = log 2 + 5/8 - 1/2, over three seeds."""
    for seed in range(3):
        model, x = prepared(make("avb", (D,), latent_dim=1, noise_dim=1), seed)
        mix = torch.nn.Linear(model.mix[0].in_features, 1).double()
        with torch.no_grad():
            mix.weight.zero_()
            mix.weight[0, -1] = 0.5
            mix.bias.fill_(1.0)
        model.mix = mix
        critic = model.objectives()[1]
        optimiser = torch.optim.Adam(critic.parameters, 3e-3)
        for _ in range(400):
            optimiser.zero_grad()
            critic.loss(x).backward()
            optimiser.step()
        with torch.no_grad():
            kl = float(torch.stack([model.loss(x)["kl"] for _ in range(50)]).mean())
        assert kl == pytest.approx(math.log(2) + 5 / 8 - 1 / 2, rel=0.15)


def test_the_critic_of_an_adversarial_vae_pulls_as_much_as_asked():
    model, x = prepared(make("adversarial-vae", (D,), weight=0.3, beta=0.0))
    torch.manual_seed(0)
    terms = model.loss(x)
    torch.manual_seed(0)
    y = model.preprocess(x)
    decoded = model._reconstruct(y)[0].detach().requires_grad_()
    deceit = -model.critic(decoded).mean()
    (away,) = torch.autograd.grad((decoded - y).square().mean(), decoded)
    (pull,) = torch.autograd.grad(deceit, decoded)
    expected = 0.3 * float(away.norm() / pull.norm()) * float(deceit.detach())
    assert float((terms["loss"] - terms["reconstruction"]).detach()) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["wae-gan", "adversarial-autoencoder", "adversarial-vae", "bigan", "avb"])
def test_coder_and_critic_leave_each_other_alone(name):
    """The parameters of each belong to one objective, and the critic's loss has no gradient for the coder's."""
    model, x = prepared(make(name, (D,)))
    coder, critic = model.objectives()
    assert not set(coder.parameters) & set(critic.parameters)
    assert set(coder.parameters) | set(critic.parameters) == set(model.parameters())
    model.zero_grad()
    loss = critic.loss(x)
    (loss["loss"] if isinstance(loss, dict) else loss).backward()
    assert all(parameter.grad is None for parameter in coder.parameters)
