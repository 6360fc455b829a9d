"""Grids of KANs: finer ones say the same, others the nearest; layers change all or none, and train on."""

import copy

import numpy as np
import pytest
import torch
from scipy.interpolate import make_lsq_spline

from submanifold.errors import InvalidInput
from submanifold.nn.kan import KAN, GridSchedule, KANLinear, outside_shares, refine, update_grid
from submanifold.nn.kan.grids import quantile_breakpoints, regrid


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def wild(widths, **options):
    torch.manual_seed(0)
    return KAN(widths, noise=1.0, **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", [{}, {"open_knots": True}, {"order": 2}, {"grid_range": (0.3, 4.0)}])
def test_refinement_preserves_the_function(options, dtype):
    """Also to grids that are no multiple, beyond the ends, and again."""
    net = wild([3, 4, 2], **options).to(dtype)
    low, high = options.get("grid_range", (-1.0, 1.0))
    beyond = 0.0 if dtype == torch.float32 else 2.0  # where slopes of fine grids are what rounding leaves of them
    x = low - beyond + (high - low + 2 * beyond) * torch.rand(300, 3, dtype=dtype)
    before = net(x).detach()
    for intervals in (10, 23, 24, 200):
        refine(net, intervals)
        assert [layer.basis.intervals for layer in net.layers] == [intervals] * 2
        error = float((net(x) - before).detach().abs().max() / before.abs().max())
        assert error < (1e-5 if dtype == torch.float32 else 1e-11)


def test_a_grid_that_is_also_longer_keeps_the_function_beyond_the_old_ends():
    """It was straight there, and is not what the last polynomial would have been."""
    layer = wild([1, 2], base=None).double()[0]
    x = torch.linspace(-1.9, 1.9, 200, dtype=torch.float64)[:, None]
    before = layer(x).detach()
    inner = layer.basis.exact_breakpoints[0]
    outer = torch.linspace(1.1, 2.0, 10, dtype=torch.float64)
    regrid(layer, torch.cat([-outer.flip(0), inner, outer])[None])
    assert float((layer(x) - before).detach().abs().max()) < 0.05 * float(before.std())


def test_refined_uniform_grids_stay_uniform():
    net = wild([2, 2], grid=5)
    refine(net, 20)
    assert net[0].basis.is_uniform
    refine(net, 50)
    assert not net[0].basis.is_uniform
    assert float(net[0].basis.breakpoints.diff(dim=1).max()) <= 2.0 / 20 / 2 + 1e-6  # all were split


@pytest.mark.parametrize("open_knots", [False, True])
def test_regridding_is_the_nearest_spline(open_knots):
    """The same function where it is a spline of both; else the error is orthogonal to all splines of the new grid."""
    layer = wild([2, 3], base=None, open_knots=open_knots).double()[0]
    x = torch.linspace(-0.9, 0.9, 200, dtype=torch.float64)[:, None].expand(-1, 2)
    before, same = layer(x), layer.coefficients.clone()
    regrid(layer, layer.basis.breakpoints.clone())
    torch.testing.assert_close(layer.coefficients.data, same.data)
    grid = torch.tensor([-1.0, -0.4, 0.1, 0.3, 0.35, 1.0], dtype=torch.float64).expand(2, -1)
    regrid(layer, grid)
    nodes, weights = np.polynomial.legendre.leggauss(400)
    nodes = torch.as_tensor(nodes)[:, None].expand(-1, 2)
    error = wild([2, 3], base=None, open_knots=open_knots).double()[0].edges(nodes) - layer.edges(nodes)  # (n, o, i)
    against = torch.einsum("n,noi,nij->oij", torch.as_tensor(weights), error, layer.basis(nodes))
    assert float(against.detach().abs().max()) < 2e-4  # of the quadrature across knots
    assert float((layer(x) - before).detach().abs().max()) < float(before.detach().abs().max())
    # a cubic is a spline on every grid
    cubic = wild([2, 3], base=None, grid=1, open_knots=open_knots).double()[0]
    y = cubic(x)
    regrid(cubic, grid)
    torch.testing.assert_close(cubic(x), y, rtol=0, atol=1e-10)


def test_grids_follow_the_data():
    net = wild([2, 3, 1]).double()
    x = torch.cat([normal(400, 1).exp(), normal(400, 1)], dim=1)
    before = net(x)
    assert max(outside_shares(net, lambda: net(x)).values()) > 0.3
    update_grid(net, x)
    assert max(outside_shares(net, lambda: net(x)).values()) < 0.01
    found = net[0].basis.breakpoints
    mixed = 0.02 * torch.linspace(float(x[:, 0].min()), float(x[:, 0].max()), 6, dtype=torch.float64)
    quantiles = torch.as_tensor(np.quantile(x[:, 0].numpy(), np.linspace(0, 1, 6)))
    torch.testing.assert_close(found[0], mixed + 0.98 * quantiles)
    assert float((net(x) - before).detach().square().mean()) < float(before.detach().var())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("order", [1, 3])
def test_a_grid_that_follows_the_data_says_what_the_best_spline_on_it_does(order, seed):
    """By SciPy's least squares at many points; each half as good again, or scaled, would be further off."""
    torch.manual_seed(seed)
    layer = KANLinear(2, 2, base=None, noise=1.0, order=order, open_knots=True).double()
    before, x = copy.deepcopy(layer), 0.7 * normal(500, 2, seed=seed)
    update_grid(layer, x)
    for i in range(2):
        knots = layer.basis.exact_knots[i].numpy()
        at = np.linspace(*knots[[0, -1]], 20_001)
        places = torch.as_tensor(at)[:, None].expand(-1, 2)
        wanted, said = (net.edges(places)[..., i].detach().numpy() for net in (before, layer))  # (n, out)
        best = make_lsq_spline(at, wanted, knots, k=order)(at)
        error, least = (np.sqrt(np.square(y - wanted).mean(axis=0)) for y in (said, best))
        assert (error < 1.001 * least + 1e-6).all()
        assert np.abs(said - best).max() < 5e-3 * np.abs(wanted).max()
        assert (least < 0.5 * wanted.std(axis=0)).all()  # a projection of that size off is seen


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", [{}, {"open_knots": True, "order": 5}, {"order": 1}, {"grid": 40}])
def test_grids_that_follow_the_data_can_keep_the_function(options, dtype):
    for seed in range(3):
        torch.manual_seed(seed)
        net = KAN([2, 3, 1], noise=1.0, **options).to(dtype)
        x = torch.cat([normal(400, 1, seed=seed).exp() - 1, normal(400, 1, seed=seed)], dim=1).to(dtype)
        before, old = net(x).detach(), [layer.basis.breakpoints.clone() for layer in net.layers]
        update_grid(net, x, preserve=True)
        error = float((net(x).detach() - before).abs().max() / before.abs().max())
        assert error < (1e-5 if dtype == torch.float32 else 1e-12)
        for layer, rows in zip(net.layers, old, strict=True):
            G = rows.shape[1] - 1
            assert G < layer.basis.intervals < 2 * G
            apart = (rows[:, :, None] - layer.basis.breakpoints[:, None]).abs().amin(dim=2)
            assert float(apart.max()) < 1e-6
        dense = KAN([2, 3, 1], **options).to(dtype)
        update_grid(dense, x)
        wanted = dense[0].basis.breakpoints[0]
        wanted = wanted[(wanted > -1) & (wanted < 1)]
        apart = (wanted[:, None] - net[0].basis.breakpoints[0]).abs().amin(dim=1)
        assert float(apart.max()) <= 0.2 * float(old[0].diff(dim=1).min()) * (1 + 1e-5)


@pytest.mark.parametrize("change", ["refine", "follow", "load"])
@pytest.mark.parametrize("keep", [True, False])
def test_backward_goes_on_while_an_older_graph_lives(change, keep):
    """The loss of the round before, which a loop still holds, has nodes for gradients of the old shape."""
    for seed in range(3):
        torch.manual_seed(seed)
        net, loss, kept = KAN([3, 4, 1]), None, []
        x = normal(40, 3, seed=seed, dtype=torch.float32)
        for intervals in (5, 10, 23):
            finer = KAN([3, 4, 1], grid=intervals)
            if change == "load":
                net.load_state_dict(finer.state_dict())
            else:
                refine(net, intervals)
            if change == "follow":
                update_grid(net, x, preserve=True)
            optimiser = torch.optim.Adam(net.parameters(), 0.01)
            for _ in range(2):
                optimiser.zero_grad()
                loss = net(x).square().mean()
                loss.backward(retain_graph=keep)
                optimiser.step()
            kept.append(loss)
            for parameter in net.parameters():
                assert parameter.grad.shape == parameter.shape
        assert kept[-1].isfinite()


def test_what_has_no_place_changes_no_layer():
    """Neither a grid of too few intervals for one of the layers, nor what is not finite after the first."""
    for seed in range(3):
        torch.manual_seed(seed)
        net = KAN([2, 3, 1])
        refine(net[1], 20)
        state = copy.deepcopy(net.state_dict())
        x = normal(50, 2, seed=seed, dtype=torch.float32)
        with pytest.raises(InvalidInput, match="intervals=10 is coarser than the grid of 20"):
            refine(net, 10)
        with torch.no_grad():
            net[0].base_scale[0, 0] = state["0.base_scale"][0, 0] = torch.nan
        for preserve in (True, False):
            with pytest.raises(InvalidInput, match="not finite"):
                update_grid(net, x, preserve=preserve)
        assert [layer.basis.intervals for layer in net.layers] == [5, 20]
        for name, value in net.state_dict().items():
            torch.testing.assert_close(value, state[name], rtol=0, atol=0, equal_nan=True)


class Asked(torch.nn.Module):
    """A KAN that is called in some way."""

    def __init__(self, kan, call):
        super().__init__()
        self.kan, self.call = kan, call

    def forward(self, x):
        return self.call(self.kan, x)


@pytest.mark.parametrize(
    "call",
    [
        lambda kan, x: kan[1](x=kan[0](x=x)),
        lambda kan, x: torch.func.vmap(kan)(x),
        lambda kan, x: torch.func.vmap(kan, in_dims=1)(x.mT),
        lambda kan, x: torch.func.vmap(torch.func.jacrev(kan))(x),
        lambda kan, x: torch.func.vmap(torch.func.jacrev(torch.func.jacrev(kan)))(x),
        lambda kan, x: torch.func.vmap(torch.func.vmap(kan, in_dims=1), in_dims=2)(x.reshape(5, 10, 2).movedim(2, 0)),
        lambda kan, x: torch.func.jvp(kan, (x,), (torch.ones_like(x),)),
    ],
)
@pytest.mark.parametrize("grid", [5, 30])
def test_layers_are_heard_however_they_are_asked(call, grid):
    torch.manual_seed(0)
    kan, x = KAN([2, 3, 1], grid=grid), normal(50, 2, dtype=torch.float32)
    plain = copy.deepcopy(kan)
    for net in (Asked(kan, call), plain):
        update_grid(net, x)
    for ours, theirs in zip(kan.layers, plain.layers, strict=True):
        torch.testing.assert_close(ours.basis.breakpoints, theirs.basis.breakpoints, rtol=0, atol=1e-5)
    torch.testing.assert_close(
        [*outside_shares(Asked(kan, call), lambda: Asked(kan, call)(x)).values()],
        [*outside_shares(plain, lambda: plain(x)).values()],
    )
    torch.testing.assert_close(call(kan, x), call(plain, x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("adapted", [True, False])
def test_networks_with_grids_of_their_own_are_asked_together(adapted):
    """Their states stacked, as `torch.func` has it."""
    x, nets = normal(40, 2, dtype=torch.float32), []
    for seed in range(3):
        torch.manual_seed(seed)
        nets.append(KAN([2, 3, 1]))
        if adapted:
            update_grid(nets[-1], x + seed)
    state = torch.func.stack_module_state(nets)
    said = torch.func.vmap(lambda *state: torch.func.functional_call(nets[0], state, (x,)))(*state)
    torch.testing.assert_close(said, torch.stack([net(x) for net in nets]))


def test_what_is_no_number_is_outside():
    layer = KANLinear(2, 1)
    x = torch.tensor([[0.0, torch.nan], [2.0, 0.5], [torch.nan, torch.inf], [1.0, -torch.inf]])
    assert layer.basis.outside_share(x).tolist() == [0.5, 0.75]


@pytest.mark.parametrize("start", [0.0, 1e3, 1e5, 1e6])
def test_a_grid_that_is_not_even_is_not_taken_as_one(start):
    """Far from 0, where what is uneven is little beside rounding in single precision."""
    for shift in (0.0, 0.005, 0.125, 0.5):
        layer = KANLinear(1, 1, base=None)
        layer.basis.set_breakpoints(start + torch.tensor([[0.0, 2.0 + shift, 4.0, 6.0, 8.0, 10.0]]))
        grid = layer.basis.breakpoints.double()
        torch.testing.assert_close(layer.basis.exact_breakpoints, grid, rtol=0, atol=2e-3)


def test_grids_follow_data_that_are_far_from_0():
    """As long as single precision tells points of a grid apart; and where it does not, that is said."""
    net, x = KAN([2, 1], grid=50, base=None), (1e6 + normal(1000, 2)).float()
    update_grid(net, x)
    assert list(outside_shares(net, lambda: net(x)).values()) == [0.0]
    for seed in range(20):  # in double precision, where ends are rounded elsewhere
        net, x = KAN([2, 1], grid=7, base=None).double(), normal(100, 2, seed=seed)
        update_grid(net, x)
        assert list(outside_shares(net, lambda: net(x)).values()) == [0.0]  # noqa: B023
    narrow = (1e6 + normal(1000, 2)).float()
    narrow[:, 1] = 1e6 + torch.arange(1000) % 8 / 16
    net = KAN([2, 1], grid=50)
    with pytest.warns(UserWarning, match="input 1 of a layer with 2 inputs and 1 outputs is from 1000000"):
        update_grid(net, narrow)
    assert net[0].basis.outside_share(narrow).tolist() == [0.0, 1.0]


def test_values_that_repeat_or_do_not_vary():
    x = normal(200, 3)
    x[:160, 0] = 0.0
    x[:, 1] = 2.0
    grid = quantile_breakpoints(x, 5)
    assert (grid[0].diff() > 0).all()
    assert grid[1].isnan().all()
    net = wild([3, 2, 1]).double()
    old = net[0].basis.breakpoints[1].clone()
    update_grid(net, x)
    torch.testing.assert_close(net[0].basis.breakpoints[1], old)
    assert net(x).isfinite().all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: refine(KAN([2, 2], grid=5), 4), "intervals=4 is coarser than the grid of 5"),
        (lambda: refine(torch.nn.Linear(2, 2), 4), "Linear has no layers of splines"),
        (lambda: regrid(KANLinear(2, 2, basis="rbf"), torch.zeros(2, 3)), "RadialBasis: only splines have a grid"),
        (lambda: update_grid(KAN([2, 2]), torch.full((4, 2), torch.nan)), "not finite"),
        (lambda: update_grid(KAN([2, 2]), torch.zeros(0, 2)), "x holds no points"),
        (lambda: update_grid(KAN([2, 2]), torch.zeros(4, 2), uniform_share=0.0), "uniform_share=0"),
        (lambda: GridSchedule(refine={10: 20, 20: 10}), "gets coarser"),
        (lambda: GridSchedule(refine={0: 20}), "refine=0"),
        (lambda: GridSchedule(update_until=-1), "update_until=-1"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()
