"""KANs of splines and networks with powers of ReLU are the same functions (arXiv 2410.01803, theorems 3.1 and 3.2)."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from submanifold.errors import InvalidInput
from submanifold.nn.kan import KAN, ReLUPower, kan_of_powers, powers_of_kan


def points(width, n=500, seed=0):
    return 2 * torch.rand(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1


def kan_within_its_grids(widths=(2, 4, 3), seed=0, **options):
    """Hidden activations for inputs in [-1, 1]^2 stay in [-1, 1], as sums of coefficients do."""
    torch.manual_seed(seed)
    kan = KAN(widths, base=None, **options).double()
    with torch.no_grad():
        for layer in kan.layers:
            layer.coefficients.uniform_(-1, 1).div_(layer.in_features)
            layer.spline_scale.uniform_(-1, 1)
    return kan


def mlp_of_powers(widths, power, seed=0):
    torch.manual_seed(seed)
    modules = []
    for fan_in, fan_out in pairwise(widths):
        modules += [nn.Linear(fan_in, fan_out), ReLUPower(power)]
    return nn.Sequential(*modules[:-1]).double()


@pytest.mark.parametrize("power", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_networks_of_powers_are_kans_of_two_intervals(power, seed):
    mlp, x = mlp_of_powers([3, 6, 5, 2], power, seed), points(3)
    kan = kan_of_powers(mlp, x)
    assert [(layer.in_features, layer.out_features) for layer in kan.layers] == [(3, 6), (6, 5), (5, 2)]
    assert all(layer.basis.intervals == 2 and layer.basis.order == power for layer in kan.layers)
    torch.testing.assert_close(kan(x), mlp(x), rtol=1e-12, atol=1e-12)
    inside = 0.9 * points(3, seed=1)
    torch.testing.assert_close(kan(inside), mlp(inside), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("options", [{}, {"open_knots": True}, {"grid": 1}, {"grid": 8}])
def test_kans_are_networks_of_powers(order, options):
    kan, x = kan_within_its_grids(order=order, **options), points(2)
    kan.layers[1].prune_edges(torch.rand(3, 4) > 0.3)
    mlp = powers_of_kan(kan)
    torch.testing.assert_close(mlp(x), kan(x), rtol=0, atol=1e-11)
    per_input = kan.layers[0].basis.size
    assert [module.out_features for module in mlp if isinstance(module, nn.Linear)] == [2 * per_input, 4 * per_input, 3]
    assert kan.layers[0].basis.size == kan.layers[0].basis.intervals + order


def test_grids_that_are_not_uniform():
    kan, x = kan_within_its_grids(), points(2)
    inner = torch.tensor([[-0.7, -0.1, 0.0, 0.6], [-0.5, -0.2, 0.3, 0.4]])
    kan.layers[0].basis.set_breakpoints(torch.cat([-torch.ones(2, 1), inner, torch.ones(2, 1)], dim=1))
    torch.testing.assert_close(powers_of_kan(kan)(x), kan(x), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("order", "grid"), [(1, 100), (2, 50), (3, 5), (3, 20), (3, 50), (5, 5)])
@pytest.mark.parametrize("seed", range(2))
def test_there_and_back_again(order, grid, seed):
    kan, x = kan_within_its_grids(seed=seed, order=order, grid=grid), points(2, seed=seed)
    back = kan_of_powers(powers_of_kan(kan), x)
    torch.testing.assert_close(back(x), kan(x), rtol=0, atol=1e-5 if grid > 5 else 1e-10)


@pytest.mark.parametrize("power", [1, 2, 3])
def test_powers_differentiate(power):
    x = torch.tensor([-1.0, -1e-3, 1e-3, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ReLUPower(power), x)
    torch.testing.assert_close(ReLUPower(power)(x), torch.where(x > 0, x, 0.0) ** power)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: powers_of_kan(KAN([2, 3])), "base=None"),
        (lambda: powers_of_kan(KAN([2, 3], basis="rbf", base=None)), "RadialBasis"),
        (lambda: kan_of_powers(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)), points(2)), "Sequential"),
        (lambda: kan_of_powers(nn.Sequential(nn.Linear(2, 3), ReLUPower(2)), points(2)), "first and last"),
        (lambda: kan_of_powers(mlp_of_powers([2, 3, 1], 2), points(3)), "shape"),
        (lambda: kan_of_powers(mlp_of_powers([2, 3, 1], 2), points(2), margin=-0.5), "margin"),
        (lambda: ReLUPower(0), "power=0"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()
