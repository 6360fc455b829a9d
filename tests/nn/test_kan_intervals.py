"""Bounds of KANs on boxes: nothing is said beyond them, and single layers nearly reach them."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.special import expit
from scipy.stats import norm

from submanifold.errors import InvalidInput
from submanifold.geometry.jacobians import _Largest
from submanifold.nn.activations import ACTIVATIONS
from submanifold.nn.kan import KAN, KANLinear, activation_bounds, intervals, layer_bounds, output_bounds

OPTIONS = [
    {},
    {"base": None, "order": 1},
    {"open_knots": True, "order": 2},
    {"outside": "clamp", "grid": 9, "order": 5},
    {"basis": "rbf"},
    {"basis": "chebyshev"},
    {"basis": "fourier"},
]


def network(widths, seed=0, **options):
    torch.manual_seed(seed)
    return KAN(widths, noise=1.0, **options).double()


def broken(kan):
    with torch.no_grad():
        kan.layers[0].coefficients[1, 0, 2] = torch.nan
    return kan


def boxes(width, n=20, seed=0, size=1.5):
    """Within the grid, across its ends, and beyond."""
    generator = torch.Generator().manual_seed(seed)
    middle = 1.5 * torch.randn(n, width, generator=generator, dtype=torch.float64)
    half = size * torch.rand(n, width, generator=generator, dtype=torch.float64) ** 2
    return middle - half, middle + half


def samples(low, high, n=1500, seed=0):
    """(n, boxes, width), corners among them."""
    share = torch.rand(n, *low.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    share[: n // 10] = share[: n // 10].round()
    return torch.minimum(low + (high - low) * share, high)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_no_activation_is_outside(options, seed):
    kan, (low, high) = network([3, 5, 4, 2], seed, **options), boxes(3, seed=seed)
    kan.layers[1].prune_edges(torch.rand(4, 5) > 0.2)
    seen = kan.activations(samples(low, high, seed=seed))
    for z, (least, most) in zip(seen, activation_bounds(kan, low, high), strict=True):
        assert (z >= least).all()
        assert (z <= most).all()


@pytest.mark.parametrize("base", ACTIVATIONS)
def test_every_base_function_has_its_range(base):
    layer = KANLinear(1, 6, base=base).double()
    layer.say_nothing()
    with torch.no_grad():
        layer.base_scale.normal_()
    low, high = boxes(1, n=200, size=4.0)
    least, most = layer_bounds(layer, low, high)
    said = layer(low + (high - low) * torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None, None])
    assert (said >= least).all()
    assert (said <= most).all()
    torch.testing.assert_close(said.amin(dim=0), least, rtol=0, atol=1e-4)
    torch.testing.assert_close(said.amax(dim=0), most, rtol=0, atol=1e-4)


@pytest.mark.parametrize("options", [{"base": None}, {"open_knots": True}, {"grid": 20}, {"outside": "clamp"}])
def test_bounds_of_an_edge_are_nearly_tight(options):
    layer, (low, high) = network([1, 20], **options).layers[0], boxes(1, n=50)
    said = layer(low + (high - low) * torch.linspace(0, 1, 4001, dtype=torch.float64)[:, None, None]).detach()
    width = said.amax(dim=0) - said.amin(dim=0)
    slack = []
    for parts in (1, 4, 16):
        least, most = layer_bounds(layer, low, high, parts=parts)
        slack.append((most - least) / width - 1)
    assert float(slack[1].median()) < 0.05
    assert float(slack[2].median()) < 0.015
    assert (slack[2] <= slack[1] + 1e-9).all()
    assert (slack[1] <= slack[0] + 1e-9).all()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_bounds_in_blocks_are_those_at_once(options, monkeypatch):
    kan, (low, high) = network([3, 5, 2], **options), boxes(3)
    at_once = output_bounds(kan, low, high)
    monkeypatch.setattr(intervals, "_AT_A_TIME", 3000)
    for ours, theirs in zip(output_bounds(kan, low, high), at_once, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_a_point_is_a_box():
    kan = network([3, 5, 2])
    x = 2 * torch.randn(30, 3, dtype=torch.float64)
    least, most = output_bounds(kan, x, x)
    torch.testing.assert_close(least, kan(x).detach(), rtol=0, atol=1e-9)
    torch.testing.assert_close(most, kan(x).detach(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("outside", ["linear", "clamp"])
@pytest.mark.parametrize("size", [1.0, 1e3, 1e8])
def test_bounds_hold_in_exact_arithmetic_where_large_terms_cancel(size, outside):
    """Straight edges, whose values are fractions, near their zeros: on the grid, beyond it, and far from 0."""
    for seed in range(20):
        torch.manual_seed(seed)
        low = [-1.0, 0.0, 1000.0][seed % 3]
        grid = (low, low + 2.0)
        layer = KANLinear(1, 1, grid=1, order=1, base=None, grid_range=grid, outside=outside).double()
        a, b = size * (1 + torch.rand(2, dtype=torch.float64))
        with torch.no_grad():
            layer.coefficients[0, 0] = torch.stack([a, -b] if seed % 2 else [a, 1.25 * a])
        zero = float(grid[0] + 2 * a / (a + b) if seed % 2 else grid[0] - 8)
        x = zero + 1e-3 * torch.arange(-5, 6, dtype=torch.float64)[:, None]
        start, end = (Fraction(float(value)) for value in layer.coefficients.detach()[0, 0])
        for t, least, most in zip(x[:, 0].tolist(), *layer_bounds(layer, x, x), strict=True):
            place = Fraction(min(max(t, grid[0]), grid[1]) if outside == "clamp" else t)
            exact = start + (end - start) * (place - Fraction(grid[0])) / 2
            assert Fraction(float(least)) <= exact <= Fraction(float(most))
            assert most - least < 1e-8 * size


@pytest.mark.parametrize("options", [option for option in OPTIONS if option.get("basis") != "rbf"], ids=str)
def test_constants_are_within_bounds_wherever_one_looks(options):
    layer = KANLinear(1, 1, **options).double()
    layer.say_nothing()
    with torch.no_grad():
        if options.get("basis") in ("chebyshev", "fourier"):
            layer.coefficients[..., 0] = 1.0
        else:
            layer.coefficients.fill_(1.0)
    constant = 1.0
    x = torch.tensor([1.0, 3.0, 30.0, 1e3, 1e5], dtype=torch.float64)[:, None] * (1 + torch.rand(200, 1, 1).double())
    for place in x.movedim(1, 0):
        least, most = layer_bounds(layer, place, place)
        assert (least <= constant).all()
        assert (most >= constant).all()


@pytest.mark.parametrize("options", [{}, {"basis": "rbf"}])
@pytest.mark.parametrize(
    ("base", "exact"),
    [
        ("gelu", lambda t: t * norm.cdf(t)),
        ("silu", lambda t: t * expit(t)),
        ("sigmoid", expit),
        ("elu", lambda t: np.where(t > 0, t, np.expm1(np.minimum(t, 0)))),
        ("softplus", lambda t: np.where(t > 20, t, np.logaddexp(0, t))),  # as torch has it
        ("tanh", np.tanh),
    ],
)
def test_bounds_of_base_functions_hold_in_their_tails(base, exact, options):
    layer = KANLinear(1, 1, base=base, **options).double()
    layer.say_nothing()
    with torch.no_grad():
        layer.base_scale.fill_(1.0)
    x = torch.linspace(-40, 40, 801, dtype=torch.float64)[:, None]
    least, most = layer_bounds(layer, x, x)
    said = torch.as_tensor(exact(x.numpy()))
    assert (least <= said).all()
    assert (said <= most).all()
    assert float((most - least).max()) < 1e-8


@pytest.mark.parametrize("options", [{"grid": 100}, {"grid": 200, "open_knots": True}, {"basis": "chebyshev"}], ids=str)
def test_bounds_of_fine_grids_take_little_memory(options):
    layer = KANLinear(64, 64, **options)
    low = torch.full((20, 64), -3.0)
    with _Largest() as made:
        layer_bounds(layer, low, -low)
    once = 64 * 64 * 20 + 64 * 4 * 202 * 4**3  # the result, or the pieces of one box
    assert made.numbers <= once


def test_smaller_boxes_have_smaller_bounds():
    kan, (low, high) = network([3, 5, 2]), boxes(3)
    outer, inner = output_bounds(kan, low, high), output_bounds(kan, 0.75 * low + 0.25 * high, 0.5 * (low + high))
    assert (inner[0] >= outer[0]).all()
    assert (inner[1] <= outer[1]).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda kan, low, high: output_bounds(kan, high, low), "low and high make no boxes"),
        (lambda kan, low, high: output_bounds(kan, low[:1], high), "low and high make no boxes"),
        (lambda kan, low, high: output_bounds(kan, low * torch.inf, high), "low has NaN or infinity"),
        (lambda kan, low, high: output_bounds(kan, low[:, :1], high), "shape"),
        (lambda kan, low, high: output_bounds(kan, low, high, parts=0), "parts=0"),
        (lambda kan, low, high: output_bounds(broken(kan), low, high), "parameters that are not finite"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(InvalidInput, match=words):
        call(network([2, 2]), *boxes(2))
