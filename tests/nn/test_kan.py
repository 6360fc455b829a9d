"""KANs: splines against SciPy, derivatives of all kinds, continuation beyond the grid, Lipschitz bounds, refusals."""

import copy
import itertools
from fractions import Fraction
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline

from submanifold.errors import InvalidInput
from submanifold.geometry import lipschitz_lower_bound, lipschitz_upper_bound
from submanifold.nn.kan import BASES, KAN, KANLinear, prune, refine, update_grid
from submanifold.nn.kan import compiled as compilation
from submanifold.nn.kan.bases import BSplines
from submanifold.nn.kan.compiled import EverySpline, SplineSums, in_intervals, uniform_layer
from submanifold.nn.kan.splines import change_of_knots, dense, greville, knots_of, local_splines, uniform_splines


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def breakpoints(G, m=3, seed=0):
    """Of m columns, not uniform."""
    return torch.as_tensor(np.sort(np.random.default_rng(seed).uniform(-1, 1, (m, G + 1)), axis=1))


def places(grid, n=60, seed=0):
    """Inside the grid, (n, m)."""
    share = torch.as_tensor(np.random.default_rng(seed).uniform(0, 1, (n, len(grid))))
    return grid[:, 0] + share * (grid[:, -1] - grid[:, 0])


def splines(x, grid, k, **kwargs):
    return dense(*local_splines(x, knots_of(grid, k, **kwargs), k), grid.shape[1] - 1 + k)


@pytest.mark.parametrize("open_ends", [False, True])
@pytest.mark.parametrize(("k", "G"), [*itertools.product([1, 2, 3, 5], [1, 2, 7])])
def test_splines_are_those_of_scipy(k, G, open_ends):
    grid = breakpoints(G)
    x, knots = places(grid), knots_of(grid, k, open_ends=open_ends)
    ours = splines(x, grid, k, open_ends=open_ends)
    for column in range(3):
        theirs = BSpline.design_matrix(x[:, column].numpy(), knots[column].numpy(), k).toarray()
        np.testing.assert_allclose(ours[:, column], theirs, rtol=0, atol=1e-12)
    torch.testing.assert_close(ours.sum(dim=-1), torch.ones(60, 3, dtype=torch.float64), rtol=0, atol=1e-13)
    assert (ours > -1e-15).all()
    assert ((ours != 0).sum(dim=-1) <= k + 1).all()


@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize("uniform", [True, False])
def test_a_layer_and_its_derivatives_are_those_of_scipy(order, uniform):
    layer = KANLinear(1, 1, grid=6, order=order, base=None).double()
    even = torch.linspace(-1, 1, 7, dtype=torch.float64)[None]
    layer.basis.set_breakpoints(even if uniform else breakpoints(6, m=1))
    with torch.no_grad():
        layer.coefficients.copy_(normal(1, 1, 6 + order))
    knots, c = layer.basis.exact_knots[0].numpy(), layer.coefficients.detach().numpy()[0, 0]
    x = places(layer.basis.breakpoints.double())

    def f(x):
        return layer(x[None])[0]

    first = torch.func.jacrev(f)
    for derivative, found in enumerate([f, first, torch.func.jacfwd(first)]):
        values = torch.func.vmap(found)(x).detach().flatten().numpy()
        expected = (
            BSpline(knots, c, order).derivative(derivative)(x[:, 0].numpy())
            if derivative
            else BSpline(knots, c, order)(x[:, 0].numpy())
        )
        np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


def test_half_and_single_precision():
    torch.manual_seed(0)
    layer = KANLinear(4, 3, grid=5)
    x = normal(50, 4)
    exact = layer.double()(x)
    torch.testing.assert_close(layer.float()(x.float()).double(), exact, rtol=0, atol=1e-6)
    rough = layer.to(torch.bfloat16)(x.to(torch.bfloat16))
    assert rough.dtype == torch.bfloat16
    assert float((rough - exact).abs().max()) < 0.1


