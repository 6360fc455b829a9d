"""Log-densities of flows, their errors and their bound, with networks that say what is right for known laws."""

import math

import pytest
import torch

from submanifold.errors import InvalidInput, NonFiniteScore
from submanifold.models import Diffusion
from submanifold.models.diffusion.likelihood import flow_log_prob, likelihood_curve
from submanifold.models.diffusion.oracles import CircleScore, SubspaceGaussian


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Gaussian(torch.nn.Module):
    """v of N(0, V diag(variances) V^T): what the best network says of y on alpha^2 + beta^2 = 1."""

    def __init__(self, variances, V):
        super().__init__()
        self.variances = torch.nn.Parameter(variances, requires_grad=False)
        self.V = torch.nn.Parameter(V, requires_grad=False)

    def forward(self, x_t, level):
        sigma = (4 * level).exp().reshape(-1, 1)
        scale = (1 + sigma**2).rsqrt()
        noise = sigma * scale
        slope = noise * scale * (1 - self.variances) / (scale**2 * self.variances + noise**2)
        return ((x_t.flatten(1) @ self.V * slope) @ self.V.mT).reshape(x_t.shape)


def gaussian(variances, *, seed=0, shape=None, **kwargs):
    """A model in float64 of that law, with axes of its own, and a function that draws from it."""
    variances = torch.as_tensor(variances, dtype=torch.float64)
    D = len(variances)
    V = torch.linalg.qr(normal(D, D, seed=seed))[0]
    model = Diffusion(shape or (D,), network=Gaussian(variances, V), **{"preprocess": ()} | kwargs).double()
    with torch.no_grad():
        for buffer, value in ((model.reference.variances, variances), (model.reference.directions, V)):
            buffer.copy_(value)

    def draw(n, seed=1):
        return (normal(n, D, seed=seed) * variances.sqrt() @ V.mT).reshape(n, *model.data_shape)

    return model, draw


def log_density(model, x, sigma):
    """Of y, of the noised Gaussian."""
    law = model.network
    variance = law.variances + sigma**2
    along = x.flatten(1) @ law.V
    return -0.5 * (along.square() / variance + variance.log() + math.log(2 * math.pi)).sum(dim=1)


@pytest.mark.parametrize("seed", range(5))
def test_estimated_slopes_are_right_within_their_errors(seed):
    """D - d = 10 on a plane in R^20, whose axes are not those of the coordinates, within four standard errors."""
    model, draw = gaussian([1.0] * 10 + [0.0] * 10, seed=seed)
    assert model.log_prob_kind == "estimate"
    x = draw(100)
    curve = likelihood_curve(model, x, [0.005, 0.02, 0.05])
    assert 0.02 < curve.slope_error < 0.5
    assert abs(curve.slope - 10) < 4 * curve.slope_error
    assert abs(float(curve.log_prob[0] - log_density(model, x, 0.005).mean())) < 4 * float(curve.error[0])


def test_estimates_are_off_point_by_point_by_as_much_as_they_say():
    """And independently: the error of the mean over points is that of a point over sqrt(n)."""
    model, draw = gaussian([1.0] * 10 + [0.0] * 10)
    x = draw(200)
    found = model.log_prob_at(x)
    off = found.log_prob - log_density(model, x, model.sigma_min)
    typical = float(found.error.square().mean().sqrt())
    assert float(off.std()) == pytest.approx(typical, rel=0.2)
    assert abs(float(off.mean())) < 4 * typical / math.sqrt(200)


def test_estimates_of_a_batch_are_those_of_its_beginning_and_the_same_again():
    model, draw = gaussian([1.0] * 10 + [0.0] * 10)
    x = draw(30)
    whole = model.log_prob(x)
    assert torch.equal(model.log_prob(x), whole)
    torch.testing.assert_close(model.log_prob(x[:10]), whole[:10], rtol=0, atol=0.02)  # steps of the solver differ


