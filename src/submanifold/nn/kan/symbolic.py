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
from torch import Tensor, nn

from submanifold.checks import check_choice, check_int, check_real, check_tensor
from submanifold.errors import InvalidInput
from submanifold.nn.kan.functions import FUNCTIONS, Array, Fit, Term, best_fit, written
from submanifold.nn.kan.linear import KANLinear
from submanifold.nn.kan.network import KAN

__all__ = ["Edge", "SymbolicKAN", "formula", "snap", "suggest"]

Edge = tuple[int, int, int]
"""Layer, output and input, from 0."""

_POINTS = 300
"""Evenly spaced among what an edge sees, by rank."""


def suggest(kan: KAN, x: Tensor, *, functions: Sequence[str] | None = None) -> dict[Edge, list[Fit]]:
    """Known functions for each edge that is not pruned, best first.

    They are ranked by complexity plus log2 of the unexplained share of variance, see `Fit.rank`: a function may be more
    complex by one if it leaves half as much unexplained.

    Args:
        kan: the network.
        x: data, (n, in_features), on which edges are compared with functions.
        functions: names, keys of `FUNCTIONS`; all by default.

    Raises:
        InvalidInput: for data of another shape, that are not finite or fewer than 5, or an unknown function.
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
            what the edge sees.
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
            raise InvalidInput(f"choices has {name!r} for the edge {edge}, which is not defined on what it sees")
        found[edge] = fit
    for edge, said in seen.items():
        if edge not in found and (fits := _ranked(names, said)) and fits[0].r2 >= min_r2:
            found[edge] = fits[0]
    layers = []
    for index, layer in enumerate(kan.layers):
        of_layer = {(o, i): fit for (at, o, i), fit in found.items() if at == index}
        layers.append(SymbolicLayer(layer, of_layer))
    return SymbolicKAN(layers)


def formula(
    kan: KAN,
    x: Tensor,
    *,
    names: Sequence[str] | None = None,
    digits: int = 3,
    functions: Sequence[str] | None = None,
) -> list[str]:
    """Each output as an expression, of the known functions that edges resemble most; see `snap`, `SymbolicKAN`.

    Raises:
        InvalidInput: as `suggest`, or for another number of names than inputs.
    """
    return snap(kan, x, min_r2=0.0, functions=functions).formula(names, digits=digits)


class SymbolicLayer(nn.Module):
    """A layer of a KAN of which some edges are known functions.

    Args:
        layer: which keeps the others; it is copied.
        fits: by output and input.
    """

    affine: Tensor

    def __init__(self, layer: KANLinear, fits: Mapping[tuple[int, int], Fit]) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        order = sorted(fits, key=lambda edge: (fits[edge].name, edge))
        self.edges = tuple(order)
        self.functions = tuple(fits[edge].name for edge in order)
        rows = [[fit.a, fit.b, fit.c, fit.d] for fit in (fits[edge] for edge in order)]
        self.affine = nn.Parameter(layer.coefficients.new_tensor(rows).reshape(-1, 4))
        """a, b, c and d of each edge."""
        rest = layer.mask.clone()
        for edge in order:
            rest[edge] = False
        self.rest: KANLinear | None = None
        if bool(rest.any()):
            self.rest = copy.deepcopy(layer)
            self.rest.prune_edges(rest)

    def forward(self, x: Tensor) -> Tensor:
        y = x.new_zeros(*x.shape[:-1], self.out_features) if self.rest is None else self.rest(x)
        for name in dict.fromkeys(self.functions):
            rows = [row for row, function in enumerate(self.functions) if function == name]
            outputs, inputs = zip(*(self.edges[row] for row in rows), strict=True)
            a, b, c, d = self.affine[rows].unbind(-1)
            has_scale, has_shift = FUNCTIONS[name].free  # the others do nothing that c and d do not
            a, b = a if has_scale else a.detach(), b if has_shift else b.detach()
            said = c * FUNCTIONS[name].of(a * x[..., list(inputs)] + b) + d
            y = y.index_add(-1, torch.tensor(outputs, device=y.device), said)
        return y

    def fits(self) -> dict[tuple[int, int], Fit]:
        """What the edges are now, by output and input; of what they explain nothing is known (NaN)."""
        return {
            edge: Fit(name, a, b, c, d, r2=float("nan"))
            for edge, name, (a, b, c, d) in zip(self.edges, self.functions, self.affine.tolist(), strict=True)
        }


class SymbolicKAN(nn.Sequential):
    """Layers of known functions, and of splines where edges are none. Made by `snap`.

    It maps as the KAN did, where its functions are defined: a logarithm of what was positive on the data may be asked
    about a negative number elsewhere, and says NaN.
    """

    def __init__(self, layers: Sequence[SymbolicLayer]) -> None:
        super().__init__(*layers)

    @property
    def layers(self) -> list[SymbolicLayer]:
        """In order."""
        return [layer for layer in self if isinstance(layer, SymbolicLayer)]

    def formula(self, names: Sequence[str] | None = None, *, digits: int = 3) -> list[str]:
        """Each output as an expression in plain mathematics, such as "exp(sin(3.14*x1) + x2^2)".

        An edge that is a spline is written as phi_l_o_i, for its layer, output and input, from 1.

        Args:
            names: of inputs; x1, x2, ... by default.
            digits: significant ones of each number.

        Raises:
            InvalidInput: for another number of names than inputs, or no digit.
        """
        check_int(digits, name="digits")
        width = self.layers[0].in_features
        said = [f"x{i + 1}" for i in range(width)] if names is None else list(names)
        if len(said) != width:
            raise InvalidInput(f"names holds {len(said)} names: give {width}")
        nodes: list[tuple[list[Term], float]] = [([(1.0, name)], 0.0) for name in said]
        for index, layer in enumerate(self.layers):
            nodes = [_node(layer, index, o, nodes, digits) for o in range(layer.out_features)]
        return [written(*node, digits) for node in nodes]


def _node(
    layer: SymbolicLayer, index: int, output: int, inputs: Sequence[tuple[list[Term], float]], digits: int
) -> tuple[list[Term], float]:
    """What one node says, as terms and a number."""
    fits = {i: fit for (o, i), fit in sorted(layer.fits().items()) if o == output}
    found: dict[str, float] = {}  # factors by what they multiply
    constants = []
    for i, fit in fits.items():
        terms, constant = fit.terms(*inputs[i], digits)
        constants.append(constant)
        for factor, text in terms:
            found[text] = found.get(text, 0.0) + factor
    if layer.rest is not None:
        for i in layer.rest.mask[output].nonzero()[:, 0].tolist():
            found[f"phi_{index + 1}_{output + 1}_{i + 1}({written(inputs[i][0], inputs[i][1], digits)})"] = 1.0
    constant = sum(constants)
    is_rounding = abs(constant) <= 1e-9 * sum(map(abs, constants))
    return [(factor, text) for text, factor in found.items()], 0.0 if is_rounding else constant


def _names(functions: Sequence[str] | None) -> list[str]:
    return [check_choice(name, FUNCTIONS, name="functions") for name in functions or FUNCTIONS]


def _ranked(names: Sequence[str], said: tuple[Array, Array]) -> list[Fit]:
    """Best first."""
    return sorted((fit for name in names if (fit := best_fit(name, *said)) is not None), key=lambda fit: fit.rank)


@torch.no_grad()
def _edges(kan: KAN, x: Tensor) -> dict[Edge, tuple[Array, Array]]:
    """What each edge hears and says, (n,) each, sorted by the former."""
    x = check_tensor(x, (kan.layers[0].in_features,)).to(kan.layers[0].coefficients)
    if len(x) < 5:
        raise InvalidInput(f"x holds {len(x)} points: give at least 5, to see functions by")
    found = {}
    for index, (layer, z) in enumerate(zip(kan.layers, kan.activations(x), strict=False)):
        ranks = torch.linspace(0, len(z) - 1, min(_POINTS, len(z))).round().long().to(z.device)
        z = z.sort(dim=0).values[ranks]  # each input for itself: edges do not see the others
        said = layer.edges(z).double().cpu().numpy()
        heard: Array = z.double().cpu().numpy()
        for o, i in layer.mask.nonzero().tolist():
            found[index, o, i] = np.ascontiguousarray(heard[:, i]), np.ascontiguousarray(said[:, o, i])
    return found
