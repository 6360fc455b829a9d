"""Networks in which what is said of a coordinate depends on those before it alone.

A causal network maps y (n, D) to features (n, D, out) such that row i depends on y_1, ..., y_{i-1}. For sampling, which
learns one coordinate at a time, `begin` and `advance` give the same rows one by one from what was kept of the rows
before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from submanifold.checks import check_int, check_ints
from submanifold.errors import InvalidInput
from submanifold.nn.activations import activation as make_activation
from submanifold.nn.given import (
    OneNetwork,
    is_given,
    made_network,
    named,
    of_their_kind,
    on_trial,
    require_shape,
    word,
)
from submanifold.nn.kan.masked import KANConditioner

__all__ = ["CAUSAL", "CausalNetwork", "CausalTransformer", "Constant", "MaskedKAN", "MaskedMLP", "causal_network"]


class CausalNetwork(nn.Module, ABC):
    """Maps y (n, D) to features (n, D, out), row i from the coordinates before the i-th."""

    @abstractmethod
    def forward(self, y: Tensor) -> Tensor:
        """All rows at once, (n, D, out)."""

    @abstractmethod
    def begin(self, n: int) -> tuple[Tensor, Any]:
        """The first row, (n, out), and what is kept for the next."""

    @abstractmethod
    def advance(self, y: Tensor, state: Any) -> tuple[Tensor, Any]:
        """The next row, (n, out), now that the coordinate y (n,) is known, and what is kept for the one after."""


class Constant(CausalNetwork):
    """One coordinate, which depends on nothing."""

    def __init__(self, out: int) -> None:
        super().__init__()
        self.features = nn.Parameter(0.1 * torch.randn(out))

    def forward(self, y: Tensor) -> Tensor:
        return self.features.expand(len(y), 1, -1)

    def begin(self, n: int) -> tuple[Tensor, Any]:
        return self.features.expand(n, -1), None

    def advance(self, y: Tensor, state: Any) -> tuple[Tensor, Any]:
        raise IndexError("there is one coordinate")


class _MaskedLinear(nn.Linear):
    """An affine map of which weights are zero where `mask` (out, in) is false."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight * self.mask, self.bias)

    def part(self, x: Tensor, rows: slice) -> Tensor:
        """Some of the outputs."""
        return functional.linear(x, self.weight[rows] * self.mask[rows], self.bias[rows])


class MaskedMLP(CausalNetwork):
    r"""The masked autoencoder for distribution estimation (Germain et al. 2015, arXiv 1502.03509).

    Unit k of a hidden layer has a degree m(k) in 1, ..., D - 1 and sees those with degrees up to m(k) (eq. 13); the
    i-th outputs see degrees below i (eq. 14). Degrees are spread evenly.
    """

    def __init__(self, D: int, out: int, hidden: Sequence[int], activation: str = "silu") -> None:
        super().__init__()
        self.out = out
        order = torch.arange(1, D + 1)
        degrees = [order, *(_spread(width, D) for width in hidden)]
        first, *others = (_MaskedLinear(b[:, None] >= a) for a, b in pairwise(degrees))
        self.first = first
        self.middle = nn.Sequential(make_activation(activation))
        for layer in others:
            self.middle.extend([layer, make_activation(activation)])
        self.last = _MaskedLinear((order[:, None] > degrees[-1]).repeat_interleave(out, dim=0))

    def forward(self, y: Tensor) -> Tensor:
        features: Tensor = self.last(self.middle(self.first(y)))
        return features.reshape(len(y), -1, self.out)

    def begin(self, n: int) -> tuple[Tensor, Any]:
        return self._row(self.first.bias.expand(n, -1), 0)

    def advance(self, y: Tensor, state: Any) -> tuple[Tensor, Any]:
        h, i = state
        return self._row(h + y[:, None] * (self.first.weight[:, i] * self.first.mask[:, i]), i + 1)

    def _row(self, h: Tensor, i: int) -> tuple[Tensor, Any]:
        """The i-th row, from the first layer's outputs h of the coordinates that are known."""
        return self.last.part(self.middle(h), slice(i * self.out, (i + 1) * self.out)), (h, i)


