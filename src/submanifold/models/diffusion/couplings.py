"""Which noise goes with which point in a batch of flow matching."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

__all__ = ["CHUNK", "optimal_pairs"]

CHUNK = 128
"""Points assigned at a time: the cost of an assignment is the cube of their number."""


@torch.no_grad()
def optimal_pairs(x: Tensor, noise: Tensor, *, chunk: int = CHUNK) -> Tensor:
    r"""`noise` in the order that minimises \sum_i |x_i - \epsilon_{\pi(i)}|^2 among the points of a chunk, (n, D).

    The coupling of mini-batches by optimal transport (Tong et al. 2024, arXiv 2302.00482, section 3.3; Pooladian et al.
    2023, arXiv 2304.14772): paths from noise to data cross less, so that the flow is straighter. Each point has noise
    that is standard normal still, but no longer independent of it.

    Args:
        x: points (n, D).
        noise: (n, D).
        chunk: points assigned at a time.
    """
    parts = []
    for points, free in zip(torch.split(x, chunk), torch.split(noise, chunk), strict=True):
        # |x|^2 and |eps|^2 are the same for all assignments
        order = linear_sum_assignment(-(points @ free.mT).double().cpu().numpy())[1]
        parts.append(free[torch.from_numpy(order).to(free.device)])
    return torch.cat(parts)
