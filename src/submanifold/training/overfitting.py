r"""Manifold overfitting, seen while it happens.

Of data near a d-dimensional set in R^D, a density that has shrunk to a tube of width \sigma about it has

.. math:: \mathbb{E} \log p_\sigma(X) = (D - d) \log(1/\sigma) + O(1),

whether or not it has learned how the data are distributed along the set (Loaiza-Ganem et al. 2022, arXiv 2204.07172,
theorem 1; 2024, arXiv 2404.02954, section 4.1). A log-likelihood that rises in step with \log(1/\sigma), by more than
half a dimension, while \sigma is already small beside the data, is the mark of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from submanifold.models.base import Density, LocalScales, Model
from submanifold.training.arithmetic import is_arithmetic

__all__ = ["OverfittingWatch", "Rise"]

SMALL = 0.1
"""A width below this share of the data's root mean square deviation is small."""

FALL = math.e
"""The factor by which the width has to have fallen."""

FEWEST_LIKELIHOODS, MOST_LIKELIHOODS = 16, 256
MOST_SCALES = 64
COST = 0.05
"""Points at which the two are measured: fewer than the most if that would cost more than this share of the gradients
that training takes in the meantime."""

LIKELIHOOD_GRADIENTS = 10
"""What a log-likelihood costs, in gradients of a point: that of a VAE decodes 64 latents. Widths cost D."""


@dataclass(frozen=True)
class Rise:
    """A log-likelihood that rises as the density collapses."""

    slope: float
    scale: float

    def __str__(self) -> str:
        return (
            f"the held-out log-likelihood rises by {self.slope:.1f} nats each time the smallest width of the density "
            f"falls by a factor e, and that width is now {self.scale:.2g} of the data's scale: the density collapses "
            "onto a lower-dimensional set (manifold overfitting), where the likelihood grows without bound whatever "
            "the distribution; fit a two-step model, or judge by samples instead of likelihood"
        )


class OverfittingWatch:
    """Measures log-likelihood and smallest width of an ambient density that knows its local scales.

    Not of one that is aware of manifolds: its likelihood is not what it maximises, may rise without harm, and is dear.
    """

    def __init__(self, model: Model, x: Tensor, gradients: int) -> None:
        """`x`: held-out data (n, *data_shape); `gradients`: points seen by training between two measurements."""
        knows = isinstance(model, Density) and isinstance(model, LocalScales) and model.measure == "ambient"
        self.model: Any = model if knows and model.awareness != "aware" else None
        affordable = max(int(COST * gradients / LIKELIHOOD_GRADIENTS), FEWEST_LIKELIHOODS)
        self.x = x[: min(affordable, MOST_LIKELIHOODS)]
        self.n_scales = min(max(int(COST * gradients / model.ambient_dim), 1), MOST_SCALES)
        flat = x[:MOST_LIKELIHOODS].double().flatten(1)  # (n, D)
        self.data_scale = float((flat - flat.mean(0)).square().mean().sqrt())

    def measure(self) -> dict[str, float]:
        """Mean log-likelihood in nats, and the median smallest width as a share of the data's scale."""
        if self.model is None or self.data_scale == 0:
            return {}
        try:
            log_prob = self.model.log_prob(self.x).detach().double()  # (n,)
            widths = self.model.local_scales(self.x[: self.n_scales]).detach().double()  # (m, D)
        except Exception as error:
            if not is_arithmetic(error):
                raise
            return {}  # a density can collapse beyond its own arithmetic before training notices
        return {
            "log_likelihood": float(log_prob.mean()),
            "smallest_scale": float(widths.amin(1).median()) / self.data_scale,
        }


def find_rise(records: Sequence[Mapping[str, Any]]) -> Rise | None:
    r"""The rise of the log-likelihood with \log(1/\sigma) over the latest fall of \sigma by a factor e, if any.

    `records` are those of one stage. None: \sigma is not small, has not fallen, or the likelihood does not follow it.
    """
    pairs = [(r["smallest_scale"], r["log_likelihood"]) for r in records if "smallest_scale" in r]
    points = np.array([p for p in pairs if p[0] > 0 and np.isfinite(p).all()]).reshape(-1, 2)
    scales, likelihoods = points.T  # (m,), (m,)
    if len(points) < 3 or scales[-1] >= min(SMALL, scales[0] / FALL):
        return None
    above = np.flatnonzero(scales >= FALL * scales[-1])
    start = min(above[-1], len(points) - 3)
    slope = float(np.polyfit(-np.log(scales[start:]), likelihoods[start:], 1)[0])
    return Rise(slope, float(scales[-1])) if slope > 0.5 else None
