"""Adversarial games at their best critics, what keeps a critic smooth, generators on known laws and manifolds."""

import copy
import math

import numpy as np
import pytest
import torch
from model_cases import low_rank_data, make
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

import submanifold as sm
from submanifold import models
from submanifold.errors import InvalidInput
from submanifold.geometry import lipschitz_upper_bound
from submanifold.lens.recipes import recipe
from submanifold.models import GAN, MMDGAN, DiscrepancyGenerator
from submanifold.models.critics import DIVERGENCES, critic_network, gradient_penalty, normalise_spectrum
from submanifold.transport import circular_wasserstein

WITH_CRITIC = ["gan", "hinge-gan", "mmd-gan", "sn-wgan", "wgan-gp"]
WITHOUT_CRITIC = ["gmmn", "sinkhorn-generator", "sliced-wasserstein-generator"]


POINTS = np.arange(6.0)
REAL, FAKE = np.array([3, 1, 0, 2, 4, 0]), np.array([0, 1, 3, 2, 1, 3])  # how often each point occurs, of 10


def best_scores(name):
    """The scores of the points by the best critic, in closed form."""
    if name == "non-saturating":
        return np.log((REAL + 1e-12) / (FAKE + 1e-12))
    if name == "hinge":
        return np.sign(REAL - FAKE).astype(float)
    slopes = np.sign(np.cumsum(FAKE - REAL))[:-1]  # W_1 = \int |F - G|, of the slope +1 or -1
    return np.concatenate([[0.0], np.cumsum(slopes)])


def exact(name):
    p, q = REAL / 10, FAKE / 10
    if name == "non-saturating":
        return jensenshannon(p, q) ** 2
    return np.abs(p - q).sum() / 2 if name == "hinge" else wasserstein_distance(POINTS, POINTS, p, q)


def loss_of(name, scores):
    real, fake = (torch.as_tensor(np.repeat(scores, counts))[:, None] for counts in (REAL, FAKE))
    return DIVERGENCES[name].critic_loss(real, fake)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_the_best_critic_tells_the_divergence(name):
    best = loss_of(name, best_scores(name))
    assert float(DIVERGENCES[name].estimate(best)) == pytest.approx(exact(name), rel=1e-8)
    rng = np.random.default_rng(0)
    for _ in range(200):  # no other critic, of the slopes that count, has a lower loss
        if name == "wasserstein":
            other = np.cumsum(rng.uniform(-1, 1, len(POINTS)))
        else:
            other = best_scores(name) + rng.normal(size=len(POINTS))
        assert loss_of(name, other) >= best - 1e-9


@pytest.mark.parametrize("name", DIVERGENCES)
def test_the_generator_is_driven_to_higher_scores_and_levels_matter_where_it_is_said(name):
    scores = torch.linspace(-3, 3, 7, requires_grad=True)
    DIVERGENCES[name].generator_loss(scores).backward()
    assert (scores.grad < 0).all()
    up = float(loss_of(name, best_scores(name) + 0.7) - loss_of(name, best_scores(name)))
    assert (abs(up) > 1e-3) == DIVERGENCES[name].level


def test_gradient_penalty_of_an_affine_critic():
    a = torch.tensor([0.3, -2.0, 1.1], dtype=torch.float64)
    real, fake = (torch.randn(7, 3, dtype=torch.float64) for _ in range(2))
    value = gradient_penalty(lambda x: x @ a + 5, real, fake)
    assert float(value) == pytest.approx(float((a.norm() - 1) ** 2))
    for scale, expected in ((1.0, (a.norm() - 1) ** 2), (0.1, 0.0)):
        value = gradient_penalty(lambda x, scale=scale: scale * (x @ a), real, fake, one_sided=True)
        assert float(value) == pytest.approx(float(expected))


def test_gradient_penalty_between_the_points():
    r"""For h(x) = |x|^2 / 2 the slope is \hat x, which t says."""
    real, fake = (torch.randn(7, 3, dtype=torch.float64) for _ in range(2))
    torch.manual_seed(5)
    value = gradient_penalty(lambda x: x.square().sum(dim=1) / 2, real, fake)
    torch.manual_seed(5)
    t = torch.rand(7, dtype=torch.float64)[:, None]
    expected = ((t * real + (1 - t) * fake).norm(dim=1) - 1).square().mean()
    assert float(value.detach()) == pytest.approx(float(expected))


