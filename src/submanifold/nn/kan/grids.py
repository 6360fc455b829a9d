r"""Other grids for the splines of a KAN: finer ones, exactly; ones that follow the data; and when, in training.

A finer grid has all breakpoints of the coarser, and its splines say the same function to rounding (knot insertion).
Onto any other grid a spline is projected: the nearest in L^2 on it, which is the same function where that is a spline
there too, and otherwise as near as so many intervals can come. Neither looks at data for its coefficients, of which a
fit would leave those undetermined that no data reach.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from submanifold.checks import check_int, check_real
from submanifold.errors import InvalidInput
from submanifold.nn.kan.bases import BSplines
from submanifold.nn.kan.linear import KANLinear
from submanifold.nn.kan.listening import listening
from submanifold.nn.kan.parameters import replace_data
from submanifold.nn.kan.splines import change_of_knots, dense, local_splines

__all__ = ["GridSchedule", "outside_shares", "quantile_breakpoints", "refine", "regrid", "spline_layers", "update_grid"]


_ROUNDING = 1e-6
"""Share of a grid's length within which a breakpoint is another one in single precision."""
_CLOSE = 0.2
"""Share of the shortest interval within which a breakpoint that could be added is there already."""


def spline_layers(module: nn.Module) -> list[KANLinear]:
    """The layers of splines in a network or model, in order."""
    return [layer for layer in module.modules() if isinstance(layer, KANLinear) and isinstance(layer.basis, BSplines)]


def refine(module: nn.Module, intervals: int) -> None:
    """Grids of so many intervals in all layers of splines, which say what they said before.

    Intervals are halved, thirded and so on where their number divides the new one; otherwise the widest are split, and
    the grid is no longer uniform. Parameters keep their identity and change their shape: an optimiser has to be made
    anew, except within `submanifold.fit`.

    Raises:
        InvalidInput: for fewer intervals than there are, or a module without splines.
    """
    check_int(intervals, name="intervals")
    layers = _of_splines(module)
    finest = max(_splines(layer).intervals for layer in layers)
    if intervals < finest:
        raise InvalidInput(f"intervals={intervals} is coarser than the grid of {finest}: give at least as many")
    with _all_or_nothing(layers):
        for layer in layers:
            regrid(layer, torch.stack([_nested(row, intervals) for row in _splines(layer).exact_breakpoints]))


@torch.no_grad()
def regrid(layer: KANLinear, breakpoints: Tensor) -> None:
    """Other grids, (in_features, G' + 1), for a layer of splines; see the module for what becomes of its functions.

    Raises:
        InvalidInput: for grids that are none, see `BSplines.set_breakpoints`, or a layer without splines.
    """
    basis = _splines(layer)
    old, old_knots = basis.exact_breakpoints, basis.exact_knots
    with _all_or_nothing([layer]):
        basis.set_breakpoints(breakpoints)
        new, slack = basis.exact_breakpoints, _ROUNDING * (old[:, -1:] - old[:, :1])
        apart = (old[:, :, None] - new[:, None, :]).abs().amin(dim=2)  # (in, G + 1)
        ends_apart = (old[:, [0, -1]] - new[:, [0, -1]]).abs()  # beyond its ends a spline is straight
        is_finer = bool((apart <= slack).all() and (ends_apart <= slack).all())
        change = change_of_knots if is_finer else _projection
        T = change(old_knots, basis.exact_knots, basis.order)  # (in, size', size)
        changed = torch.einsum("ijk,oik->oij", T, layer.coefficients.double()).to(layer.coefficients)
        replace_data(layer.coefficients, changed.contiguous())  # as one that is read: products round by it