@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize("open_ends", [False, True])
def test_uniform_grids_have_the_splines_of_all_grids_beyond_their_ends_too(k, open_ends):
    G, u = 4, torch.linspace(-3, 7, 101, dtype=torch.float64)[:, None]
    grid = torch.arange(G + 1, dtype=torch.float64)[None]
    quick = dense(*uniform_splines(u, G, k), G + k)
    torch.testing.assert_close(quick, splines(u, grid, k), rtol=0, atol=1e-12)
    # coefficients of another kind of knots say the same function
    layer = BSplines(1, grid=G, order=k, grid_range=(0.0, 4.0), open_knots=open_ends).double()
    c = normal(1, 1, G + k)
    said = torch.einsum("nij,oij->no", layer(u), layer.weights(c))
    expected = torch.einsum("nij,oij->no", splines(u, grid, k, open_ends=open_ends), c)
    torch.testing.assert_close(said, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("open_knots", [False, True])
def test_polynomials_are_splines(order, open_knots):
    """Coefficients at the Greville places give x (Marsden), products of the inner knots x^k."""
    grid = breakpoints(5)
    knots = knots_of(grid, order, open_ends=open_knots)
    x, B = places(grid), splines(places(grid), grid, order, open_ends=open_knots)
    torch.testing.assert_close((B * greville(knots, order)).sum(dim=-1), x, rtol=0, atol=1e-13)
    power = knots[:, 1:-1].unfold(1, order, 1).prod(dim=-1)
    torch.testing.assert_close((B * power).sum(dim=-1), x**order, rtol=0, atol=1e-13)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize(("before", "after"), [*itertools.product([False, True], repeat=2)])
def test_more_knots_change_no_function(order, before, after):
    grid = breakpoints(4)
    finer = torch.cat([grid, places(grid, n=5).mT], dim=1).sort(dim=1).values
    c, x = normal(3, 4 + order), places(grid)
    T = change_of_knots(knots_of(grid, order, open_ends=before), knots_of(finer, order, open_ends=after), order)
    told = (splines(x, finer, order, open_ends=after) * (T @ c[..., None])[..., 0]).sum(dim=-1)
    torch.testing.assert_close(told, (splines(x, grid, order, open_ends=before) * c).sum(dim=-1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("basis", BASES)
def test_derivatives_of_all_kinds(basis):
    """Backwards, forwards, twice, and each for itself in a batch, also beyond the grid."""
    net = KAN([3, 4, 2], basis=basis).double()
    x = 2 * normal(5, 3)
    plain = torch.stack([torch.autograd.functional.jacobian(net, row) for row in x])
    torch.testing.assert_close(torch.func.vmap(torch.func.jacrev(net))(x), plain)
    torch.testing.assert_close(torch.func.vmap(torch.func.jacfwd(net))(x), plain)
    along = normal(5, 3, seed=1)
    pushed = torch.func.vmap(lambda x, v: torch.func.jvp(net, (x,), (v,))[1])(x, along)
    torch.testing.assert_close(pushed, (plain @ along[..., None])[..., 0])
    assert torch.autograd.gradcheck(net, x.requires_grad_())
    assert torch.autograd.gradgradcheck(net, x)


@pytest.mark.parametrize("uniform", [True, False])
def test_beyond_the_grid_it_goes_on_straight(uniform):
    layer = KANLinear(2, 3, base=None).double()
    if not uniform:
        layer.basis.set_breakpoints(breakpoints(5, m=2))
    ends = torch.stack([layer.basis.breakpoints[:, 0], layer.basis.breakpoints[:, -1]]).double()
    outwards = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    at, near, far = (layer(ends + s * outwards) for s in (0.0, 1e-4, 5.0))
    torch.testing.assert_close((far - at) / 5, (near - at) / 1e-4, rtol=1e-6, atol=1e-7)
    inside = (at - layer(ends - 1e-6 * outwards)) / 1e-6
    torch.testing.assert_close(inside, (far - at) / 5, rtol=1e-4, atol=1e-4)
    clamped = KANLinear(2, 3, base=None, outside="clamp").double()
    high = torch.ones(1, 2, dtype=torch.float64)
    torch.testing.assert_close(clamped(5 * high), clamped(high), rtol=0, atol=1e-6)


def test_edges_sum_to_the_layer_and_pruned_ones_are_gone():
    layer = KANLinear(4, 3).double()
    x = normal(10, 4)
    torch.testing.assert_close(layer.edges(x).sum(dim=-1), layer(x))
    keep = torch.tensor([[1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 0]], dtype=torch.bool)
    before = layer.edges(x)
    layer.prune_edges(keep)
    torch.testing.assert_close(layer(x), (before * keep).sum(dim=-1))
    assert (layer.slope_bounds()[~keep] == 0).all()


@pytest.mark.parametrize("options", [{}, {"basis": "rbf"}, {"open_knots": True, "grid": 20}])
def test_recomputing_keeps_nothing_of_the_basis(options):
    x = normal(200, 3, dtype=torch.float32)

    def kept(**more):
        torch.manual_seed(0)
        layer, numbers = KANLinear(3, 4, **options, **more), []
        owned = {p.untyped_storage().data_ptr() for p in (*layer.parameters(), *layer.buffers(), x)}

        def keep(tensor):
            if tensor.untyped_storage().data_ptr() not in owned:
                numbers.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            layer(x)
        return sum(numbers)

    assert kept(recompute=True) <= 2 * x.numel()  # the base function and what it hears
    assert kept() > 200 * 3 * KANLinear(3, 4, **options).basis.size


@pytest.mark.parametrize("options", [{}, {"open_knots": True}, {"order": 5, "open_knots": True}, {"basis": "rbf"}])
def test_states_are_taken_as_they_are(options):
    """Into networks whose numbers are nowhere yet, and of another precision."""
    kan, x = KAN([2, 3, 1], **options), normal(50, 2)
    if "basis" not in options:
        refine(kan, 7)
        update_grid(kan, x.float())
    with torch.device("meta"):
        again = KAN([2, 3, 1], **options)
    again.load_state_dict(kan.state_dict(), assign=True)
    assert torch.equal(again(x.float()), kan(x.float()))
    smaller = prune(kan, x.float(), edge_threshold=0.2, keep_means=False)
    with torch.device("meta"):
        again = KAN([2, 3, 1], **options)
    again.load_state_dict(smaller.state_dict(), assign=True)
    assert torch.equal(again(x.float()), smaller(x.float()))
    single = KAN([2, 3, 1], **options)
    single.load_state_dict(kan.double().state_dict(), assign=True)
    assert torch.equal(single(x), kan(x))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("offset", [10.0, 1e3, 1e6])
def test_lipschitz_bounds_hold_in_exact_arithmetic_where_coefficients_are_large(offset, seed):
    """The slope at a breakpoint of a uniform cubic is a difference of coefficients over two intervals."""
    torch.manual_seed(seed)
    layer = KANLinear(1, 1, grid=4, base=None, noise=1.0).double()  # intervals of 0.5
    with torch.no_grad():
        layer.coefficients += offset
    c = [Fraction(float(value)) for value in layer.coefficients.detach()[0, 0]]
    steepest = max(abs(b - a) for a, b in zip(c, c[2:], strict=False))
    bound = Fraction(lipschitz_upper_bound(layer))
    assert steepest <= bound
    monotone = KANLinear(1, 1, grid=4, order=1, base=None).double()
    with torch.no_grad():
        monotone.coefficients[0, 0] = offset + torch.arange(5) / 3  # one slope everywhere
    c = [Fraction(float(value)) for value in monotone.coefficients.detach()[0, 0]]
    assert max(2 * abs(b - a) for a, b in pairwise(c)) <= Fraction(lipschitz_upper_bound(monotone))


@pytest.mark.parametrize("options", [{"recompute": True}, {"open_knots": True}, {"base": None}, {"basis": "rbf"}])
def test_options_train(options):
    """A few steps lower the error; computing the basis anew changes no number."""
    x = normal(200, 2, dtype=torch.float32)
    y = (3 * x[:, :1]).sin() * x[:, 1:]
    losses = []
    for more in ({}, {"recompute": False}):
        torch.manual_seed(0)
        net = KAN([2, 5, 1], **(options | more))
        optimiser = torch.optim.Adam(net.parameters(), 0.02)
        for _ in range(60):
            optimiser.zero_grad()
            loss = (net(x) - y).square().mean()
            loss.backward()
            optimiser.step()
        losses.append(float(loss))
    assert losses[0] < 0.5 * float(y.var())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("uniform", [True, False])
def test_local_products_are_those_of_all_splines(uniform):
    """With their gradients, for any leading dimensions."""
    whole, local = (KANLinear(3, 2, grid=40, local=local).double() for local in (False, True))
    if not uniform:
        whole.basis.set_breakpoints(breakpoints(40))
    local.load_state_dict(whole.state_dict())
    torch.testing.assert_close(local(normal(3)), whole(normal(3)))
    x = normal(4, 5, 3).requires_grad_()
    found = []
    for layer in (whole, local):
        y = layer(x)
        found.append([y, *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])])
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_splines_for_the_compiler_are_those_of_all_grids(k):
    """One by one, and their sums."""
    G, u = 4, torch.linspace(-3, 7, 101, dtype=torch.float64)[:, None].requires_grad_()
    zero, one = torch.tensor([0.0, 1.0], dtype=torch.float64)
    weights = torch.eye(G + k, dtype=torch.float64)[..., None].requires_grad_()

    def each(u):
        return EverySpline.apply(u, *in_intervals(u.detach(), zero, one, G, u.dtype), G, k)

    def sums(u, weights):
        parts = weights.split([3, 1, G + k - 4], dim=1)
        return SplineSums.apply(u, *in_intervals(u.detach(), zero, one, G, u.dtype), *parts, k)

    grid = torch.arange(G + 1, dtype=torch.float64)[None]
    for found in (each(u).squeeze(-1), sums(u, weights)):
        torch.testing.assert_close(found, splines(u, grid, k).squeeze(1), rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(each, u)
    assert torch.autograd.gradcheck(sums, (u, weights))


quickly = partial(uniform_layer, compiled=partial(torch.compile, backend="aot_eager"))


def values_and_gradients(said, layer, x):
    y = said(layer, x)
    return y, *torch.autograd.grad(y.float().square().sum(), [x, *layer.parameters()])


@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize("options", [{}, {"open_knots": True}, {"outside": "clamp"}, {"base": None}, {"order": 2}])
def test_layers_for_the_compiler_are_those_of_plain_operations(options, few, monkeypatch):
    """With their gradients, also where edges are pruned, at the ends of grids, and of a single point."""
    monkeypatch.setattr(compilation, "_FEW", 1000 if few else 0)
    torch.manual_seed(0)
    layer = KANLinear(3, 2, noise=1.0, **options).double()
    layer.prune_edges(torch.tensor([[1, 0, 1], [1, 1, 1]], dtype=torch.bool))
    points = 2 * normal(4, 5, 3)
    points[0, :2] = layer.basis.breakpoints[:, ::5].mT
    for x in (points.requires_grad_(), points[0, 3].detach().requires_grad_()):
        for ours, expected in zip(
            *(values_and_gradients(f, layer, x) for f in (quickly, KANLinear.forward)), strict=True
        ):
            torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("open_knots", [False, True])
def test_layers_for_the_compiler_are_as_precise_as_plain_operations(open_knots):
    """In single precision, under autocast, and where a large coefficient has no say."""
    torch.manual_seed(0)
    layer = KANLinear(64, 16, noise=1.0, base=None, open_knots=open_knots)
    x = 1.6 * torch.rand(200, 64) - 0.6  # not in the first interval
    exact = copy.deepcopy(layer).double()(x.double()).detach()
    layer.coefficients.data[..., 0] = 1e6
    assert (quickly(layer, x) - exact).abs().max() < 2e-6 * exact.abs().max()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours, plain = quickly(layer, x), layer(x)
    assert ours.dtype == plain.dtype == torch.bfloat16
    assert (ours - exact).square().mean() < 1.2 * (plain - exact).square().mean()
    assert torch.autograd.grad(ours.float().sum(), layer.coefficients)[0].dtype == torch.float32


def test_splines_no_point_meets_are_left_alone():
    """Their gradients are zero and not rounding, of which Adam would make steps as large as others."""
    layer = KANLinear(2, 3, grid=8)
    x = normal(50, 2, dtype=torch.float32).abs().clamp(max=1)  # in the upper half of the grid
    quickly(layer, x).square().sum().backward()
    met = layer.basis(x).ne(0).any(dim=0)
    assert not met.all()
    assert torch.equal(layer.coefficients.grad.ne(0), met.expand(3, 2, -1))


@pytest.mark.parametrize("outside", ["linear", "clamp"])
@pytest.mark.parametrize("order", [2, 3])
def test_what_is_compiled_has_second_derivatives_where_it_is_not(order, outside):
    """Left uncompiled it is plain operations, of which the gradient of a slope is asked like of others."""
    x = torch.linspace(-1.3, 1.3, 8, dtype=torch.float64).reshape(4, 2).requires_grad_()
    torch.manual_seed(0)
    layer = KANLinear(2, 3, grid=4, order=order, outside=outside, compiled=True).double()
    with torch.compiler.set_stance("force_eager"):
        assert torch.autograd.gradgradcheck(layer, x)


def test_compiled_networks_on_the_meta_device_and_forwards():
    """The former know shapes, and tangents are not lost."""
    net = KAN([3, 4, 2], compiled=True)
    x, direction = normal(5, 3, dtype=torch.float32), normal(5, 3, seed=1, dtype=torch.float32)
    _, expected = torch.func.jvp(net, (x,), (direction,))
    with torch.no_grad(), torch.autograd.forward_ad.dual_level():
        _, tangent = torch.autograd.forward_ad.unpack_dual(net(torch.autograd.forward_ad.make_dual(x, direction)))
    torch.testing.assert_close(tangent, expected)
    with torch.compiler.set_stance("force_eager"):
        assert net.to("meta")(torch.zeros(5, 3, device="meta")).shape == (5, 2)


@pytest.mark.slow
def test_any_number_of_layers_is_compiled(monkeypatch):
    """More than the eight variants that torch compiles of one piece of code; torch.func has its derivatives."""
    from torch._dynamo.testing import CompileCounter  # which takes seconds to import

    counter = CompileCounter()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counter))
    widths = list(range(17, 23))  # of no other test
    net, plain = (KAN(widths, compiled=compiled).double() for compiled in (True, False))
    net.load_state_dict(plain.state_dict())
    for n in (5, 6, 7, 500, 600, 700):
        x = normal(n, 17)
        torch.testing.assert_close(net(x), plain(x))
    layers = len(widths) - 1
    assert counter.frame_count == 2 * layers + 2 * 2 * layers  # one function for few, two for many, at first for 5, 500
    push = torch.func.jvp(net, (x,), (x,))
    torch.testing.assert_close(push, torch.func.jvp(plain, (x,), (x,)))
    assert torch.equal(copy.deepcopy(net)(x), net(x))


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("seed", range(3))
def test_the_lipschitz_bound_is_above_every_slope(basis, seed):
    torch.manual_seed(seed)
    net = KAN([3, 6, 2], basis=basis, noise=1.0).double()
    seen = lipschitz_lower_bound(net, 2 * normal(2000, 3, seed=seed))
    assert seen <= lipschitz_upper_bound(net) < torch.inf
    layer = net[0]
    x = torch.linspace(-3, 3, 2001, dtype=torch.float64)[:, None].expand(-1, 3)
    slopes = (layer.edges(x).diff(dim=0) / x.diff(dim=0)[:, None]).abs().amax(dim=0)
    assert (slopes <= layer.slope_bounds() * (1 + 1e-9)).all()
    if basis == "bspline":  # of single edges it is nearly what there is
        assert float((layer.slope_bounds() / slopes).median()) < 1.3


