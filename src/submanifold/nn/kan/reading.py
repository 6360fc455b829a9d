r"""What the edges of a KAN do, how to train towards few of them, and the smaller KAN of those that matter.

E_{oi} is the standard deviation over data of what the edge from node i to node o says, N_o that of what node o sums.
An edge answers for its node by its share E_{oi} / N_o, a node for those after it: from scores A_o = 1 of outputs back,

    B_{oi} = A_o E_{oi} / N_o,    A_i = \sum_o B_{oi}

(Liu et al. 2024, *KAN 2.0*, arXiv 2408.10205, section 4.1). All E come from covariances of basis functions, so that no
tensor is as large as data times edges.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from submanifold.checks import check_real, check_tensor
from submanifold.errors import InvalidInput
from submanifold.nn.kan.bases import BSplines, Chebyshev, Fourier
from submanifold.nn.kan.linear import KANLinear
from submanifold.nn.kan.network import KAN

__all__ = ["Attribution", "attribution", "edge_scores", "prune", "sparsity"]

_SPREAD = 0.1
"""Added to the deviation of an input, so that one that hardly varies makes no edge important."""
_SMALL = 1e-6
"""Share of the largest deviation in a layer below which others are round at zero, to have a slope there."""
_RARE = 1e-4
"""Added to shares in logarithms."""


@dataclass(frozen=True, eq=False)
class Attribution:
    """What depends on what.

    Attributes:
        edges: B of each layer, (out_features, in_features).
        nodes: A of the inputs, of each hidden layer, and of the outputs, (width,).
    """

    edges: list[Tensor]
    nodes: list[Tensor]


def edge_scores(kan: KAN, x: Tensor) -> list[Tensor]:
    """Deviation of what each edge says over that of what it hears, of each layer, (out_features, in_features).

    As pykan has it: 0.1 is added to the latter. All are differentiable, at edges that say nothing too.

    Args:
        kan: the network.
        x: data, (n, in_features), at least two points.

    Raises:
        InvalidInput: for data of another shape, that are not finite, or fewer than two points.
    """
    seen = kan.activations(_data(kan, x))
    return [
        _deviations(layer, z) / (_SPREAD + z.std(dim=0).to(z.dtype)) for layer, z in zip(kan.layers, seen, strict=False)
    ]


def sparsity(kan: KAN, x: Tensor, *, l1: float = 1.0, entropy: float = 2.0) -> Tensor:
    r"""What to add to a loss, times a small number, so that few edges remain: of scores s of edges, over layers,

    l1 \sum_{oi} s_{oi} + entropy (H_{rows} + H_{columns}),

    where H_{rows} is the mean over nodes o of -\sum_i p_{oi} \log_2 p_{oi} with p_{oi} = s_{oi} / (1 + \sum_i s_{oi}),
    and H_{columns} likewise over inputs (Liu et al. 2024, arXiv 2404.19756, section 2.5.1; pykan).

    Args:
        kan: the network.
        x: data, (n, in_features), such as a batch.
        l1: weight of the sum.
        entropy: weight of the entropies.

    Returns:
        a number, finite and with a finite gradient, whatever edges are zero.

    Raises:
        InvalidInput: as `edge_scores`, or for negative weights.
    """
    l1, entropy = check_real(l1, name="l1"), check_real(entropy, name="entropy")
    terms = [
        l1 * scores.sum() + entropy * (_entropy(scores, dim=1) + _entropy(scores, dim=0))
        for scores in edge_scores(kan, x)
    ]
    return torch.stack(terms).sum()


@torch.no_grad()
def attribution(kan: KAN, x: Tensor) -> Attribution:
    """What outputs owe to edges and nodes, see the module.

    Raises:
        InvalidInput: as `edge_scores`.
    """
    seen = kan.activations(_data(kan, x))
    nodes: list[Tensor] = [torch.ones_like(seen[-1][0])]
    edges: list[Tensor] = []
    for layer, before, after in reversed(list(zip(kan.layers, seen, seen[1:], strict=False))):
        E = _deviations(layer, before)  # (out, in)
        N = torch.maximum(after.std(dim=0), _RARE * E.sum(dim=1))  # edges that cancel each other are not all there is
        B = nodes[0][:, None] * E / N.clamp(min=torch.finfo(E.dtype).tiny)[:, None]
        edges.insert(0, B)
        nodes.insert(0, B.sum(dim=0))
    return Attribution(edges, nodes)


@torch.no_grad()
def prune(
    kan: KAN, x: Tensor, *, edge_threshold: float = 3e-2, node_threshold: float = 1e-2, keep_means: bool = True
) -> KAN:
    """A smaller KAN, of the edges and hidden nodes that outputs depend on.

    Edges with a score B of at most `edge_threshold` go, hidden nodes with a score A of at most `node_threshold` too,
    and those from or to which no edge is left; see the module for A and B. Inputs and outputs stay. What remains says
    exactly what it said, but for a constant (`keep_means`).

    Args:
        kan: the network, which is not changed.
        x: data, (n, in_features), at least two points.
        edge_threshold: for edges.
        node_threshold: for nodes.
        keep_means: the mean of what goes at a node is added to one of its edges that stay, so that outputs do not
            shift: edges that hardly vary can still be large. Without, all edges that stay are what they were.

    Raises:
        InvalidInput: as `edge_scores`; for negative thresholds, or such that no edge would be left in a layer; with
            `keep_means`, for a basis without constants; for a network that says NaN or infinity on x.
    """
    check_real(edge_threshold, name="edge_threshold")
    check_real(node_threshold, name="node_threshold")
    found = attribution(kan, x)
    if not all(bool(B.isfinite().all()) for B in found.edges):
        raise InvalidInput("kan says NaN or infinity on x: give one with finite parameters")
    keep = [layer.mask & B.gt(edge_threshold) for B, layer in zip(found.edges, kan.layers, strict=True)]
    alive = [A.gt(node_threshold) for A in found.nodes]
    alive[0], alive[-1] = torch.ones_like(alive[0]), torch.ones_like(alive[-1])
    for _ in range(len(keep)):  # what is left alone reaches one layer further each time
        for index, edges in enumerate(keep):
            edges &= alive[index] & alive[index + 1][:, None]
        for index in range(1, len(keep)):
            alive[index] &= keep[index - 1].any(dim=1) & keep[index].any(dim=0)
    if not all(bool(edges.any()) for edges in keep):
        best = max(float(B.max()) for B in found.edges)
        raise InvalidInput(
            f"edge_threshold={edge_threshold:g} and node_threshold={node_threshold:g} leave no edge in a layer: give "
            f"lower ones, scores of edges reach {best:.2g}"
        )
    smaller = copy.deepcopy(kan)
    seen = kan.activations(_data(kan, x))
    for index, (layer, edges) in enumerate(zip(smaller.layers, keep, strict=True)):
        if keep_means:
            functions = layer.functions(seen[index]).double().mean(dim=0)
            means = torch.einsum("ij,oij->oi", functions, layer.weights().double()).to(layer.coefficients)
            _add_constants(layer, edges, (means * ~edges).sum(dim=1), alive[index])
        layer.mask = edges  # and not fewer: an edge that was gone is back where it says a constant
        _select(layer, alive[index + 1].nonzero()[:, 0], alive[index].nonzero()[:, 0])
    return smaller


def _data(kan: KAN, x: Tensor) -> Tensor:
    """As the network takes it."""
    x = check_tensor(x, (kan.layers[0].in_features,))
    if len(x) < 2:
        raise InvalidInput(f"x holds {len(x)} point: give at least 2")
    return x.to(kan.layers[0].coefficients)


def _deviations(layer: KANLinear, x: Tensor) -> Tensor:
    """E, (out, in), of x (n, in).

    In double precision: variances of what is nearly constant are small differences. They are round at zero in units of
    the largest, so that other units do not matter.
    """
    functions, weights = layer.functions(x).double(), layer.weights().double()
    if isinstance(layer.basis, BSplines):  # they sum to 1, so that what all have in common is a constant
        splines, base = weights[..., : layer.basis.size], weights[..., layer.basis.size :]
        weights = torch.cat([splines - splines.mean(dim=-1, keepdim=True), base], dim=-1)
    centred = functions - functions.mean(dim=0)
    covariance = torch.einsum("nij,nik->ijk", centred, centred) / (len(x) - 1)
    variance = torch.einsum("oij,ijk,oik->oi", weights, covariance, weights).clamp(min=0)
    largest = variance.detach().amax().sqrt()
    unit = torch.where(largest > 0, largest, torch.ones_like(largest))
    return (unit * ((variance / unit**2 + _SMALL**2).sqrt() - _SMALL)).to(x.dtype)


def _entropy(scores: Tensor, dim: int) -> Tensor:
    p = scores / (1 + scores.sum(dim=dim, keepdim=True))
    return -(p * (p + _RARE).log2()).sum(dim=dim).mean()


def _add_constants(layer: KANLinear, edges: Tensor, constants: Tensor, inputs: Tensor) -> None:
    """Add constants (out,) to an edge of each node; one that has none gets one from the first of the inputs."""
    one = torch.zeros_like(layer.coefficients[0, 0])
    if isinstance(layer.basis, BSplines):
        one += 1
    elif isinstance(layer.basis, Chebyshev | Fourier):
        one[0] = 1
    else:
        raise InvalidInput(f"the basis {type(layer.basis).__name__} has no constants: give keep_means=False")
    for o in constants.nonzero()[:, 0].tolist():
        i = int((edges[o] if bool(edges[o].any()) else inputs).nonzero()[0])
        if not bool(edges[o, i]):
            edges[o, i] = True
            layer.coefficients[o, i] = 0
            if layer.base is not None:
                layer.base_scale[o, i] = 0
        layer.coefficients[o, i] *= layer.spline_scale[o, i]
        layer.coefficients[o, i] += constants[o] * one
        layer.spline_scale[o, i] = 1


def _select(layer: KANLinear, outputs: Tensor, inputs: Tensor) -> None:
    """Leave only these nodes of a layer."""
    for name, value in [*layer.named_parameters(recurse=False)]:
        setattr(layer, name, nn.Parameter(value.detach()[outputs][:, inputs], requires_grad=value.requires_grad))
    layer.mask = layer.mask[outputs][:, inputs]
    layer.is_whole = bool(layer.mask.all())
    layer.in_features, layer.out_features = len(inputs), len(outputs)
    layer.basis.in_features = len(inputs)
    if isinstance(layer.basis, BSplines):
        layer.basis.set_breakpoints(layer.basis.breakpoints[inputs])
