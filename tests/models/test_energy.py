"""Energy-based models: their density by quadrature, their chains, what training leaves alone, and their generators."""

import copy
import math

import pytest
import torch
from model_cases import MEANS, WEIGHTS, WIDTHS, draw, fit_briefly, low_rank_data, make
from torch.nn.functional import softplus

import submanifold as sm
from submanifold import models
from submanifold.errors import InvalidInput
from submanifold.models import GEBM, EnergyModel, LatentLaw, NoiseContrastive
from submanifold.models.reference import GaussianReference

AXIS = torch.linspace(-4, 10, 281)
GRID = torch.cartesian_prod(AXIS, AXIS)
CELL = float(AXIS[1] - AXIS[0]) ** 2


def true_log_prob(x):
    square = ((x[:, None] - MEANS) / WIDTHS[:, None]).square().sum(dim=2)
    return (WEIGHTS.log() - 2 * WIDTHS.log() - math.log(2 * math.pi) - 0.5 * square).logsumexp(dim=1)


def quadrature(model):
    """log Z, and KL(data || model) in nats."""
    with torch.no_grad():
        log_q = model.log_prob(GRID).double()
    log_z = float(log_q.logsumexp(dim=0)) + math.log(CELL)
    log_p = true_log_prob(GRID).double()
    return log_z, float((log_p.exp() * (log_p - log_q + log_z)).sum()) * CELL


# --- the Gaussian of the data


@pytest.mark.parametrize("D", [1, 3, 64, 100])
def test_the_reference_is_the_gaussian_of_the_data(D):
    """Against torch's density with the covariance written out; noise adds to the covariance."""
    x = low_rank_data((D,), 300, rank=3).double()
    reference = GaussianReference(D).double()
    reference.fit(x)
    root = reference.colour(torch.eye(D, dtype=torch.float64)) - reference.mean  # rows are columns of a symmetric root
    covariance = root @ root
    if D <= 64:
        eigenvalues, V = torch.linalg.eigh(torch.cov(x.mT, correction=0).reshape(D, D))
        floored = V @ torch.diag(eigenvalues.clamp(min=0.01 * float(eigenvalues.mean()))) @ V.mT
        torch.testing.assert_close(covariance, floored, rtol=1e-6, atol=1e-8)
    for sigma in (0.0, 0.7):
        law = torch.distributions.MultivariateNormal(reference.mean, covariance + sigma**2 * torch.eye(D))
        torch.testing.assert_close(reference.log_prob(x[:20], sigma), law.log_prob(x[:20]), rtol=1e-8, atol=1e-6)
    assert float(reference.log_det()) == pytest.approx(0.5 * float(torch.linalg.slogdet(covariance).logabsdet))
    points = reference.sample(50_000, torch.Generator().manual_seed(0))
    error = torch.linalg.matrix_norm(torch.cov(points.mT).reshape(D, D) - covariance, 2)
    assert error < 0.05 * torch.linalg.matrix_norm(covariance, 2)


def test_the_reference_has_a_density_for_two_points_and_for_one_direction():
    for x in (torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 1.0]]), low_rank_data((100,), 3, rank=1)):
        reference = GaussianReference(x.shape[1])
        reference.fit(x)
        assert reference.log_prob(x).isfinite().all()
        assert reference.sample(5, torch.Generator().manual_seed(0)).isfinite().all()
    with pytest.raises(InvalidInput, match="copies of one point"):
        GaussianReference(3).fit(torch.ones(5, 3))


# --- energies and their chains


@pytest.mark.parametrize("name", ["ebm", "nce", "sliced-score-matching"])
def test_annealing_finds_the_constant_that_quadrature_finds(name):
    model = fit_briefly(make(name, (2,)), draw(500, 0), steps=20)
    estimate = model.log_normaliser(chains=128, temperatures=30, generator=torch.Generator().manual_seed(0))
    assert estimate.reliable
    assert abs(estimate.log_z - quadrature(model)[0]) < 3 * estimate.standard_error + 0.005


