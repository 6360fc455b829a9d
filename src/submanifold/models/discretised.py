r"""Laws of levels, of which pixels have 256: logistics that are rounded to the nearest level.

Levels 0, ..., L - 1 sit at u = -1, ..., 1, evenly (`submanifold.data.maps.Lattice`). The mass of a level is that of
a logistic law on its cell, which for the first and the last is open towards infinity (Salimans et al. 2017, arXiv
1701.05517, eq. 2), so that masses sum to 1.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from submanifold.data.maps import Lattice
from submanifold.data.preprocess import Preprocess

__all__ = ["lattice_of", "logistic_log_mass", "sample_logistic"]

_RANGE = (-9.0, 5.0)
"""Log-scales are held to these: far below a cell of a lattice of thousands of levels, and far above all levels."""


def lattice_of(preprocess: Preprocess) -> Lattice:
    """The lattice of a model whose preprocessing is ("lattice",)."""
    return cast("Lattice", preprocess.maps[0])


def logistic_log_mass(u: Tensor, means: Tensor, log_scales: Tensor, levels: Tensor) -> Tensor:
    r"""log of \varsigma(a) - \varsigma(b), where a and b are the ends of u's cell, less the mean, over the scale.

    Computed as \log \varsigma(a) + \log \varsigma(-b) + \log(1 - e^{b - a}), which is exact where the difference of the
    sigmoids would cancel.

    Args:
        u: levels on [-1, 1], of any shape.
        means: broadcastable with u.
        log_scales: likewise.
        levels: L, at least 2, ().
    """
    half = 1 / (levels - 1)
    scales = log_scales.clamp(*_RANGE).exp()
    a, b = (u + half - means) / scales, (u - half - means) / scales
    left = torch.where(u > half - 1, logsigmoid(-b), 0.0)  # the first cell has no lower end
    right = torch.where(u < 1 - half, logsigmoid(a), 0.0)
    inner = (u > half - 1) & (u < 1 - half)
    width = torch.where(inner, 2 * half / scales, 1.0)  # log(1 - e^-w) where there are two ends
    return left + right + torch.where(inner, torch.log(-torch.expm1(-width)), 0.0)


def sample_logistic(
    means: Tensor, log_scales: Tensor, levels: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Levels u on [-1, 1] of rounded logistics, shaped like means and log-scales."""
    uniform = torch.rand(means.shape, generator=generator, device=means.device, dtype=means.dtype)
    drawn = means + log_scales.clamp(*_RANGE).exp() * torch.logit(uniform, eps=torch.finfo(means.dtype).eps)
    width = 2 / (levels - 1)
    return ((drawn + 1) / width).round().clamp(min=0).minimum(levels - 1) * width - 1
