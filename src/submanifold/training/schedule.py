r"""The learning rate as a function of the step s out of S.

"constant" is \eta; "cosine" is \eta (1 + \cos(\pi s / S)) / 2 (Loshchilov, Hutter 2017, arXiv 1608.03983, eq. 5).
"""

from __future__ import annotations

import math
from collections.abc import Callable

__all__ = ["SCHEDULES"]


def _constant(step: int, steps: int) -> float:
    return 1.0


def _cosine(step: int, steps: int) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * step / steps))


SCHEDULES: dict[str, Callable[[int, int], float]] = {"constant": _constant, "cosine": _cosine}
"""Share of the peak learning rate at a step, by name."""
