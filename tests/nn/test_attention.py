"""Attention: the formula, and that a sequence has no order of its own."""

import math

import pytest
import torch

from submanifold.errors import InvalidInput
from submanifold.nn.attention import SelfAttention


def test_members_ask_by_softmax_in_each_head() -> None:
    torch.manual_seed(0)
    attention = SelfAttention(6, heads=2).double()
    h = torch.randn(4, 5, 6, dtype=torch.float64)
    q, k, v = attention.query_key_value(h).split(6, dim=-1)
    seen = []
    for part in (slice(0, 3), slice(3, 6)):
        weights = (q[..., part] @ k[..., part].mT / math.sqrt(3)).softmax(dim=-1)
        seen.append(weights @ v[..., part])
    torch.testing.assert_close(attention(h), attention.mix(torch.cat(seen, dim=-1)))


def test_a_sequence_in_another_order_gives_the_same_in_that_order() -> None:
    attention = SelfAttention(8, heads=4).double()
    h, order = torch.randn(2, 7, 8, dtype=torch.float64), torch.randperm(7)
    torch.testing.assert_close(attention(h[:, order]), attention(h)[:, order])


def test_heads_divide_the_width() -> None:
    with pytest.raises(InvalidInput, match="width=6 is not accepted by attention: give a multiple of 4"):
        SelfAttention(6, heads=4)
