"""Kolmogorov-Arnold networks."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from submanifold.checks import check_choice, check_ints
from submanifold.errors import InvalidInput
from submanifold.nn.kan.bases import BASES, BSplines
from submanifold.nn.kan.linear import KANLinear
from submanifold.nn.kan.parameters import replace_data

__all__ = ["KAN", "check_options", "inner_kan"]

_INNER: dict[str, Any] = {"grid": 6, "grid_range": (-3.0, 3.0)}
"""What a KAN inside a model is by default: its grids hold what standard normal numbers are."""


class KAN(nn.Sequential):
    r"""Layers of learned functions of single numbers and their sums, f = \Phi_L \circ \dots \circ \Phi_1 (Liu et al.
    2024, arXiv 2404.19756, eq. 2.7).

    Maps (..., widths[0]) to (..., widths[-1]); it stands wherever an MLP of these widths does, of which it is an
    equivalent with learned activations on the edges in place of fixed ones at the nodes.

    `load_state_dict` takes the weights of such a network after it was pruned too, or its grids were refined: it has as
    many nodes and intervals then.

    Args:
        widths: numbers of nodes, such as [64, 32, 2].
        **options: of each layer, see `KANLinear`: `grid`, `order`, `grid_range`, `basis`, ...

    Raises:
        InvalidInput: for fewer than two widths, or an argument that is not accepted.

    Example:
        >>> import torch
        >>> from submanifold.nn import KAN
        >>> KAN([3, 8, 2], grid=5, order=3)(torch.zeros(5, 3)).shape
        torch.Size([5, 2])
    """

    def __init__(self, widths: Sequence[int], **options: Any) -> None:
        self.widths = tuple(check_ints(widths, name="widths"))
        """As it was made; pruned networks have fewer hidden nodes."""
        if len(self.widths) < 2:
            raise InvalidInput(f"widths={widths!r} is not accepted: give at least an input and an output")
        super().__init__(*(KANLinear(fan_in, fan_out, **options) for fan_in, fan_out in pairwise(self.widths)))

    @property
    def layers(self) -> list[KANLinear]:
        """In order."""
        return [layer for layer in self if isinstance(layer, KANLinear)]

    def activations(self, x: Tensor) -> list[Tensor]:
        """What each layer sees, and the output: x (..., widths[0]) to tensors (..., widths[l])."""
        seen = [x]
        for layer in self.layers:
            seen.append(layer(seen[-1]))
        return seen

    def take_widths(self, widths: Sequence[int]) -> None:
        """Become as wide as a network that was this one when it was made, and was pruned; what edges say is lost.

        Raises:
            InvalidInput: for another number of widths, of inputs or of outputs, or more hidden nodes than there were.
        """
        fits = len(widths) == len(self.widths) == len(self.layers) + 1
        fits = fits and (widths[0], widths[-1]) == (self.widths[0], self.widths[-1])
        if not fits or not all(1 <= given <= most for given, most in zip(widths, self.widths, strict=True)):
            raise InvalidInput(f"widths {list(widths)} are not those of a pruned KAN of widths {list(self.widths)}")
        for layer, (fan_in, fan_out) in zip(self.layers, pairwise(widths), strict=True):
            if (layer.in_features, layer.out_features) != (fan_in, fan_out):
                _resize(layer, fan_in, fan_out)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        masks = [state_dict.get(f"{prefix}{index}.mask") for index in range(len(self))]
        shapes = [tuple(mask.shape) for mask in masks if isinstance(mask, Tensor) and mask.ndim == 2]
        here = [(layer.out_features, layer.in_features) for layer in self.layers]
        is_chain = all(before[0] == after[1] for before, after in pairwise(shapes))
        if len(shapes) == len(here) and shapes != here and is_chain:
            self.take_widths([shapes[0][1], *(fan_out for fan_out, _ in shapes)])
        super()._load_from_state_dict(state_dict, prefix, *args)


def inner_kan(widths: Sequence[int], **options: Any) -> KAN:
    """A KAN as models have it inside, see `check_options` for the options."""
    accepted = _options_of(options.get("basis", "bspline"))
    return KAN(widths, **({name: value for name, value in _INNER.items() if name in accepted} | options))


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse options of `network={"name": "kan", ...}` that no KAN with this basis has; layers check their values.

    Raises:
        InvalidInput: for an unknown option or basis.
    """
    basis = options.get("basis", "bspline")
    accepted = _options_of(basis)
    for name in options:
        if name not in accepted:
            raise InvalidInput(
                f'network={{"name": "kan", ...}} has the option {name!r}: with basis={basis!r} a KAN takes '
                f"{', '.join(accepted)}"
            )


def _options_of(basis: str) -> list[str]:
    """What a layer with this basis is made with, besides its sizes, sorted."""
    of_layer = inspect.signature(KANLinear.__init__).parameters.values()
    make = BASES[check_choice(basis, BASES, name="basis")]
    named = {parameter.name for parameter in of_layer if parameter.kind is parameter.KEYWORD_ONLY}
    return sorted(named | {*inspect.signature(make).parameters} - {"in_features"})


def _resize(layer: KANLinear, in_features: int, out_features: int) -> None:
    """Other numbers of nodes, in place; numbers are lost, parameters stay the same objects."""
    shape = (out_features, in_features)
    for parameter in layer.parameters(recurse=False):
        replace_data(parameter, parameter.new_zeros(*shape, *parameter.shape[2:]))
    layer.mask = layer.mask.new_ones(shape)
    layer.in_features, layer.out_features = in_features, out_features
    layer.basis.in_features = in_features
    if isinstance(layer.basis, BSplines):  # each input's grid comes with its weights
        layer.basis.set_breakpoints(layer.basis.breakpoints[:1].repeat(in_features, 1))
