"""Divergences of fields against closed forms and Jacobians, and their estimates."""

import math

import pytest
import torch

from submanifold.errors import InvalidInput
from submanifold.geometry import divergence, divergence_along, jacobian

D, N = 5, 7
MATRIX = torch.randn(D, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
POINTS = torch.randn(N, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def bent(y):
    return (y @ MATRIX).sin() + y.square()


@pytest.mark.parametrize("chunk_size", [None, 1, 2, 64])
def test_the_divergence_is_the_trace_of_the_jacobian(chunk_size):
    values, found = divergence(bent, POINTS, chunk_size=chunk_size)
    torch.testing.assert_close(values, bent(POINTS))
    torch.testing.assert_close(found, jacobian(bent, POINTS).diagonal(dim1=1, dim2=2).sum(dim=1))


def test_along_the_axes_it_is_the_diagonal():
    axes = torch.eye(D, dtype=torch.float64)[:, None].expand(D, N, D)
    values, found = divergence_along(bent, POINTS, axes, chunk_size=2)
    torch.testing.assert_close(values, bent(POINTS))
    torch.testing.assert_close(found.mT, jacobian(bent, POINTS).diagonal(dim1=1, dim2=2))


@pytest.mark.parametrize("seed", range(3))
def test_random_signs_find_it_on_average(seed):
    """Within four standard errors of 4000 directions, at every point."""
    signs = torch.randint(2, (4000, N, D), generator=torch.Generator().manual_seed(seed)).double() * 2 - 1
    found = divergence_along(bent, POINTS, signs)[1]
    exact = divergence(bent, POINTS)[1]
    assert ((found.mean(dim=0) - exact).abs() < 4 * found.std(dim=0) / math.sqrt(4000)).all()


def test_gradients_pass():
    """Of tr grad (y^3) = 3 |y|^2 that is 6 y."""
    y = POINTS.clone().requires_grad_()
    divergence(lambda v: v**3, y)[1].sum().backward()
    torch.testing.assert_close(y.grad, 6 * POINTS)


def test_a_chunk_of_nothing_is_refused():
    with pytest.raises(InvalidInput, match="chunk_size=0"):
        divergence(bent, POINTS, chunk_size=0)
