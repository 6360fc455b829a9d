r"""A KAN in words: which known function each edge is, and the network as a formula.

An edge that is c f(a x + b) + d, with f of `FUNCTIONS`, can be replaced by it. The network that results is a module as
before, whose a, b, c and d can be trained on, to more digits than splines reach; it writes itself down as an expression
(Liu et al. 2024, arXiv 2404.19756, section 2.5.1).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from submanifold.checks import check_choice, check_real, check_tensor
from submanifold.errors import InvalidInput
from submanifold.nn.kan.functions import FUNCTIONS, Array, Fit, best_fit
from submanifold.nn.kan.network import KAN
from submanifold.nn.kan.symbolic_network import SymbolicKAN, SymbolicLayer

__all__ = ["Edge", "formula", "snap", "suggest"]

Edge = tuple[int, int, int]
"""Layer, output and input, from 0."""

_POINTS = 300
"""Evenly spaced among what an edge sees, by rank."""


def suggest(kan: KAN, x: Tensor, *, functions: Sequence[str] | None = None) -> dict[Edge, list[Fit]]:
    """Known functions for each edge that is not pruned, best first.

    They are ranked by complexity plus log2 of the unexplained share of variance, see `Fit.rank`: a function may be more
    complex by one if it leaves half as much unexplained. Of edges that vary, the constant "0" is none.

    Args:
        kan: the network.
        x: data, (n, in_features), on which edges are compared with functions.
        functions: names, keys of `FUNCTIONS`; all by default.

    Raises:
        InvalidInput: for data of another shape, that are not finite or fewer than 5, an unknown function, or a network
            that says NaN or infinity on them.
    """
    names = _names(functions)
    return {edge: _ranked(names, said) for edge, said in _edges(kan, x).items()}


def snap(
    kan: KAN,
    x: Tensor,
    *,
    min_r2: float = 0.99,
    functions: Sequence[str] | None = None,
    choices: Mapping[Edge, str] | None = None,
) -> SymbolicKAN:
    """A network with known functions in place of edges.

    Args:
        kan: the network, which is not changed.
        x: data, (n, in_features), see `suggest`.
        min_r2: edges of which the best suggestion explains less of the variance stay splines.
        functions: names to choose from, keys of `FUNCTIONS`; all by default.
        choices: names of functions for some edges, whatever they explain.

    Raises:
        InvalidInput: as `suggest`; for a choice of an edge that there is not, or of a function that is not defined on
            what the edge sees, or is a polynomial there to rounding, such as exp on a straight edge.
    """
    check_real(min_r2, name="min_r2", high=1.0)
    names, choices = _names(functions), dict(choices or {})
    seen = _edges(kan, x)
    if unknown := sorted(set(choices) - set(seen)):
        raise InvalidInput(f"choices has the edge {unknown[0]}, which there is not: give (layer, output, input)")
    found: dict[Edge, Fit] = {}
    for edge, name in choices.items():
        fit = best_fit(check_choice(name, FUNCTIONS, name="choices"), *seen[edge])
        if fit is None:
            raise InvalidInput(
                f"choices has {name!r} for the edge {edge}, which is not defined on what it sees, or says no more "
                "there than a polynomial: give another"
            )
        found[edge] = fit
    for edge, said in seen.items():
        if edge not in found and (fits := _ranked(names, said)) and fits[0].r2 >= min_r2:
            found[edge] = fits[0]
    layers = []
    for index, layer in enumerate(kan.layers):
        of_layer = {(o, i): fit for (at, o, i), fit in found.items() if at == index}
        layers.append(SymbolicLayer(layer, of_layer))
    return SymbolicKAN(layers, x)


def formula(
    kan: KAN,
    x: Tensor,
    *,
    names: Sequence[str] | None = None,
    digits: int = 3,
    functions: Sequence[str] | None = None,
    min_r2: float = 0.9,
) -> list[str]:
    """Each output as an expression, of the known functions that edges resemble most; see `snap`, `SymbolicKAN`.

    Args:
        kan: the network, which is not changed.
        x: data, (n, in_features), see `suggest`.
        names: of the inputs; x1, x2, ... by default.
        digits: significant ones, see `SymbolicKAN.formula`.
        functions: names to choose from, keys of `FUNCTIONS`; all by default.
        min_r2: edges of which these explain less of the variance are written as phi_l_o_i, as they are.

    Raises:
        InvalidInput: as `snap`, or for another number of names than inputs.
    """
    return snap(kan, x, min_r2=min_r2, functions=functions).formula(names, digits=digits)


def _names(functions: Sequence[str] | None) -> list[str]:
    if functions is not None and not functions:
        raise InvalidInput("functions is empty: give at least one name, or None for all")
    return [check_choice(name, FUNCTIONS, name="functions") for name in functions or FUNCTIONS]


def _ranked(names: Sequence[str], said: tuple[Array, Array]) -> list[Fit]:
    """Best first, a constant only of what is constant."""
    fits = [fit for name in names if (fit := best_fit(name, *said)) is not None]
    return sorted((fit for fit in fits if fit.name != "0" or fit.r2 == 1), key=lambda fit: fit.rank)


@torch.no_grad()
def _edges(kan: KAN, x: Tensor) -> dict[Edge, tuple[Array, Array]]:
    """What each edge hears and says, (n,) each, sorted by the former; what varies by rounding alone is constant."""
    x = check_tensor(x, (kan.layers[0].in_features,)).to(kan.layers[0].coefficients)
    if len(x) < 5:
        raise InvalidInput(f"x holds {len(x)} points: give at least 5, to see functions by")
    found = {}
    for index, (layer, z) in enumerate(zip(kan.layers, kan.activations(x), strict=False)):
        ranks = torch.linspace(0, len(z) - 1, min(_POINTS, len(z))).round().long().to(z.device)
        z = z.sort(dim=0).values[ranks]  # each input for itself: edges do not see the others
        said = copy.deepcopy(layer).double().edges(z.double()).cpu().numpy()
        rounding = 64 * np.finfo(np.float64).eps
        said = np.where(said.std(axis=0) <= rounding * np.abs(said).max(axis=0), said.mean(axis=0), said)
        if not np.isfinite(said[:, layer.mask.cpu().numpy()]).all():
            raise InvalidInput(f"kan says NaN or infinity on x, in layer {index}: give one with finite parameters")
        heard: Array = z.double().cpu().numpy()
        for o, i in layer.mask.nonzero().tolist():
            found[index, o, i] = np.ascontiguousarray(heard[:, i]), np.ascontiguousarray(said[:, o, i])
    return found
