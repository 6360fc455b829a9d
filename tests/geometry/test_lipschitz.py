"""Lipschitz bounds: never below what is seen, exact where they can be, infinite where unknown."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from submanifold.geometry import lipschitz_lower_bound, lipschitz_upper_bound
from submanifold.nn import ACTIVATIONS, MLP, decoder, encoder
from submanifold.nn.kan import MonotoneKAN


def materialise(f: Callable[[Tensor], Tensor], in_shape: tuple[int, ...]) -> Tensor:
    """The matrix of the linear part of f."""
    size = math.prod(in_shape)
    basis = torch.eye(size, dtype=torch.float64).reshape(size, *in_shape)
    with torch.no_grad():
        return (f(basis) - f(torch.zeros(1, *in_shape, dtype=torch.float64))).flatten(1).T


def steepest_pair(f: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        rise = (f(x) - f(y)).flatten(1).norm(dim=1)
    return float((rise / (x - y).flatten(1).norm(dim=1)).max())


def test_an_affine_map_has_its_largest_singular_value() -> None:
    for seed in range(5):
        torch.manual_seed(seed)
        layer = nn.Linear(7, 4)
        exact = torch.linalg.matrix_norm(layer.weight.double(), 2).item()
        assert exact <= lipschitz_upper_bound(layer) <= exact * (1 + 1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("seed", range(3))
def test_the_bound_holds_for_networks(activation: str, seed: int) -> None:
    torch.manual_seed(seed)
    f = MLP([4, 24, 24, 3], activation).double()
    for layer in f:
        if isinstance(layer, nn.Linear):
            layer.weight.data *= 3
    x = 3 * torch.randn(4000, 4, dtype=torch.float64)
    y = x + 10 ** (-4 * torch.rand(4000, 1).double()) * torch.randn(4000, 4, dtype=torch.float64)
    upper, lower = lipschitz_upper_bound(f), lipschitz_lower_bound(f, x)
    assert lower <= upper
    assert steepest_pair(f, x, y) <= upper


def test_the_bound_is_attained_where_layers_align() -> None:
    """tanh has slope 1 at 0: scaled orthogonal layers without bias stretch by their product there."""
    f = MLP([4, 4, 4, 4], "tanh").double()
    scales = [2.0, 0.5, 3.0]
    for layer, scale in zip((f[0], f[2], f[4]), scales, strict=True):
        layer.weight.data = scale * torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
        layer.bias.data.zero_()
    assert lipschitz_upper_bound(f) == pytest.approx(3.0, rel=1e-12)
    assert lipschitz_lower_bound(f, torch.zeros(1, 4).double()) == pytest.approx(3.0, rel=1e-12)


CONVOLUTIONS = [
    (nn.Conv1d(2, 3, 3), (2, 60)),
    (nn.Conv1d(2, 3, 5, stride=2, padding=2), (2, 80)),
    (nn.Conv1d(2, 4, 3, stride=3, dilation=2), (2, 90)),
    (nn.Conv1d(4, 6, 4, groups=2, padding="same"), (4, 60)),
    (nn.Conv2d(2, 4, 3, padding=1), (2, 14, 15)),
    (nn.Conv2d(1, 4, 3, stride=2, padding=1), (1, 28, 27)),
    (nn.Conv2d(2, 2, (5, 2), stride=(1, 2)), (2, 20, 20)),
    (nn.Conv2d(4, 4, 3, groups=4, stride=2), (4, 15, 16)),
    (nn.Conv3d(1, 2, 3, padding=1), (1, 9, 9, 9)),
    (nn.ConvTranspose1d(3, 2, 4, stride=2, padding=1), (3, 40)),
    (nn.ConvTranspose1d(4, 6, 3, stride=2, output_padding=1, groups=2), (4, 40)),
    (nn.ConvTranspose2d(3, 2, 4, stride=2, padding=1), (3, 12, 12)),
    (nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, dilation=2), (2, 10, 11)),
]


@pytest.mark.parametrize(("layer", "in_shape"), CONVOLUTIONS, ids=lambda value: str(value)[:60])
@pytest.mark.parametrize("seed", range(2))
def test_convolutions_are_bounded_for_every_size_and_tightly(
    layer: nn.Module, in_shape: tuple[int, ...], seed: int
) -> None:
    torch.manual_seed(seed)
    layer = layer.double()
    layer.reset_parameters()
    bound = lipschitz_upper_bound(layer)
    exact = torch.linalg.matrix_norm(materialise(layer, in_shape), 2).item()
    assert exact <= bound
    assert exact >= 0.9 ** (len(in_shape) / 2) * bound  # a finite image stops short of the supremum
    small = (in_shape[0], *(max(6, size // 4) for size in in_shape[1:]))
    assert torch.linalg.matrix_norm(materialise(layer, small), 2).item() <= bound


def test_the_bound_of_a_convolution_is_near_exact_on_a_long_signal() -> None:
    for seed in range(5):
        torch.manual_seed(seed)
        layer = nn.Conv1d(1, 1, 3).double()
        exact = torch.linalg.matrix_norm(materialise(layer, (1, 600)), 2).item()
        assert exact <= lipschitz_upper_bound(layer) <= 1.02 * exact + 1e-12


@pytest.mark.parametrize("shape", [(1, 9, 8), (2, 16, 16)])
def test_convolutional_encoders_and_decoders_have_finite_bounds(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    there, back = encoder("conv", shape, 3).double(), decoder("conv", 3, shape).double()
    x, z = torch.randn(20, *shape).double(), 3 * torch.randn(20, 3).double()
    for f, points in ((there, x), (back, z)):
        upper = lipschitz_upper_bound(f)
        assert lipschitz_lower_bound(f, points) <= upper < math.inf
        assert steepest_pair(f, points, points.flip(0)) <= upper


def test_what_is_unknown_is_not_bounded() -> None:
    class Cube(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x**3

    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    hooked = nn.Linear(2, 2)
    hooked.register_forward_hook(lambda module, args, output: 10 * output)
    circular = nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular")
    broken = nn.Linear(2, 2)
    nn.init.constant_(broken.weight, math.nan)
    for module in (Cube(), Doubled(2, 2), hooked, circular, broken, nn.Softmax(dim=1)):
        assert lipschitz_upper_bound(module) == math.inf
        silenced = nn.Linear(2, 2)
        nn.init.zeros_(silenced.weight)
        assert lipschitz_upper_bound(nn.Sequential(module, silenced)) == math.inf


def test_a_module_may_offer_its_own_bound() -> None:
    class Wave(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sin(5 * x)

        def lipschitz_bound(self) -> float:
            return 5.0

    layer = nn.Linear(3, 3)
    alone = lipschitz_upper_bound(layer)
    assert lipschitz_upper_bound(nn.Sequential(layer, Wave())) == pytest.approx(5 * alone)


def test_a_layer_used_twice_counts_twice() -> None:
    layer = nn.Linear(3, 3, bias=False)
    layer.weight.data = 2 * torch.eye(3)
    assert lipschitz_upper_bound(nn.Sequential(layer, nn.Tanh(), layer)) == pytest.approx(4.0)


def test_dropout_counts_only_while_it_is_off() -> None:
    f = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
    assert lipschitz_upper_bound(f) == math.inf
    assert lipschitz_upper_bound(f.eval()) == pytest.approx(lipschitz_upper_bound(f[0]))


@pytest.mark.parametrize("order", [2, 3, 4])
def test_monotone_kans_are_bounded_by_their_largest_rate(order: int) -> None:
    for seed in range(3):
        torch.manual_seed(seed)
        net = MonotoneKAN(3, order=order, grid=9).double()
        for parameter in net.parameters():
            nn.init.normal_(parameter, std=3.0)
        x = torch.linspace(-1.2, 1.2, 20001, dtype=torch.float64)[:, None].expand(-1, 3)
        steepest = net.spline.forward_and_slope(x)[1].max().item()
        bound = lipschitz_upper_bound(net)
        assert steepest <= bound < math.inf
        if order == 2:  # whose rates are slopes at breakpoints
            assert steepest == pytest.approx(bound, rel=2e-3)
        assert steepest_pair(net, x[:-1], x[1:]) <= bound
    hooked = MonotoneKAN(3)
    hooked.register_forward_hook(lambda module, args, output: 10 * output)
    broken = MonotoneKAN(3)
    nn.init.constant_(broken.rates, math.nan)
    assert lipschitz_upper_bound(hooked) == lipschitz_upper_bound(broken) == math.inf
