"""Which noise levels there are: where a sampler stops, from sigma_max to sigma_min, and which are drawn in training."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from submanifold.checks import check_choice, check_int, check_real
from submanifold.models.diffusion.paths import PATHS, Path

__all__ = ["LEVEL_ROUNDING", "SPACINGS", "TRAINING_LEVELS", "noise_levels"]

LEVEL_ROUNDING = 1e-3
"""Relative rounding of a noise level that is let through at the ends of the range that a model knows."""

_LOGIT = 3.0
"""Where a sigmoid is cut off at both ends: Jabri et al. 2022, arXiv 2212.11972, algorithm 1."""

Spacing = Callable[[Tensor, float, float], Tensor]
"""Levels from the largest, at 0, to the least, at 1, of evenly spaced numbers u."""


def _power(rho: float) -> Spacing:
    """Evenly in sigma^{1 / rho} (Karras et al. 2022, arXiv 2206.00364, eq. 5)."""

    def spaced(u: Tensor, low: float, high: float) -> Tensor:
        first, last = high ** (1 / rho), low ** (1 / rho)
        levels: Tensor = (first + u * (last - first)) ** rho
        return levels

    return spaced


def _log(u: Tensor, low: float, high: float) -> Tensor:
    """Evenly in log sigma."""
    return high * (low / high) ** u


def _timed(name: str) -> Spacing:
    """Evenly in the time of a path."""

    def spaced(u: Tensor, low: float, high: float) -> Tensor:
        path = PATHS[name]()
        first, last = path.time(torch.tensor([high, low], dtype=u.dtype))
        return path.level(first + u * (last - first))

    return spaced


def _sigmoid(u: Tensor, low: float, high: float) -> Tensor:
    """The noise's share of the variance, sigma^2 / (1 + sigma^2), along a sigmoid: slow at both ends."""
    first, last = (sigma**2 / (1 + sigma**2) for sigma in (high, low))
    end = math.tanh(_LOGIT / 2)
    share = last + (first - last) * 0.5 * (1 + (_LOGIT * (0.5 - u)).tanh() / end)
    levels: Tensor = (share / (1 - share)).sqrt()
    return levels


SPACINGS: dict[str, Spacing] = {
    "karras": _power(7.0),
    "sigma": _power(1.0),
    "log": _log,
    "sigmoid": _sigmoid,
    **{name: _timed(name) for name in ("vp", "vp-cosine", "linear", "trigonometric")},
}
"""Evenly in sigma^{1/7} (Karras et al. 2022), in sigma, in its logarithm, in the time of a path of that name, or slowly
at both ends of the noise's share of the variance (Jabri et al. 2022, arXiv 2212.11972, section 3.3)."""


def noise_levels(
    steps: int, sigma_min: float, sigma_max: float, *, spacing: str = "karras", to_zero: bool = False
) -> Tensor:
    """The levels between which a sampler takes `steps` steps, (steps + 1,), decreasing, float64.

    The score of data on a manifold grows without bound as the noise vanishes, so that a sampler has to stop early: at
    sigma_min, which is the last level, or with `to_zero` by one last jump from there to the denoised point.

    Args:
        steps: at least 1.
        sigma_min: the least noise level, above 0.
        sigma_max: the first, above sigma_min.
        spacing: one of `SPACINGS`.
        to_zero: end with the level 0, which is one of the steps.

    Raises:
        InvalidInput: for an argument out of its range.
    """
    steps = check_int(steps, name="steps", low=1)
    low = check_real(sigma_min, name="sigma_min", open_low=True)
    high = check_real(sigma_max, name="sigma_max", low=low, open_low=True)
    spaced = SPACINGS[check_choice(spacing, SPACINGS, name="spacing")]
    count = steps - 1 if to_zero else steps
    levels = spaced(torch.linspace(0, 1, count + 1, dtype=torch.float64), low, high)
    levels[0] = high  # to the bit
    if count:
        levels[-1] = low
    return torch.cat([levels, levels.new_zeros(1)]) if to_zero else levels


_CENTRE, _SPREAD = -0.5, 1.2
"""Of the logarithm of noise levels in training: Karras et al. 2022, table 1, whose data have deviation 1/2."""

Drawn = Callable[[Tensor, Path, float, float], Tensor]
"""Levels (n,) between the least and the largest, for points (n, D) on a path."""


def _evenly_in_log(y: Tensor, path: Path, low: float, high: float) -> Tensor:
    first, last = math.log(low), math.log(high)
    return (first + (last - first) * _uniform(y)).exp()


def _half_log_normal(y: Tensor, path: Path, low: float, high: float) -> Tensor:
    gaussian = torch.randn(len(y), device=y.device, dtype=y.dtype)
    log_normal = (_CENTRE + _SPREAD * gaussian).exp().clamp(low, high)
    first_half = torch.arange(len(y), device=y.device) < len(y) // 2
    return torch.where(first_half, log_normal, _evenly_in_log(y, path, low, high))


def _evenly_in_time(y: Tensor, path: Path, low: float, high: float) -> Tensor:
    first, last = path.time(y.new_tensor([low, high]))
    return path.level(first + (last - first) * _uniform(y)).clamp(low, high)


def _logit_normal_in_time(y: Tensor, path: Path, low: float, high: float) -> Tensor:
    t = torch.randn(len(y), device=y.device, dtype=y.dtype).sigmoid()
    first_half = torch.arange(len(y), device=y.device) < len(y) // 2
    return torch.where(first_half, path.level(t).clamp(low, high), _evenly_in_log(y, path, low, high))


def _uniform(y: Tensor) -> Tensor:
    return torch.rand(len(y), device=y.device, dtype=y.dtype)


TRAINING_LEVELS: dict[str, Drawn] = {
    "edm": _half_log_normal,
    "log": _evenly_in_log,
    "logit-normal": _logit_normal_in_time,
    "uniform": _evenly_in_time,
}
"""Half of them log-normal (Karras et al. 2022) and half even in the logarithm; all even in the logarithm; half
logit-normal in the path's time (Esser et al. 2024, arXiv 2403.03206, eq. 19) and half even in the logarithm; all even
in the path's time."""