@torch.no_grad()
def update_grid(kan: nn.Module, x: Tensor, *, uniform_share: float = 0.02, preserve: bool = False) -> None:
    """Grids that follow what each layer sees when the network is asked about x: see `quantile_breakpoints`.

    There are as many intervals as before, and a layer says the nearest that splines on these can: where intervals get
    longer, what was finer than they are is lost, up to all of it. With `preserve` nothing is: new breakpoints are added
    to the old ones, and the function is the same to rounding. A grid then has as many intervals as it takes, up to
    twice as many as before and one less, in all inputs of a layer; and its ends stay, since splines that go on straight
    are none on a longer grid. As after `refine`, an optimiser has to be made anew.

    Args:
        kan: a KAN, or any module that is called with x and has layers of splines.
        x: what it is called with.
        uniform_share: of the uniform grid in the new one.
        preserve: keep the function, with more intervals.

    Raises:
        InvalidInput: for a module without splines, or as `quantile_breakpoints`; no grid is changed then.

    Warns:
        UserWarning: for an input beyond its grid that varies by less than a grid takes in its precision; it stays.
    """
    layers = _of_splines(kan)
    with _all_or_nothing(layers):
        _follow_all(layers, lambda: kan(x), uniform_share, preserve=preserve)


def quantile_breakpoints(x: Tensor, intervals: int, *, uniform_share: float = 0.02) -> Tensor:
    r"""\epsilon times a uniform grid from the least to the largest of x, and 1 - \epsilon times its quantiles.

    (Liu et al. 2024, arXiv 2404.19756, section 2.5 and the code of its authors.) Of values that repeat, quantiles
    coincide; the uniform share keeps them apart.

    Args:
        x: what is seen, (n, m).
        intervals: G.
        uniform_share: \epsilon, above 0.

    Returns:
        (m, G + 1), float64; NaN for a column that does not vary.

    Raises:
        InvalidInput: for no numbers, numbers that are not finite, or a share that is not above 0 and at most 1.
    """
    share = check_real(uniform_share, name="uniform_share", high=1.0, open_low=True)
    if len(x) == 0:
        raise InvalidInput("x holds no points: give at least one, which grids can follow")
    if not bool(x.isfinite().all()):
        raise InvalidInput("x holds numbers that are not finite: grids follow finite ones only")
    x = x.double()
    steps = torch.linspace(0, 1, intervals + 1, dtype=torch.float64, device=x.device)
    low, high = x.amin(dim=0), x.amax(dim=0)
    even = low[:, None] + (high - low)[:, None] * steps
    rank = steps * (len(x) - 1)
    at, ordered = rank.floor().long(), x.sort(dim=0).values  # torch.quantile refuses many numbers
    quantiles = torch.lerp(ordered[at], ordered[rank.ceil().long()], (rank - at)[:, None]).mT
    mixed = share * even + (1 - share) * quantiles
    mixed[:, 0], mixed[:, -1] = low, high
    return torch.where((high > low)[:, None], mixed, torch.nan)


@torch.no_grad()
def outside_shares(module: nn.Module, run: Callable[[], object]) -> dict[KANLinear, float]:
    """Share of the numbers that each layer of splines sees beyond its grid, NaN among them, of the layers that see any.

    Args:
        module: a network or model with KANs.
        run: asks it something, such as `lambda: model.loss(x)`.

    Raises:
        InvalidInput: for a module without splines.
    """
    with listening(_of_splines(module)) as heard:
        run()
    return {
        layer: float(_splines(layer).outside_share(torch.cat(seen)).mean()) for layer, seen in heard.items() if seen
    }


