"""Mixtures of Gaussians: a law that is fitted in closed form or nearly so, for latents and for plain data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from submanifold.checks import check_choice, check_int
from submanifold.errors import InvalidInput, UnfittedModel
from submanifold.models.base import LogProbKind, Measure, Model, Stage
from submanifold.models.registry import register

__all__ = ["GaussianMixture"]

_CANDIDATES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
_SELECTION_POINTS = 2000
_RIDGE = 1e-6
"""Added to the covariances of a mixture, in preprocessed units: a component that collapses keeps a width of 10^-3."""
_RIDGE_ONE = 1e-9
"""The same for a single Gaussian, which collapses only with the data; but not while it is compared with others."""


@register("gaussian-mixture")
class GaussianMixture(Model):
    r"""p(x) = \sum_k \pi_k N(x; \mu_k, \Sigma_k), fitted by expectation-maximisation from k-means.

    One component is the Gaussian of maximum likelihood. Training is over once the data have been seen.

    Args:
        data_shape: (D,) or (channels, height, width), flattened.
        components: number of components, or "auto": that of 1 to 32 with the lowest Bayesian information criterion.
        preprocess: names of the invertible maps applied first.
    """

    family = "mixture of Gaussians"
    awareness = "unaware"
    why = "its components are densities on all of R^D; as the law of latents it completes a two-step model"
    sized_by_data = ("weights", "means", "scale_trils")

    measure: Measure = "ambient"
    log_prob_kind: LogProbKind = "exact"
    weights: Tensor
    means: Tensor
    scale_trils: Tensor

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        components: int | Literal["auto"] = "auto",
        preprocess: Sequence[str] = ("standardise",),
    ) -> None:
        super().__init__(data_shape, preprocess)
        D = self.ambient_dim
        if isinstance(components, str):
            check_choice(components, ["auto"], name="components")
        else:
            check_int(components, name="components")
        self.components = components
        self.register_buffer("weights", torch.zeros(0))
        self.register_buffer("means", torch.zeros(0, D))
        self.register_buffer("scale_trils", torch.zeros(0, D, D))

    def stages(self) -> list[Stage]:
        return [Stage("fit", prepare=self.prepare)]

    def prepare(self, x: Tensor) -> None:
        """Fit the mixture to the training data (n, *data_shape).

        Raises:
            InvalidInput: for fewer points than components.
        """
        self.preprocess.fit(x)
        with self.preprocess.mode(training=True):  # levels are dequantised
            y = self.preprocess(x).flatten(1).double().cpu().numpy()  # (n, D)
        fitted = _em(y, _select(y) if self.components == "auto" else int(self.components))
        trils = np.linalg.cholesky(fitted.covariances_)
        for name, value in (("weights", fitted.weights_), ("means", fitted.means_), ("scale_trils", trils)):
            setattr(self, name, torch.as_tensor(value).to(self.device, self.dtype))

    def log_prob(self, x: Tensor) -> Tensor:
        """Exact log-density in nats, (n,).

        Raises:
            UnfittedModel: before `prepare`.
        """
        self._require_fitted()
        y, log_det = self.preprocess.forward_and_log_det(self.receive(x))
        centred = (y.flatten(1)[:, None] - self.means).movedim(0, 2)  # (n, K, D) -> (K, D, n)
        white = torch.linalg.solve_triangular(self.scale_trils, centred, upper=False)  # (K, D, n)
        log_scale = self.scale_trils.diagonal(dim1=1, dim2=2).log().sum(dim=1)  # (K,)
        constant = self.weights.log() - log_scale - 0.5 * self.ambient_dim * math.log(2 * math.pi)
        log_components: Tensor = constant[:, None] - 0.5 * white.square().sum(dim=1)  # (K, n)
        return log_components.logsumexp(dim=0) + log_det

    def score(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        r"""\nabla \log (p * N(0, \sigma^2 I))(x), exact, shaped like x.

        Args:
            x: points (n, *data_shape).
            sigma: noise level in the units of the data, at least 0, a number or (n,).

        Raises:
            InvalidInput: for levels below 0 or of another shape, or preprocessing that is not affine.
        """
        x = self.receive(x)
        level = self._level(sigma, len(x))
        score: Tensor = torch.func.grad(lambda x: self._noised(x, level).sum())(x)
        return score

    def denoise(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        r"""E[x_0 | x_0 + \sigma \epsilon = x] = x + \sigma^2 score(x, sigma), shaped like x; see `score`."""
        x = self.receive(x)
        square = self._level(sigma, len(x)).square()
        return x + square.reshape(-1, *[1] * (x.ndim - 1)) * self.score(x, sigma)

    def log_prob_noised(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        r"""Log-density in nats of p * N(0, \sigma^2 I) at points (n, *data_shape), (n,); see `score`."""
        x = self.receive(x)
        return self._noised(x, self._level(sigma, len(x)))

    def _noised(self, x: Tensor, level: Tensor) -> Tensor:
        """The same for levels (n,): in the units of the data noise is equal in all directions, whatever those of y."""
        means, variances, axes = self._components()
        along = torch.einsum("nkd,kde->kne", x.flatten(1)[:, None] - means, axes)  # (K, n, D)
        widths = variances[:, None] + level.square()[:, None]  # (K, n, D)
        log_normal = -0.5 * (along.square() / widths + widths.log() + math.log(2 * math.pi)).sum(dim=2)
        return (log_normal + self.weights.log()[:, None]).logsumexp(dim=0)

    def _components(self) -> tuple[Tensor, Tensor, Tensor]:
        """Means (K, D), variances (K, D) and their axes (K, D, D) of the components in the units of the data."""
        self._require_fitted()
        if not set(self.preprocess.names) <= {"scale", "standardise", "whiten"}:
            raise InvalidInput(
                f"preprocess={list(self.preprocess.names)!r} bends the components: scores of noised data are known "
                'with "scale", "standardise" or "whiten"'
            )
        shape = self.data_shape
        origin = self.preprocess.inverse(self.means.new_zeros(1, *shape)).flatten(1)
        basis = torch.eye(self.ambient_dim, device=self.device, dtype=self.dtype).reshape(-1, *shape)
        A = (self.preprocess.inverse(basis).flatten(1) - origin).mT  # dx / dy
        factors = A @ self.scale_trils  # (K, D, D)
        axes, deviations, _ = torch.linalg.svd(factors)
        return self.means @ A.mT + origin, deviations.square(), axes

    def _level(self, sigma: Tensor | float, n: int) -> Tensor:
        level = torch.as_tensor(sigma, device=self.device, dtype=self.dtype)
        values = torch.func.debug_unwrap(level, recurse=True)
        if level.shape not in ((), (n,)) or not (values >= 0).all():
            raise InvalidInput(f"sigma={sigma!r} is not accepted: give a noise level of at least 0, a number or ({n},)")
        return level.expand(n)

    @torch.no_grad()
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` samples, (n, *data_shape)."""
        self._require_fitted()
        which = torch.multinomial(self.weights, check_int(n, name="n"), replacement=True, generator=generator)
        noise = torch.randn(n, self.ambient_dim, generator=generator, device=self.device, dtype=self.dtype)
        y = self.means[which]  # (n, D)
        for k, tril in enumerate(self.scale_trils):
            y[which == k] += noise[which == k] @ tril.mT
        return self.preprocess.inverse(y.reshape(n, *self.data_shape))

    def _require_fitted(self) -> None:
        if len(self.weights) == 0:
            raise UnfittedModel("the mixture has no components yet: fit the model first")