@pytest.mark.parametrize("name", ["ebm", "nce"])
def test_an_energy_whose_network_says_nothing_is_normalised(name):
    model = make(name, (2,))
    model.prepare(draw(500, 0))
    with torch.no_grad():
        list(model.tilt.modules())[-1].weight.zero_()
    assert quadrature(model)[0] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("transition", ["mala", "langevin"])
def test_training_moves_the_chains_and_a_held_out_loss_does_not(transition):
    model = make("ebm", (2,), transition=transition, buffer=64)
    x = draw(48, 0)
    model.prepare(x)
    before = copy.deepcopy(model.state_dict())
    torch.manual_seed(0)
    model.eval().loss(x)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    torch.manual_seed(0)
    model.train().loss(x)
    moved = (model.chains != before["chains"]).any(dim=1)
    assert 40 <= int(moved.sum()) <= 48  # as many as the batch has points, but for those that were refused all along
    torch.manual_seed(1)
    one = model.loss(x)["loss"]
    again = models.create("ebm", (2,), hidden=(32,), transition=transition, buffer=64)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.chains, model.chains)
    assert torch.equal(again.step, model.step)
    assert one.isfinite()


def test_chains_leave_parameters_and_data_as_they_are():
    model = make("ebm", (2,))
    x = draw(32, 0)
    model.prepare(x)
    model.train()
    with torch.no_grad():
        assert model.loss(x)["loss"].isfinite()
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not x.requires_grad
    given = x.clone().requires_grad_()
    model.sample(3)
    model.log_normaliser(chains=4, temperatures=2)
    assert model.loss(given)["loss"].requires_grad
    assert given.requires_grad
    assert given.grad is None
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("n", [1, 16, 100])
def test_batches_of_any_size_go_with_a_buffer_of_any_size(n):
    model = make("ebm", (2,), buffer=16)
    model.prepare(draw(50, 0))
    assert model.train().loss(draw(n, 0))["loss"].isfinite()
    assert model.sample(40, generator=torch.Generator().manual_seed(0)).shape == (40, 2)


def test_the_gradient_is_that_of_the_likelihood():
    """With chains in equilibrium: the mean gradient of the loss against that of -log p, Z by quadrature."""
    model = make("ebm", (2,), magnitude=0.0, buffer=4096, steps=1)
    x = draw(2000, 0)
    model.prepare(x)
    model.train()
    for _ in range(40):
        with torch.no_grad():
            model.loss(draw(4096, 1))
    log_q = model.log_prob(GRID)
    exact = torch.autograd.grad(log_q.logsumexp(dim=0) - model.log_prob(x).mean(), list(model.parameters()))
    total = [torch.zeros_like(p) for p in model.parameters()]
    for _ in range(20):
        y = x[torch.randint(len(x), (4096,))]
        found = torch.autograd.grad(model.loss(y)["loss"], list(model.parameters()))
        total = [t + f / 20 for t, f in zip(total, found, strict=True)]
    flat, flat_exact = (torch.cat([g.flatten() for g in gradients]) for gradients in (total, exact))
    assert float((flat - flat_exact).norm() / flat_exact.norm()) < 0.1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"transition": "hmc"}, "transition"),
        ({"steps": 0}, "steps"),
        ({"buffer": 0}, "buffer"),
        ({"fresh": 1.5}, "fresh"),
        ({"step": 0.0}, "step"),
        ({"clip": -1.0}, "clip"),
        ({"magnitude": -1.0}, "magnitude"),
    ],
)
def test_settings_that_make_no_sense_are_refused(arguments, named):
    with pytest.raises(InvalidInput, match=named):
        EnergyModel((2,), **arguments)


# --- noise-contrastive estimation


def test_the_noise_contrastive_loss_is_that_of_the_classifier():
    """Written out from the densities themselves: -log h(data) - nu log(1 - h(noise)), h = p / (p + nu q)."""
    model = fit_briefly(make("nce", (2,), noise_ratio=3), draw(200, 0)).double()
    x = draw(64, 1).double()
    torch.manual_seed(0)
    loss = model.loss(x)
    torch.manual_seed(0)
    noise = model.preprocess.inverse(model.reference.sample(3 * 64))
    unit = 2 * math.log(model.preprocess.inverse_lipschitz())

    def logit(x):
        log_noise = model.reference.log_prob(model.preprocess(x)) - unit
        return model.log_prob(x) - log_noise - math.log(3)

    torch.testing.assert_close(loss, softplus(-logit(x)).mean() + 3 * softplus(logit(noise)).mean())


