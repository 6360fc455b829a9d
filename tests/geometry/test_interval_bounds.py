"""Bounds of networks on boxes: nothing that is said lies beyond them, and single layers reach them."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from submanifold.errors import InvalidInput
from submanifold.geometry import interval_bounds, lipschitz_lower_bound, lipschitz_upper_bound
from submanifold.nn import ACTIVATIONS, MLP, decoder, encoder
from submanifold.nn.kan import ChannelKAN, MonotoneKAN, output_bounds


def boxes(shape, n=6, seed=0, size=0.5):
    generator = torch.Generator().manual_seed(seed)
    centre = torch.randn(n, *shape, generator=generator, dtype=torch.float64)
    reach = size * torch.rand(n, *shape, generator=generator, dtype=torch.float64) ** 2
    return centre - reach, centre + reach


def inside(low, high, n=300, seed=0):
    """Points of each box, (n, boxes, ...), corners among them."""
    share = torch.rand(n, *low.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    share[: n // 5] = share[: n // 5].round()
    return torch.minimum(low + (high - low) * share, high)


def said(module, points):
    with torch.no_grad():
        flat = module(points.flatten(0, 1))
    return flat.unflatten(0, points.shape[:2])


def monotone(features, **options):
    net = MonotoneKAN(features, **options)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(std=2.0)
    return net


def parametrised(parametrisation, layer):
    parametrisation(layer)
    return nn.Sequential(layer, nn.Tanh(), nn.Flatten(), nn.Linear(6, 2))


NETWORKS = {
    "weight norm": (lambda: parametrised(parametrizations.weight_norm, nn.Linear(3, 6)), (3,)),
    "spectral norm": (lambda: parametrised(parametrizations.spectral_norm, nn.Linear(3, 6)), (3,)),
    "orthogonal": (lambda: parametrised(parametrizations.orthogonal, nn.Linear(3, 6)), (3,)),
    "weight norm of images": (lambda: parametrised(parametrizations.weight_norm, nn.Conv1d(2, 3, 2)), (2, 3)),
    "mlp": (lambda: MLP([3, 8, 8, 2]), (3,)),
    "kan decoder of images": (lambda: decoder("kan", 3, (2, 3, 4), (6,)), (3,)),
    "kan encoder of images": (lambda: encoder("kan", (2, 3, 4), 3, (6,)), (2, 3, 4)),
    "conv decoder": (lambda: decoder("conv", 3, (1, 9, 16), (6,)), (3,)),
    "conv encoder": (lambda: encoder("conv", (2, 8, 8), 3, (6,)), (2, 8, 8)),
    "monotone kan": (lambda: nn.Sequential(monotone(3), nn.Linear(3, 2), monotone(2, grid=200)), (3,)),
    "kan of channels": (lambda: nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), ChannelKAN([3, 4, 2])), (2, 4, 4)),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("seed", range(2))
def test_nothing_is_said_outside(name, seed):
    make, shape = NETWORKS[name]
    torch.manual_seed(seed)
    module, (low, high) = make().double().eval(), boxes(shape, seed=seed)
    least, most = interval_bounds(module, low, high)
    seen = said(module, inside(low, high, seed=seed))
    assert least.shape == seen.shape[1:]
    assert (seen >= least).all()
    assert (seen <= most).all()
    inner = interval_bounds(module, 0.75 * low + 0.25 * high, 0.5 * (low + high))  # a smaller box has smaller bounds
    assert (inner[0] >= least).all()
    assert (inner[1] <= most).all()
    assert (inner[1] - inner[0]).mean() < 0.5 * (most - least).mean()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_point_is_a_box(name):
    make, shape = NETWORKS[name]
    module, x = make().double().eval(), torch.randn(5, *shape, dtype=torch.float64)
    for bound in interval_bounds(module, x, x):
        torch.testing.assert_close(bound, module(x).detach(), rtol=1e-9, atol=1e-9)


def test_one_affine_layer_reaches_its_bounds():
    layers = [(nn.Linear(4, 3), (4,)), (nn.Conv2d(2, 3, 3, stride=2, padding=1), (2, 4, 4))]
    layers.append((nn.ConvTranspose2d(2, 1, 4, stride=2, padding=1), (2, 3, 3)))
    for layer, shape in layers:
        layer, (low, high) = layer.double(), boxes(shape, n=1)
        least, most = interval_bounds(layer, low, high)
        rows = torch.func.vmap(torch.func.jacrev(layer))(low).reshape(least.numel(), *shape)  # of the matrix
        corner = torch.where(rows > 0, high, low)
        torch.testing.assert_close(layer(corner).flatten(1).diagonal(), most.flatten(), rtol=1e-12, atol=1e-12)
        corner = torch.where(rows > 0, low, high)
        torch.testing.assert_close(layer(corner).flatten(1).diagonal(), least.flatten(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "activation", [*(make() for make in ACTIVATIONS.values()), nn.ReLU(), nn.LeakyReLU(0.1)], ids=str
)
def test_activations_have_their_range(activation):
    low, high = boxes((1,), n=200, size=4.0)
    least, most = interval_bounds(activation, low, high)
    seen = activation(low + (high - low) * torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None, None])
    torch.testing.assert_close(seen.amin(dim=0), least, rtol=0, atol=1e-4)
    torch.testing.assert_close(seen.amax(dim=0), most, rtol=0, atol=1e-4)
    assert (seen >= least).all()
    assert (seen <= most).all()


def test_changes_of_shape_change_nothing_else():
    torch.manual_seed(0)
    image, (low, high) = decoder("kan", 2, (1, 3, 3), (4,)).double(), boxes((2,))
    for bound, flat in zip(interval_bounds(image, low, high), output_bounds(image[0], low, high), strict=True):
        assert torch.equal(bound.flatten(1), flat)


def test_kans_of_channels_have_the_constant_of_their_kan():
    torch.manual_seed(0)
    module = ChannelKAN([2, 3]).double()
    upper = lipschitz_upper_bound(module)
    assert upper == lipschitz_upper_bound(module.kan)
    x = torch.randn(20, 2, 2, 2, dtype=torch.float64)
    assert lipschitz_lower_bound(module, x) <= upper


def test_a_module_may_offer_its_own_bounds():
    class Wave(nn.Module):
        def forward(self, x):
            return torch.sin(5 * x)

        def interval_bounds(self, low, high):
            return torch.full_like(low, -1.0), torch.ones_like(high)

    low, high = boxes((3,))
    least, most = interval_bounds(nn.Sequential(nn.Linear(3, 4), Wave(), nn.Flatten()), low, high)
    assert least.shape == (6, 4)
    assert (least == -1).all()
    assert (most == 1).all()


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def hooked():
    module = nn.Linear(3, 3)
    module.register_forward_hook(lambda module, args, output: 10 * output)
    return module


def replaced():
    module = nn.Linear(3, 3)
    module.forward = lambda x: 10 * x
    return module


@pytest.mark.parametrize("module", [nn.Softplus(), nn.Softplus(beta=50.0)], ids=str)
def test_bounds_of_softplus_hold_where_torch_takes_the_number_for_it(module):
    at = torch.linspace(19.9, 20.1, 2001, dtype=torch.float64)[:, None] / module.beta
    least, most = interval_bounds(module, at[:-1], at[1:])
    assert (least <= module(at[:-1])).all()
    assert (most >= module(at[:-1])).all()


def test_boxes_stay_as_they_are():
    low, high = boxes((3,))
    before = low.clone(), high.clone()
    for layer in (nn.LeakyReLU(0.1, inplace=True), nn.ReLU(inplace=True)):
        for module in (layer, nn.Sequential(nn.Unflatten(1, (1, 3)), layer), nn.Sequential(nn.Flatten(), layer)):
            interval_bounds(module, low, high)
    assert torch.equal(low, before[0])
    assert torch.equal(high, before[1])


@pytest.mark.parametrize(
    "module",
    [
        Doubled(3, 3),
        hooked(),
        replaced(),
        nn.Softplus(threshold=1.0),
        nn.Softmax(dim=1),
        nn.Dropout(),
        nn.GELU(approximate="tanh"),
        nn.Sequential(nn.Unflatten(1, (1, 3)), nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular")),
    ],
    ids=lambda module: type(module).__name__,
)
def test_what_is_unknown_is_refused(module):
    with pytest.raises(InvalidInput, match="no bounds are known of"):
        interval_bounds(module.train(), *boxes((3,)))


def test_what_are_no_boxes_is_refused():
    low, high = boxes((3,))
    for ends in ((high, low), (low[:1], high), (low * torch.inf, high)):
        with pytest.raises(InvalidInput, match="low and high make no boxes"):
            interval_bounds(nn.Linear(3, 1), *ends)
    with pytest.raises(InvalidInput, match=r"\(6, 3\), which the network fails on"):
        interval_bounds(nn.Linear(2, 1), low, high)
    with pytest.raises(InvalidInput, match="parts"):
        interval_bounds(nn.Linear(3, 1), low, high, parts=0)


def test_boxes_of_monotone_maps_are_exact():
    torch.manual_seed(0)
    net, (low, high) = monotone(4).double(), boxes((4,), size=2.0)
    for bound, end in zip(interval_bounds(net, low, high), (low, high), strict=True):
        torch.testing.assert_close(bound, net(end).detach(), rtol=1e-11, atol=1e-11)


def test_bounds_that_are_nan_are_refused():
    for net in (nn.Linear(2, 2), nn.Sequential(monotone(2), nn.Tanh())):
        with torch.no_grad():
            next(net.parameters()).fill_(torch.nan)
        with pytest.raises(InvalidInput, match="no bounds are known: the network has parameters that are not finite"):
            interval_bounds(net, torch.zeros(1, 2), torch.ones(1, 2))
