r"""Invertible maps between data and the coordinates a model works in, with their log-determinants.

Notation: x is data, (..., *data_shape), D its number of coordinates; u = T(x) the coordinates of the model. A density
q of u is the density p(x) = q(T(x)) |det dT/dx| of x, so that `log_det` keeps likelihoods in the units of the data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from submanifold.checks import check_choice
from submanifold.data.maps import MAPS, Dequantise, Lattice, Map
from submanifold.errors import InvalidInput, UnfittedModel

__all__ = ["Preprocess", "accepted", "dequantised"]


class Preprocess(nn.Module):
    r"""A composition T = T_k \circ ... \circ T_1 of named invertible maps, fitted on training data.

    `Preprocess(("dequantise", "scale"), (1, 8, 8))` first dequantises. Without names it is the identity and
    needs no fitting. Every method takes a batch (n, *data_shape), or one point (*data_shape), and works under
    `torch.func` transforms (in training mode "dequantise" asks for `randomness="different"`).

    Args:
        names: any of "scale", "standardise", "whiten", "dequantise", "logit", "lattice", applied in this order;
            "dequantise" and "lattice", which look at the levels of the data, first.
        data_shape: shape of one point.

    Raises:
        InvalidInput: for an unknown name, or one that has to be first and is not.
        UnfittedModel: when used before `fit`.
    """

    is_fitted: Tensor

    def __init__(self, names: Sequence[str], data_shape: Sequence[int]) -> None:
        super().__init__()
        if isinstance(names, str) or not isinstance(names, Sequence):
            raise InvalidInput(f"preprocess={names!r} is not accepted: give a list of names out of {', '.join(MAPS)}")
        self.names = tuple(check_choice(name, MAPS, name="preprocess") for name in names)
        late = [name for name in self.names[1:] if name in ("dequantise", "lattice")]
        if late:
            raise InvalidInput(
                f"preprocess={list(names)!r} is not accepted: {late[0]} looks at the levels of the data, which the "
                "maps before it would change, so give it first"
            )
        self.data_shape = tuple(data_shape)
        self.maps = nn.ModuleList(MAPS[name](self.data_shape) for name in self.names)
        self.register_buffer("is_fitted", torch.tensor(not self.names))

    @property
    def _steps(self) -> list[Map]:
        return cast("list[Map]", list(self.maps))

    @property
    def fitted(self) -> bool:
        """Whether the statistics are known."""
        return bool(self.is_fitted)

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Read the statistics of each map off data (n, *data_shape) that passed through the maps before it."""
        u = x.detach().double()
        with self.mode(training=True):  # what follows "dequantise" must expect its noise
            for step in self._steps:
                step.fit(u)
                u = step(u)
        self.is_fitted.fill_(True)

    @contextmanager
    def mode(self, *, training: bool) -> Iterator[None]:
        """Within, with the noise that "dequantise" adds in training, or without."""
        before = self.training
        self.train(training)
        try:
            yield
        finally:
            self.train(before)

    def require_fitted(self) -> None:
        """Refuse to go on before `fit`."""
        if not self.fitted:
            raise UnfittedModel(f"the preprocessing {self.names} has not seen data: fit the model first")

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """u = T(x), and log |det du/dx| in nats, (n,)."""
        self.require_fitted()
        total = x.new_zeros(x.shape[: x.ndim - len(self.data_shape)])
        for step in self._steps:
            total = total + step.log_det(x)
            x = step(x)
        return x, total

    def forward(self, x: Tensor) -> Tensor:
        """u = T(x)."""
        self.require_fitted()
        for step in self._steps:
            x = step(x)
        return x

    def inverse(self, u: Tensor) -> Tensor:
        """x = T^{-1}(u); the inverse of "dequantise" is the identity."""
        self.require_fitted()
        for step in reversed(self._steps):
            u = step.inverse(u)
        return u

    def inverse_derivative(self, u: Tensor) -> Tensor:
        r"""dT^{-1}/du at points u, (n, G, G, D / G), without a graph, of the only coordinates that reach each other.

        Maps move each coordinate by itself, or mix the features at each place (coordinates of a vector, channels of a
        pixel): entry (b, a, p) is that of feature b by feature a, both at the p-th place. Where no map mixes there is
        one feature, G = 1, and each coordinate is a place of its own.
        """
        G = self.data_shape[0] if any(step.mixes_features for step in self._steps) else 1
        each = torch.eye(G, device=u.device, dtype=u.dtype)  # output feature b, at all places at once
        picks = each.reshape(G, 1, G, 1).expand(G, len(u), G, u[0].numel() // G).reshape(G, *u.shape)
        with torch.enable_grad():
            at = u.detach().requires_grad_()
            (rows,) = torch.autograd.grad(self.inverse(at), at, picks if G > 1 else picks[0], is_grads_batched=G > 1)
        return rows.reshape(G, len(u), G, -1).movedim(0, 1)

    def inverse_bounds(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Bounds of T^{-1} on boxes, (n, *data_shape) each, in exact arithmetic."""
        self.require_fitted()
        for step in reversed(self._steps):
            low, high = step.inverse_bounds(low, high)
        return low, high

    def accepts(self, x: Tensor) -> Tensor:
        """Which points of x the maps are defined at, (n,): with "lattice" those on the levels that were seen."""
        first = next(iter(self._steps), None)
        return first.holds(x) if isinstance(first, Lattice) else x.new_ones(len(x), dtype=torch.bool)

    def log_det(self, x: Tensor) -> Tensor:
        """log |det du/dx| at x in nats, (n,)."""
        return self.forward_and_log_det(x)[1]

    def inverse_lipschitz(self) -> float:
        """A certified Lipschitz constant of T^{-1}: the product of those of its parts."""
        self.require_fitted()
        return math.prod(step.inverse_lipschitz() for step in self._steps)

    def extra_repr(self) -> str:
        return f"names={self.names}"


def dequantised(module: nn.Module, x: Tensor) -> Tensor:
    """Points x, (n, *data_shape), as they are to `module` in training: noised where it dequantises them.

    The noise comes from torch's global generator.
    """
    for part in _of(module, x):
        if "dequantise" in part.names:
            return cast("Dequantise", part.maps[0]).noised(x)
    return x


def accepted(module: nn.Module, x: Tensor) -> Tensor:
    """Which of the points x, (n, *data_shape), `module` can be asked about, (n,), as far as its preprocessing goes."""
    on = x.new_ones(len(x), dtype=torch.bool)
    for part in _of(module, x):
        on &= part.accepts(x)
    return on


def _of(module: nn.Module, x: Tensor) -> Iterator[Preprocess]:
    """The preprocessings in `module` of points shaped like those of x."""
    parts = (part for part in module.modules() if isinstance(part, Preprocess))
    return (part for part in parts if part.data_shape == tuple(x.shape[1:]))
