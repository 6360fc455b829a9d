"""KANs of which edges are known functions, as modules: how they are trained on, written down, and kept in files."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from submanifold.checks import check_choice, check_int, check_tensor
from submanifold.errors import InvalidInput
from submanifold.nn.kan.basis import check_width
from submanifold.nn.kan.formulas import Term, agreeing, in_brackets, written
from submanifold.nn.kan.functions import FUNCTIONS, Fit
from submanifold.nn.kan.linear import KANLinear
from submanifold.nn.kan.network import KAN

__all__ = ["SymbolicKAN", "SymbolicLayer", "symbolic_like"]

_POINTS = 100
"""Of the data, at which a formula is held against the network."""
_KEY = "_extra_state"
"""What torch calls what a module adds to its state."""

Node = tuple[list[Term], float]
"""What a node says: a sum of terms, and a number."""


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
        check_width(x, self.in_features)
        y = x.new_zeros(*x.shape[:-1], self.out_features) if self.rest is None else self.rest(x)
        for name in dict.fromkeys(self.functions):
            rows = [row for row, function in enumerate(self.functions) if function == name]
            outputs, inputs = zip(*(self.edges[row] for row in rows), strict=True)
            a, b, c, d = self.affine[rows].unbind(-1)
            has_scale, has_shift = FUNCTIONS[name].free  # the others do nothing that c and d do not
            a, b = a if has_scale else a.detach(), b if has_shift else b.detach()
            said = c * FUNCTIONS[name].of(a * x[..., list(inputs)] + b) + d
            both = torch.promote_types(y.dtype, said.dtype)  # under autocast they differ
            y = y.to(both).index_add(-1, torch.tensor(outputs, device=y.device), said.to(both))
        return y

    def fits(self) -> dict[tuple[int, int], Fit]:
        """What the edges are now, by output and input; of what they explain nothing is known (NaN)."""
        return {
            edge: Fit(name, a, b, c, d, r2=float("nan"))
            for edge, name, (a, b, c, d) in zip(self.edges, self.functions, self.affine.tolist(), strict=True)
        }

    def get_extra_state(self) -> Tensor:
        """Which functions there are, as JSON in bytes: the numbers alone would fit other functions as well."""
        edges = [[*edge, name] for edge, name in zip(self.edges, self.functions, strict=True)]
        widths = [self.in_features, self.out_features]
        described = {"widths": widths, "edges": edges, "splines": self.rest is not None}
        return torch.tensor(list(json.dumps(described).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Nothing: it has been compared before any number was taken."""

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        described = state_dict.get(prefix + _KEY)
        if described is not None and _read(described) != _read(self.get_extra_state()):
            raise InvalidInput("the state is one of other known functions: give one of a network with the same")
        super()._load_from_state_dict(state_dict, prefix, *args)


class SymbolicKAN(nn.Sequential):
    """Layers of known functions, and of splines where edges are none. Made by `snap`.

    It maps as the KAN did, where its functions are defined: a logarithm of what was positive on the data may be asked
    about a negative number elsewhere, and says NaN. Since functions may have poles, `submanifold.geometry` knows no
    bounds of it. Its state says which functions it has, and a state with others is refused.

    Args:
        layers: in order.
        x: data, (n, in_features), of which it keeps a hundred points and those at which a node says most or least, in
            its state too: formulas are held against it there.
    """

    points: Tensor

    def __init__(self, layers: Sequence[SymbolicLayer], x: Tensor) -> None:
        super().__init__(*layers)
        x = check_tensor(x, (layers[0].in_features,))
        ranks = torch.linspace(0, len(x) - 1, _POINTS).round().long()
        with torch.no_grad():
            seen = [x.to(layers[0].affine)]
            for layer in layers:
                seen.append(layer(seen[-1]))
        ends = [end for z in seen for end in (z.argmin(dim=0), z.argmax(dim=0))]  # where formulas err most
        self.register_buffer("points", x[torch.cat([ranks.to(x.device), *ends])].to(layers[0].affine))

    @property
    def layers(self) -> list[SymbolicLayer]:
        """In order."""
        return [layer for layer in self if isinstance(layer, SymbolicLayer)]

    def formula(self, names: Sequence[str] | None = None, *, digits: int = 3) -> list[str]:
        """Each output as an expression in plain mathematics, such as "exp(sin(3.14*x1) + x2^2)".

        An edge that is a spline is written as phi_l_o_i, for its layer, output and input, from 1.

        Numbers have so many significant digits, or as many more as it takes for the expression to be right, on the data
        that the network was made with, to half a unit in the last of so many digits of a number as large as the range
        of that output. Constants are left out where they are too small for these digits.

        Args:
            names: of inputs; x1, x2, ... by default.
            digits: how many.

        Raises:
            InvalidInput: for another number of names than inputs, or no digit.
        """
        check_int(digits, name="digits")
        width = self.layers[0].in_features
        said = [f"x{i + 1}" for i in range(width)] if names is None else list(names)
        if len(said) != width or len(set(said)) != width:
            raise InvalidInput(f"names holds {len(set(said))} names: give {width}, each another")
        said = [in_brackets(name) for name in said]
        exact = copy.deepcopy(self).cpu().double()
        with torch.no_grad():
            outputs = exact(exact.points).numpy()
        inputs: list[Node] = [([Term(*one)], 0.0) for one in zip(said, exact.points.mT.numpy(), strict=True)]

        @cache
        def nodes(digits: int) -> list[Node]:
            found = inputs
            for index, layer in enumerate(exact.layers):
                found = [_node(layer, index, o, found, digits) for o in range(layer.out_features)]
            return found

        return [
            agreeing(lambda more, o=o: written(*nodes(more)[o], more), outputs[:, o], digits)  # type: ignore[misc]
            for o in range(outputs.shape[1])
        ]


