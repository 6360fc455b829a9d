"""Monotone KANs: bijections to rounding, their derivatives and those of their inverses, and what they are made of."""

import pytest
import torch
from scipy.interpolate import BSpline, PchipInterpolator

from submanifold.errors import InvalidInput
from submanifold.nn.kan import MonotoneKAN
from submanifold.nn.kan.splines import knots_of

ORDERS = [2, 3, 4]
SEEDS = range(3)


def monotone(order=3, seed=0, D=3, size=3.0, dtype=torch.float64, **options):
    """With random parameters, of which slopes differ a hundredfold or more."""
    net = MonotoneKAN(D, order=order, **({"grid": 7} | options)).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(size * torch.randn(parameter.shape, generator=generator, dtype=dtype))
    return net


def points(n=500, D=3, seed=0, dtype=torch.float64):
    """On the grid, around it, and far away."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, D, generator=generator, dtype=dtype)
    return torch.cat([x, 1e3 * x[: n // 5], torch.linspace(-1, 1, 8, dtype=dtype)[:, None].expand(-1, D)])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_tells_places_on_a_fine_grid_apart(dtype):
    net = MonotoneKAN(1, grid=200).to(dtype)
    x = torch.linspace(-1, 1, 201)[:, None].to(dtype)
    for y in (net(x), net.inverse(x)):
        assert y.dtype == dtype
        torch.testing.assert_close(y, x)  # at first it is the identity
    assert float(net.log_det(x).abs().max()) < 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_inverse_is_one_to_rounding(order, seed, dtype):
    net, x = monotone(order, seed, dtype=dtype), points(seed=seed, dtype=dtype)
    y, slope = net.spline.forward_and_slope(x)
    rounding = torch.finfo(dtype).eps * (y.abs() + 10)
    assert ((net.inverse(y) - x).abs() < 10 * rounding / slope + 10 * torch.finfo(dtype).eps * x.abs()).all()
    assert ((net(net.inverse(x)) - x).abs() < 10 * torch.finfo(dtype).eps * (x.abs() + 10) * slope.max()).all()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("seed", SEEDS)
def test_steep_and_flat_pieces_side_by_side_are_inverted(order, seed):
    """Slopes from 0.001 to 300: Newton's method alone would wander."""
    net, x = monotone(order, seed, size=100.0), points(seed=seed)
    with torch.no_grad():
        y, slope = net.spline.forward_and_slope(x)
        assert slope.min() < 0.01
        assert slope.max() > 30
        assert ((net(net.inverse(y)) - y).abs() <= 1e-13 * (y.abs() + 1e3)).all()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("seed", SEEDS)
