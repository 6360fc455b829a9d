r"""Diffusion models: a network that denoises at all noise levels, and what follows from it.

y is x after preprocessing, of mean square deviation 1; D(y, \sigma) = E[y_0 | y_0 + \sigma \epsilon = y].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from submanifold import nn
from submanifold.checks import check_choice, check_int, check_real
from submanifold.geometry import jacobian, random_signs
from submanifold.models.base import LogProbKind, Measure, Objective
from submanifold.models.diffusion.levels import SPACINGS, noise_levels
from submanifold.models.diffusion.likelihood import FlowLikelihood, flow_log_prob
from submanifold.models.diffusion.samplers import SAMPLERS, Progress
from submanifold.models.diffusion.score_model import ScoreModel
from submanifold.models.latents import normal
from submanifold.models.reference import GaussianReference
from submanifold.models.registry import MODELS

__all__ = ["WEIGHTINGS", "Diffusion"]

_CENTRE, _SPREAD = -0.5, 1.2
"""Of the logarithm of noise levels in training: Karras et al. 2022, table 1, whose data have deviation 1/2."""
_PROBES = 8
"""Directions by which `log_prob` estimates a divergence."""

WEIGHTINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "edm": torch.ones_like,
    "likelihood": lambda sigma: 1 / (1 + sigma.square()),
    "min-snr": lambda sigma: (5 * sigma.square()).clamp(max=1) / (1 + sigma.square()),
}
r"""Weights of noise levels in the error of the network's output: even (Karras et al. 2022); that of the bound of the
likelihood, up to how levels are drawn (Song et al. 2021, arXiv 2101.09258, theorem 1); or \min(SNR, 5) in the error of
D (Hang et al. 2023, arXiv 2303.09556)."""


@MODELS.register("diffusion")
class Diffusion(ScoreModel):
    r"""Minimises, over noise levels, the error of the denoised point,

    .. math:: \mathbb{E} \, w(\sigma) \, \big| F(c_{in} y, \tfrac14 \log \sigma) - (y_0 - c_{skip} y) / c_{out} \big|^2,
              \qquad D = c_{skip} y + c_{out} F

    with c_{skip} = 1 / (1 + \sigma^2), c_{out} = \sigma / \sqrt{1 + \sigma^2}, c_{in} = 1 / \sqrt{1 + \sigma^2}, so
    that the network sees and says numbers of size 1 at all levels (Karras et al. 2022, arXiv 2206.00364, eq. 7-8, with
    deviation 1). Half of the levels are log-normal as there, half even in \log \sigma, so that the least are learned
    too: they decide how near the manifold samples get.

    Noised data have a density, and so has the model: `log_prob` is that of p_\sigma at \sigma_min, along the
    probability flow. On data of a manifold of dimension d it has no limit as \sigma_min vanishes, but grows as
    (D - d) \log 1 / \sigma_min, see `log_prob_at`.

    Args:
        data_shape: (D,) or (channels, height, width).
        hidden: widths of the network, see `submanifold.nn.denoiser`; None for what suits the shape.
        network: "auto" (a U-Net for images, dense otherwise), "mlp", "unet" or "transformer".
        weighting: one of `WEIGHTINGS`.
        sigma_min: the least noise level, in deviations of the data; where samplers stop.
        sigma_max: the largest, where noised data are taken for the Gaussian of their mean and covariance.
        sampler: one of `submanifold.models.diffusion.SAMPLERS`.
        sample_steps: its steps.
        spacing: of its levels, one of `submanifold.models.diffusion.SPACINGS`.
        final_denoise: end with the denoised point, not at the least level.
        exact_dims: coordinates up to which `log_prob` is exact but for the solver, at the price of D passes; beyond,
            its divergence is estimated along 8 directions that never change, and `log_prob_kind` is "estimate".
        preprocess: names of the invertible maps applied first; they have to be similarities.
    """

    family = "diffusion model"
    awareness = "aware"
    why = "noised data have a density, whose score it learns at all noise levels down to one near zero"

    measure: Measure = "ambient"
    log_prob_kind: LogProbKind = "estimate"

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        hidden: Sequence[int] | None = None,
        network: str = "auto",
        weighting: str = "edm",
        sigma_min: float = 0.005,
        sigma_max: float = 20.0,
        sampler: str = "heun",
        sample_steps: int = 25,
        spacing: str = "karras",
        final_denoise: bool = True,
        exact_dims: int = 16,
        preprocess: Sequence[str] = ("scale",),
    ) -> None:
        super().__init__(data_shape, preprocess)
        self.weighting = check_choice(weighting, WEIGHTINGS, name="weighting")
        self.sigma_min = check_real(sigma_min, name="sigma_min", open_low=True)
        self.sigma_max = check_real(sigma_max, name="sigma_max", low=self.sigma_min, open_low=True)
        self.sampler = check_choice(sampler, SAMPLERS, name="sampler")
        self.sample_steps = check_int(sample_steps, name="sample_steps")
        self.spacing = check_choice(spacing, SPACINGS, name="spacing")
        self.final_denoise = bool(final_denoise)
        self.exact_dims = check_int(exact_dims, name="exact_dims", low=0)
        if self.ambient_dim <= self.exact_dims:
            self.log_prob_kind = "exact"
        self.reference = GaussianReference(self.ambient_dim)
        self.network = nn.denoiser(network, self.data_shape, hidden=hidden)

    def prepare(self, x: Tensor) -> None:
        super().prepare(x)
        self.reference.fit(self.preprocess(x).flatten(1))

    def objectives(self) -> list[Objective]:
        return [Objective("denoising", list(self.network.parameters()), self.loss)]

    def loss(self, x: Tensor) -> Tensor:
        """The weighted error of the network's output, a mean over coordinates, ()."""
        y = self.preprocess.forward(x).flatten(1)
        sigma = self._training_levels(y)
        noise, level = normal(y.shape, y), sigma[:, None]
        target = (level * y - noise) / (1 + level.square()).sqrt()  # (y - c_skip (y + sigma noise)) / c_out
        errors = (self._output(y + level * noise, sigma) - target).square().mean(dim=1)
        return (WEIGHTINGS[self.weighting](sigma) * errors).mean()

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        generator: torch.Generator | None = None,
        sampler: str | None = None,
        steps: int | None = None,
        sigma_min: float | None = None,
        callback: Callable[[Progress], None] | None = None,
    ) -> Tensor:
        """`n` samples, (n, *data_shape), by the model's sampler, or by another, with other steps, or to another level.

        Args:
            n: how many.
            generator: of all noise.
            sampler: in place of the model's.
            steps: likewise.
            sigma_min: likewise, in deviations of the data.
            callback: called after each step, with points after preprocessing.

        Raises:
            UnfittedModel: before training.
            NonFiniteScore: where the network says something that is not a number.
        """
        self.preprocess.require_fitted()
        run = SAMPLERS[check_choice(sampler or self.sampler, SAMPLERS, name="sampler")]
        levels = noise_levels(
            self.sample_steps if steps is None else steps,
            self.sigma_min if sigma_min is None else sigma_min,
            self.sigma_max,
            spacing=self.spacing,
            to_zero=self.final_denoise,
        )
        y = self.reference.sample(check_int(n, name="n"), generator)
        y = y + self.sigma_max * normal(y.shape, y, generator)
        y = run(self._denoise, y, levels, generator=generator, callback=callback)
        return self.preprocess.inverse(y.reshape(n, *self.data_shape))

    def log_prob(self, x: Tensor) -> Tensor:
        r"""Log-density of p_\sigma at the least noise level, in nats, (n,), without gradients."""
        return self.log_prob_at(x).log_prob

    def log_prob_at(
        self, x: Tensor, sigma_min: float | None = None, *, tolerance: float = 1e-4, chunk_size: int | None = None
    ) -> FlowLikelihood:
        r"""Log-densities under p_\sigma at another noise level, with their standard errors.

        Against \log 1 / \sigma they grow with the slope D - d where the data are on a manifold.

        Args:
            x: points (n, *data_shape).
            sigma_min: \sigma, in deviations of the data; that of the model if None.
            tolerance: relative error of a step of the solver.
            chunk_size: coordinates or directions at a time, which bounds the memory.

        Raises:
            InvalidInput: for a level that is not between zero and sigma_max.
            NonFiniteScore: where the network says something that is not a number.
        """
        x = self.receive(x)
        y, log_det = self.preprocess.forward_and_log_det(x)
        flat = y.flatten(1).detach()
        directions = None
        if self.log_prob_kind == "estimate":
            one = random_signs(_PROBES, flat[:1].cpu(), torch.Generator().manual_seed(0))
            directions = one.to(flat).expand(-1, len(flat), -1)
        found = flow_log_prob(
            lambda y, sigma: self._score(y, sigma.expand(len(y))),
            flat,
            self.sigma_min if sigma_min is None else sigma_min,
            self.sigma_max,
            lambda ends: self.reference.log_prob(ends, self.sigma_max),
            directions=directions,
            tolerance=tolerance,
            chunk_size=chunk_size,
        )
        return FlowLikelihood(found.log_prob + log_det, found.error, found.ends)

    def local_scales(self, x: Tensor) -> Tensor:
        r"""Widths (n, D), descending, in data units: (-\lambda)^{-1/2} of the eigenvalues \lambda of \nabla s at the
        least noise level.

        Directions in which the log-density is not concave count as wide as the largest noise.
        """
        unit = self.preprocess.inverse_lipschitz()
        y = self.preprocess(self.receive(x)).flatten(1)

        def field(y: Tensor) -> Tensor:
            return self._score(y, y.new_full((len(y),), self.sigma_min))

        H = jacobian(field, y)  # (n, D, D)
        curvature = torch.linalg.eigvalsh(-0.5 * (H + H.mT)).clamp(min=self.sigma_max**-2)  # ascending
        scales: Tensor = unit * curvature.rsqrt()
        return scales

    def _score(self, y: Tensor, sigma: Tensor) -> Tensor:
        square = (1 + sigma.square())[:, None]
        return self._output(y, sigma) / (sigma[:, None] * square.sqrt()) - y / square

    def _output(self, y: Tensor, sigma: Tensor) -> Tensor:
        """F at points (n, D) under noise (n,), (n, D)."""
        seen = (y / (1 + sigma.square()).sqrt()[:, None]).reshape(-1, *self.data_shape)
        output: Tensor = self.network(seen, 0.25 * sigma.log())
        return output.flatten(1)

    def _training_levels(self, y: Tensor) -> Tensor:
        """Noise levels of a batch, (n,)."""
        low, high = math.log(self.sigma_min), math.log(self.sigma_max)
        log_normal = _CENTRE + _SPREAD * torch.randn(len(y), device=y.device, dtype=y.dtype)
        even = low + (high - low) * torch.rand(len(y), device=y.device, dtype=y.dtype)
        first_half = torch.arange(len(y), device=y.device) < len(y) // 2
        return torch.where(first_half, log_normal.clamp(low, high), even).exp()
