"""Kernel density estimation: a Gaussian around every training point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from submanifold.checks import check_choice, check_int, check_real
from submanifold.errors import InvalidInput, UnfittedModel
from submanifold.models.base import LogProbKind, Measure, Model, Stage
from submanifold.models.registry import register

__all__ = ["KernelDensity"]

_BUDGET = 2**24
"""How many numbers one block of differences may hold (64 MiB)."""
_QUERIES = 1000
_NARROWEST, _WIDEST = 1e-3, 2.0


@register("kernel-density")
class KernelDensity(Model):
    r"""p(y) = \frac1n \sum_i N(y; y_i, h^2 I), with y the preprocessed data.

    Without a given bandwidth, h maximises the leave-one-out log-likelihood \sum_i \log p_{-i}(y_i) over [10^{-3}, 2]
    (Duin 1976, IEEE Trans. Comput. C-25), each of at most 1000 points being scored by all others. Training is over once
    the data have been seen.

    Args:
        data_shape: (D,) or (channels, height, width), flattened.
        bandwidth: h in preprocessed units (with "standardise": in standard deviations of each coordinate), or "loo".
        preprocess: names of the invertible maps applied first.
    """

    family = "kernel density estimate"
    awareness = "unaware"
    why = "its kernels are densities on all of R^D; as the law of latents it completes a two-step model"
    sized_by_data = ("points",)

    measure: Measure = "ambient"
    log_prob_kind: LogProbKind = "exact"
    points: Tensor
    h: Tensor

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        bandwidth: float | Literal["loo"] = "loo",
        preprocess: Sequence[str] = ("standardise",),
    ) -> None:
        super().__init__(data_shape, preprocess)
        if isinstance(bandwidth, str):
            check_choice(bandwidth, ["loo"], name="bandwidth")
        else:
            check_real(bandwidth, name="bandwidth", open_low=True)
        self.bandwidth = bandwidth
        self.register_buffer("points", torch.zeros(0, self.ambient_dim))
        self.register_buffer("h", torch.ones(()))

    def stages(self) -> list[Stage]:
        return [Stage("fit", prepare=self.prepare)]

    @torch.no_grad()
    def prepare(self, x: Tensor) -> None:
        """Keep the training data (n, *data_shape) and choose the bandwidth."""
        if len(x) < 2:
            raise InvalidInput(f"x holds {len(x)} points: give at least 2")
        self.preprocess.fit(x)
        with self.preprocess.mode(training=True):  # levels are dequantised
            self.points = self.preprocess(x).flatten(1).to(self.device, self.dtype).clone()  # (n, D)
        self.h.fill_(_leave_one_out(self.points) if isinstance(self.bandwidth, str) else self.bandwidth)

    def log_prob(self, x: Tensor) -> Tensor:
        """Exact log-density in nats, (n,).

        Raises:
            UnfittedModel: before `prepare`.
        """
        self._require_fitted()
        y, log_det = self.preprocess.forward_and_log_det(self.receive(x))
        rows = max(1, _BUDGET // self.points.numel())
        sums = [
            (-0.5 * _squared_distances(block / self.h, self.points / self.h)).logsumexp(dim=1)
            for block in torch.split(y.flatten(1), rows)
        ]
        constant = math.log(len(self.points)) + self.ambient_dim * (self.h.log() + 0.5 * math.log(2 * math.pi))
        return torch.cat(sums) - constant + log_det

    @torch.no_grad()
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` samples, (n, *data_shape)."""
        self._require_fitted()
        which = torch.randint(len(self.points), (check_int(n, name="n"),), generator=generator, device=self.device)
        noise = torch.randn(n, self.ambient_dim, generator=generator, device=self.device, dtype=self.dtype)
        y = self.points[which] + self.h * noise
        return self.preprocess.inverse(y.reshape(n, *self.data_shape))

    def _require_fitted(self) -> None:
        if len(self.points) == 0:
            raise UnfittedModel("the kernel density has no points yet: fit the model first")


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """|a_i - b_j|^2, (m, n), from the differences, which keep the digits that |a|^2 - 2ab + |b|^2 loses."""
    return (a[:, None] - b).square().sum(dim=2)


def _leave_one_out(points: Tensor) -> float:
    """The bandwidth that maximises the leave-one-out log-likelihood of `points` (n, D)."""
    n, D = points.shape
    m = min(n, _QUERIES, max(_BUDGET // n, 1))
    queries = torch.linspace(0, n - 1, m, device=points.device).long()
    rows = max(1, _BUDGET // points.numel())
    squares = torch.cat([_squared_distances(points[index], points) for index in torch.split(queries, rows)])  # (m, n)
    squares[torch.arange(len(queries)), queries] = torch.inf

    def loss(log_h: float) -> float:
        log_likelihood = (squares * (-0.5 * math.exp(-2 * log_h))).logsumexp(dim=1).mean()
        return D * log_h - float(log_likelihood)

    found = minimize_scalar(loss, bounds=(math.log(_NARROWEST), math.log(_WIDEST)), method="bounded")
    return math.exp(found.x)