class Broken(torch.nn.Module):
    """v of N(0, 4 I), to which what has slopes that are not numbers is added where noise is of certain levels."""

    def __init__(self, add):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.add = add

    def forward(self, x_t, level):
        sigma = (4 * level).exp()[:, None]
        return -3 * sigma / (4 + sigma**2) * x_t + self.weight + self.add(x_t, sigma)


def broken(add):
    model = Diffusion((2,), network=Broken(add), preprocess=())
    model.reference.variances.fill_(4.0)
    return model


def test_a_divergence_that_is_not_a_number_is_refused_with_its_level():
    """Values are finite throughout: only the slope of a root below 0 is not, where it is left out."""
    x = torch.tensor([[1.3, 0.9], [4.0, 2.0], [3.0, -1.0]])

    def root(x_t, sigma):
        reach = x_t.square().sum(dim=1, keepdim=True) - 1
        return torch.where(reach > 0, 1e-3 * reach.sqrt(), torch.zeros_like(reach))

    with pytest.raises(NonFiniteScore, match=r"score's divergence is not finite at noise level \d"):
        broken(root).log_prob(x)
    at_once = torch.tensor([[0.0, 0.2]])
    with pytest.raises(NonFiniteScore, match=r"score's divergence is not finite at noise level 0\.005"):
        broken(lambda x_t, sigma: 1e-3 * x_t.abs().sqrt()).log_prob(at_once)
    assert broken(lambda x_t, sigma: 0 * x_t).log_prob(x).isfinite().all()


OFF = torch.tensor([[0.0, 0.02, 0.0, 0.0], [6.0, 0.0, 0.0, 0.0]], dtype=torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [0, 20, 1000])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_point_off_the_line_is_scored_as_exactly_among_others(n, dtype, seed):
    """Four deviations off, or six along, alone and among points on the line: within 0.005 nats."""
    model, draw = gaussian([1.0, 0.0, 0.0, 0.0], seed=seed)
    x = torch.cat([draw(n) if n else OFF[:0], OFF @ model.network.V.mT]).to(dtype)
    exact = log_density(model, x.double(), model.sigma_min)
    found = model.to(dtype).log_prob(x).double()
    torch.testing.assert_close(found, exact, rtol=0, atol=0.005)


@pytest.mark.parametrize("origin", [0.0, 1e2, 1e4])
def test_log_densities_do_not_depend_on_the_origin(origin):
    factor = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    law = SubspaceGaussian.of(torch.full((4,), origin, dtype=torch.float64), factor)
    x = law.sample(50, generator=torch.Generator().manual_seed(0)) + 0.01 * normal(50, 4, seed=3)
    found = flow_log_prob(lambda y, s: law.score(y, s), x, 0.01, 20.0, lambda y: law.log_prob_noised(y, 20.0))
    torch.testing.assert_close(found.log_prob, law.log_prob_noised(x, 0.01), rtol=0, atol=1e-3)


def test_a_curve_refuses_levels_that_were_not_learned():
    model, draw = gaussian([1.0, 1.0], sigma_min=0.5)
    with pytest.raises(InvalidInput, match=r"sigmas=None .* 0\.5, to 0\.3, .* give sigmas= in \[0\.5, 20\]"):
        likelihood_curve(model, draw(5))
    with pytest.raises(InvalidInput, match=r"sigma_min=0\.1 .* in \[0\.5, 20\]"):
        likelihood_curve(model, draw(5), [0.1, 1.0])
    assert likelihood_curve(model, draw(5), [0.5, 1.0]).sigmas.tolist() == [0.5, 1.0]


def test_default_levels_begin_at_the_least():
    model, draw = gaussian([1.0, 1.0], sigma_min=0.01)
    curve = likelihood_curve(model, draw(5), levels=4)
    torch.testing.assert_close(curve.sigmas, torch.logspace(-2, math.log10(0.3), 4, dtype=torch.float64))


