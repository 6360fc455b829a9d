"""Continuous flows: derivatives of the field, the density of the computed map, order of the solver, estimates, laws."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor

import submanifold as sm
from submanifold.errors import InvalidInput
from submanifold.geometry import jacobian
from submanifold.models import ContinuousFlow
from submanifold.models.continuous_flow import FIELDS, VelocityField


def rough(D, seed=0, size=1.0, **kwargs):
    """A model in float64 with a field that is far from none, prepared for data of unit size."""
    torch.manual_seed(seed)
    model = ContinuousFlow((D,), hidden=(16, 16), **kwargs).double().eval()
    for parameter in model.field.parameters():
        parameter.data = parameter.data + size * torch.randn_like(parameter) / math.sqrt(parameter.shape[-1])
    model.prepare(torch.randn(200, D, dtype=torch.float64))
    return model.requires_grad_(False)


def points(D, n=6, seed=0):
    return torch.randn(n, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def with_steps(model, steps):
    finer = copy.deepcopy(model)
    finer.steps = steps
    return finer


def estimating(model):
    """The same flow, with its trace estimated."""
    other = ContinuousFlow(model.data_shape, hidden=(16, 16), steps=model.steps, exact_dims=0).double().eval()
    other.load_state_dict(model.state_dict())
    return other.requires_grad_(False)


@pytest.mark.parametrize("hidden", [(8,), (8, 5), (4, 4, 4)])
@pytest.mark.parametrize("D", [1, 3])
def test_the_field_knows_its_derivatives(hidden, D):
    torch.manual_seed(0)
    field = VelocityField(D, hidden).double()
    y, t, directions = points(D), torch.tensor([0.3], dtype=torch.float64), torch.randn(4, 6, D, dtype=torch.float64)
    assert not field(y, t, directions)[0].any()  # as it starts
    for parameter in field.parameters():
        parameter.data = torch.randn_like(parameter)
    v, along = field(y, t, directions)
    for e, Je in zip(directions, along, strict=True):
        expected = torch.func.jvp(lambda y: field(y, t, directions[:0])[0], (y,), (e,))
        torch.testing.assert_close((v, Je), expected)
    assert (v - field(y, t + 0.1, directions)[0]).abs().max() > 1e-3  # it changes with time


@pytest.mark.parametrize("D", [1, 3])
def test_a_field_of_any_network_knows_its_derivatives(D):
    torch.manual_seed(0)
    field = FIELDS["kan"](D, (5,)).double()
    y, t, directions = points(D), torch.tensor([0.3], dtype=torch.float64), torch.randn(4, 6, D, dtype=torch.float64)
    assert not field(y, t, directions)[0].any()  # as it starts
    for parameter in field.parameters():
        parameter.data = torch.randn_like(parameter)
    v, along = field(y, t, directions)
    torch.testing.assert_close(v, field(y, t, directions[:0])[0])
    for e, Je in zip(directions, along, strict=True):
        torch.testing.assert_close(Je, torch.func.jvp(lambda y: field(y, t, directions[:0])[0], (y,), (e,))[1])
    assert (v - field(y, t + 0.1, directions)[0]).abs().max() > 1e-3  # it changes with time


@pytest.mark.parametrize("shape", [(2,), (1, 2, 2)])
def test_the_density_of_a_kan_is_that_of_the_computed_map(shape):
    torch.manual_seed(0)
    model = ContinuousFlow(shape, network="kan", hidden=(5,), steps=2).double().eval()
    for parameter in model.field.parameters():
        parameter.data = parameter.data + 0.3 * torch.randn_like(parameter)
    model.prepare(torch.randn(200, *shape, dtype=torch.float64))
    x = torch.randn(6, *shape, dtype=torch.float64)
    u, J = model._normalise(x).detach(), jacobian(model._normalise, x).detach()
    log_normal = -0.5 * (u.square() + math.log(2 * math.pi)).sum(dim=1)
    found = model.log_prob(x).detach()
    torch.testing.assert_close(found, log_normal + torch.linalg.slogdet(J).logabsdet, rtol=0, atol=1e-10)


@pytest.mark.parametrize("steps", [1, 4, 10])
@pytest.mark.parametrize("D", [1, 2, 5])
def test_the_density_is_that_of_the_computed_map(steps, D):
    """To rounding, for few steps too: not that of the differential equation, which they solve approximately."""
    model = rough(D, steps=steps)
    x = points(D)
    u, J = model._normalise(x), jacobian(model._normalise, x)
    log_normal = -0.5 * (u.square() + math.log(2 * math.pi)).sum(dim=1)
    torch.testing.assert_close(model.log_prob(x), log_normal + torch.linalg.slogdet(J).logabsdet, rtol=0, atol=1e-10)
    torch.testing.assert_close(
        model.local_scales(x).log().sum(dim=1), -torch.linalg.slogdet(J).logabsdet, rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_solver_is_of_fourth_order(seed):
    """Twice the steps leave a sixteenth of the error, of the map, its density and the integral of the trace alike."""
    model = rough(1, seed)
    x = points(1)
    other = estimating(model)  # on a line one direction says the trace exactly

    def solved(steps):
        u = with_steps(model, steps)._normalise(x)[:, 0]
        return torch.stack([u, with_steps(model, steps).log_prob(x), with_steps(other, steps).log_prob(x)])

    truth = solved(128)
    coarse, fine = ((solved(steps) - truth).abs().amax(dim=1) for steps in (8, 16))
    assert (coarse > 1e-11).all()  # above rounding
    orders = (coarse / fine).log2()
    assert ((orders > 3.5) & (orders < 5)).all()
    assert (truth[1] - truth[2]).abs().max() < 1e-8  # both densities are the same in the limit


@pytest.mark.parametrize("D", [1, 2, 20])
def test_samples_are_the_inverse_of_what_normalises(D):
    model = rough(D)
    x = model.sample(200, generator=torch.Generator().manual_seed(0))
    u = torch.randn(200, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(model._normalise(x), u, rtol=0, atol=1e-7)


@pytest.mark.parametrize("D", [1, 2])
@pytest.mark.parametrize("steps", [3, 10])
def test_the_density_integrates_to_one(D, steps):
    model = rough(D, steps=steps)
    axis = torch.linspace(-12, 12, 241 if D == 2 else 2401, dtype=torch.float64)
    grid = torch.cartesian_prod(*[axis] * D).reshape(-1, D)
    log_prob = model.log_prob(grid)
    assert abs(float(log_prob.exp().sum()) * float(axis[1] - axis[0]) ** D - 1) < 0.01
    # a Gaussian it is not
    assert (log_prob - torch.distributions.Normal(0, 1).log_prob(grid).sum(dim=1)).abs().max() > 1


@pytest.mark.parametrize("seed", [0, 1])
def test_estimates_agree_with_the_exact_density(seed):
    """The mean of 400 estimates, each from one direction, is within four of its standard errors."""
    model = rough(5, seed, steps=32)
    x = points(5)
    torch.manual_seed(seed)
    probes = torch.randint(2, (1, 400 * 6, 5)).double() * 2 - 1
    estimates = estimating(model)._score(x.repeat(400, 1), probes)[0].reshape(400, 6)
    error = estimates.std(dim=0) / math.sqrt(400)
    assert (error > 1e-3).all()  # they are estimates
    assert ((estimates.mean(dim=0) - model.log_prob(x)).abs() < 4 * error + 1e-4).all()


def test_an_estimated_density_is_a_function():
    """Its directions never change: the same value each time, and for a point alone."""
    model = rough(20)
    assert model.log_prob_kind == "estimate"
    x = points(20)
    state = torch.random.get_rng_state()
    values = model.log_prob(x)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(values, model.log_prob(x))
    torch.testing.assert_close(values[3:4], model.log_prob(x[3:4]))
    assert ContinuousFlow((20,), exact_dims=20).log_prob_kind == "exact"


@pytest.mark.parametrize("D", [2, 16])
def test_densities_under_vmap(D):
    model = ContinuousFlow((D,)).eval()
    x = points(D).float()
    model.prepare(x)
    one_by_one = torch.func.vmap(lambda point: model.log_prob(point[None])[0])(x)
    torch.testing.assert_close(one_by_one, model.log_prob(x))


def test_a_constant_field_is_a_shift():
    """v = c: a Gaussian about -c in preprocessed units, and an energy of |c|^2 / D."""
    model = ContinuousFlow((3,), kinetic_penalty=0.7).double().eval()
    model.prepare(points(3, 50))
    c = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    model.field.biases[-1].data.copy_(2 * c)  # gates are half open as they start
    x = points(3)
    y, log_det = model.preprocess.forward_and_log_det(x)
    expected = -0.5 * ((y + c).square() + math.log(2 * math.pi)).sum(dim=1) + log_det
    with torch.no_grad():
        torch.testing.assert_close(model.log_prob(x), expected)
        torch.testing.assert_close(model.loss(x), -expected.mean() + 0.7 * c.square().mean())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ContinuousFlow((3,), hidden=()), "hidden"),
        (lambda: ContinuousFlow((3,), steps=0), "steps=0"),
        (lambda: ContinuousFlow((3,), exact_dims=-1), "exact_dims=-1"),
        (lambda: ContinuousFlow((3,), kinetic_penalty=-1.0), "kinetic_penalty=-1.0"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()


def four_gaussians(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points of a mixture in the plane and the log-density there."""
    centres = 4 * torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    x = centres[torch.randint(4, (n,), generator=generator)] + 0.5 * torch.randn(n, 2, generator=generator)
    square = (x[:, None] - centres).square().sum(dim=2) / (2 * 0.5**2)
    return x, (-square).logsumexp(dim=1) - math.log(4 * 2 * math.pi * 0.5**2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_known_law_is_learned(seed):
    """Its divergence from the model falls below 0.1 nats."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = ContinuousFlow((2,))
    sm.fit(model, four_gaussians(4000, generator)[0], steps=600, seed=seed)
    x, truth = four_gaussians(20_000, generator)
    with torch.no_grad():
        divergence = (truth - model.log_prob(x)).mean()
    assert -0.01 < float(divergence) < 0.1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::submanifold.errors.ManifoldOverfittingWarning")
def test_samples_come_to_lie_on_a_circle():
    circle = sm.data.manifold("circle", ambient_dim=2)
    model = ContinuousFlow((2,))
    sm.fit(model, circle.sample(4000, seed=0), steps=600, seed=0)
    samples = model.sample(2000, generator=torch.Generator().manual_seed(0)).numpy()
    assert np.mean(circle.distance(samples)) < 0.1
