"""Ordinary differential equations of batches, solved by SciPy with steps that adapt to an error."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from torch import Tensor

from submanifold.checks import check_real

__all__ = ["integrate"]


def integrate(
    slope: Callable[[float, Tensor], Tensor],
    start: Tensor,
    first: float,
    last: float,
    *,
    tolerance: float,
    absolute: float | Sequence[float],
) -> Tensor:
    """The state at time `last` that is `start` at time `first`, (n, m).

    By the pair of orders 5 and 4 of Dormand & Prince 1980, in float64, whatever the state is kept in; the mean square
    error of a step over all of the state is held below the tolerances.

    Args:
        slope: of a time and a state (n, m), like the state.
        start: (n, m).
        first: a time.
        last: another, before or after it.
        tolerance: relative error of a step.
        absolute: error below which no relative one is asked for, a number or one for each of the m columns.
    """
    relative = check_real(tolerance, name="tolerance", low=1e-12, high=0.1)

    def flat(time: float, state: NDArray[np.float64]) -> NDArray[np.float64]:
        found = slope(time, torch.from_numpy(state.reshape(start.shape)).to(start))
        return found.double().cpu().numpy().ravel()

    floor = np.broadcast_to(np.asarray(absolute, dtype=np.float64), start.shape).ravel()
    with torch.no_grad():
        solved = solve_ivp(
            flat, (first, last), start.double().cpu().numpy().ravel(), method="RK45", rtol=relative, atol=floor
        )
    return torch.from_numpy(solved.y[:, -1].reshape(start.shape)).to(start)