class GridSchedule:
    """Grids that change while a model trains: a callback of `submanifold.fit`.

    At evaluations, up to step `update_until` of the stage, grids follow what layers see of training data; at the first
    evaluation from each step of `refine` on, they get so many intervals, but for those that have more. The history says
    which share of what a layer sees is beyond its grid, at most ("outside_grid"). Nothing is changed after the last
    step of a stage, where other grids would not be trained: of its last evaluation there is no "outside_grid", and a
    refinement due only there, from a step after the last evaluation but one, does not take place.

    Args:
        update_until: the last step after which grids follow the data; 0 for never.
        refine: intervals by step, increasing.
        uniform_share: see `quantile_breakpoints`.

    Raises:
        InvalidInput: for steps or intervals that are not positive or do not increase; in training, for a model without
            splines, or whose grids are all finer than any in `refine`.
    """

    def __init__(
        self, *, update_until: int = 0, refine: Mapping[int, int] | None = None, uniform_share: float = 0.02
    ) -> None:
        self.update_until = check_int(update_until, name="update_until", low=0)
        self.refine = dict(sorted((refine or {}).items()))
        for step, intervals in self.refine.items():
            check_int(step, name="refine")
            check_int(intervals, name="refine")
        if any(a >= b for a, b in zip(list(self.refine.values())[:-1], list(self.refine.values())[1:], strict=True)):
            raise InvalidInput(f"refine={self.refine} gets coarser: give more intervals at each later step")
        self.uniform_share = check_real(uniform_share, name="uniform_share", high=1.0, open_low=True)

    def facts(self) -> dict[str, Any]:
        """Its settings, with which alone a run is resumed."""
        return {"update_until": self.update_until, "refine": self.refine, "uniform_share": self.uniform_share}

    def alter(self, event: Any, run: Callable[[], object]) -> bool:
        """Change grids as is due, `run` asking the model about training data; whether any did."""
        coarsest = min(_splines(layer).intervals for layer in _of_splines(event.model))
        if self.refine and max(self.refine.values()) < coarsest:
            raise InvalidInput(
                f"refine={self.refine} is coarser than all grids, of {coarsest} at least: give more intervals"
            )
        shares = outside_shares(event.model, run)  # of the layers that this stage trains
        event.record["outside_grid"] = max(shares.values(), default=0.0)
        due = [intervals for at, intervals in self.refine.items() if at <= event.step]
        is_early = event.step <= self.update_until
        if is_early:
            with _all_or_nothing(list(shares)):
                _follow_all(list(shares), run, self.uniform_share)
        coarse = [layer for layer in shares if due and due[-1] > _splines(layer).intervals]
        for layer in coarse:
            refine(layer, due[-1])
        return bool(shares) and (is_early or bool(coarse))


def _follow_all(
    layers: list[KANLinear], run: Callable[[], object], uniform_share: float, *, preserve: bool = False
) -> None:
    """Grids that follow what layers see, each by what the ones before it say on their new grids."""
    for layer in layers:
        with listening([layer]) as heard:
            run()
        if heard[layer]:
            _follow(layer, torch.cat(heard[layer]), uniform_share, preserve)


def _follow(layer: KANLinear, seen: Tensor, uniform_share: float, preserve: bool) -> None:
    """Grids that follow what was seen, (n, in_features); columns that do not vary keep theirs.

    Far from 0, quantiles that differ may be one number in the precision of the grid; then it is uniform, if it can.
    """
    basis = _splines(layer)
    old = basis.exact_breakpoints
    new = quantile_breakpoints(seen, basis.intervals, uniform_share=uniform_share)
    is_none = _are_none(new, basis)
    if bool(is_none.any()):
        even = quantile_breakpoints(seen, basis.intervals, uniform_share=1.0)
        new = torch.where(is_none[:, None], even, new)
        is_none = _are_none(new, basis)
        _tell_of_too_little(layer, seen, is_none)
        new = torch.where(is_none[:, None], old, new)
    regrid(layer, _united(old, new) if preserve else new)


def _are_none(breakpoints: Tensor, basis: BSplines) -> Tensor:
    """Which rows do not increase in the precision of grids; NaN does not."""
    return (breakpoints.to(basis.breakpoints).diff(dim=1) > 0).all(dim=1).logical_not()


def _tell_of_too_little(layer: KANLinear, seen: Tensor, is_none: Tensor) -> None:
    """Warn of columns beyond their grids which vary, but by less than grids take in their precision."""
    basis, low, high = _splines(layer), seen.amin(dim=0), seen.amax(dim=0)
    for i in (is_none & (high > low) & (basis.outside_share(seen) > 0)).nonzero()[:, 0].tolist():
        warnings.warn(
            f"input {i} of a layer with {layer.in_features} inputs and {layer.out_features} outputs is from "
            f"{float(low[i]):.9g} to {float(high[i]):.9g}, too little for a grid of {basis.intervals} intervals in "
            f"{basis.breakpoints.dtype}, so that its grid stays: train on data nearer to 0, such as standardised ones",
            stacklevel=6,  # who calls `update_grid`
        )


