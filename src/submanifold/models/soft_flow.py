r"""A flow that is told how noisy its data are: p(x; \sigma) for all levels of a range, sampled at the least.

y is x after preprocessing, a similarity; levels are in units of y until they are asked for in those of the data.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from submanifold.checks import check_int, check_real
from submanifold.models.diffusion.score_model import ScoreModel
from submanifold.models.flow import Flow
from submanifold.models.latents import normal
from submanifold.models.registry import register
from submanifold.nn.given import NetworkLike

__all__ = ["SoftFlow"]


@register("softflow")
class SoftFlow(Flow, ScoreModel):
    r"""Maximises the likelihood of noised data under maps that depend on the level of the noise,

    .. math:: \mathbb{E} \, \log p(y + \sigma \epsilon; \sigma), \qquad \sigma \sim U[\sigma_{min}, \sigma_{max}],
              \quad \epsilon \sim N(0, I_D)

    (SoftFlow, Kim et al. 2020, arXiv 2006.04604), and samples at \sigma_min: what it has learned where there is a
    density helps where there nearly is none. `log_prob` and `local_scales` are by default those of the law at
    \sigma_min, that of samples; `score` and `denoise` are known at all levels.

    Args:
        data_shape: (D,) or (channels, height, width), flattened; D = 1 is accepted.
        sigma_min: the level that stands for none, in deviations of the data, above 0.
        sigma_max: the largest level.
        kind, network, transforms, hidden, bins: see `Flow`.
        preprocess: names of the invertible maps applied first; they have to be similarities.
    """

    family = "normalizing flow told the level of noise"
    why = "at the level without noise, at which it samples, its likelihood grows without bound as that of any flow"

    context = 1

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        sigma_min: float = 1e-3,
        sigma_max: float = 0.1,
        kind: str = "spline-coupling",
        network: NetworkLike = "mlp",
        transforms: int = 3,
        hidden: Sequence[int] = (64, 64),
        bins: int = 8,
        preprocess: Sequence[str] = ("scale",),
    ) -> None:
        super().__init__(
            data_shape,
            kind=kind,
            network=network,
            transforms=transforms,
            hidden=hidden,
            bins=bins,
            preprocess=preprocess,
        )
        self.sigma_min = check_real(sigma_min, name="sigma_min", open_low=True)
        self.sigma_max = check_real(sigma_max, name="sigma_max", low=self.sigma_min, open_low=True)

    def loss(self, x: Tensor) -> Tensor:
        """Negative log-likelihood of noised points in nats, ()."""
        y, log_det = self.preprocess.forward_and_log_det(x)
        y = y.flatten(1)
        share = torch.rand(len(y), device=y.device, dtype=y.dtype)
        sigma = self.sigma_min + (self.sigma_max - self.sigma_min) * share
        noised = y + sigma[:, None] * torch.randn_like(y)
        return -(self._log_density(noised, self._told(sigma)) + log_det).mean()

    @torch.no_grad()
    def sample(self, n: int, *, sigma: float | None = None, generator: torch.Generator | None = None) -> Tensor:
        """`n` samples, (n, *data_shape), of data under noise `sigma` in their units; by default the least."""
        low, high = self.sigma_range
        level = low if sigma is None else check_real(sigma, name="sigma", low=low, high=high)
        like = torch.empty(0, device=self.device, dtype=self.dtype)
        u = normal((check_int(n, name="n"), self.ambient_dim), like, generator)
        return self._generate(u, self._told(u.new_full((n,), self.sigma_min * level / low)))

    def log_prob(self, x: Tensor, *, sigma: Tensor | float | None = None) -> Tensor:
        """Exact log-density in nats of data under noise `sigma` in their units, a number or (n,); by default the least.

        Raises:
            InvalidInput: for a level outside `sigma_range`, or levels of another shape.
        """
        if sigma is None:
            return self._log_prob(self.receive(x))
        x, level, _ = self._received(x, sigma)
        return self._log_prob(x, level)

    def _log_prob(self, x: Tensor, level: Tensor | None = None) -> Tensor:
        """With levels in units of y, (n,)."""
        y, log_det = self.preprocess.forward_and_log_det(x)
        level = self._least(x) if level is None else level
        return self._log_density(y.flatten(1), self._told(level)) + log_det

    def _normalise(self, x: Tensor) -> Tensor:
        u: Tensor = self.transform(self._told(self._least(x)))(self.preprocess(x).flatten(1))
        return u

    def _score(self, y: Tensor, sigma: Tensor) -> Tensor:
        score: Tensor = torch.func.grad(lambda y: self._log_density(y, self._told(sigma)).sum())(y)
        return score

    def _least(self, points: Tensor) -> Tensor:
        """The least level for so many points, (n,)."""
        return points.new_full((len(points),), self.sigma_min)

    def _told(self, sigma: Tensor) -> Tensor:
        """What the maps see of levels (n,), (n, 1)."""
        return 2 * sigma[:, None] / self.sigma_max - 1
