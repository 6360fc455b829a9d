r"""What diffusion models and flow matching share: a network that is asked at all noise levels, and the flow it defines.

y is x after preprocessing, y_\sigma = y + \sigma \epsilon. A path takes y to
x_t = \alpha(t) y + \beta(t) \epsilon = \alpha(t) y_{\sigma(t)}, of which a network says one of `PREDICTIONS`. Noise
levels are in units of y. All that depends on them is chosen for y of mean square deviation 1, which "scale" in the
preprocessing makes it; one unit is then a deviation of the data.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from submanifold import nn
from submanifold.checks import check_choice, check_int, check_real
from submanifold.errors import InvalidInput
from submanifold.geometry import random_signs
from submanifold.models.base import LogProbKind, Measure, Objective
from submanifold.models.diffusion.asked import AskedNetwork
from submanifold.models.diffusion.levels import LEVEL_ROUNDING, SPACINGS, TRAINING_LEVELS, noise_levels
from submanifold.models.diffusion.likelihood import FlowLikelihood, flow_log_prob
from submanifold.models.diffusion.paths import PATHS, PREDICTIONS
from submanifold.models.diffusion.samplers import Progress, Sampler
from submanifold.models.latents import normal
from submanifold.models.reference import GaussianReference
from submanifold.nn.given import NetworkLike

__all__ = ["WEIGHTINGS", "ProbabilityFlow"]

_PROBES = 8
"""Directions by which `log_prob` estimates a divergence."""
_OFF_SCALE = 2.0
"""Deviations of y above this, or below its inverse, are warned about."""

WEIGHTINGS: dict[str, Callable[[Tensor], Tensor] | None] = {
    "edm": lambda sigma: 1 + sigma.square().reciprocal(),
    "likelihood": lambda sigma: sigma.square().reciprocal(),
    "min-snr": lambda sigma: sigma.square().reciprocal().clamp(max=5),
    "even": None,
}
r"""Weights of noise levels in the error of the denoised point: 1 + 1 / \sigma^2 (Karras et al. 2022, table 1); that of
the bound of the likelihood, up to how levels are drawn (Song et al. 2021, arXiv 2101.09258, theorem 1); \min(SNR, 5)
(Hang et al. 2023, arXiv 2303.09556); or none, but even weights in the error of what the network says."""


class ProbabilityFlow(AskedNetwork):
    r"""The flow dy / d\sigma = (y - D(y, \sigma)) / \sigma from noise at \sigma_max to data at \sigma_min.

    Where D is the mean of the data given what is seen, its laws are those of noised data; other D make other flows,
    which are sampled and scored alike. A subclass says by `_pairs` which noise goes with which point in training, and
    by `samplers` which samplers are right for its D.

    Args:
        data_shape: (D,) or (channels, height, width).
        hidden: widths of the network, see `submanifold.nn.denoiser`; None for what suits the shape.
        network: "auto" (a U-Net for images, dense otherwise), "mlp", "kan", "unet" or "transformer", or a module,
            called with x_t, \log \sigma / 4, and labels if there are classes, see `submanifold.nn.given`: integers in
            [0, classes), or `classes` for points without one.
        classes: number of classes that points may be labelled with, 0 for data without labels.
        unlabelled: share of points whose label is hidden in training, so that the model knows the law of all classes
            too (Ho & Salimans 2022, arXiv 2207.12598); where there are classes, above 0 and below 1.
        path: one of `submanifold.models.diffusion.PATHS`.
        prediction: what the network says, one of `PREDICTIONS`.
        training_levels: how noise levels are drawn in training, one of `TRAINING_LEVELS`.
        weighting: one of `WEIGHTINGS`.
        sigma_min: the least noise level, in units of y; where samplers stop, and below which nothing is learned.
        sigma_max: the largest, where noised data are taken for the Gaussian of their mean and covariance.
        sampler: one of `samplers`.
        sample_steps: its steps.
        spacing: of its levels, one of `submanifold.models.diffusion.SPACINGS`.
        final_denoise: end with the denoised point, not at the least level.
        exact_dims: coordinates up to which `log_prob` is exact but for the solver, at the price of D passes; beyond,
            its divergence is estimated along 8 directions for each point, and `log_prob_kind` is "estimate".
        preprocess: names of the invertible maps applied first; they have to be similarities. Without "scale" the data
            have to have deviations of about 1 themselves: there is a warning in training where they have not.
    """

    networks = ("denoiser",)
    samplers: Mapping[str, Sampler]
    measure: Measure = "ambient"
    log_prob_kind: LogProbKind = "estimate"

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        hidden: Sequence[int] | None,
        network: NetworkLike,
        classes: int,
        unlabelled: float,
        path: str,
        prediction: str,
        training_levels: str,
        weighting: str,
        sigma_min: float,
        sigma_max: float,
        sampler: str,
        sample_steps: int,
        spacing: str,
        final_denoise: bool,
        exact_dims: int,
        preprocess: Sequence[str],
    ) -> None:
        super().__init__(data_shape, preprocess)
        self.classes = check_int(classes, name="classes", low=0)
        self.unlabelled = check_real(unlabelled, name="unlabelled", high=1.0)
        if self.classes and self.unlabelled in (0.0, 1.0):
            raise InvalidInput(
                f"unlabelled={unlabelled!r} with classes={classes} is not accepted: give a number in (0, 1), or the "
                f"network learns nothing of points {'without' if self.unlabelled == 0 else 'with'} a label"
            )
        self.path = PATHS[check_choice(path, PATHS, name="path")]()
        self.prediction = check_choice(prediction, PREDICTIONS, name="prediction")
        self.training_levels = check_choice(training_levels, TRAINING_LEVELS, name="training_levels")
        self.weighting = check_choice(weighting, WEIGHTINGS, name="weighting")
        self.sigma_min = check_real(sigma_min, name="sigma_min", open_low=True)
        self.sigma_max = check_real(sigma_max, name="sigma_max", low=self.sigma_min, open_low=True)
        self.sampler = check_choice(sampler, self.samplers, name="sampler")
        self.sample_steps = check_int(sample_steps, name="sample_steps")
        self.spacing = check_choice(spacing, SPACINGS, name="spacing")
        self.final_denoise = bool(final_denoise)
        self.exact_dims = check_int(exact_dims, name="exact_dims", low=0)
        if self.ambient_dim <= self.exact_dims:
            self.log_prob_kind = "exact"
        self.reference = GaussianReference(self.ambient_dim)
        self.network = nn.denoiser(
            nn.network_for(network, "denoiser", self.networks), self.data_shape, hidden=hidden, classes=self.classes
        )

    def prepare(self, x: Tensor) -> None:
        super().prepare(x)
        y = self.preprocess(x).flatten(1)
        self.reference.fit(y)
        deviation = float(y.double().var(dim=0, correction=0).mean().sqrt())
        if not 1 / _OFF_SCALE <= deviation <= _OFF_SCALE:
            warnings.warn(
                f"preprocess={list(self.preprocess.names)!r} leaves data with a deviation of {deviation:.3g}, and "
                f"noise levels from {self.sigma_min:.4g} to {self.sigma_max:.4g} are for one near 1: samples and "
                'log-densities may be far off, add "scale" at the end of preprocess',
                stacklevel=2,
            )

    def objectives(self) -> list[Objective]:
        parameters = list(self.network.parameters())
        return [Objective("denoising", parameters, self.loss, labelled=self.classes > 0)]

    def loss(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """The weighted error of what the network says, a mean over coordinates, ().

        Args:
            x: points (n, *data_shape).
            labels: their classes (n,), where there are any.
        """
        y, noise = self._pairs(x, labels)
        return self._error_in_training(y, noise, labels)

    def _error_in_training(self, y: Tensor, noise: Tensor, labels: Tensor | None) -> Tensor:
        """The weighted error at points y (n, D) with this noise, at levels that are drawn, some labels hidden, ()."""
        if labels is not None:
            hidden = torch.rand(len(y), device=y.device) < self.unlabelled
            labels = labels.masked_fill(hidden, self.classes)
        return self._error(y, noise, self._drawn_levels(y), labels)

    def _drawn_levels(self, y: Tensor) -> Tensor:
        """Noise levels for points (n, D) in training, (n,)."""
        return TRAINING_LEVELS[self.training_levels](y, self.path, self.sigma_min, self.sigma_max)

    def _error(self, y: Tensor, noise: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
        """The weighted error at points y (n, D) with this noise, at levels (n,)."""
        at = self.path.rates(self.path.time(sigma))
        x_t = at.scale[:, None] * y + at.noise[:, None] * noise
        said = self._ask(x_t, sigma, labels)
        a, b = at.weights(self.prediction)
        errors = (said - a[:, None] * y - b[:, None] * noise).square().mean(dim=1)
        weight = WEIGHTINGS[self.weighting]
        if weight is not None:
            in_denoised = at.noise / (b * at.scale - a * at.noise)  # of the denoised point, by what the network says
            errors = weight(sigma) * in_denoised.square() * errors
        return errors.mean()

    @abstractmethod
    def _pairs(self, x: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Preprocessed points of these classes and the noise that goes with them, (n, D) each."""

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        generator: torch.Generator | None = None,
        labels: Tensor | int | None = None,
        guidance: float = 0.0,
        sampler: str | None = None,
        steps: int | None = None,
        sigma_min: float | None = None,
        callback: Callable[[Progress], None] | None = None,
    ) -> Tensor:
        r"""`n` samples, (n, *data_shape), by the model's sampler, or by another, with other steps, or to another level.

        Args:
            n: how many.
            generator: of all noise.
            labels: their classes, (n,) or one for all; None for the law of all classes.
            guidance: w in (1 + w) D(y, \sigma, label) - w D(y, \sigma) (Ho & Salimans 2022, arXiv 2207.12598, eq. 6):
                more of what sets the class apart, and less variety. It needs labels.
            sampler: in place of the model's.
            steps: likewise.
            sigma_min: likewise, in units of y, no less than the model's.
            callback: called after each step, with points after preprocessing.

        Raises:
            UnfittedModel: before training.
            NonFiniteScore: where the network says something that is not a number.
            InvalidInput: for an argument out of its range, a level that the model does not know, labels of a model
                without classes, or guidance without labels.
        """
        self.preprocess.require_fitted()
        run = self.samplers[check_choice(sampler or self.sampler, self.samplers, name="sampler")]
        levels = noise_levels(
            self.sample_steps if steps is None else steps,
            self._known_level(sigma_min),
            self.sigma_max,
            spacing=self.spacing,
            to_zero=self.final_denoise,
        )
        denoise = self._denoiser(self.receive_labels(labels, check_int(n, name="n")), guidance)
        y = self.reference.sample(n, generator)
        y = y + self.sigma_max * normal(y.shape, y, generator)
        y = run(denoise, y, levels, generator=generator, callback=callback)
        return self.preprocess.inverse(y.reshape(n, *self.data_shape))

    def log_prob(self, x: Tensor) -> Tensor:
        r"""Log-density of the flow at the least noise level, in nats, (n,), without gradients; see `log_prob_at`."""
        return self.log_prob_at(x).log_prob

    def log_prob_at(
        self,
        x: Tensor,
        sigma_min: float | None = None,
        *,
        labels: Tensor | int | None = None,
        tolerance: float = 1e-4,
        chunk_size: int | None = None,
    ) -> FlowLikelihood:
        r"""Log-densities at another noise level, with their standard errors.

        Against \log 1 / \sigma they grow with the slope D - d where the data are on a manifold: see
        `submanifold.models.diffusion.likelihood_curve`.

        A divergence that is estimated is so along directions of each point's own, so that means over points have less
        of an error than points. They are the same in every call for the first point of a batch, for the second, and so
        on: a batch has the same estimates whenever it is scored, and a point other ones at another place.

        Args:
            x: points (n, *data_shape).
            sigma_min: \sigma, in units of y, no less than the model's; that of the model if None.
            labels: classes of the points, (n,) or one for all; None for the law of all classes.
            tolerance: relative error of a step of the solver, at the worst of the points.
            chunk_size: coordinates or directions at a time, which bounds the memory.

        Raises:
            InvalidInput: for a level that is not between the model's least and sigma_max, labels that cannot be, or a
                tolerance that cannot be held.
            NonFiniteScore: where the network says something that is not a number, or has a slope that is none.
        """
        x = self.receive(x)
        given = self.receive_labels(labels, len(x))
        y, log_det = self.preprocess.forward_and_log_det(x)
        flat = y.flatten(1).detach()
        directions = None
        if self.log_prob_kind == "estimate":
            like = flat.new_empty(_PROBES, self.ambient_dim, device="cpu")  # the same signs on every device
            each = random_signs(len(flat), like, torch.Generator().manual_seed(0))  # (n, probes, D): points in turn
            directions = each.transpose(0, 1).to(flat.device)  # (probes, n, D)
        found = flow_log_prob(
            lambda y, sigma: self._noise(y, sigma.expand(len(y)), given) / -sigma,
            flat,
            self._known_level(sigma_min),
            self.sigma_max,
            lambda ends: self.reference.log_prob(ends, self.sigma_max),
            directions=directions,
            tolerance=tolerance,
            chunk_size=chunk_size,
        )
        return FlowLikelihood(found.log_prob + log_det, found.error, found.ends)

    def _known_level(self, sigma_min: float | None) -> float:
        """A level to end at, by default the model's: nothing has been learned of less noise."""
        if sigma_min is None:
            return self.sigma_min
        level = check_real(sigma_min, name="sigma_min", open_low=True)
        if not (1 - LEVEL_ROUNDING) * self.sigma_min <= level <= self.sigma_max:
            raise InvalidInput(
                f"sigma_min={sigma_min!r} is not accepted: give a noise level in [{self.sigma_min:.4g}, "
                f"{self.sigma_max:.4g}], those that the model has learned"
            )
        return level