def test_it_increases_with_the_derivative_that_it_says(order, seed):
    net = monotone(order, seed)
    x = torch.linspace(-2, 2, 4001, dtype=torch.float64)[:, None].expand(-1, 3)
    assert (net(x).diff(dim=0) > 0).all()
    x = points(100, seed=seed).requires_grad_()
    y, log_det = net.forward_and_log_det(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(log_det, slope.log().sum(dim=1), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(log_det, net.log_det(x))
    jacobian = torch.func.vmap(torch.func.jacfwd(net))(x)
    torch.testing.assert_close(jacobian, torch.diag_embed(slope), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("order", ORDERS)
def test_it_is_the_spline_of_its_coefficients(order):
    """As SciPy has it, with coefficients that increase; the rates are those of its derivative."""
    net = monotone(order, grid_range=(-2.0, 3.0))
    knots = knots_of(torch.linspace(-2, 3, 8, dtype=torch.float64), order).numpy()
    x = torch.linspace(-2, 3, 101, dtype=torch.float64)[:, None].expand(-1, 3)
    y, slope = net.spline.forward_and_slope(x)
    c = net.spline.coefficients.detach()
    assert (c.diff(dim=1) > 0).all()
    for i in range(3):
        theirs = BSpline(knots, c[i].numpy(), order)
        torch.testing.assert_close(y[:, i], torch.as_tensor(theirs(x[:, i].numpy())), rtol=0, atol=1e-12)
        expected = torch.as_tensor(theirs.derivative()(x[:, i].numpy()))
        torch.testing.assert_close(slope[:, i], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", [2, 3])
def test_derivatives_of_the_map_and_of_its_inverse(order):
    """By finite differences, in points and in parameters, once and twice."""
    net, x = monotone(order, size=1.0, D=2, grid=2), 1.5 * points(3, D=2)[:2]

    def call(method):
        def f(x, shift, rates):
            return torch.func.functional_call(_Calls(net, method), {"net.shift": shift, "net.rates": rates}, (x,))

        return f

    arguments = [tensor.detach().clone().requires_grad_() for tensor in (x, net.shift, net.rates)]
    for method in ("forward", "inverse", "log_det"):
        assert torch.autograd.gradcheck(call(method), arguments, check_forward_ad=True)
        if order > 2 or method != "log_det":  # a quadratic spline's slope has corners
            assert torch.autograd.gradgradcheck(call(method), arguments)


class _Calls(torch.nn.Module):
    def __init__(self, net, method):
        super().__init__()
        self.net, self.method = net, method

    def forward(self, x):
        return getattr(self.net, self.method)(x)


def test_the_inverse_s_derivatives_are_those_of_the_inverse_function():
    net, y = monotone(), points(50)
    inverse = torch.func.vmap(torch.func.jacrev(net.inverse))(y)
    forward = torch.func.vmap(torch.func.jacrev(net))(net.inverse(y))
    torch.testing.assert_close(inverse @ forward, torch.eye(3, dtype=torch.float64).expand(len(y), 3, 3))


@pytest.mark.parametrize("order", ORDERS)
def test_at_first_it_is_the_identity(order):
    x = points(50, dtype=torch.float32)
    y, log_det = MonotoneKAN(3, order=order, grid_range=(-2.0, 1.0)).forward_and_log_det(x)
    torch.testing.assert_close(y, x, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(log_det, torch.zeros(len(x)), rtol=0, atol=1e-6)


def test_what_is_infinite_stays_so_both_ways():
    net = monotone(D=2)
    x = torch.tensor([[torch.inf, 0.3], [-0.2, -torch.inf], [torch.nan, 2.0]], dtype=torch.float64)
    for f in (net, net.inverse):
        y = f(x)
        assert torch.equal(y.isinf(), x.isinf())
        assert torch.equal(y[x.isinf()], x[x.isinf()])
        assert torch.equal(y.isnan(), x.isnan())
        finite = torch.where(x.isfinite(), x, torch.zeros_like(x))
        torch.testing.assert_close(y[x.isfinite()], f(finite)[x.isfinite()], rtol=0, atol=0)


def test_rows_are_inverted_on_their_own():
    net, y = monotone(size=100.0), points(30)
    one_by_one = torch.cat([net.inverse(row) for row in y.split(1)])
    assert torch.equal(net.inverse(y), one_by_one)


def test_it_learns_a_map_from_what_it_does_to_a_law():
    """By likelihood alone: samples through it become standard normal, and quantiles meet those of the true map."""
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(4000, 1, generator=generator, dtype=torch.float64)
    x = u + 0.8 * torch.tanh(2 * u)
    net = MonotoneKAN(1, grid=12, grid_range=(-4.0, 4.0)).double()
    optimiser = torch.optim.Adam(net.parameters(), 0.05)
    for _ in range(300):
        optimiser.zero_grad()
        y, log_det = net.forward_and_log_det(x)
        loss = (0.5 * y.square().sum(dim=1) - log_det).mean()
        loss.backward()
        optimiser.step()
    middle = torch.linspace(-1.5, 1.5, 31, dtype=torch.float64)[:, None]
    grid = torch.linspace(-5, 5, 2001, dtype=torch.float64)
    truth = PchipInterpolator((grid + 0.8 * torch.tanh(2 * grid)).numpy(), grid.numpy())
    where = middle + 0.8 * torch.tanh(2 * middle)
    assert (net(where) - torch.as_tensor(truth(where.numpy()))).abs().max() < 0.1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: MonotoneKAN(0), "features=0"),
        (lambda: MonotoneKAN(2, order=1), "order=1"),
        (lambda: MonotoneKAN(2, grid=0), "grid=0"),
        (lambda: MonotoneKAN(2, grid_range=(1.0, 0.0)), "grid_range"),
        (lambda: MonotoneKAN(2)(torch.zeros(4, 3)), r"x has shape \(4, 3\)"),
        (lambda: MonotoneKAN(2).inverse(torch.zeros(())), r"y has shape \(\)"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()
