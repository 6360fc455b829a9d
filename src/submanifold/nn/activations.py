r"""Smooth activations by name, and how steep each one is.

The Lipschitz constant of an activation \phi is \sup_x |\phi'(x)|. It is not 1 for the activations
that overshoot:

- SiLU, x s(x): \phi'' = 0 where x \tanh(x/2) = 2, at x = 2.39935..., where \phi' = 1.09983...;
- GELU, x \Phi(x): \phi'' = 0 at x = \sqrt 2, where \phi' = \Phi(\sqrt 2) + \pi^{-1/2} e^{-1} =
  1.12890....

The constants below are rounded up in the last digit, so that products of them stay upper bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from submanifold.checks import check_choice

__all__ = ["ACTIVATIONS", "activation", "activation_lipschitz", "activation_range"]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
}
"""Activations with a continuous slope: a network of them has a Jacobian at every point."""

_LIPSCHITZ: dict[type[nn.Module], float] = {
    nn.GELU: 1.1289041451852,
    nn.ReLU: 1.0,
    nn.Sigmoid: 0.25,
    nn.SiLU: 1.0998393201289,
    nn.Softplus: 1.0,
    nn.Tanh: 1.0,
}

_LOWEST: dict[type[nn.Module], float] = {
    nn.ELU: -math.inf,
    nn.GELU: -0.7517915246935645,
    nn.LeakyReLU: -math.inf,
    nn.ReLU: -math.inf,
    nn.SiLU: -1.2784645427610738,
    nn.Sigmoid: -math.inf,
    nn.Softplus: -math.inf,
    nn.Tanh: -math.inf,
}
"""Where each activation is least; it falls before and rises after."""

_STEP = 2.1e-9
r"""By how much softplus falls where torch takes x for it, at x = 20 / \beta, times \beta: log(1 + e^{-20})."""


def activation(name: str) -> nn.Module:
    """A new module of the activation called `name`.

    Raises:
        InvalidInput: if `name` is not a key of `ACTIVATIONS`.
    """
    return ACTIVATIONS[check_choice(name, ACTIVATIONS, name="activation")]()


def activation_lipschitz(module: nn.Module) -> float | None:
    """The Lipschitz constant of an elementwise activation module, or None if it is not a known
    one."""
    if type(module) is nn.ELU:
        return max(1.0, abs(module.alpha))
    if type(module) is nn.LeakyReLU:
        return max(1.0, abs(module.negative_slope))
    if type(module) is nn.GELU and module.approximate != "none":
        return None
    if _jumps(module):
        return None
    return _LIPSCHITZ.get(type(module))


def activation_range(module: nn.Module, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor] | None:
    """The least and the largest value of an elementwise activation between `low` and `high`, up to rounding, or None if
    it is not a known one."""
    lowest = _LOWEST.get(type(module))
    falls = min(getattr(module, "alpha", 0.0), getattr(module, "negative_slope", 0.0)) < 0
    if lowest is None or falls or getattr(module, "approximate", "none") != "none" or _jumps(module):
        return None
    slack = _STEP / module.beta if type(module) is nn.Softplus else 0.0
    least = module(torch.minimum(torch.maximum(torch.full_like(low, lowest), low), high))
    return least - slack, torch.maximum(module(low.clone()), module(high.clone())) + slack  # some work in place


def _jumps(module: nn.Module) -> bool:
    """Whether it is a softplus for which torch takes x where they differ."""
    return type(module) is nn.Softplus and (module.threshold < 20 or module.beta <= 0)
