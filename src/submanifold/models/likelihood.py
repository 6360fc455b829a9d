"""What models share that are trained by their exact likelihood, and are a map of normal noise."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from submanifold.geometry import jacobian, singular_values
from submanifold.models.base import LogProbKind, Measure, Model, Objective
from submanifold.models.precision import double

__all__ = ["ExactLikelihood"]


class ExactLikelihood(Model):
    r"""A model that maximises \log p(x), which it knows, and of which x = T(u) with u \sim N(0, I_D).

    A subclass says \log p(x) in `_log_prob` and u = T^{-1}(x) in `_normalise`.
    """

    measure: Measure = "ambient"
    log_prob_kind: LogProbKind = "exact"

    def objectives(self) -> list[Objective]:
        return [Objective("likelihood", list(self.parameters()), self.loss)]

    def loss(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        """Negative log-likelihood in nats, ()."""
        return -self._log_prob(x).mean()

    def log_prob(self, x: Tensor) -> Tensor:
        """Exact log-density in nats, (n,)."""
        return self._log_prob(self.receive(x))

    @torch.no_grad()
    def local_scales(self, x: Tensor) -> Tensor:
        """Singular values of T's Jacobian at T^{-1}(x), (n, D), descending: the inverses of those of T^{-1}'s at x."""
        twin = double(self)
        with sdpa_kernel(SDPBackend.MATH):  # of the ways to attend, the one with derivatives of all kinds
            J = jacobian(twin._normalise, twin.receive(x))  # (n, D, D)
        scales: Tensor = singular_values(J).flip(1).reciprocal()
        return scales

    @abstractmethod
    def _log_prob(self, x: Tensor) -> Tensor:
        """Log-density in nats of points that were received, (n,)."""

    @abstractmethod
    def _normalise(self, x: Tensor) -> Tensor:
        """u = T^{-1}(x), (n, D)."""
