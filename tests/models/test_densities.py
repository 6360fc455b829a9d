"""Exact densities: they integrate to one, agree with their samples and with independent implementations."""

import math

import numpy as np
import pytest
import torch
from model_cases import fit_briefly, make
from scipy import stats
from sklearn.mixture import GaussianMixture as ScikitMixture
from sklearn.neighbors import KernelDensity as ScikitKernelDensity

from submanifold import models
from submanifold.errors import InvalidInput

FLOWS = ["spline-coupling", "spline-autoregressive", "monotone-kan", "maf"]
EXACT = [pytest.param("flow", {"kind": kind}, id=kind) for kind in FLOWS] + [
    pytest.param("flow", {"kind": "spline-coupling", "preprocess": ["standardise"]}, id="standardised-flow"),
    pytest.param("flow", {"kind": "maf", "preprocess": ["logit", "standardise"]}, id="logit-flow"),
    pytest.param("gaussian-mixture", {}, id="gaussian-mixture"),
    pytest.param("gaussian-mixture", {"components": 1, "preprocess": []}, id="gaussian"),
    pytest.param("kernel-density", {}, id="kernel-density"),
    pytest.param("kernel-density", {"bandwidth": 0.3, "preprocess": ["scale"]}, id="kernel-density-fixed"),
]