def test_gradient_penalty_of_several_arguments_is_that_of_all_coordinates_together():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(16, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)).double()
    real, fake = (torch.randn(6, 16, dtype=torch.float64) for _ in range(2))

    def split(points):
        return points[:, :12].reshape(6, 3, 2, 2), points[:, 12:]

    values = []
    for critic, pair in (
        (network, (real, fake)),
        (lambda x, z: network(torch.cat([x.flatten(1), z], dim=1)), (split(real), split(fake))),
    ):
        torch.manual_seed(1)
        values.append(gradient_penalty(critic, *pair))
    gradients = [torch.autograd.grad(value, network[0].weight)[0] for value in values]
    torch.testing.assert_close(values[0], values[1])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_gradient_penalty_reaches_the_critic_alone_flat_or_not():
    real, fake = torch.randn(5, 2), torch.randn(5, 2, requires_grad=True)
    weight = torch.zeros(2, requires_grad=True)
    value = gradient_penalty(lambda x: x @ weight, real, fake)
    value.backward()
    assert float(value.detach()) == 1  # a flat critic has a slope of 0
    assert weight.grad.isfinite().all()
    assert fake.grad is None
    with torch.no_grad():
        assert float(gradient_penalty(lambda x: 3 * x[:, 0], real, fake)) == pytest.approx(4)


@pytest.mark.parametrize("shape", [(5,), (1, 28, 28)])
def test_normalised_matrices_have_norm_one(shape):
    torch.manual_seed(0)
    critic = normalise_spectrum(critic_network("auto", shape, (32, 16)))
    x = torch.randn(4, *shape)
    layers = [module for module in critic.modules() if hasattr(module, "parametrizations")]
    assert len(layers) == (3 if len(shape) == 1 else 5)
    for _ in range(200):
        critic(x)
    for layer in layers:
        matrix = layer.weight.detach().flatten(1)
        assert float(torch.linalg.matrix_norm(matrix, 2)) == pytest.approx(1, abs=1e-3)
    bound = lipschitz_upper_bound(critic.eval())
    if len(shape) == 1:  # a convolution may stretch more than its matrix
        assert bound == pytest.approx(1.09984**2, rel=5e-3)  # that of two SiLUs
    a, b = torch.randn(2, 1000, *shape)
    stretch = (critic(a) - critic(b)).norm(dim=1) / (a - b).flatten(1).norm(dim=1)
    assert 0 < float(stretch.detach().max()) <= bound < math.inf


def test_evaluation_leaves_the_singular_vectors_alone():
    torch.manual_seed(0)
    critic = normalise_spectrum(critic_network("mlp", (5,), (16,)))
    x = torch.randn(4, 5)
    before = copy.deepcopy(critic.state_dict())
    critic(x)
    assert any(not torch.equal(v, critic.state_dict()[k]) for k, v in before.items())
    critic.eval()
    before, first = copy.deepcopy(critic.state_dict()), critic(x)
    slopes = torch.func.vmap(torch.func.jacrev(lambda point: critic(point[None])[0]))(x)  # (n, 1, D)
    assert torch.equal(first, critic(x))
    assert all(torch.equal(v, critic.state_dict()[k]) for k, v in before.items())
    again = x.clone().requires_grad_()
    critic(again).sum().backward()
    torch.testing.assert_close(slopes[:, 0], again.grad)


class Cut(Exception):
    """Stands for a crash."""


@pytest.mark.parametrize("name", ["sn-wgan", "wgan-gp", "mmd-gan", "sliced-wasserstein-generator"])
def test_a_run_that_was_cut_ends_to_the_bit_like_one_that_was_not(name, tmp_path):
    settings = {"steps": 24, "batch_size": 32, "evaluate_every": 4, "checkpoint_every": 5, "seed": 1}
    X = low_rank_data((3,), 100)

    def cut(event):
        if event.step >= 16:
            raise Cut

    sm.fit(make(name, (3,)), X, run=tmp_path / "whole", **settings)
    with pytest.raises(Cut):
        sm.fit(make(name, (3,)), X, run=tmp_path / "cut", callbacks=[cut], **settings)
    sm.fit(make(name, (3,)), X, run=tmp_path / "cut", **settings)
    whole, cut_short = (sm.load(tmp_path / folder).state_dict() for folder in ("whole", "cut"))
    assert all(torch.equal(value, cut_short[key]) for key, value in whole.items())


