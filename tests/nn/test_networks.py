"""Networks: the formula they claim, exact shapes, rows that do not mix, gradients everywhere."""

import doctest

import numpy as np
import pytest
import torch
from torch import nn

import submanifold.nn.mlp
from submanifold.errors import InvalidInput
from submanifold.nn import MLP, NETWORKS, ConvDecoder, ConvEncoder, decoder, encoder

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (2, 33, 17), (1, 7, 12), (1, 1, 1), (4, 5, 40)]


def test_an_mlp_is_affine_maps_with_the_activation_between() -> None:
    torch.manual_seed(0)
    mlp = MLP([3, 5, 4, 2], activation="tanh").double()
    x = np.random.default_rng(0).normal(size=(7, 3))
    W1, b1, W2, b2, W3, b3 = (p.detach().numpy() for p in mlp.parameters())
    expected = np.tanh(np.tanh(x @ W1.T + b1) @ W2.T + b2) @ W3.T + b3
    np.testing.assert_allclose(mlp(torch.from_numpy(x)).detach().numpy(), expected, rtol=1e-12)


def test_two_widths_are_one_affine_map() -> None:
    f = MLP([3, 2])
    x, y = torch.randn(5, 3), torch.randn(5, 3)
    torch.testing.assert_close(f(0.3 * x + 0.7 * y), 0.3 * f(x) + 0.7 * f(y))
    assert len(f) == 1


@pytest.mark.parametrize("widths", [[], [3], [3, 0, 1], [3, 2.5], [3, True]])
def test_an_mlp_refuses_widths_that_make_no_network(widths: list[int]) -> None:
    with pytest.raises(InvalidInput, match="widths="):
        MLP(widths)


def test_the_example_in_the_documentation_runs() -> None:
    assert doctest.testmod(submanifold.nn.mlp).failed == 0


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("hidden", [(), (16,)])
def test_convolutional_networks_meet_every_size(shape: tuple[int, int, int], hidden: tuple[int, ...]) -> None:
    there = ConvEncoder(shape, 3, channels=(4, 5, 6), hidden=hidden)
    back = ConvDecoder(3, shape, channels=(6, 5, 4), hidden=hidden)
    z = there(torch.randn(2, *shape))
    assert z.shape == (2, 3)
    assert back(z).shape == (2, *shape)


@pytest.mark.parametrize("height", range(1, 18))
def test_any_height_comes_back(height: int) -> None:
    network = ConvDecoder(2, (1, height, 9), channels=(3, 2))
    assert network(torch.zeros(1, 2)).shape == (1, 1, height, 9)


def networks() -> list[tuple[str, nn.Module, tuple[int, ...]]]:
    torch.manual_seed(1)
    shape, features = (2, 9, 16), 12  # one for each place of a quarter of the height and width
    built = []
    for name in NETWORKS:
        built.append((f"{name} encoder", encoder(name, shape, features, hidden=(8,)), shape))
        built.append((f"{name} decoder", decoder(name, features, shape, hidden=(8,)), (features,)))
    return built


@pytest.mark.parametrize(("name", "network", "in_shape"), networks())
def test_rows_do_not_mix(name: str, network: nn.Module, in_shape: tuple[int, ...]) -> None:
    network = network.double()
    x = torch.randn(4, *in_shape, dtype=torch.float64)
    alone = torch.cat([network(row[None]) for row in x])
    torch.testing.assert_close(network(x), alone, rtol=1e-10, atol=1e-12)
    mapped = torch.func.vmap(lambda row: network(row[None])[0])(x)
    torch.testing.assert_close(mapped, alone, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("name", "network", "in_shape"), networks())
def test_gradients_reach_every_parameter(name: str, network: nn.Module, in_shape: tuple[int, ...]) -> None:
    network(torch.randn(6, *in_shape)).square().sum().backward()
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0


def test_doubling_leaves_no_chequerboard() -> None:
    """With equal weights, a constant image stays constant away from the border."""
    network = ConvDecoder(1, (1, 32, 32), channels=(1,))
    upsample = network[-1]
    nn.init.ones_(upsample.weight)
    nn.init.zeros_(upsample.bias)
    inside = upsample(torch.ones(1, 1, 16, 16))[0, 0, 2:-2, 2:-2]
    assert inside.min() == inside.max()


def test_auto_chooses_by_the_size_of_the_image() -> None:
    def has_convolutions(network: nn.Module) -> bool:
        return any(isinstance(m, nn.Conv2d | nn.ConvTranspose2d) for m in network.modules())

    for shape, convolutional in [((64,), False), ((1, 8, 8), False), ((1, 16, 16), True)]:
        assert has_convolutions(encoder("auto", shape, 2)) is convolutional
        assert has_convolutions(decoder("auto", 2, shape)) is convolutional


def test_hidden_widths_are_where_they_were_asked_for() -> None:
    for network in (encoder("auto", (1, 16, 16), 2, (11,)), decoder("mlp", 2, (5,), (11,))):
        assert any(isinstance(m, nn.Linear) and m.out_features == 11 for m in network.modules())


def test_bad_requests_are_refused_in_one_sentence() -> None:
    with pytest.raises(InvalidInput, match=r"network='cnv' is unknown: did you mean 'conv'\?"):
        encoder("cnv", (1, 8, 8), 2)
    for hidden in (64, "64", (64, 0), (0.5,)):
        with pytest.raises(InvalidInput, match="hidden="):
            encoder("mlp", (8,), 2, hidden)
    with pytest.raises(InvalidInput, match='network="conv" with data_shape='):
        decoder("conv", 2, (64,))
    with pytest.raises(InvalidInput, match=r"give .channels, height, width"):
        ConvEncoder((64,), 2)