def two_clusters(n, D, seed=0):
    """Two unequal clusters of unequal width, off the origin and scaled differently in each coordinate."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.rand(n, generator=generator) < 0.3
    centre = torch.where(first[:, None], torch.tensor(-2.0), torch.tensor(1.0))
    width = torch.where(first[:, None], torch.tensor(0.3), torch.tensor(0.6))
    x = centre + width * torch.randn(n, D, generator=generator)
    return 5 + x * torch.tensor([2.0, 0.5])[:D]


def double_model(name, x, steps=60, **kwargs):
    model = make(name, tuple(x.shape[1:]), **kwargs).double()
    return fit_briefly(model, x.double(), steps=steps, lr=1e-2)


@pytest.mark.parametrize("D", [1, 2])
@pytest.mark.parametrize(("name", "kwargs"), EXACT)
def test_density_integrates_to_one(name, kwargs, D):
    x = two_clusters(400, D)
    model = double_model(name, x, **kwargs)
    spread = x.amax(0) - x.amin(0)
    n = 4001 if D == 1 else 301
    axes = [
        torch.linspace(float(low), float(high), n, dtype=torch.float64)
        for low, high in zip(x.amin(0) - 1.5 * spread, x.amax(0) + 1.5 * spread, strict=True)
    ]
    grid = torch.cartesian_prod(*axes).reshape(-1, D)
    with torch.no_grad():
        mass = model.log_prob(grid).exp().sum() * math.prod(float(axis[1] - axis[0]) for axis in axes)
    assert float(mass) == pytest.approx(1.0, abs=2e-3)


@pytest.mark.parametrize("D", [1, 2, 5])
@pytest.mark.parametrize("kind", FLOWS)
def test_flow_is_the_change_of_variables_of_its_own_samples(kind, D):
    """log p(T(u)) = log N(u) - sum_i log s_i(J_T): T, its inverse, its determinant and its Jacobian agree."""
    x = torch.randn(200, D, generator=torch.Generator().manual_seed(1)) @ torch.randn(D, D) + 3
    flow = double_model("flow", x, kind=kind, transforms=4)
    sampled = flow.sample(50, generator=torch.Generator().manual_seed(2))
    u = torch.randn(50, D, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    log_base = torch.distributions.Normal(0.0, 1.0).log_prob(u).sum(dim=1)
    expected = log_base - flow.local_scales(sampled).log().sum(dim=1)
    assert torch.allclose(flow.log_prob(sampled), expected, atol=1e-5)


@pytest.mark.parametrize("kind", FLOWS)
def test_flow_local_scales_are_those_of_finite_differences(kind):
    x = two_clusters(200, 2)
    flow = double_model("flow", x, kind=kind)
    u = torch.randn(20, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    step = 1e-5

    def transport(base):
        """T(u), by way of `sample` with its noise replaced."""
        with torch.no_grad():
            return flow.preprocess.inverse(flow.transform().inv(base))

    columns = [
        (transport(u + step * direction) - transport(u - step * direction)) / (2 * step)
        for direction in torch.eye(2, dtype=torch.float64)
    ]
    expected = torch.linalg.svdvals(torch.stack(columns, dim=2))
    assert torch.allclose(flow.local_scales(transport(u)), expected, rtol=1e-4)


@pytest.mark.parametrize("D", [2, 3, 7])
def test_every_coordinate_of_a_flow_reacts_to_every_other(D):
    """Permutations between the layers leave no coordinate alone; two layers do for "maf", four for couplings."""
    for kind in FLOWS:
        flow = make("flow", (D,), kind=kind, transforms=4, preprocess=[]).double()
        x = torch.randn(30, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        jacobian = torch.autograd.functional.jacobian(lambda x, flow=flow: flow.transform()(x).sum(0), x)  # (D, n, D)
        assert (jacobian.abs().amax(1) > 0).all()


@pytest.mark.parametrize(("name", "kwargs"), EXACT)
def test_units_of_the_data(name, kwargs):
    """p of c x is p(x) / c^D: log p shifts by -D log c."""
    if not kwargs.get("preprocess", True):
        kwargs = kwargs | {"preprocess": ["scale"]}
    x, c = two_clusters(300, 2), 50.0
    one, other = (double_model(name, factor * x, steps=20, **kwargs) for factor in (1.0, c))
    with torch.no_grad():
        shift = other.log_prob(c * x) - one.log_prob(x)
    assert torch.allclose(shift, torch.full_like(shift, -2 * math.log(c)), atol=1e-4)


def test_one_gaussian_is_the_maximum_likelihood_gaussian():
    x = (torch.randn(500, 4) @ torch.randn(4, 4) + 7).double()
    model = fit_briefly(models.GaussianMixture((4,), components=1).double(), x)
    law = stats.multivariate_normal(x.mean(0).numpy(), np.cov(x.T.numpy(), bias=True))
    assert np.allclose(model.log_prob(x), law.logpdf(x.numpy()), atol=1e-6)
    drawn = model.sample(20_000, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(torch.cov(drawn.T), torch.cov(x.T), atol=0.06 * float(torch.cov(x.T).max()))


def test_mixture_is_scikit_learn_s():
    x = two_clusters(600, 2).double()
    model = fit_briefly(models.GaussianMixture((2,), components=3, preprocess=[]).double(), x)
    theirs = ScikitMixture(3, random_state=0, max_iter=200).fit(x.numpy())
    assert np.allclose(model.log_prob(x), theirs.score_samples(x.numpy()), atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("true", [1, 2, 4])
def test_mixture_finds_the_number_of_clusters(true, seed):
    generator = torch.Generator().manual_seed(seed)
    centres = 8 * torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])[:true]
    x = centres[torch.arange(800) % true] + torch.randn(800, 2, generator=generator)
    model = fit_briefly(models.GaussianMixture((2,)), x)
    assert len(model.weights) == true
    shares = torch.bincount(torch.cdist(model.sample(4000, generator=generator), centres).argmin(dim=1), minlength=true)
    assert torch.allclose(shares / 4000, torch.full((true,), 1 / true), atol=0.05)


@pytest.mark.parametrize("flat", [lambda t: 2 * t + 1, torch.zeros_like], ids=["collinear", "constant"])
@pytest.mark.parametrize("seed", range(3))
def test_a_flat_direction_does_not_hide_clusters(flat, seed):
    generator = torch.Generator().manual_seed(seed)
    t = 0.1 * torch.randn(1000, 1, generator=generator)
    t[:500] += 2
    model = models.GaussianMixture((2,))
    model.prepare(torch.cat([t, flat(t)], dim=1))
    drawn = model.sample(2000, generator=generator)[:, 0]
    assert ((drawn > 0.5) & (drawn < 1.5)).float().mean() < 0.01


@pytest.mark.parametrize("name", ["gaussian-mixture", "kernel-density"])
def test_levels_are_dequantised_before_a_density_is_fitted(name):
    """Fair coins have density 1 on the square of side 2 that their noised values fill: -log 4 nats."""
    x = torch.randint(0, 2, (2000, 2), generator=torch.Generator().manual_seed(0)).float()
    model = models.create(name, (2,), preprocess=("dequantise", "standardise")).eval()
    torch.manual_seed(2)
    model.prepare(x)
    noised = x + torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) - 0.5
    assert float(model.log_prob(noised).mean()) == pytest.approx(-math.log(4), abs=0.25)


def test_mixture_refuses_fewer_points_than_components():
    with pytest.raises(InvalidInput, match="components=5"):
        fit_briefly(models.GaussianMixture((2,), components=5), torch.randn(4, 2))


@pytest.mark.parametrize("D", [1, 3])
def test_kernel_density_is_scikit_learn_s(D):
    x = torch.randn(300, D, dtype=torch.float64)
    model = fit_briefly(models.KernelDensity((D,), bandwidth=0.4, preprocess=[]).double(), x)
    query = 2 * torch.randn(50, D, dtype=torch.float64)
    theirs = ScikitKernelDensity(bandwidth=0.4).fit(x.numpy()).score_samples(query.numpy())
    assert np.allclose(model.log_prob(query), theirs, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_bandwidth_is_the_leave_one_out_maximum(seed):
    x = torch.randn(150, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    model = fit_briefly(models.KernelDensity((2,), preprocess=[]).double(), x)

    def left_out(h):
        """Brute force: a kernel density of all other points for each point."""
        kernels = stats.norm(scale=h).logpdf(x.numpy()[:, None] - x.numpy()).sum(axis=2)
        np.fill_diagonal(kernels, -np.inf)
        return np.logaddexp.reduce(kernels, axis=1).mean()

    grid = np.geomspace(0.05, 1.5, 120)
    best = grid[np.argmax([left_out(h) for h in grid])]
    assert float(model.h) == pytest.approx(best, rel=0.03)


def test_kernel_density_samples_are_convolved_data():
    x = torch.randn(2000, 2) * torch.tensor([3.0, 0.1])
    model = fit_briefly(models.KernelDensity((2,), bandwidth=0.5), x)
    drawn = model.sample(20_000, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(drawn.var(0), x.var(0) * (1 + 0.5**2), rtol=0.05)


def test_duplicates_leave_a_kernel_density_a_width():
    model = fit_briefly(models.KernelDensity((2,)), torch.randint(0, 3, (200, 2)).float())
    assert float(model.h) >= 1e-3
    assert model.log_prob(torch.ones(1, 2)).isfinite().all()


@pytest.mark.parametrize(
    ("name", "kwargs", "argument"),
    [
        ("flow", {"kind": "spline"}, "kind"),
        ("flow", {"transforms": 0}, "transforms"),
        ("flow", {"bins": 1}, "bins"),
        ("gaussian-mixture", {"components": "bic"}, "components"),
        ("gaussian-mixture", {"components": 0}, "components"),
        ("kernel-density", {"bandwidth": 0.0}, "bandwidth"),
        ("kernel-density", {"bandwidth": "scott"}, "bandwidth"),
        ("flow", {"preprocess": "scale"}, "preprocess"),
    ],
)
def test_bad_arguments_are_named(name, kwargs, argument):
    with pytest.raises(InvalidInput, match=argument):
        models.create(name, (2,), **kwargs)