# --- generalised energy-based models


def one_law(seed=0):
    """A base that makes N(0, I_2) as it is, and data that are narrower and shifted."""
    base = models.create("gan", (2,), latent_dim=2, hidden=(8,), preprocess=())
    base.decoder = torch.nn.Identity()
    return base, 0.5 * torch.randn(5000, 2, generator=torch.Generator().manual_seed(seed)) + torch.tensor([0.5, 0.0])


def test_a_generalised_model_moves_its_base_to_the_data():
    """KALE and samples against the two Gaussians' own: KL = log 4 + (2 * 0.25 + 0.25) / 2 - 1 nats."""
    torch.manual_seed(0)
    base, x = one_law()
    model = GEBM(base, hidden=(64, 64), smoothness=0.0, train_base=False)
    assert [stage.name for stage in model.stages()] == ["energy"]
    history = sm.fit(model, x, steps=600, batch_size=512, learning_rate=3e-3, seed=0, progress=False)
    assert history is not None
    torch.manual_seed(0)
    kale = float(model.loss(one_law(1)[1])["kale"].detach())
    assert kale == pytest.approx(math.log(4) + 0.375 - 1, abs=0.1)
    samples = model.sample(4000, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(samples.mean(dim=0), torch.tensor([0.5, 0.0]), atol=0.07)
    assert torch.allclose(samples.std(dim=0), torch.tensor([0.5, 0.5]), atol=0.07)


def test_a_generalised_model_is_a_law_of_latents_with_a_base_that_makes_sense():
    model = make("gebm", (4,))
    assert isinstance(model, LatentLaw)
    assert [stage.name.split(":")[0] for stage in model.stages()] == ["base", "energy"]
    parameters = [p for stage in model.stages() for o in stage.objectives for p in o.parameters]
    assert len(parameters) == len(set(parameters)) == len(list(model.parameters()))


@pytest.mark.parametrize("name", ["autoencoder", "rae", "adversarial-vae", "vq-vae", "avb", "flow"])
def test_a_generalised_model_refuses_a_base_that_is_not_decoded_normal_noise(name):
    with pytest.raises(InvalidInput, match=r"base=\w+ is not accepted"):
        GEBM(make(name, (4,)))


def test_a_second_fit_begins_with_the_first_step():
    model, fresh = make("ebm", (2,)), make("ebm", (2,))
    fit_briefly(model, draw(100, 0), steps=3)
    assert not torch.equal(model.step, fresh.step)
    model.prepare(draw(100, 1))
    assert torch.equal(model.step, fresh.step)


# --- trained to convergence


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("cls", [EnergyModel, NoiseContrastive])
def test_a_mixture_is_learned(cls, seed):
    """By quadrature; measured 0.008 (energy) and 0.004 nats (noise-contrastive) for seed 0."""
    torch.manual_seed(seed)
    model = cls((2,))
    sm.fit(
        model,
        draw(10_000, seed),
        steps=3000,
        learning_rate=2e-3,
        ema=0.995,
        held_out=None,
        seed=seed,
        progress=False,
    )
    log_z, kl = quadrature(model)
    assert kl < 0.02
    estimate = model.log_normaliser(generator=torch.Generator().manual_seed(seed))
    assert estimate.reliable
    assert abs(estimate.log_z - log_z) < 3 * estimate.standard_error
    if cls is NoiseContrastive:
        assert abs(log_z) < 0.05  # the constant is learned too
    samples = model.sample(4000, generator=torch.Generator().manual_seed(seed))
    shares = [torch.cdist(x, MEANS).argmin(dim=1).bincount(minlength=3) / 4000 for x in (samples, draw(4000, 50))]
    assert torch.allclose(*shares, atol=0.05)
