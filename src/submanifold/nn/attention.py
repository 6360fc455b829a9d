"""Attention among the members of a sequence."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from submanifold.checks import check_int
from submanifold.errors import InvalidInput

__all__ = ["SelfAttention"]


class SelfAttention(nn.Module):
    """Each member of a sequence asks all of them (Vaswani et al. 2017, arXiv 1706.03762, section 3.2).

    Args:
        width: of the members.
        heads: into which the width is split, a divisor of it.

    Raises:
        InvalidInput: for a width that is not a multiple of the heads.
    """

    def __init__(self, width: int, heads: int = 1) -> None:
        super().__init__()
        if width % check_int(heads, name="heads"):
            raise InvalidInput(f"width={width} is not accepted by attention: give a multiple of {heads}")
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)

    def forward(self, h: Tensor) -> Tensor:
        """(n, length, width) to the same."""
        parts = self.query_key_value(h).chunk(3, dim=2)
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)  # (n, heads, length, -1)
        with sdpa_kernel(SDPBackend.MATH):  # of the ways to attend, the one with derivatives of all kinds
            seen = functional.scaled_dot_product_attention(q, k, v)
        mixed: Tensor = self.mix(seen.transpose(1, 2).flatten(2))  # (n, length, width)
        return mixed
