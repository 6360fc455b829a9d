r"""Ordinary differential equations of batches in the time \log \sigma, by steps that adapt to an error.

Every row is a point on a way of its own, and the worst of them decides about a step: what is said of one row is not
less exact because others are easy. Errors are relative to slopes, which do not change with the origin.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from submanifold.checks import check_real
from submanifold.errors import InvalidInput

__all__ = ["integrate"]

_NODES = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1, 1)
_STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
"""Where slopes are asked for in a step, by those before; the last of these states is where the step ends."""
_DIFFERENCE = (-71 / 57600, 0, 71 / 16695, -71 / 1920, 17253 / 339200, -22 / 525, 1 / 40)
"""Weights of the end by order 4, less those of the end by order 5."""

_FIRST_STEP = 0.1
"""Of the way."""
_SAFETY, _LEAST_FACTOR, _LARGEST_FACTOR = 0.9, 0.2, 10.0
"""A step is this part of what its error allows, and changes by no more than these factors."""


def integrate(
    slope: Callable[[float, Tensor], Tensor],
    start: Tensor,
    first: float,
    last: float,
    *,
    tolerance: float,
    absolute: float | Sequence[float],
    parts: Sequence[int] | None = None,
) -> Tensor:
    r"""The state at time `last` that is `start` at time `first`, (n, m).

    By the pair of orders 5 and 4 of Dormand & Prince 1980, in float64, whatever the state is kept in. In each step, in
    each row and part of it, the root mean square error over coordinates is at most `absolute` plus `tolerance` times
    that of the slope, the change of the state while the time changes by 1.

    Args:
        slope: of a time \log \sigma and a state (n, m), like the state.
        start: (n, m).
        first: a time.
        last: another, before or after it.
        tolerance: relative error of a step.
        absolute: error that is let through however small the slope, a number or one for each part.
        parts: numbers of columns, m in all, whose errors are judged apart; None for one part.

    Raises:
        InvalidInput: for a tolerance out of [1e-12, 0.1], or one that no step holds, with the noise level there.
    """
    relative = check_real(tolerance, name="tolerance", low=1e-12, high=0.1)
    sizes = [start.shape[1]] if parts is None else list(parts)
    least = start.new_tensor(absolute, dtype=torch.float64).expand(len(sizes))

    def at(time: float, state: Tensor) -> Tensor:
        return slope(time, state.to(start)).double()

    def sizes_of(state: Tensor) -> Tensor:
        """Root mean squares of each row's parts, (n, parts)."""
        return torch.stack([part.square().mean(dim=1).sqrt() for part in torch.split(state, sizes, dim=1)], dim=1)

    with torch.no_grad():
        time, state = first, start.double()
        slopes = [at(time, state)]
        step, least_step = _FIRST_STEP * (last - first), 10 * math.ulp(max(abs(first), abs(last)))
        while time != last:
            if abs(step) < least_step:
                raise InvalidInput(
                    f"tolerance={tolerance!r} cannot be held beyond noise level {math.exp(time):.4g}, on the way from "
                    f"{math.exp(first):.4g} to {math.exp(last):.4g}: give a larger one, or a score that is smooth there"
                )
            if abs(step) >= abs(last - time):
                step, after = last - time, last
            else:
                after = time + step
            for node, weights in zip(_NODES, _STAGES, strict=True):
                ahead = state + step * _weighted(weights, slopes)
                slopes.append(at(after if node == 1 else time + node * step, ahead))
            allowed = least + relative * torch.maximum(sizes_of(slopes[0]), sizes_of(slopes[-1]))
            errors = sizes_of(step * _weighted(_DIFFERENCE, slopes)) / allowed
            error = float(errors.nan_to_num(nan=math.inf).max())
            if error <= 1:
                time, state, slopes = after, ahead, slopes[-1:]
            else:
                slopes = slopes[:1]
            factor = _SAFETY * error**-0.2 if error > 0 else _LARGEST_FACTOR
            step *= min(max(factor, _LEAST_FACTOR), _LARGEST_FACTOR)
    return state.to(start)


def _weighted(weights: Sequence[float], slopes: Sequence[Tensor]) -> Tensor:
    """The sum of slopes (n, m) times their weights, (n, m)."""
    total = torch.zeros_like(slopes[0])
    for weight, slope in zip(weights, slopes, strict=True):
        if weight:
            total = total + weight * slope
    return total