class OnCircle:
    """The flow of an exact circle, as a model."""

    sigma_min, sigma_max = 0.005, 20.0

    def __init__(self):
        self.law = CircleScore((2,), kappa=1.0).double()

    def log_prob_at(self, x, sigma_min=None):
        return flow_log_prob(
            lambda y, s: self.law.score(y, s),
            x,
            sigma_min or self.sigma_min,
            self.sigma_max,
            lambda y: self.law.log_prob_noised(y, self.sigma_max),
        )


@pytest.mark.parametrize("seed", range(3))
def test_likelihoods_have_no_limit_on_a_circle(seed):
    model = OnCircle()
    curve = likelihood_curve(model, model.law.sample(60, generator=torch.Generator().manual_seed(seed)))
    assert not curve.has_limit
    assert curve.fine_slope == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("variances", [[1.0] * 2, [1.0, 0.3, 0.1], [1.0] * 12])
def test_likelihoods_have_a_limit_where_there_is_a_density(variances, seed):
    """Exact divergences or estimated ones; an axis may be three times as thin as another."""
    model, draw = gaussian(variances, seed=seed)
    curve = likelihood_curve(model, draw(60, seed=seed), levels=4)
    assert curve.has_limit
    assert abs(curve.fine_slope) < 0.05


@pytest.mark.parametrize("seed", range(3))
def test_thin_data_have_a_limit_that_only_finer_levels_show(seed):
    """Of thickness 0.02: levels above it rise as if they were on a line, levels below it are flat."""
    model, draw = gaussian([1.0, 4e-4], seed=seed, sigma_min=1e-4)
    x = draw(60, seed=seed)
    above, below = (likelihood_curve(model, x, sigmas) for sigmas in ([0.05, 0.1, 0.2], [2e-4, 1e-3, 0.2]))
    assert not above.has_limit
    assert below.has_limit
    assert below.slope - 3 * below.slope_error > 0.1  # which is not what it judges by


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("D", "shape"), [(3, (3,)), (16, (1, 4, 4)), (16, (4, 2, 2))])
def test_the_bound_of_an_exact_network_is_near_the_log_density(D, shape, seed):
    """Vectors and images, in units of the data: at most it, and less by 0.05 at most, within three standard errors.

    These are over points, which have their levels in common: so many that what these miss does not count.
    """
    model, draw = gaussian([1.0] * D, seed=seed, shape=shape, preprocess=("scale",))
    y = draw(1000, seed=10 + seed)
    model.preprocess.fit(7 + 3 * torch.cat([torch.ones(1, *shape), -torch.ones(1, *shape)]).double())
    x = 7 + 3 * y
    bound, error = model.elbo(x, levels=128, generator=torch.Generator().manual_seed(seed))
    gap = bound - (log_density(model, y, model.sigma_min) - D * math.log(3))
    assert bound.shape == error.shape == (1000,)
    standard_error = float(gap.std()) / math.sqrt(1000)
    assert -0.05 - 3 * standard_error < float(gap.mean()) < 3 * standard_error
    assert float(error.square().mean().sqrt()) == pytest.approx(float(gap.std()), rel=0.25)


@pytest.mark.parametrize("seed", range(3))
def test_the_bound_stays_below_where_the_network_is_wrong(seed):
    """Told of variances of 1 of which one is 1/4: below the log-density of the data by far more than its error."""
    model, _ = gaussian([1.0, 1.0], seed=seed)
    x = normal(1000, 2, seed=10 + seed)
    model.network.variances[0] = 0.25
    model.reference.variances.fill_(1.0)
    bound = model.elbo(x, generator=torch.Generator().manual_seed(seed))[0].mean()
    truth = -0.5 * (x.square().sum(dim=1) + 2 * math.log(2 * math.pi)).mean()
    assert float(bound) < float(truth) - 0.1


def test_bounds_are_the_same_from_the_same_generator():
    model, draw = gaussian([1.0, 1.0])
    one, two, three = (model.elbo(draw(5), generator=torch.Generator().manual_seed(s))[0] for s in (0, 0, 1))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)
