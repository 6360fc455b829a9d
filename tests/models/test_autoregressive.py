"""Autoregressive models: what depends on what, the density against its change of variables, sampling, a known law."""

import math

import pytest
import torch
from model_cases import fit_briefly, low_rank_data, make

from submanifold import nn
from submanifold.errors import InvalidInput
from submanifold.geometry import jacobian
from submanifold.models import MADE, Autoregressive

NETWORKS = [("masked", (16, 24)), ("masked", (3,)), ("transformer", (16, 16)), ("kan", (8, 9))]
NAMES = ["autoregressive", "made"]


@pytest.mark.parametrize(("network", "hidden"), NETWORKS)
@pytest.mark.parametrize("D", [1, 2, 5, 9])
def test_rows_depend_on_the_coordinates_before_alone(network, hidden, D):
    torch.manual_seed(0)
    f = nn.causal_network(network, D, 4, hidden).double()
    y = torch.randn(6, D, dtype=torch.float64)
    J = torch.func.vmap(torch.func.jacrev(lambda point: f(point[None])[0]))(y)  # (n, D, out, D)
    reached = J.abs().amax(dim=(0, 2)) > 0  # (row, coordinate)
    assert not reached.triu().any()
    if len(hidden) > 1 or hidden[0] >= D - 1:  # else there are coordinates without a unit of their own
        assert torch.equal(reached, torch.ones(D, D).tril(-1).bool())


@pytest.mark.parametrize(("network", "hidden"), NETWORKS)
@pytest.mark.parametrize("D", [1, 2, 9])
def test_rows_one_by_one_are_those_at_once(network, hidden, D):
    torch.manual_seed(0)
    f = nn.causal_network(network, D, 4, hidden).double()
    y = torch.randn(6, D, dtype=torch.float64)
    features, state = f.begin(6)
    rows = [features]
    for i in range(D - 1):
        features, state = f.advance(y[:, i], state)
        rows.append(features)
    torch.testing.assert_close(torch.stack(rows, dim=1), f(y), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("D", [1, 2])
def test_the_density_integrates_to_one(name, D):
    model = fit_briefly(make(name, (D,)), low_rank_data((D,), 500, rank=D), steps=60)
    axis = torch.linspace(-27, 33, 801 if D == 2 else 6001)
    grid = torch.cartesian_prod(*[axis] * D).reshape(-1, D)
    with torch.no_grad():
        mass = sum(model.log_prob(part).double().exp().sum() for part in grid.split(100_000))
    assert abs(float(mass) * float(axis[1] - axis[0]) ** D - 1) < 0.01


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1,), (2,), (7,), (1, 4, 4)])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_density_is_that_of_the_change_of_variables(name, shape, seed):
    """The distribution functions of the factors make normal variables; their Jacobian comes from autograd."""
    model = fit_briefly(make(name, shape, seed=seed), low_rank_data(shape, 200, seed=seed)).double()
    x = low_rank_data(shape, 20, seed=seed).double()
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        J = jacobian(model._normalise, x)
    u = model._normalise(x)
    log_normal = -0.5 * (u.square() + math.log(2 * math.pi)).sum(dim=1)
    expected = log_normal + torch.linalg.slogdet(J).logabsdet
    torch.testing.assert_close(model.log_prob(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_samples_have_the_density(name):
    """Normalised by the model's own distribution functions, its samples are standard normal."""
    model = fit_briefly(make(name, (3,)), low_rank_data((3,), 500))
    u = model._normalise(model.sample(20_000, generator=torch.Generator().manual_seed(0))).detach()
    assert u.mean(dim=0).abs().max() < 5 / math.sqrt(20_000)
    assert (u.T @ u / len(u) - torch.eye(3)).abs().max() < 5 * math.sqrt(2 / 20_000)
    assert (u.pow(4).mean(dim=0) - 3).abs().max() < 5 * math.sqrt(96 / 20_000)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_a_known_law_is_learned(name, seed):
    """Four Gaussians in the plane: their divergence from the model falls below 0.1 nats."""
    generator = torch.Generator().manual_seed(seed)
    centres = 4 * torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])

    def drawn(n):
        return centres[torch.randint(4, (n,), generator=generator)] + 0.5 * torch.randn(n, 2, generator=generator)

    def truth(x):
        square = (x[:, None] - centres).square().sum(dim=2) / (2 * 0.5**2)
        return (-square).logsumexp(dim=1) - math.log(4 * 2 * math.pi * 0.5**2)

    model = fit_briefly(make(name, (2,), seed=seed), drawn(2000), steps=400, lr=1e-2)
    x = drawn(20_000)
    with torch.no_grad():
        divergence = (truth(x) - model.log_prob(x)).mean()
    assert -0.01 < float(divergence) < 0.1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Autoregressive((3,), network="lstm"), "network='lstm'"),
        (lambda: Autoregressive((3,), hidden=(8, 16)), "one width for all blocks"),
        (lambda: Autoregressive((3,), hidden=(9,)), "a multiple of 2"),
        (lambda: Autoregressive((3, 32, 32)), 'network="masked"'),
        (lambda: MADE((3,), hidden=()), "hidden"),
        (lambda: MADE((3,), components=0), "components=0"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()


@pytest.mark.parametrize("widths", [0.0, 1.0, 7.5, 8.3, 12.0, 30.0, 37.0, 60.0, 1000.0])
@pytest.mark.parametrize("components", [1, 3])
def test_local_scales_hold_at_the_median_and_far_off(components, widths):
    """Where the density has collapsed, points are many of its widths off."""
    model = MADE((2,), components=components, hidden=(8,), preprocess=())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.spread.zero_()
        model.conditioner.last.bias.view(2, 3 * components)[:, 2 * components :] = math.log(0.01)
    scales = model.local_scales(torch.tensor([[0.0, 0.01 * widths], [0.001, -0.01 * widths]]))
    assert torch.allclose(scales, torch.full_like(scales, 0.01), rtol=1e-4)