def symbolic_like(kan: KAN, state: Mapping[str, Tensor], prefix: str) -> SymbolicKAN | None:
    """A network such as `snap` made of `kan`, whose numbers `state` has behind `prefix`; they are still to be loaded.

    Returns:
        None if these are the numbers of a KAN.

    Raises:
        InvalidInput: for a description of functions that are not known, or not in a network of the widths of `kan`.
    """
    if prefix + f"0.{_KEY}" not in state:
        return None
    described = [_read(state.get(f"{prefix}{index}.{_KEY}")) for index in range(len(kan.layers))]
    (first, _), widths = described[0]["widths"], [part["widths"][1] for part in described]
    narrow = copy.deepcopy(kan)
    narrow.take_widths([first, *widths])
    layers = []
    for layer, part in zip(narrow.layers, described, strict=True):
        fits = {(o, i): Fit(name, 0.0, 0.0, 0.0, 0.0, float("nan")) for o, i, name in part["edges"]}
        if any(o >= layer.out_features or i >= layer.in_features for o, i in fits):
            raise InvalidInput(f"the state has known functions on edges that are not in {list(layer.mask.shape)}")
        layer.mask = torch.full_like(layer.mask, part["splines"])
        layers.append(SymbolicLayer(layer, fits))
    return SymbolicKAN(layers, layers[0].affine.new_zeros(1, first))


def _read(described: Tensor | None) -> dict[str, Any]:
    """What `SymbolicLayer.get_extra_state` says, from a file that may hold anything."""
    try:
        if described is None:
            raise ValueError("a layer lacks them")
        found = json.loads(bytes(described.tolist()))
        fan_in, fan_out = found["widths"]
        edges = [(int(o), int(i), check_choice(name, FUNCTIONS, name="function")) for o, i, name in found["edges"]]
        if min(int(fan_in), int(fan_out), *(min(o, i) + 1 for o, i, _ in edges)) < 1:
            raise ValueError("a negative number")
        return {"widths": [int(fan_in), int(fan_out)], "edges": edges, "splines": bool(found["splines"])}
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidInput(f"the state does not say which known functions it has ({error})") from error


def _node(layer: SymbolicLayer, index: int, output: int, inputs: Sequence[Node], digits: int) -> Node:
    """What one node says."""
    found: dict[str, Term] = {}  # by what they multiply
    constants = []
    for i, fit in ((i, fit) for (o, i), fit in sorted(layer.fits().items()) if o == output):
        terms, constant = fit.terms(*inputs[i], digits)
        constants.append(constant)
        for term in terms:
            before = found[term.text].factor if term.text in found else 0.0
            found[term.text] = Term(term.text, term.values, before + term.factor)
    for term in _spline_terms(layer, index, output, inputs, digits):
        found[term.text] = term
    constant = sum(constants)
    is_rounding = abs(constant) <= 16 * np.finfo(np.float64).eps * sum(map(abs, constants))
    return list(found.values()), 0.0 if is_rounding else constant


def _spline_terms(layer: SymbolicLayer, index: int, output: int, inputs: Sequence[Node], digits: int) -> Iterator[Term]:
    """Edges of a node that are no known functions."""
    if layer.rest is None:
        return
    for i in layer.rest.mask[output].nonzero()[:, 0].tolist():
        terms, constant = inputs[i]
        heard = written(terms, constant, digits)
        z = torch.from_numpy(np.atleast_1d(heard.values))
        with torch.no_grad():
            said: NDArray[np.float64] = layer.rest.edges(z[:, None].expand(-1, layer.in_features)).numpy()
        yield Term(f"phi_{index + 1}_{output + 1}_{i + 1}({heard.text})", said[:, output, i])
