"""Annealed importance sampling: normalising constants that are known, and errors that are as large as they are said."""

import math

import pytest
import torch

from submanifold.errors import InvalidInput
from submanifold.models import log_normaliser
from submanifold.models.langevin import jump, langevin, mala, metropolis


def gaussian(D):
    """An unnormalised Gaussian with correlated coordinates, and its log Z."""
    A = torch.randn(D, D, generator=torch.Generator().manual_seed(D)) / math.sqrt(D)
    precision = A @ A.mT + 0.5 * torch.eye(D)
    mean = torch.linspace(-0.5, 0.5, D)
    log_z = 0.5 * (D * math.log(2 * math.pi) - float(torch.logdet(precision.double())))
    return lambda x: -0.5 * (((x - mean) @ precision) * (x - mean)).sum(dim=1), log_z


def mixture(D):
    """Two unequal modes, four and a half deviations apart, scaled so that log Z = 1.5."""
    means = torch.zeros(2, D)
    means[:, 0] = torch.tensor([1.2, -1.2])
    sigma, weights = 1.2 / 2.25, torch.tensor([0.3, 0.7])

    def log_density(x):
        square = ((x[:, None] - means) / sigma).square().sum(dim=2)
        return (weights.log() - 0.5 * square).logsumexp(dim=1) - 0.5 * D * math.log(2 * math.pi * sigma**2) + 1.5

    return log_density, 1.5


@pytest.mark.parametrize(
    ("law", "D"),
    [
        (gaussian, 8),
        (mixture, 2),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in [(gaussian, 1), (mixture, 1), (mixture, 8)]),
    ],
)
def test_the_constant_is_found_within_its_error_and_the_error_is_honest(law, D):
    """24 seeds with few chains: 2 standard errors cover as much as they should, and are no larger."""
    log_density, log_z = law(D)
    errors = []
    for seed in range(24):
        estimate = log_normaliser(
            log_density, D, chains=32, temperatures=20, generator=torch.Generator().manual_seed(seed)
        )
        assert estimate.reliable
        assert estimate.standard_error < 0.5
        errors.append((estimate.log_z - log_z) / estimate.standard_error)
    errors = torch.tensor(errors)
    assert (errors.abs() < 2).sum() >= 19  # 24 errors of a normal law do this in all but 1 of 250 cases
    assert 0.4 < float(errors.square().mean().sqrt()) < 1.8


def test_more_chains_and_temperatures_make_it_exact():
    log_density, log_z = mixture(2)
    generator = torch.Generator().manual_seed(0)
    estimate = log_normaliser(log_density, 2, chains=2000, temperatures=50, generator=generator)
    assert abs(estimate.log_z - log_z) < 0.05
    assert estimate.standard_error < 0.03


def test_the_base_moves_and_stretches_with_the_density():
    """log Z of N(m, S S^T) times e^3, seen from that very Gaussian, is 3 without error, whatever the shape of S."""
    m = torch.tensor([100.0, -20.0], dtype=torch.float64)
    S = torch.tensor([[3.0, 0.0], [1.0, 0.1]], dtype=torch.float64)
    law = torch.distributions.MultivariateNormal(m, scale_tril=S)
    estimate = log_normaliser(lambda x: law.log_prob(x) + 3, 2, mean=m, scale=S, chains=8, temperatures=3)
    assert estimate.log_z == pytest.approx(3, abs=1e-9)
    assert estimate.standard_error < 1e-6
    assert estimate.effective_sample_size == pytest.approx(8)
    for scale in (2.0, torch.tensor([1.0, 4.0])):
        wide = torch.distributions.Independent(torch.distributions.Normal(0.0, torch.as_tensor(scale).expand(2)), 1)
        estimate = log_normaliser(wide.log_prob, 2, scale=scale, chains=8, temperatures=3)
        assert estimate.log_z == pytest.approx(0, abs=1e-5)


def test_uneven_weights_are_called_unreliable():
    """Far from the Gaussian, with two temperatures: a few chains carry all of the weight."""
    generator = torch.Generator().manual_seed(0)
    estimate = log_normaliser(
        lambda x: -0.5 * ((x - 6) / 0.1).square().sum(dim=1), 4, chains=100, temperatures=2, generator=generator
    )
    assert not estimate.reliable
    assert "not reliable" in str(estimate)


def test_randomness_comes_from_the_generator_alone():
    log_density, _ = mixture(2)
    state = torch.random.get_rng_state()
    one, two, three = (
        log_normaliser(log_density, 2, chains=8, temperatures=5, generator=torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    )
    assert one == two != three
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"chains": 1}, "chains"),
        ({"temperatures": 1}, "temperatures"),
        ({"mean": torch.zeros(3)}, "mean"),
        ({"scale": torch.ones(3)}, "scale"),
        ({"scale": 0.0}, "scale is singular"),
        ({"mean": torch.zeros(2, dtype=torch.int64)}, "floating"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, named):
    with pytest.raises(InvalidInput, match=named):
        log_normaliser(lambda x: -x.square().sum(dim=1), 2, **arguments)


def test_adjusted_chains_keep_their_law_however_long_the_step():
    """Variance of N(0, 1) under steps of 1.2: the test leaves it, without the test it is 1 / (1 - h^2 / 4)."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(20_000, 1, generator=generator)
    h = torch.tensor(1.2)
    adjusted, _ = mala(lambda y: -0.5 * y.square().sum(dim=1), y, step=h, steps=20, generator=generator)
    assert float(adjusted.var()) == pytest.approx(1, abs=0.04)
    free = langevin(lambda y: -y, y, step=1.2, steps=20, generator=generator)
    assert float(free.var()) == pytest.approx(1 / (1 - 0.36), abs=0.06)


def test_chains_find_their_step_and_their_law():
    """From a step a hundred times too long, N(0, 0.01^2 I) in five dimensions."""
    generator = torch.Generator().manual_seed(0)
    y, step = mala(
        lambda y: -0.5 * (y / 0.01).square().sum(dim=1),
        torch.zeros(500, 5),
        step=torch.tensor(1.0),
        steps=300,
        generator=generator,
        adapt=True,
    )
    assert 0.005 < float(step) < 0.03
    assert float(y.var()) == pytest.approx(1e-4, rel=0.1)


def test_jumps_keep_the_law_and_change_modes():
    """Chains that all begin in one of two equal modes, eight deviations apart, end in either."""

    def log_density(y):
        return torch.logaddexp(-0.5 * ((y - 1) / 0.25).square(), -0.5 * ((y + 1) / 0.25).square())[:, 0]

    generator = torch.Generator().manual_seed(0)
    y = 1 + 0.25 * torch.randn(5000, 1, generator=generator)
    for _ in range(60):
        y = jump(log_density, y, generator)
    assert float((y > 0).float().mean()) == pytest.approx(0.5, abs=0.03)
    assert float((y.abs() - 1).std()) == pytest.approx(0.25, abs=0.02)


def test_impossible_proposals_are_refused():
    take, mean = metropolis(torch.tensor([torch.nan, -torch.inf, torch.inf, 0.0]), torch.Generator().manual_seed(0))
    assert take.tolist() == [False, False, True, True]
    assert float(mean) == 0.5


def test_a_clipped_drift_is_no_longer_than_allowed():
    far = torch.full((4, 2), 1e3)
    generator = torch.Generator().manual_seed(0)
    near = langevin(lambda y: -1e3 * y, far, step=0.1, steps=1, generator=generator, clip=0.5)
    drift = near - far - 0.1 * torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(torch.linalg.vector_norm(drift, dim=1), torch.full((4,), 0.5), atol=1e-3)