def _em(y: NDArray[np.float64], components: int, ridge: float | None = None) -> Any:
    """scikit-learn's expectation-maximisation with full covariances and a fixed seed."""
    from sklearn.mixture import GaussianMixture as ExpectationMaximisation

    if len(y) < max(components, 2):
        raise InvalidInput(
            f"x holds {len(y)} points: give at least {max(components, 2)} to fit components={components}"
        )
    em = ExpectationMaximisation(
        components,
        covariance_type="full",
        reg_covar=ridge or (_RIDGE if components > 1 else _RIDGE_ONE),
        max_iter=200,
        random_state=0,
    )
    return em.fit(y)


def _select(y: NDArray[np.float64]) -> int:
    """The components of the mixture with the lowest BIC; candidates grow until two in a row are worse than the best.

    All have one ridge: in a direction in which the data are flat a smaller one is worth nats at each point.
    """
    few = y if len(y) <= _SELECTION_POINTS else np.random.default_rng(0).permutation(y)[:_SELECTION_POINTS]
    best, best_bic, worse = 1, np.inf, 0
    for components in _CANDIDATES:
        if components > 1 and len(few) < components * (y.shape[1] + 1):
            break
        bic = _em(few, components, _RIDGE).bic(few)
        best, best_bic, worse = (components, bic, 0) if bic < best_bic else (best, best_bic, worse + 1)
        if worse == 2:
            break
    return best