@pytest.mark.parametrize("name", WITH_CRITIC)
def test_the_critic_moves_at_every_step_and_the_generator_at_some(name):
    model = make(name, (3,), critic_steps=3)
    moved = []

    def weights():
        return [torch.cat([p.detach().flatten() for p in m.parameters()]) for m in (model.critic, model.decoder)]

    last = weights()

    def watch(event):
        nonlocal last
        now = weights()
        moved.append([not torch.equal(a, b) for a, b in zip(last, now, strict=True)])
        last = now

    history = sm.fit(model, low_rank_data((3,), 100), steps=6, batch_size=32, evaluate_every=1, callbacks=[watch])
    assert moved[1:] == [[True, step % 3 == 0] for step in range(1, 6)]
    tells = {"gan": "jensen_shannon", "hinge-gan": "total_variation", "mmd-gan": "squared_mmd"}.get(name, "wasserstein")
    columns = set(history.records[-1])
    assert {tells, f"held_out_{tells}"} <= columns
    assert ("penalty" in columns) == (name in ("wgan-gp", "mmd-gan"))


def test_the_witness_is_the_difference_of_mean_embeddings():
    model = MMDGAN((2,), hidden=(8,), features=3)
    model.prepare(low_rank_data((2,), 50))
    x, y, made = (torch.randn(n, 2) for n in (4, 6, 5))
    f, real, fake = (model.critic(points).detach().numpy() for points in (x, y, made))
    lengths = math.sqrt(3) * np.array([0.1, 0.2, 0.5, 1, 2])

    def embedding(points):
        squares = ((f[:, None] - points) ** 2).sum(axis=2)
        return sum(1 / (1 + squares / (2 * h**2)) for h in lengths).mean(axis=1)

    witness = model._witness(model.critic(y), model.critic(made))(x).detach().numpy()
    np.testing.assert_allclose(witness, embedding(real) - embedding(fake), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "latents"), [((1,), 1), ((2,), 2), ((20,), 8), ((64,), 16), ((1, 8, 8), 16), ((3, 32, 32), 110)]
)
@pytest.mark.parametrize("name", ["gan", "gmmn"])
def test_usual_numbers_of_latents(name, shape, latents):
    assert models.create(name, shape).latent_dim == latents
    assert models.create(name, shape, latent_dim=3).latent_dim == 3


@pytest.mark.parametrize("name", [*WITH_CRITIC, *WITHOUT_CRITIC])
@pytest.mark.parametrize("shape", [(1,), (1, 8, 8)])
def test_samples_are_decoded_latents_and_bounds_hold(name, shape):
    model = make(name, shape)
    sm.fit(model, low_rank_data(shape, 100, rank=1), steps=5, batch_size=20)
    one, two = (torch.Generator().manual_seed(0) for _ in range(2))
    z = model.sample_latent(50, generator=one)
    x = model.sample(50, generator=two)
    assert torch.equal(model.decode(z).detach(), x)
    stretch = (x - x.roll(1, 0)).flatten(1).norm(dim=1) / (z - z.roll(1, 0)).norm(dim=1)
    assert float(stretch.max()) <= model.decoder_lipschitz_bound() < math.inf


@pytest.mark.parametrize("name", [*WITH_CRITIC, *WITHOUT_CRITIC])
def test_points_that_coincide_leave_losses_finite(name):
    model = make(name, (3,))
    model.prepare(low_rank_data((3,), 50))
    for objective in model.objectives():
        terms = objective.loss(torch.ones(8, 3))
        loss = terms["loss"] if isinstance(terms, dict) else terms
        loss.backward()
        assert loss.isfinite()
        assert all(p.grad.isfinite().all() for p in objective.parameters)


