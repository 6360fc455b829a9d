r"""The Gaussian that has the mean and the covariance of the data: what an energy-based model is a tilting of.

N(m, \Sigma) with \Sigma = V diag(\lambda) V^\top + \tau (I - V V^\top): the leading directions V of the data, at most
64, and one variance \tau in all others. No variance is below a hundredth of the mean one, so that the Gaussian has a
density when the data have none.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from submanifold.errors import InvalidInput
from submanifold.models.latents import normal

__all__ = ["GaussianReference"]

_DIRECTIONS = 64
_FLOOR = 0.01
_POINTS = 1024
"""So many points, evenly out of all, find the leading directions of data of more than 64 coordinates."""


class GaussianReference(nn.Module):
    """N(m, Sigma) on R^D, the standard normal until it is fitted."""

    mean: Tensor
    directions: Tensor
    variances: Tensor
    rest: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        k = min(dim, _DIRECTIONS)
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("directions", torch.eye(dim, k))
        self.register_buffer("variances", torch.ones(k))
        self.register_buffer("rest", torch.ones(()))

    @torch.no_grad()
    def fit(self, y: Tensor) -> None:
        """Take mean and covariance from points (n, D).

        Raises:
            InvalidInput: for points that all coincide.
        """
        y = y.double()
        mean = y.mean(dim=0)
        total = (y - mean).square().sum() / len(y)
        if total == 0:
            raise InvalidInput(f"x holds {len(y)} copies of one point: give distinct points to fit")
        D = y.shape[1]
        few = y if D <= _DIRECTIONS else y[:: math.ceil(len(y) / _POINTS)]
        scales, directions = torch.linalg.svd((few - mean) / math.sqrt(len(few)), full_matrices=False)[1:]
        k = min(len(self.variances), len(scales))
        found = scales[:k].square()
        floor = _FLOOR * total / D
        rest = ((total - found.sum()) / max(D - k, 1)).clamp(min=floor)
        self.mean.copy_(mean)
        self.rest.copy_(rest)
        self.variances.copy_(rest.expand_as(self.variances))
        self.variances[:k] = found.clamp(min=floor).to(self.variances.dtype)
        self.directions.zero_()  # fewer points than directions leave some out, whose variance is that of the rest
        self.directions[:, :k] = directions[:k].mT.to(self.directions.dtype)

    def log_prob(self, y: Tensor, noise: Tensor | float = 0.0) -> Tensor:
        r"""Log-density of N(m, \Sigma + \sigma^2 I) in nats, (n,); `noise` is \sigma, a number or (n,)."""
        square = torch.as_tensor(noise, device=y.device, dtype=y.dtype).square()[..., None]  # (1,) or (n, 1)
        centred = (y - self.mean).contiguous()  # strides would change the rounding
        along = centred @ self.directions  # (n, k)
        off = (centred.square().sum(dim=-1) - along.square().sum(dim=-1)).clamp(min=0)
        D, k = self.directions.shape
        variances, rest = self.variances + square, (self.rest + square)[..., 0]
        quadratic = (along.square() / variances).sum(dim=-1) + off / rest
        log_det = variances.log().sum(dim=-1) + (D - k) * rest.log()
        total: Tensor = -0.5 * (quadratic + log_det + D * math.log(2 * math.pi))
        return total

    def score(self, y: Tensor, noise: Tensor | float = 0.0) -> Tensor:
        """Gradient of `log_prob`, (n, D)."""
        score: Tensor = torch.func.grad(lambda y: self.log_prob(y, noise).sum())(y)
        return score

    def colour(self, v: Tensor) -> Tensor:
        r"""y = m + \Sigma^{1/2} v, (n, D): standard normal v become points of this law."""
        along = v @ self.directions
        root = self.rest.sqrt()
        return self.mean + root * v + (along * (self.variances.sqrt() - root)) @ self.directions.mT

    def log_det(self) -> Tensor:
        r"""log |det dy/dv| = \tfrac12 \log\det\Sigma in nats, ()."""
        D, k = self.directions.shape
        return 0.5 * (self.variances.log().sum() + (D - k) * self.rest.log())

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """`n` points, (n, D)."""
        return self.colour(normal((n, len(self.mean)), self.mean, generator))