def _united(old: Tensor, new: Tensor) -> Tensor:
    """Grids with all breakpoints of the old and those of the new between its ends, (m, G' + 1).

    Where a row has fewer than another, its widest intervals are split.
    """
    rows = []
    for kept, wanted in zip(old, new, strict=True):
        apart = (wanted[:, None] - kept).abs().amin(dim=1)
        inside = (wanted > kept[0]) & (wanted < kept[-1])
        is_other = apart > _CLOSE * kept.diff().min()  # an interval of nearly no length has splines of any slope
        rows.append(torch.cat([kept, wanted[inside & is_other]]).sort().values)
    most = max(map(len, rows)) - 1
    return torch.stack([_nested(row, most) for row in rows])


def _projection(old: Tensor, new: Tensor, order: int) -> Tensor:
    """T (m, G' + k, G + k): T c are coefficients on new knots of what is nearest in L^2 to the spline c on old ones.

    By Gauss-Legendre nodes between all breakpoints of both, at which products of splines are integrated exactly.
    """
    inner = [knots[:, order : knots.shape[1] - order] for knots in (old, new)]
    edges = torch.cat(inner, dim=1).clamp(inner[1][:, :1], inner[1][:, -1:]).sort(dim=1).values  # of the new domain
    nodes, weights = (torch.as_tensor(a, device=old.device) for a in np.polynomial.legendre.leggauss(order + 1))
    width = edges.diff(dim=1)[..., None]  # (m, intervals, 1)
    x = (edges[:, :-1, None] + 0.5 * width * (1 + nodes)).flatten(1).mT  # (n, m)
    w = (0.5 * width * weights).flatten(1)  # (m, n)
    B_old, B_new = (
        dense(*local_splines(x, knots, order), knots.shape[1] - order - 1).movedim(0, 1) for knots in (old, new)
    )  # (m, n, size)
    weighted = (B_new * w[..., None]).mT
    T: Tensor = torch.linalg.solve(weighted @ B_new, weighted @ B_old)
    return T


def _nested(breakpoints: Tensor, intervals: int) -> Tensor:
    """So many intervals, each within one of those there are, (intervals + 1,)."""
    present = len(breakpoints) - 1
    parts = torch.full((present,), intervals // present, device=breakpoints.device)
    for _ in range(intervals - int(parts.sum())):
        parts[(breakpoints.diff() / parts).argmax()] += 1
    pieces = [
        breakpoints[i] + (breakpoints[i + 1] - breakpoints[i]) * torch.arange(n, device=breakpoints.device) / n
        for i, n in enumerate(parts.tolist())
    ]
    return torch.cat([*pieces, breakpoints[-1:]])


def _splines(layer: KANLinear) -> BSplines:
    if not isinstance(layer.basis, BSplines):
        raise InvalidInput(f"the layer has the basis {type(layer.basis).__name__}: only splines have a grid")
    return layer.basis


def _of_splines(module: nn.Module) -> list[KANLinear]:
    layers = spline_layers(module)
    if not layers:
        raise InvalidInput(f"{type(module).__name__} has no layers of splines: give a network or model with a KAN")
    return layers


@contextmanager
def _all_or_nothing(layers: list[KANLinear]) -> Iterator[None]:
    """Give layers back the grids and coefficients that they had if an error ends it."""
    before = [(layer, _splines(layer).breakpoints, layer.coefficients.data) for layer in layers]
    try:
        yield
    except BaseException:
        for layer, breakpoints, coefficients in before:
            if _splines(layer).breakpoints is not breakpoints:
                _splines(layer).set_breakpoints(breakpoints)
                replace_data(layer.coefficients, coefficients)
        raise
