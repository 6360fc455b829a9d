r"""KANs of splines and networks with powers of ReLU are the same functions.

A spline of order k on simple knots is, up to the last breakpoint, a sum of truncated powers: B_j is (t_{j+k+1} - t_j)
times the divided difference of (t - x)_+^k over its knots, hence

    B_j(x) = (-1)^{k+1} (t_{j+k+1} - t_j) \sum_r (x - t_r)_+^k / \prod_{s \ne r} (t_r - t_s),  j \le r, s \le j + k + 1

(de Boor, *A practical guide to splines*, IX). Conversely \max(0, x)^k is a spline on two intervals that meet at 0
(Wang et al. 2024, arXiv 2410.01803, theorems 3.1 and 3.2).

Truncated powers are ill-conditioned: on G intervals the terms of a sum reach (G / 2 + k)^k, and layers multiply what is
lost. Of networks [2, 5, 1] with k = 3 and rough edges, in double precision, the errors are 3e-15 at G = 5, 3e-12 at 20,
4e-9 at 100 and 6e-3 at 500; there and back again 1e-14, 3e-11, 1e-6 and 0.2. With k = 1 they stay below 3e-9.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from submanifold.checks import check_int, check_real, check_tensor
from submanifold.errors import InvalidInput
from submanifold.nn.kan.bases import BSplines
from submanifold.nn.kan.linear import KANLinear
from submanifold.nn.kan.network import KAN
from submanifold.nn.kan.splines import change_of_knots, greville, knots_of

__all__ = ["ReLUPower", "kan_of_powers", "powers_of_kan"]


class ReLUPower(nn.Module):
    r"""\max(0, x)^k, of which k - 1 derivatives are continuous."""

    def __init__(self, power: int) -> None:
        super().__init__()
        self.power = check_int(power, name="power")

    def forward(self, x: Tensor) -> Tensor:
        return x.relu() ** self.power

    def extra_repr(self) -> str:
        return f"power={self.power}"


@torch.no_grad()
def powers_of_kan(kan: KAN) -> nn.Sequential:
    """A deeper network of affine maps and `ReLUPower` that says what a KAN of splines says.

    It is the same function at inputs for which every layer sees numbers within its grid: beyond, a KAN goes on straight
    (`submanifold.nn.kan.outside_shares` tells how often), its equivalent by higher powers. A layer of W nodes becomes
    one of W (G + k) nodes, whose affine maps have G^2 times as many parameters as the KAN has by G.

    Args:
        kan: with splines, and without base functions (`base=None`).

    Returns:
        a network in double precision, in which the conversion is accurate: see the module.

    Raises:
        InvalidInput: for a KAN with another basis or with base functions.
    """
    modules: list[nn.Module] = []
    before: tuple[Tensor, Tensor] | None = None  # the affine map from the nodes of powers to those of the KAN
    for layer in kan.layers:
        basis = _splines_alone(layer)
        knots = knots_of(basis.exact_breakpoints, basis.order)  # (in, G + 2k + 1)
        unit = basis.exact_breakpoints.diff(dim=1).mean(dim=1, keepdim=True)
        c = (layer.coefficients * (layer.spline_scale * layer.mask)[..., None]).double()
        c = torch.einsum("ijk,oik->oij", change_of_knots(basis.exact_knots, knots, basis.order), c)
        signs, places, T = _truncated(knots / unit, basis.order)
        powers = torch.einsum("ijm,oij->oim", T, c)  # (out, in, G + k)
        each = torch.eye(layer.in_features, dtype=c.dtype, device=c.device)
        spread = torch.kron(each, signs[:, None]) / unit[:, 0]  # (in * (G + k), in): each input once for each knot
        shift = -(signs * places).flatten()
        weight, bias = (spread, shift) if before is None else (spread @ before[0], spread @ before[1] + shift)
        modules += [_linear(weight, bias), ReLUPower(basis.order)]
        before = powers.flatten(1), powers.new_zeros(len(powers))
    assert before is not None
    return nn.Sequential(*modules, _linear(*before))


@torch.no_grad()
def kan_of_powers(network: nn.Module, x: Tensor, *, margin: float = 0.1) -> KAN:
    """A KAN, of splines on two intervals, that says what a network of affine maps and `ReLUPower` says.

    It has as many layers as the network has affine maps, and the same widths. It is the same function at inputs for
    which every activation stays within the range that it has on x, and somewhat beyond; further out, it is straight.

    Args:
        network: `nn.Linear` and `ReLUPower` in turn, with one power, the first and the last being affine maps.
        x: inputs that reach to the ends of where the two shall agree, (n, in_features).
        margin: share of its range by which each grid is longer.

    Raises:
        InvalidInput: for another network, or x of another shape.
    """
    linear, power = _affine_maps(network)
    check_real(margin, name="margin")
    z = check_tensor(x, (linear[0].in_features,)).to(linear[0].weight)
    with torch.random.fork_rng(devices=[]):  # which it begins with is of no use here
        kan = KAN([linear[0].in_features, *(map_.out_features for map_ in linear)], grid=2, order=power, base=None)
    kan.to(linear[0].weight)
    for index, (layer, map_) in enumerate(zip(kan.layers, linear, strict=True)):
        reach = (1 + margin) * z.abs().amax(dim=0).double()  # (in,)
        reach = torch.where(reach > 0, reach, 1.0)
        basis = layer.basis
        assert isinstance(basis, BSplines)
        basis.set_breakpoints(reach[:, None] * torch.tensor([-1.0, 0.0, 1.0], device=z.device, dtype=torch.float64))
        knots = basis.exact_knots
        powers = knots[:, 1:-1].unfold(1, power, 1).clamp(min=0).prod(dim=-1)  # coefficients of max(0, x)^k (in, k + 2)
        edge = powers if index else greville(knots, power)
        c = map_.weight.double()[..., None] * edge  # (out, in, k + 2)
        if map_.bias is not None:
            c = c + map_.bias.double()[:, None, None] / map_.in_features  # splines sum to 1
        layer.coefficients.copy_(c)
        z = map_(z if index == 0 else z.relu() ** power)
    return kan


def _truncated(knots: Tensor, order: int) -> tuple[Tensor, Tensor, Tensor]:
    r"""Splines on knots (m, G + 2k + 1) as sums of \max(0, s (x - t))^k, between the first and the last breakpoint.

    Those of the left half are sums of powers that rise to the left, so that no term has farther to rise than it must.

    Returns:
        signs s (G + k,), places t (m, G + k), and the coefficients of the powers in each spline (m, G + k, G + k).
    """
    size = knots.shape[1] - order - 1
    half = size // 2
    around = knots.unfold(1, order + 2, 1)  # (m, G + k, k + 2)
    apart = around[..., :, None] - around[..., None, :]
    apart = apart + torch.eye(order + 2, dtype=knots.dtype, device=knots.device)
    differences = (around[..., -1:] - around[..., :1]) / apart.prod(dim=-1)
    at = torch.arange(size, device=knots.device)[:, None] + torch.arange(order + 2, device=knots.device)
    full = knots.new_zeros(len(knots), size, size + order + 1).scatter(2, at.expand_as(differences), differences)
    T = knots.new_zeros(len(knots), size, size)
    T[:, :half, :half] = full[:, :half, order + 1 : order + 1 + half]
    T[:, half:, half:] = (-1) ** (order + 1) * full[:, half:, half:size]
    places = torch.cat([knots[:, order + 1 : order + 1 + half], knots[:, half:size]], dim=1)
    signs = torch.where(torch.arange(size, device=knots.device) < half, -1.0, 1.0).to(knots)
    return signs, places, T


def _splines_alone(layer: KANLinear) -> BSplines:
    if not isinstance(layer.basis, BSplines):
        raise InvalidInput(f"kan has the basis {type(layer.basis).__name__}: give one of splines")
    if layer.base is not None:
        raise InvalidInput(f"kan has the base function {type(layer.base).__name__}: give one made with base=None")
    return layer.basis


def _affine_maps(network: nn.Module) -> tuple[list[nn.Linear], int]:
    children = list(network.children())
    linear = [child for child in children[::2] if isinstance(child, nn.Linear)]
    powers = {child.power for child in children[1::2] if isinstance(child, ReLUPower)}
    alternate = len(linear) == len(children[::2]) and all(isinstance(child, ReLUPower) for child in children[1::2])
    if not alternate or len(children) % 2 == 0 or len(powers) != 1:
        raise InvalidInput(
            f"network={type(network).__name__} is not accepted: give nn.Linear and ReLUPower of one power in turn, "
            "with nn.Linear first and last"
        )
    return linear, powers.pop()


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        map_ = nn.Linear(weight.shape[1], weight.shape[0]).to(weight)
    map_.weight.copy_(weight)
    map_.bias.copy_(bias)
    return map_
