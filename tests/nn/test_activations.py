"""The table of activations: slopes never exceed their constants, reach them, and do not jump."""

import pytest
import torch
from torch import nn

from submanifold.errors import InvalidInput
from submanifold.nn import ACTIVATIONS, activation_lipschitz


def slope(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return torch.func.vmap(torch.func.grad(lambda t: module(t)))(x)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_constant_is_the_supremum_of_the_slope(name: str) -> None:
    module = ACTIVATIONS[name]()
    constant = activation_lipschitz(module)
    x = torch.linspace(-60, 60, 1_200_001, dtype=torch.float64)
    steepest = slope(module, x).abs().max().item()
    assert constant is not None
    assert steepest <= constant
    assert steepest >= constant * (1 - 1e-8)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_slope_is_continuous(name: str) -> None:
    x = torch.linspace(-30, 30, 600_001, dtype=torch.float64)
    jumps = slope(ACTIVATIONS[name](), x).diff().abs()
    assert jumps.max() < 2 * 1e-4  # second derivatives are at most about 1.1; a kink would jump by 1


def test_parameters_of_activations_are_heeded() -> None:
    assert activation_lipschitz(nn.ELU(alpha=3.0)) == 3.0
    assert activation_lipschitz(nn.LeakyReLU(2.0)) == 2.0
    assert activation_lipschitz(nn.GELU(approximate="tanh")) is None
    assert activation_lipschitz(nn.Softmax()) is None


def test_an_unknown_activation_is_refused_with_the_nearest_match() -> None:
    from submanifold.nn import MLP

    with pytest.raises(InvalidInput, match=r"activation='silo' is unknown: did you mean 'silu'\?"):
        MLP([2, 3, 1], activation="silo")