class MaskedKAN(CausalNetwork):
    """The same of a Kolmogorov-Arnold network: an edge there is where degrees allow it.

    What is said of the first coordinate depends on nothing, and is a level of its own.
    """

    def __init__(self, D: int, out: int, hidden: Sequence[int], **options: Any) -> None:
        super().__init__()
        self.out = out
        order = torch.arange(1, D + 1)
        self.conditioner = KANConditioner(order, order.repeat_interleave(out), hidden, **options)
        with torch.no_grad():  # the features of a coordinate differ from the start
            self.conditioner.level.normal_(std=0.1)

    def forward(self, y: Tensor) -> Tensor:
        features: Tensor = self.conditioner(y)
        return features.reshape(len(y), -1, self.out)

    def begin(self, n: int) -> tuple[Tensor, Any]:
        level = self.conditioner.level
        return level[: self.out].expand(n, -1), (level.new_zeros(n, len(level) // self.out), 0)

    def advance(self, y: Tensor, state: Any) -> tuple[Tensor, Any]:
        known, i = state
        known = torch.cat([known[:, :i], y[:, None], known[:, i + 1 :]], dim=1)
        return self(known)[:, i + 1], (known, i + 1)


class CausalTransformer(CausalNetwork):
    """A transformer over the coordinates as a sequence, with a start in front (Vaswani et al. 2017, arXiv 1706.03762).

    Blocks are normalised before attention and before their two dense layers. The sequence is as long as there are
    coordinates, and time is its square.

    Args:
        D: number of coordinates.
        out: features of each.
        hidden: width of each block, all equal.
        heads: of attention; the width is a multiple of them.
    """

    def __init__(self, D: int, out: int, hidden: Sequence[int], heads: int = 2) -> None:
        super().__init__()
        width = check_ints(hidden, name="hidden")[0]
        if len(set(hidden)) > 1 or width % check_int(heads, name="heads"):
            raise InvalidInput(
                f"hidden={tuple(hidden)} is not accepted by a transformer: give one width for all blocks, a multiple "
                f"of {heads}"
            )
        self.D = D
        self.start = nn.Parameter(0.1 * torch.randn(width))
        self.value = nn.Linear(1, width)
        self.position = nn.Parameter(0.1 * torch.randn(D, width))
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in hidden)
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, out)

    def forward(self, y: Tensor) -> Tensor:
        known = self.value(y[:, :-1, None])  # (n, D - 1, width)
        h = torch.cat([self.start.expand(len(y), 1, -1), known], dim=1) + self.position
        for block in self.blocks:
            h, _ = block(h, None)
        features: Tensor = self.last(self.norm(h))
        return features

    def begin(self, n: int) -> tuple[Tensor, Any]:
        return self._step(self.start.expand(n, 1, -1), 0, [None] * len(self.blocks))

    def advance(self, y: Tensor, state: Any) -> tuple[Tensor, Any]:
        i, kept = state
        return self._step(self.value(y[:, None, None]), i + 1, kept)

    def _step(self, h: Tensor, i: int, kept: Sequence[tuple[Tensor, Tensor] | None]) -> tuple[Tensor, Any]:
        h = h + self.position[i]
        keeping = []
        for block, past in zip(self.blocks, kept, strict=True):
            h, seen = block(h, past)
            keeping.append(seen)
        return self.last(self.norm(h))[:, 0], (i, keeping)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_dense = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.dense = nn.Sequential(nn.Linear(width, 4 * width), make_activation("gelu"), nn.Linear(4 * width, width))

    def forward(self, h: Tensor, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """h (n, s, width) after the positions of which keys and values are in `past`, and all keys and values."""
        parts = self.query_key_value(self.before_attention(h)).chunk(3, dim=2)
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)  # (n, heads, s, width/heads)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=past is None)
        h = h + self.mix(seen.transpose(1, 2).flatten(2))
        return h + self.dense(self.before_dense(h)), (k, v)


CAUSAL: dict[str, Callable[..., CausalNetwork]] = {
    "kan": MaskedKAN,
    "masked": MaskedMLP,
    "transformer": CausalTransformer,
}
"""The causal networks by name, built as (D, out, hidden), with options by keyword."""


def causal_network(network: OneNetwork, D: int, out: int, hidden: Sequence[int]) -> CausalNetwork:
    """A causal network for D coordinates with `out` features each.

    Args:
        network: a key of `CAUSAL`, of which "kan" may have options, as {"name": "kan", "grid": 20}, or a
            `CausalNetwork`, or a callable that makes one for the shapes (D,) and (D, out).
        D: number of coordinates.
        out: features of each.
        hidden: widths of the layers. A module has its own.

    Raises:
        InvalidInput: for an unknown network, widths that it cannot have, or a module of which a row depends on other
            coordinates than those before it.
    """
    if is_given(network):
        return _given(network, D, out)
    (name, options), hidden = named(network, CAUSAL), check_ints(hidden, name="hidden")
    if not hidden:
        raise InvalidInput("hidden is empty: give at least one width")
    return Constant(out) if D == 1 else CAUSAL[name](D, out, hidden, **options)


def _given(network: OneNetwork, D: int, out: int) -> CausalNetwork:
    module = made_network(network, (D,), (D, out), role="conditioner")
    if not isinstance(module, CausalNetwork):
        raise InvalidInput(
            f"network={word(network)} is not accepted: what is said of a coordinate may depend on those before it "
            "alone, one after the other when it samples, which other networks are not made for; give "
            f"{', '.join(map(repr, CAUSAL))}, or a submanifold.nn.CausalNetwork"
        )
    require_shape(module, [(D,)], (D, out), role="conditioner")
    y = of_their_kind(module, (1, D))
    with on_trial(module):
        before = module(y)
        seen = {i: module(torch.cat([y[:, :i], y[:, i:] + 1], dim=1)) for i in (0, D // 2, D - 1)}
    for i, after in seen.items():
        if not torch.allclose(after[:, : i + 1], before[:, : i + 1]):
            raise InvalidInput(
                f"network={word(network)} is not causal: give one of which row {i} does not change with the "
                f"coordinates from {i} on"
            )
    return module


def _spread(width: int, D: int) -> Tensor:
    """`width` degrees from 1 to D - 1, ascending."""
    return 1 + torch.arange(width) * (D - 1) // width
