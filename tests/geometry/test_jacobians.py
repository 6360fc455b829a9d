"""Jacobians: closed forms, an independent differentiation, differences, and no traces left behind."""

import doctest
import math

import numpy as np
import pytest
import torch

import submanifold.geometry.jacobians
from submanifold.errors import InvalidInput
from submanifold.geometry import jacobian
from submanifold.nn import MLP, decoder, encoder


@pytest.mark.parametrize(("D", "d"), [(5, 2), (2, 5), (3, 3), (1, 1), (1, 4)])
def test_a_linear_map_is_its_own_jacobian(D: int, d: int) -> None:
    A = torch.randn(D, d, dtype=torch.float64)
    J = jacobian(lambda z: z @ A.T, torch.randn(6, d, dtype=torch.float64))
    torch.testing.assert_close(J, A.expand(6, D, d), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(("shape", "D"), [((7,), 3), ((3,), 7), ((2, 2, 2), 5)])
def test_directions_in_parts_are_those_at_once(shape: tuple[int, ...], D: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(math.prod(shape), D), torch.nn.Tanh()).double()
    z = torch.randn(4, *shape, dtype=torch.float64)
    at_once = jacobian(net, z)
    monkeypatch.setattr(submanifold.geometry.jacobians, "_WITHIN", 60)  # two directions, of all that the net holds
    torch.testing.assert_close(jacobian(net, z), at_once, rtol=1e-13, atol=1e-13)


def test_weights_are_not_what_a_map_holds_for_a_point() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(300, 200), torch.nn.Linear(200, 300))
    with submanifold.geometry.jacobians._Largest() as made:
        net(torch.zeros(1, 300))
    assert made.numbers == 300


def test_maps_that_hold_much_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """As attention, which holds a number for each pair of coordinates, does."""
    monkeypatch.setattr(submanifold.geometry.jacobians, "_WITHIN", 2**18)
    z = torch.rand(2, 200, dtype=torch.float64)

    def f(z: torch.Tensor) -> torch.Tensor:
        return ((z[:, :, None] * z[:, None, :]).softmax(dim=2) * z[:, None, :]).sum(dim=2)

    with submanifold.geometry.jacobians._Largest() as made:
        J = jacobian(f, z)
    assert made.numbers <= 2**19  # of 200 directions at once there would be 8 million
    monkeypatch.undo()
    torch.testing.assert_close(J, jacobian(f, z), rtol=1e-12, atol=1e-12)


def test_polar_coordinates() -> None:
    def f(z: torch.Tensor) -> torch.Tensor:
        return torch.stack([z[:, 0] * z[:, 1].cos(), z[:, 0] * z[:, 1].sin()], dim=1)

    z = torch.rand(9, 2, dtype=torch.float64) + 0.5
    r, t = z.T
    expected = torch.stack([torch.stack([t.cos(), -r * t.sin()], 1), torch.stack([t.sin(), r * t.cos()], 1)], 1)
    torch.testing.assert_close(jacobian(f, z), expected, rtol=1e-14, atol=1e-14)


def networks() -> list[tuple[torch.nn.Module, tuple[int, ...]]]:
    torch.manual_seed(0)
    return [
        (MLP([3, 16, 10], "gelu"), (3,)),
        (MLP([10, 16, 3], "softplus"), (10,)),
        (decoder("conv", 3, (1, 9, 8), (8,)), (3,)),
        (encoder("conv", (1, 9, 8), 3, (8,)), (1, 9, 8)),
    ]


@pytest.mark.parametrize(("network", "in_shape"), networks())
def test_agrees_with_reverse_mode_row_by_row_and_with_differences(
    network: torch.nn.Module, in_shape: tuple[int, ...]
) -> None:
    network = network.double()
    z = torch.randn(4, *in_shape, dtype=torch.float64)
    d = int(np.prod(in_shape))
    J = jacobian(network, z)
    for row, J_row in zip(z, J, strict=True):
        reference = torch.autograd.functional.jacobian(lambda t: network(t[None])[0], row)
        torch.testing.assert_close(J_row, reference.reshape(-1, d), rtol=1e-10, atol=1e-13)
    h = 1e-5
    step = h * torch.eye(d, dtype=torch.float64).reshape(d, *in_shape)
    with torch.no_grad():
        differences = torch.stack([(network(z + e) - network(z - e)).flatten(1) for e in step], 2)
    torch.testing.assert_close(J, differences / (2 * h), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("chunk_size", [1, 3, 7, 100])
def test_chunks_do_not_change_the_result(chunk_size: int) -> None:
    f, z = MLP([2, 8, 5]).double(), torch.randn(7, 2, dtype=torch.float64)
    torch.testing.assert_close(jacobian(f, z, chunk_size=chunk_size), jacobian(f, z), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("d", "D"), [(2, 5), (5, 2)])
@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_works_in_every_gradient_mode_and_leaves_no_trace(d: int, D: int, context: type[torch.no_grad]) -> None:
    f = MLP([d, 8, D]).double()
    z = torch.randn(5, d, dtype=torch.float64, requires_grad=True)
    before, expected = z.detach().clone(), jacobian(f, z.detach())
    with context():
        J = jacobian(f, z)
    assert not J.requires_grad
    assert J.grad_fn is None
    assert z.grad is None
    assert all(p.grad is None and p.requires_grad for p in f.parameters())
    assert torch.equal(z, before)
    assert torch.is_grad_enabled()
    torch.testing.assert_close(J.clone(), expected, rtol=1e-12, atol=1e-15)


def test_points_need_not_be_contiguous_and_the_dtype_is_kept() -> None:
    f, z = MLP([3, 8, 5]), torch.randn(3, 6).T
    torch.testing.assert_close(jacobian(f, z), jacobian(f, z.contiguous()))
    assert jacobian(f, z).dtype == torch.float32


def test_the_chain_rule() -> None:
    f, g = MLP([2, 8, 4]).double(), MLP([4, 8, 6]).double()
    z = torch.randn(5, 2, dtype=torch.float64)
    composed = jacobian(lambda t: g(f(t)), z)
    torch.testing.assert_close(composed, jacobian(g, f(z)) @ jacobian(f, z), rtol=1e-10, atol=1e-13)


def test_the_example_in_the_documentation_runs() -> None:
    assert doctest.testmod(submanifold.geometry.jacobians).failed == 0


def test_bad_points_are_refused() -> None:
    f = MLP([2, 3])
    for z in (torch.zeros(0, 2), torch.zeros(2), torch.zeros(3, 2, dtype=torch.int64)):
        with pytest.raises(InvalidInput, match="z has shape"):
            jacobian(f, z)
    with pytest.raises(InvalidInput, match="chunk_size=0"):
        jacobian(f, torch.zeros(3, 2), chunk_size=0)
