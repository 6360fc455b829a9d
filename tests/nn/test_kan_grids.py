"""Grids of KANs: finer ones say the same, others the nearest, in the middle of training too, and a run resumes."""

import itertools

import numpy as np
import pytest
import torch

import submanifold as sm
from submanifold.errors import InvalidInput
from submanifold.models import Autoencoder
from submanifold.nn.kan import KAN, GridSchedule, KANLinear, outside_shares, refine, update_grid
from submanifold.nn.kan.grids import quantile_breakpoints, regrid, spline_layers


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


def test_only_what_a_stage_trains_gets_other_grids():
    torch.manual_seed(0)
    model = sm.models.create("two-step", (3,), latent_dim=1, network="kan", hidden=(4,))
    grids = []
    schedule = GridSchedule(refine={10: 9})
    x = normal(200, 3, dtype=torch.float32)

    def look(event):
        law, encoder = (spline_layers(part) for part in (model.law, model.autoencoder))
        grids.append((event.stage, event.step, *([layer.basis.intervals for layer in part] for part in (law, encoder))))

    sm.fit(model, x, steps=30, batch_size=32, evaluate_every=10, callbacks=[schedule, look], progress=False)
    first = [row for row in grids if row[0] == grids[0][0]]
    assert set(first[-1][3]) == {9}
    assert 9 not in first[-1][2]


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


def trained(run=None, steps=60, **kwargs):
    """An autoencoder of KANs whose grids change twice on the way."""
    torch.manual_seed(0)
    model = Autoencoder((3,), latent_dim=1, network="kan", hidden=(4,))
    t = normal(300, 1, dtype=torch.float32)
    x = torch.cat([t, t.sin(), t.cos()], dim=1)
    schedule = GridSchedule(update_until=20, refine={30: 12, 50: 18})
    history = sm.fit(
        model, x, steps=steps, batch_size=32, evaluate_every=10, callbacks=[schedule], run=run, progress=False, **kwargs
    )
    return model, history


@pytest.mark.parametrize("options", [{}, {"ema": 0.9}, {"patience": 3}])
def test_grids_change_while_a_model_trains(options, tmp_path):
    model, history = trained(tmp_path / "run", **options)
    assert {layer.basis.intervals for layer in spline_layers(model)} == {18}
    assert history.records[-1]["held_out_loss"] < 0.8 * history.records[0]["held_out_loss"]
    assert 0 <= history.records[0]["outside_grid"] <= 1
    again = sm.load(tmp_path / "run")
    x = normal(5, 3, dtype=torch.float32)
    assert torch.equal(again.encode(x), model.encode(x))


class Stop(Exception):
    pass


@pytest.mark.parametrize("at", [20, 40, 50])
def test_a_run_that_stops_between_grids_resumes_to_the_bit(at, tmp_path):
    whole, _ = trained()
    calls = itertools.count()

    def stop(event):
        if event.step == at and next(calls) == 0:
            raise Stop

    torch.manual_seed(0)
    model = Autoencoder((3,), latent_dim=1, network="kan", hidden=(4,))
    t = normal(300, 1, dtype=torch.float32)
    x = torch.cat([t, t.sin(), t.cos()], dim=1)
    schedule = GridSchedule(update_until=20, refine={30: 12, 50: 18})
    options = {"steps": 60, "batch_size": 32, "evaluate_every": 10, "run": tmp_path / "run", "progress": False}
    with pytest.raises(Stop):
        sm.fit(model, x, callbacks=[schedule, stop], checkpoint_every=5, **options)
    torch.manual_seed(0)
    model = Autoencoder((3,), latent_dim=1, network="kan", hidden=(4,))
    sm.fit(model, x, callbacks=[schedule], checkpoint_every=5, **options)
    for ours, theirs in zip(model.state_dict().values(), whole.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: refine(KAN([2, 2], grid=5), 4), "intervals=4 is coarser than the grid of 5"),
        (lambda: refine(torch.nn.Linear(2, 2), 4), "Linear has no layers of splines"),
        (lambda: regrid(KANLinear(2, 2, basis="rbf"), torch.zeros(2, 3)), "RadialBasis: only splines have a grid"),
        (lambda: update_grid(KAN([2, 2]), torch.full((4, 2), torch.nan)), "not finite"),
        (lambda: update_grid(KAN([2, 2]), torch.zeros(4, 2), uniform_share=0.0), "uniform_share=0"),
        (lambda: GridSchedule(refine={10: 20, 20: 10}), "gets coarser"),
        (lambda: GridSchedule(refine={0: 20}), "refine=0"),
        (lambda: GridSchedule(update_until=-1), "update_until=-1"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()