def test_a_refined_grid_is_loaded_again():
    finer, fresh = KAN([2, 3, 1], grid=4), KAN([2, 3, 1], grid=4)
    for layer in finer.layers:
        layer.basis.set_breakpoints(torch.linspace(-1, 1, 9).repeat(layer.in_features, 1))
        layer.coefficients = torch.nn.Parameter(normal(*layer.mask.shape, 11, dtype=torch.float32))
    fresh.load_state_dict(finer.state_dict())
    x = normal(5, 2, dtype=torch.float32)
    assert torch.equal(fresh(x), finer(x))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: KAN([3]), r"widths=\[3\]"),
        (lambda: KANLinear(2, 2, grid=0), "grid=0"),
        (lambda: KANLinear(2, 2, order=0), "order=0"),
        (lambda: KANLinear(2, 2, grid_range=(1.0, 1.0)), "grid_range=1.0"),
        (lambda: KANLinear(2, 2, grid_range=3.0), "grid_range=3.0"),
        (lambda: KANLinear(2, 2, basis="wavelet"), "basis='wavelet'"),
        (lambda: KANLinear(2, 2, outside="zero"), "outside='zero'"),
        (lambda: KANLinear(2, 2, base="relu"), "base='relu'"),
        (lambda: KANLinear(2, 2, basis="rbf", local=True), "only splines are zero"),
        (lambda: KANLinear(2, 2, basis="rbf", order=3), "basis='rbf' is not made of"),
        (lambda: KANLinear(2, 2)(torch.zeros(4, 3)), r"x has shape \(4, 3\)"),
        (lambda: KANLinear(2, 2).basis.set_breakpoints(torch.tensor([[0.0, 1.0, 1.0]] * 2)), "do not increase"),
        (lambda: KANLinear(2, 2).basis.set_breakpoints(torch.tensor([[0.0, torch.nan]] * 2)), "not finite"),
        (lambda: KANLinear(2, 2).basis.set_breakpoints([[0.0, 1.0, torch.inf]] * 2), "not finite"),
        (lambda: KANLinear(2, 2).basis.set_breakpoints("0, 1"), "give rows of numbers"),
        (lambda: KANLinear(2, 2).basis.set_breakpoints([[0.0, 1.0], [0.0]]), "give rows of numbers"),
        (lambda: KANLinear(2, 2, grid=300, grid_range=(1e6, 1e6 + 1)), "too short for torch.float32"),
        (lambda: KANLinear(2, 2)(torch.tensor(1.0)), r"x has shape \(\)"),
        (lambda: KANLinear(2, 2).basis.set_breakpoints(torch.zeros(3, 4)), "shape"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()
