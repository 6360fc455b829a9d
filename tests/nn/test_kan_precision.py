"""Splines in single and double precision against SciPy, on grids of all kinds, and what casts and infinity do."""

import copy

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline

from submanifold.nn.kan import KAN, KANLinear, refine, update_grid
from submanifold.nn.kan.splines import knots_of, local_splines
from submanifold.nn.kan.tables import polynomials, spline_table, tabled_splines


def uneven(G, m=1, seed=0):
    """Breakpoints of m grids of [-1, 1], intervals of which are up to ten times as long as others."""
    widths = np.random.default_rng(seed).uniform(0.1, 1, (m, G))
    ends = np.concatenate([np.zeros((m, 1)), widths.cumsum(axis=1)], axis=1)
    return 2 * ends / ends[:, -1:] - 1


def layer(G, k, uniform, seed, **options):
    torch.manual_seed(seed)
    made = KANLinear(1, 1, grid=G, order=k, base=None, noise=1.0, **options)
    if not uniform:
        made.basis.set_breakpoints(uneven(G, seed=seed))
    return made


def off(made, x):
    """By how much values and the first two derivatives are off, as shares of the largest of each."""
    k = made.basis.order
    expected = BSpline(made.basis.exact_knots[0].numpy(), made.coefficients.detach().double().numpy()[0, 0], k)

    def f(x):
        return made(x[None])[0]

    first = torch.func.jacrev(f)
    shares = []
    for derivative, found in enumerate([f, first, torch.func.jacfwd(first)][: k + 1]):
        ours = torch.func.vmap(found)(x).detach().double().flatten().numpy()
        theirs = (expected.derivative(derivative) if derivative else expected)(x.double().numpy()[:, 0])
        shares.append(float(np.abs(ours - theirs).max() / np.abs(theirs).max()))
    return shares


@pytest.mark.parametrize("uniform", [True, False])
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("G", [5, 50, 200])
def test_single_precision_has_its_digits_on_fine_grids(G, k, uniform):
    for seed in range(3):
        x = 2 * torch.rand(500, 1, generator=torch.Generator().manual_seed(seed)) - 1
        assert max(off(layer(G, k, uniform, seed), x)) < 1e-6


@pytest.mark.parametrize("open_knots", [True, False])
@pytest.mark.parametrize("uniform", [True, False])
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_double_precision_has_its_digits(k, uniform, open_knots):
    for G, seed in ((5, 0), (50, 1), (200, 2)):
        x = 2 * torch.rand(500, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1
        assert max(off(layer(G, k, uniform, seed, open_knots=open_knots).double(), x)) < 1e-12


@pytest.mark.parametrize("uniform", [True, False])
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 8])
def test_open_knots_have_their_digits_in_single_precision(k, uniform):
    for G, seed in ((5, 0), (50, 1), (200, 2)):
        x = 2 * torch.rand(500, 1, generator=torch.Generator().manual_seed(seed)) - 1
        assert max(off(layer(G, k, uniform, seed, open_knots=True), x)) < (1e-6 if k < 8 else 2e-6)


