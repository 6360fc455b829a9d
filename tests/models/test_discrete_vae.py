"""Laws of levels, and VAEs that have them as likelihood."""

import math

import numpy as np
import pytest
import torch
from model_cases import make
from scipy import stats

import submanifold as sm
from submanifold.data.preprocess import Preprocess
from submanifold.errors import InvalidInput, UnfittedModel
from submanifold.models import DiscreteVAE
from submanifold.models.discretised import lattice_of, logistic_log_mass, sample_logistic


def lattice_data(n=300, D=6, levels=5, low=2.0, step=0.5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n, 1, generator=generator) * torch.linspace(-1, 1, D)
    return low + step * ((z + 2).clamp(0, 3.999) * levels / 4).floor()


def test_a_lattice_is_read_off_the_data_and_undone():
    x = lattice_data()
    preprocess = Preprocess(("lattice",), (6,))
    preprocess.fit(x)
    lattice = lattice_of(preprocess)
    assert (float(lattice.low), float(lattice.step), float(lattice.levels)) == (2.0, 0.5, 5.0)
    u, log_det = preprocess.forward_and_log_det(x)
    assert (float(u.min()), float(u.max())) == (-1.0, 1.0)
    assert torch.equal(preprocess.inverse(u), x)
    assert torch.allclose(log_det, torch.full((300,), 6 * math.log(2 / 2.0)))
    assert torch.equal(lattice.unit(lattice.level(u)), u)


@pytest.mark.parametrize(
    ("bad", "reason"), [(2.25, "in steps of 0.5"), (4.5, "from 2 to 4"), (1.5, "off the lattice"), (math.pi, "lattice")]
)
def test_values_off_the_lattice_are_refused(bad, reason):
    preprocess = Preprocess(("lattice",), (6,))
    preprocess.fit(lattice_data())
    x = lattice_data(3)
    x[1, 2] = bad
    with pytest.raises(InvalidInput, match=reason):
        preprocess(x)


@pytest.mark.parametrize("x", [torch.randn(50, 6), torch.full((50, 6), 3.0)])
def test_data_without_a_lattice_are_refused(x):
    with pytest.raises(InvalidInput, match="not on a lattice"):
        make("logistic-vae", (6,)).prepare(x)


@pytest.mark.parametrize("levels", [2, 3, 17, 256])
@pytest.mark.parametrize("log_scale", [-12.0, -5.0, -1.0, 3.0])
def test_masses_sum_to_one(levels, log_scale):
    u = torch.linspace(-1, 1, levels, dtype=torch.float64)
    for mean in (-3.0, -0.2, 0.0, 0.9):
        log_masses = logistic_log_mass(
            u, torch.tensor(mean), torch.tensor(log_scale).double(), torch.tensor(levels).double()
        )
        assert float(log_masses.exp().sum()) == pytest.approx(1, abs=1e-9)
        assert log_masses.isfinite().all()


def test_masses_are_differences_of_the_distribution_function():
    """SciPy's logistic law, at scales where the difference of its values does not cancel."""
    levels, mean, scale = 9, 0.3, 0.2
    u = np.linspace(-1, 1, levels)
    edges = np.concatenate([[-np.inf], (u[1:] + u[:-1]) / 2, [np.inf]])
    expected = np.diff(stats.logistic(mean, scale).cdf(edges))
    found = logistic_log_mass(
        torch.from_numpy(u), torch.tensor(mean), torch.tensor(math.log(scale)).double(), torch.tensor(levels)
    ).exp()
    assert np.allclose(found.numpy(), expected, rtol=1e-6)


def test_gradients_are_finite_where_masses_vanish():
    u = torch.linspace(-1, 1, 256)
    means, log_scales = torch.zeros(256, requires_grad=True), torch.full((256,), -8.0, requires_grad=True)
    logistic_log_mass(u, means, log_scales, torch.tensor(256)).sum().backward()
    assert means.grad.isfinite().all()
    assert log_scales.grad.isfinite().all()


