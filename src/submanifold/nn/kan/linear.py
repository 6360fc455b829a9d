"""The layer of Kolmogorov-Arnold networks: a learned function on every edge, and sums at the nodes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from submanifold.checks import check_choice, check_int, check_real
from submanifold.errors import InvalidInput
from submanifold.nn.activations import ACTIVATIONS, activation_lipschitz
from submanifold.nn.activations import activation as make_activation
from submanifold.nn.kan.bases import BASES, BSplines
from submanifold.nn.kan.basis import check_width
from submanifold.nn.kan.compiled import compiled_forward
from submanifold.nn.kan.parameters import replace_data

__all__ = ["KANLinear"]

_GAIN = math.sqrt(1 / 0.356)
"""Keeps the size of standard normal numbers: E silu(z)^2 = 0.356."""


class KANLinear(nn.Module):
    r"""Sums of functions of single inputs,

    .. math:: y_o = \sum_i \phi_{oi}(x_i), \qquad
              \phi_{oi}(x) = b_{oi} \, \mathrm{silu}(x) + s_{oi} \sum_j c_{oij} B_j(x)

    (Liu et al. 2024, arXiv 2404.19756, eq. 2.10-2.11), which maps (..., in_features) to (..., out_features). All edges
    are one product of matrices. Of splines, only the k + 1 that are not zero at an input are computed, unless compiled;
    of other bases, all functions. All of it is made of operations that torch differentiates, forwards, backwards and
    again, but for the options that say otherwise.

    Args:
        in_features: inputs.
        out_features: outputs.
        grid: how fine the basis is: intervals G of splines.
        basis: one of `submanifold.nn.kan.BASES`.
        base: the activation beside the spline, a key of `submanifold.nn.ACTIVATIONS`, or None for none.
        noise: deviation of splines at first, over \sqrt{in_features}.
        recompute: compute the basis anew in the backward pass and keep nothing of it: less memory, more time. Not for
            `torch.func`.
        compiled: by `torch.compile`: fewer passes over memory, after seconds of compiling for each kind of layer. It
            has first derivatives backwards, and rounds as if the coefficient in the middle of the grid were used
            everywhere; within `torch.func`, the layer is as without.
        local: multiply with the k + 1 splines that are not zero alone, for fine grids: less than half of the time of
            the product with all at G = 200, more below G = 80. It has first derivatives backwards only.
        **basis_options: of the basis, such as `order`, `grid_range`, `open_knots` and `outside` of splines.

    Raises:
        InvalidInput: for an argument that is not accepted.
    """

    mask: Tensor
    resizable = ("coefficients",)
    """Parameters whose shapes may change in training."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        grid: int = 5,
        basis: str = "bspline",
        base: str | None = "silu",
        noise: float = 0.1,
        recompute: bool = False,
        compiled: bool = False,
        local: bool = False,
        **basis_options: Any,
    ) -> None:
        super().__init__()
        self.in_features = check_int(in_features, name="in_features")
        self.out_features = check_int(out_features, name="out_features")
        make = BASES[check_choice(basis, BASES, name="basis")]
        try:
            self.basis = make(self.in_features, grid=grid, **basis_options)
        except TypeError as error:
            raise InvalidInput(f"basis={basis!r} is not made of {sorted(basis_options)}: {error}") from None
        self.base = None if base is None else make_activation(check_choice(base, ACTIVATIONS, name="base"))
        self.recompute, self.compiled, self.local = bool(recompute), bool(compiled), bool(local)
        if self.local and not isinstance(self.basis, BSplines):
            raise InvalidInput(f"local=True with basis={basis!r} is not accepted: only splines are zero in most places")
        shape = (self.out_features, self.in_features)
        fan = math.sqrt(self.in_features)
        spread = check_real(noise, name="noise") / fan
        self.coefficients = nn.Parameter(spread * torch.randn(*shape, self.basis.size))
        self.spline_scale = nn.Parameter(torch.ones(shape))
        if self.base is not None:
            self.base_scale = nn.Parameter(_GAIN / fan * torch.randn(shape))
        self.register_buffer("mask", torch.ones(shape, dtype=torch.bool))
        self.is_whole = True

    def forward(self, x: Tensor) -> Tensor:
        return compiled_forward(self, x) if self.compiled else self._forward(x)

    def edges(self, x: Tensor) -> Tensor:
        r"""What each edge says, \phi_{oi}(x_i), (..., out_features, in_features), of x (..., in_features)."""
        return torch.einsum("...ij,oij->...oi", self.functions(x), self.weights())

    def functions(self, x: Tensor) -> Tensor:
        """What edges are sums of, (..., in_features, m), of x (..., in_features): the basis, and last the base."""
        values = self.basis(x).to(x.dtype)
        return values if self.base is None else torch.cat([values, self.base(x)[..., None]], dim=-1)

    def weights(self) -> Tensor:
        """Of `functions` in each edge, (out_features, in_features, m); zero where it was pruned."""
        values = self._spline_weights()
        return values if self.base is None else torch.cat([values, self._base_weights()[..., None]], dim=-1)

    @torch.no_grad()
    def say_nothing(self) -> None:
        """Make all edges zero; they learn from there."""
        self.coefficients.zero_()
        if self.base is not None:
            self.base_scale.zero_()

    def prune_edges(self, keep: Tensor) -> None:
        """Leave only edges with `keep` (out_features, in_features), of those that there still are.

        Raises:
            InvalidInput: for another shape.
        """
        if tuple(keep.shape) != tuple(self.mask.shape):
            raise InvalidInput(f"keep has shape {tuple(keep.shape)}: give {tuple(self.mask.shape)}")
        self.mask &= keep.to(self.mask)
        self.is_whole = bool(self.mask.all())

    def slope_bounds(self) -> Tensor:
        r"""Upper bounds of |\phi_{oi}'| over all of R, (out_features, in_features), float64.

        Those of a spline are read off its control points, since a spline lies within theirs.
        """
        bounds = self.basis.slope_bounds(self.coefficients.detach())
        bounds = bounds * self.spline_scale.detach().double().abs()
        if self.base is not None:
            steepest = activation_lipschitz(self.base)
            bounds = bounds + (math.inf if steepest is None else steepest) * self.base_scale.detach().double().abs()
        return torch.where(self.mask, bounds, torch.zeros_like(bounds))

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, functions={self.basis.size}"

    def _forward(self, x: Tensor) -> Tensor:
        check_width(x, self.in_features)
        keep_nothing = self.recompute and torch.is_grad_enabled()
        splines = checkpoint(self._splines, x, use_reentrant=False) if keep_nothing else self._splines(x)
        if self.base is None:
            return splines
        return splines + functional.linear(self.base(x), self._base_weights())

    def _splines(self, x: Tensor) -> Tensor:
        if self.local:
            return self._local_splines(x)
        functions = self.basis(x).to(x.dtype).flatten(-2)  # (..., in * size)
        return functional.linear(functions, self._spline_weights().flatten(1))

    def _local_splines(self, x: Tensor) -> Tensor:
        assert isinstance(self.basis, BSplines)
        first, values = self.basis.local(x)  # (..., in), (..., in, k + 1)
        starts = self.basis.size * torch.arange(self.in_features, device=x.device)
        rows = (first + starts)[..., None] + torch.arange(values.shape[-1], device=x.device)
        weights = self._spline_weights().movedim(0, 2).flatten(0, 1)  # (in * size, out)
        seen = self.in_features * values.shape[-1]
        summed = functional.embedding_bag(
            rows.reshape(-1, seen), weights, per_sample_weights=values.to(weights.dtype).reshape(-1, seen), mode="sum"
        )
        return summed.reshape(*x.shape[:-1], self.out_features)

    def _spline_weights(self, coefficients: Tensor | None = None) -> Tensor:
        """(out, in, size)."""
        scale = self.spline_scale if self.is_whole else self.spline_scale * self.mask
        return self.basis.weights(self.coefficients if coefficients is None else coefficients) * scale[..., None]

    def _base_weights(self) -> Tensor:
        """(out, in)."""
        return self.base_scale if self.is_whole else self.base_scale * self.mask

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        grid = state_dict.get(f"{prefix}basis.breakpoints")
        if isinstance(self.basis, BSplines) and isinstance(grid, Tensor) and grid.ndim == 2:
            shape = (*self.mask.shape, grid.shape[1] - 1 + self.basis.order)
            if tuple(self.coefficients.shape) != shape:  # of a grid that was refined
                replace_data(self.coefficients, self.coefficients.new_zeros(shape))
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.is_whole = self.mask.is_meta or bool(self.mask.all())