@pytest.mark.parametrize("open_ends", [True, False])
@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.parametrize("G", [1, 2, 7, 40])
def test_tables_are_what_the_recursion_says(G, k, open_ends):
    """Beyond the grid too, and at breakpoints, where derivatives are those to the right."""
    grid = torch.as_tensor(uneven(G, m=2))
    knots = knots_of(grid, k, open_ends=open_ends)
    x = torch.cat([torch.linspace(-3, 3, 101, dtype=torch.float64)[:, None].expand(-1, 2), grid.mT])
    table = spline_table(knots, k)
    first, values = tabled_splines(x, grid, table, k)
    expected_first, expected = local_splines(x, knots, k)
    assert torch.equal(first, expected_first)
    torch.testing.assert_close(values, expected, rtol=1e-12, atol=1e-12)
    slopes = [torch.autograd.functional.jvp(lambda x: tabled_splines(x, grid, table, k)[1], x, torch.ones_like(x))[1]]
    step = 1e-8 * (x < grid[:, -1]) - 1e-8 * (x >= grid[:, -1])
    slopes.append((tabled_splines(x + step, grid, table, k)[1] - values) / step[..., None])
    is_there = first == tabled_splines(x + step, grid, table, k)[0]
    torch.testing.assert_close(*(slope[is_there] for slope in slopes), rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(
        polynomials(knots, k).sum(dim=2)[..., 0], torch.ones(2, G, dtype=torch.float64), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("uniform", [True, False])
def test_derivatives_at_breakpoints_are_those_of_a_side(uniform):
    """None is lost to the ends of an interval; inner first and second derivatives are continuous."""
    made = layer(4, 3, uniform, 0).double()
    at = made.basis.breakpoints[0][:, None]
    assert max(off(made, at[:-1])) < 1e-11
    assert max(off(made, at[1:-1] - 1e-14)) < 1e-11


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("grid", "grid_range"), [(500, (-1.0, 1.0)), (300, (-3.0, 3.0)), (7, (0.3, 4.1)), (64, (1.0, 9.0))]
)
def test_rounding_makes_no_grid_uneven(grid, grid_range, seed):
    made = KANLinear(2, 1, grid=grid, grid_range=grid_range)
    assert made.basis.is_uniform
    low, high = made.basis.breakpoints[0, [0, -1]].tolist()
    made.basis.set_breakpoints(torch.linspace(low, high, grid + 1).repeat(2, 1))
    assert made.basis.is_uniform
    assert made.double().basis.is_uniform
    made.basis.set_breakpoints(made.basis.breakpoints.clone())
    assert made.basis.is_uniform
    h = (high - low) / grid
    noise = 1e-3 * h * np.random.default_rng(seed).uniform(-1, 1, (2, grid + 1))
    made.basis.set_breakpoints(np.linspace(low, high, grid + 1) + noise)
    assert not made.basis.is_uniform


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_casts_keep_grids_apart(dtype):
    """Intervals that half precision has no numbers for are there still, and a state is loaded to the bit."""
    made = KANLinear(1, 2, grid=5)
    made.basis.set_breakpoints([[-1.0, 0.5, 0.7, 0.8, 0.999, 1.0]])
    x = torch.tensor([[-2.0], [0.9], [1.0], [1.5], [3.0]], dtype=dtype)
    assert made.to(dtype)(x).isfinite().all()
    assert made.basis.breakpoints.dtype == torch.float32
    for seed in range(3):
        torch.manual_seed(seed)
        nets = [KAN([2, 3, 1]) for _ in range(4)]
        refine(nets[0], 30)
        update_grid(nets[1], torch.randn(200, 2))
        nets[2] = KAN([2, 3, 1], grid=600)
        nets[3] = KAN([2, 3, 1], grid=9, order=5, open_knots=True)
        x = 2 * torch.randn(50, 2).to(dtype)
        for net in nets:
            fresh = KAN([2, 3, 1], order=net[0].basis.order, open_knots=net[0].basis.open_knots).to(dtype)
            fresh.load_state_dict(net.to(dtype).state_dict())
            assert torch.equal(fresh(x), net(x))


@pytest.mark.parametrize("uniform", [True, False])
@pytest.mark.parametrize("open_knots", [True, False])
def test_casts_change_numbers_by_their_rounding_alone(uniform, open_knots):
    for order, seed in ((3, 0), (5, 1)):
        made = layer(8, order, uniform, seed, open_knots=open_knots)
        x = 3 * torch.randn(100, 1, generator=torch.Generator().manual_seed(seed))
        there = copy.deepcopy(made).double()
        torch.testing.assert_close(there(x.double()).float(), made(x), rtol=1e-5, atol=1e-5)
        assert torch.equal(there.float()(x), made(x))


@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize("uniform", [True, False])
def test_infinity_is_beyond_all_tangents(uniform, order):
    """NaN in both directions, as NaN is; the ends where these are kept. Large numbers are finite."""
    made = layer(5, order, uniform, 0)
    x = torch.tensor([[torch.inf], [-torch.inf], [torch.nan]])
    assert made(x).isnan().all()
    assert made(torch.tensor([[1e30], [-1e30]])).isfinite().all()
    kept = layer(5, order, uniform, 0, outside="clamp")
    torch.testing.assert_close(kept(x[:2]), kept(torch.tensor([[1.0], [-1.0]])))


def test_no_points_are_no_values():
    adapted = KAN([2, 3])
    update_grid(adapted, torch.randn(50, 2, generator=torch.Generator().manual_seed(0)))
    for net in (KAN([2, 3]), adapted, KAN([2, 3], grid=40, local=True)):
        assert net(torch.zeros(0, 2)).shape == (0, 3)
        assert net(torch.zeros(4, 0, 2)).shape == (4, 0, 3)
