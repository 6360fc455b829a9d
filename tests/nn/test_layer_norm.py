"""Layer normalisation: torch's values, and second derivatives by every road."""

import torch

from submanifold.nn.layer_norm import LayerNorm


def test_values_are_those_of_torch() -> None:
    h = 3 + 2 * torch.randn(4, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(LayerNorm()(h), torch.nn.functional.layer_norm(h, (6,)))


def test_second_derivatives_are_the_same_by_every_road() -> None:
    torch.manual_seed(0)
    h, r = torch.randn(2, 5, dtype=torch.float64)

    def f(h: torch.Tensor) -> torch.Tensor:
        return (LayerNorm()(h) * r).sum()

    forwards, backwards = torch.func.jacfwd, torch.func.jacrev
    expected = backwards(backwards(f))(h)
    for outer, inner in ((forwards, backwards), (backwards, forwards), (forwards, forwards)):
        torch.testing.assert_close(outer(inner(f))(h), expected)