@pytest.mark.parametrize("name", ["mmd-gan", *WITHOUT_CRITIC])
def test_a_single_point_has_no_law_to_compare(name):
    model = make(name, (3,))
    model.prepare(low_rank_data((3,), 50))
    for objective in model.objectives():
        with pytest.raises(InvalidInput, match="1 point: give a batch_size of at least 2"):
            objective.loss(torch.ones(1, 3))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: GAN((3,), divergence="js"), "divergence='js'"),
        (lambda: GAN((3,), regulariser="clip"), "regulariser='clip'"),
        (lambda: GAN((3,), critic_steps=0), "critic_steps=0"),
        (lambda: GAN((3,), penalty=-1.0), "penalty=-1.0"),
        (lambda: GAN((3,), latent_dim=0), "latent_dim=0"),
        (lambda: MMDGAN((3,), features=0), "features=0"),
        (lambda: DiscrepancyGenerator((3,), discrepancy="kl"), "discrepancy='kl'"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()


NAMES = ["wgan-gp", "sn-wgan", "mmd-gan", "gmmn", "sliced-wasserstein-generator", "sinkhorn-generator"]
"""Half a minute to two minutes of one core each, by their recipes."""

ANGLES = 2 * math.pi * torch.arange(8) / 8
MODES = 2 * torch.stack([ANGLES.cos(), ANGLES.sin()], dim=1)
WIDTH = 0.1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", NAMES)
def test_all_modes_of_a_ring_are_found_and_each_has_its_share(name, seed):
    """Eight Gaussians: of what is within 4 widths of a mode, each has between half of an eighth and twice an eighth.

    A connected law has bridges between modes as well."""
    generator = torch.Generator().manual_seed(seed)
    X = MODES[torch.randint(8, (5000,), generator=generator)] + WIDTH * torch.randn(5000, 2, generator=generator)
    x = sample_of(name, X, 2, seed)
    distance, mode = torch.cdist(x, MODES).min(dim=1)
    at_a_mode = distance < 4 * WIDTH
    shares = torch.bincount(mode[at_a_mode], minlength=8) / at_a_mode.sum()
    assert float(at_a_mode.float().mean()) > 0.3  # of a uniform law on their disc 0.22
    assert 0.5 / 8 < float(shares.min()) <= float(shares.max()) < 2 / 8


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("D", [2, 20])
@pytest.mark.parametrize("name", NAMES)
def test_a_law_on_a_circle_is_learned_along_it(name, D, seed):
    """The circular W_1 to samples of it stays below three times its floor, that of two of them; each a mean of ten."""
    circle = sm.data.manifold("circle", ambient_dim=D)
    x = sample_of(name, circle.sample(5000, seed=seed), D, seed).double().numpy()
    true = [circle.angle(circle.sample(2000, seed=1000 * (seed + 1) + k)) for k in range(20)]
    floor = np.mean([circular_wasserstein(a, b) for a, b in zip(true[:10], true[10:], strict=True)])
    assert np.mean([circular_wasserstein(circle.angle(x), a) for a in true[:10]]) < 3 * floor
    assert circle.distance(x).mean() < 0.2


def sample_of(name, X, D, seed):
    """2000 samples of the model, fitted to X."""
    torch.manual_seed(seed)
    model, plan = models.create(name, (D,)), recipe(name)
    sm.fit(model, X, steps=plan.steps[0], seed=seed, device="cpu", **plan.options)
    return model.sample(2000, generator=torch.Generator().manual_seed(seed))


def test_a_critic_of_a_distance_has_to_be_held():
    with pytest.raises(InvalidInput, match="divergence=\"wasserstein\" with regulariser='none'"):
        models.create("gan", (2,), divergence="wasserstein")
    with pytest.raises(InvalidInput, match="penalty=0"):
        models.create("wgan-gp", (2,), penalty=0)
    assert models.create("gan", (2,), divergence="wasserstein", regulariser="spectral-norm").awareness == "aware"
    for name in ("adversarial-autoencoder", "wae-gan", "adversarial-vae", "bigan"):
        with pytest.raises(InvalidInput, match="penalty=0 with divergence"):
            models.create(name, (2,), divergence="wasserstein", penalty=0)
        with pytest.raises(InvalidInput, match="penalty=-1"):
            models.create(name, (2,), penalty=-1)


@pytest.mark.parametrize("seed", range(3))
def test_the_critic_of_latents_tells_their_distance(seed):
    """Latents N(0, 4 I) are W_1 = E|z| = 1.2533 from N(0, I) in the plane, since moving along rays is optimal.

    A critic of slope s tells s W_1, and the best under the penalty \\lambda (s - 1)^2 has s = 1 + W_1 / 2 \\lambda.
    """
    distance = math.sqrt(math.pi / 2)
    torch.manual_seed(seed)
    model = models.AdversarialAutoencoder((3,), 2, divergence="wasserstein", stochastic=False, preprocess=(), hidden=())
    with torch.no_grad():
        model.encoder[0].weight.copy_(torch.tensor([[2.0, 0, 0], [0, 2.0, 0]]))
        model.encoder[0].bias.zero_()
    optimiser = torch.optim.Adam(model.critic.parameters(), 2e-3, betas=(0.5, 0.999))
    told = []
    for _ in range(1200):
        terms = model.critic_loss(torch.randn(256, 3))
        optimiser.zero_grad()
        terms["loss"].backward()
        optimiser.step()
        told.append(float(10 * terms["penalty"] - terms["loss"].detach()))
    assert np.mean(told[-200:]) == pytest.approx(distance * (1 + distance / 20), rel=0.1)