@pytest.mark.parametrize("seed", range(3))
def test_levels_are_drawn_as_often_as_their_masses_say(seed):
    generator = torch.Generator().manual_seed(seed)
    levels, n = torch.tensor(7.0), 20_000
    mean, log_scale = torch.randn(2, generator=generator) - torch.tensor([0.0, 1.0])
    drawn = sample_logistic(mean.expand(n), log_scale.expand(n), levels, generator)
    grid = torch.linspace(-1, 1, 7)
    masses = logistic_log_mass(grid, mean, log_scale, levels).exp()
    counts = torch.stack([(drawn - u).abs().lt(1e-5).sum() for u in grid])
    assert int(counts.sum()) == n
    expected = masses.double().numpy()
    assert stats.chisquare(counts.numpy(), n * expected / expected.sum()).pvalue > 1e-3


@pytest.mark.parametrize("name", ["logistic-vae", "categorical-vae"])
def test_the_probabilities_of_all_points_sum_to_one(name):
    """Two coordinates of 5 levels: the importance bound, close to log p for many samples, over all 25 points."""
    x = lattice_data(D=2)
    torch.manual_seed(0)
    model = make(name, (2,), latent_dim=1)
    model.prepare(x)
    values = torch.unique(x)
    with torch.no_grad():
        log_density = model.double().eval().log_prob(torch.cartesian_prod(values, values), 20_000)
    assert float((log_density + 2 * math.log(0.5)).exp().sum()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("name", ["logistic-vae", "categorical-vae"])
def test_the_mean_of_samples_and_the_decoders_jacobian_agree_with_decode(name):
    x = lattice_data()
    torch.manual_seed(0)
    model = make(name, (6,))
    model.prepare(x)
    samples = model.sample(200, generator=torch.Generator().manual_seed(0))
    assert torch.isin(samples, torch.unique(x)).all()
    z = torch.randn(5, 2)
    if name == "categorical-vae":  # the mean of a law of levels is exact
        outputs = model._outputs(model.decoder(z))
        masses = model._log_probabilities(outputs).exp()  # (n, levels, D)
        expected = torch.einsum("nld,l->nd", masses, torch.unique(x))
        assert torch.allclose(model.decode(z), expected, atol=1e-5)
    pairs = torch.randn(2, 500, 2)
    moved = (model.decode(pairs[0]) - model.decode(pairs[1])).norm(dim=1) / (pairs[0] - pairs[1]).norm(dim=1)
    assert float(moved.max()) <= model.decoder_lipschitz_bound()


@pytest.mark.parametrize("name", ["logistic-vae", "categorical-vae"])
def test_the_likelihood_of_a_lattice_is_bounded_and_a_few_steps_learn_it(name):
    x = lattice_data(400)
    torch.manual_seed(0)
    model = make(name, (6,), latent_dim=1, hidden=(64,))
    sm.fit(model, x, steps=300, learning_rate=3e-3, progress=False, seed=0)
    log_mass = model.log_prob(x) + 6 * math.log(0.5)
    assert float(log_mass.max()) <= 0
    frequencies = torch.stack([torch.bincount(((c - 2) * 2).long(), minlength=5) / 400 for c in x.T])
    independent = float(frequencies.log().nan_to_num(neginf=0).mul(frequencies).sum())
    assert float(log_mass.mean()) > independent + 0.5  # more is known than each coordinate's own law


def test_too_many_levels_for_a_categorical_law_and_scoring_before_fitting():
    with pytest.raises(InvalidInput, match="levels=5 or more"):
        DiscreteVAE((6,), 2, likelihood="categorical", levels=4).prepare(lattice_data())
    with pytest.raises(UnfittedModel):
        make("logistic-vae", (6,)).sample(2)
    with pytest.raises(InvalidInput, match="likelihood"):
        make("logistic-vae", (6,), likelihood="gaussian")
