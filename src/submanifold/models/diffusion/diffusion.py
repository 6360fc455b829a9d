"""Diffusion models and flow matching: a network that denoises at all noise levels, and what follows from it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from submanifold.geometry import jacobian
from submanifold.models.diffusion.likelihood import diffusion_bound
from submanifold.models.diffusion.probability_flow import ProbabilityFlow
from submanifold.models.diffusion.samplers import SAMPLERS
from submanifold.models.diffusion.score_model import Field, ScoreModel
from submanifold.models.latents import normal
from submanifold.models.registry import preset, register
from submanifold.nn.given import NetworkLike

__all__ = ["Diffusion"]


@register("diffusion")
class Diffusion(ProbabilityFlow, ScoreModel):
    r"""Minimises, over noise levels, the error of what a network says of points with independent noise.

    .. math:: \mathbb{E} \, w(\sigma) \, \big| F(x_t, \tfrac14 \log \sigma) - (a_t y + b_t \epsilon) \big|^2,
              \qquad x_t = \alpha_t y + \beta_t \epsilon, \qquad \sigma = \beta_t / \alpha_t

    By default F says v = \alpha \epsilon - \beta y on \alpha^2 + \beta^2 = 1. This is the preconditioning of Karras et
    al. 2022 (arXiv 2206.00364, eq. 7-8) for data of deviation 1, up to the sign: the network sees and says numbers of
    size 1 at all levels. Half of the levels are log-normal as there, half even in \log \sigma, so that the least are
    learned too: they decide how near the manifold samples get. With path="linear" and prediction="velocity" it is flow
    matching (Lipman et al. 2023, arXiv 2210.02747), of which the least squares velocity is the same denoiser in other
    words; with path="vp" and prediction="noise", the model of Ho et al. 2020 (arXiv 2006.11239).

    Noised data have a density, and so has the model: `log_prob` is that of p_\sigma at \sigma_min, along the
    probability flow. On data of a manifold of dimension d it has no limit as \sigma_min vanishes, but grows as
    (D - d) \log 1 / \sigma_min, see `log_prob_at`.

    Args:
        data_shape, hidden, network, classes, unlabelled, path, prediction, training_levels, weighting, sigma_min,
            sigma_max, sampler, sample_steps, spacing, final_denoise, exact_dims, preprocess: see `ProbabilityFlow`.
    """

    family = "diffusion model"
    awareness = "aware"
    why = "noised data have a density, whose score it learns at all noise levels down to one near zero"

    samplers = SAMPLERS

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        hidden: Sequence[int] | None = None,
        network: NetworkLike = "auto",
        classes: int = 0,
        unlabelled: float = 0.1,
        path: str = "trigonometric",
        prediction: str = "v",
        training_levels: str = "edm",
        weighting: str = "edm",
        sigma_min: float = 0.005,
        sigma_max: float = 20.0,
        sampler: str = "heun",
        sample_steps: int = 25,
        spacing: str = "karras",
        final_denoise: bool = True,
        exact_dims: int = 8,
        preprocess: Sequence[str] = ("scale",),
    ) -> None:
        super().__init__(
            data_shape,
            hidden=hidden,
            network=network,
            classes=classes,
            unlabelled=unlabelled,
            path=path,
            prediction=prediction,
            training_levels=training_levels,
            weighting=weighting,
            sigma_min=sigma_min,
            sigma_max=sigma_max,
            sampler=sampler,
            sample_steps=sample_steps,
            spacing=spacing,
            final_denoise=final_denoise,
            exact_dims=exact_dims,
            preprocess=preprocess,
        )

    def _pairs(self, x: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        y = self.preprocess.forward(x).flatten(1)
        return y, normal(y.shape, y)

    def score(self, x: Tensor, sigma: Tensor | float, *, labels: Tensor | int | None = None) -> Tensor:
        r"""\nabla \log p_\sigma(x), or \nabla \log p_\sigma(x | label), shaped like x, in the units of the data.

        Args:
            x: points (n, *data_shape).
            sigma: noise level in the units of the data, a number or (n,).
            labels: classes of the points, (n,) or one for all; None for the law of all classes.

        Raises:
            InvalidInput: for a level outside `sigma_range`, levels of another shape, or labels that cannot be.
        """
        return self._scored(x, sigma, self._score_given(labels))

    def denoise(self, x: Tensor, sigma: Tensor | float, *, labels: Tensor | int | None = None) -> Tensor:
        r"""E[x_0 | x_0 + \sigma \epsilon = x], given labels too where there are any, shaped like x.

        See `score` for arguments and errors.
        """
        return self._denoised_by(x, sigma, self._score_given(labels))

    def elbo(
        self,
        x: Tensor,
        *,
        levels: int = 32,
        labels: Tensor | int | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        r"""A lower bound on the log-density under the reverse diffusion, and its standard error, in nats, (n,) each.

        The law that is bounded is that of samples with noise in every step, in the limit of many, of which the last
        adds noise of the least level: see `submanifold.models.diffusion.diffusion_bound`. For an exact score it is data
        under \sqrt 2 \sigma_{min} of noise. `log_prob` is another law's, that of the flow, and no bound.

        Args:
            x: points (n, *data_shape).
            levels: strata of noise levels, in each of which the network is asked twice.
            labels: classes of the points, (n,) or one for all; None for the law of all classes.
            generator: of levels and noise, which are new in every call.

        Raises:
            InvalidInput: for fewer than two levels, or labels that cannot be.
        """
        x = self.receive(x)
        y, log_det = self.preprocess.forward_and_log_det(x)
        score = self._score_given(labels)
        bound, error = diffusion_bound(
            lambda y, sigma: score(y, sigma.expand(len(y))),
            y.flatten(1),  # (n, D)
            self.sigma_min,
            self.sigma_max,
            lambda ends: self.reference.log_prob(ends, self.sigma_max),
            levels=levels,
            generator=generator,
        )
        return bound + log_det, error

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
        return self._score_given(None)(y, sigma)

    def _score_given(self, labels: Tensor | int | None) -> Field:
        """The score of preprocessed points of these classes."""
        return lambda y, sigma: self._noise(y, sigma, self.receive_labels(labels, len(y))) / -sigma[:, None]


preset(
    "ddpm",
    Diffusion,
    family="diffusion model, noise prediction",
    path="vp",
    prediction="noise",
    training_levels="uniform",
    weighting="even",
    sampler="ancestral",
    sample_steps=100,
    spacing="vp",
)
preset(
    "flow-matching",
    Diffusion,
    family="flow matching",
    why="its velocity on straight paths from noise is a denoiser in other words, learned down to a level near zero",
    path="linear",
    prediction="velocity",
    training_levels="logit-normal",
    weighting="even",
)
