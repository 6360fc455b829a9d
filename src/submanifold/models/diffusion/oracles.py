r"""Laws whose noised scores are known exactly: what samplers, likelihoods and diagnostics are held against.

In all of them the score of p_\sigma is that of a formula or a sum, with nothing learned but what is read off the data.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from submanifold.checks import check_int, check_real
from submanifold.data.manifolds import manifold
from submanifold.errors import InvalidInput, UnfittedModel
from submanifold.models.base import Stage
from submanifold.models.diffusion.score_model import ScoreModel
from submanifold.models.latents import check_latent_dim, normal, number_of_latents
from submanifold.models.registry import MODELS, register

__all__ = ["CircleScore", "IdealDenoiser", "SubspaceGaussian"]

_LOG_2PI = math.log(2 * math.pi)
_BUDGET = 2**24
"""How many numbers one block of distances may hold (64 MiB)."""


class _Oracle(ScoreModel):
    r"""A law with a known density after noise; trained as soon as it has seen the data, if it looks at them at all."""

    sigma_min, sigma_max = 0.0, math.inf

    def stages(self) -> list[Stage]:
        return [Stage("fit", prepare=self.prepare)]

    def log_prob_noised(self, x: Tensor, sigma: float) -> Tensor:
        r"""Log-density in nats of p_\sigma = p * N(0, \sigma^2 I) at points (n, *data_shape), (n,).

        Raises:
            InvalidInput: for a level that is not above 0.
        """
        x, level, unit = self._received(x, check_real(sigma, name="sigma", open_low=True))
        y = self.preprocess.forward(x).flatten(1)
        return self._log_density(y, level) - self.ambient_dim * math.log(unit)

    @abstractmethod
    def _log_density(self, y: Tensor, sigma: Tensor) -> Tensor:
        """Log-density of noised points (n, D), noise (n,), in units of y, (n,)."""

    def _score(self, y: Tensor, sigma: Tensor) -> Tensor:
        score: Tensor = torch.func.grad(lambda y: self._log_density(y, sigma).sum())(y)
        return score


@register("subspace-gaussian")
class SubspaceGaussian(_Oracle):
    r"""N(m, A A^\top) with A (D, d): a Gaussian on a linear subspace, from the principal components of the data.

    Under noise it is N(m, A A^\top + \sigma^2 I), whose score is linear; its normal part is -(x - m)_\perp / \sigma^2.

    Args:
        data_shape: (D,) or (channels, height, width), flattened.
        latent_dim: d, at most D: components kept; by default 2 \lfloor \sqrt{D} \rfloor or D - 1, the smaller.
    """

    family = "Gaussian on a linear subspace"
    awareness = "aware"
    why = "its dimension is given, and what it has to learn on its subspace is a Gaussian"

    mean: Tensor
    directions: Tensor
    deviations: Tensor
    is_fitted: Tensor

    def __init__(self, data_shape: Sequence[int], latent_dim: int | None = None) -> None:
        super().__init__(data_shape)
        self.latent_dim = check_latent_dim(
            number_of_latents(latent_dim, data_shape), self.ambient_dim, full_latent=True
        )
        self.register_buffer("mean", torch.zeros(self.ambient_dim))
        self.register_buffer("directions", torch.eye(self.ambient_dim, self.latent_dim))
        self.register_buffer("deviations", torch.ones(self.latent_dim))
        self.register_buffer("is_fitted", torch.tensor(False))

    @classmethod
    def of(cls, mean: Tensor, factor: Tensor) -> SubspaceGaussian:
        r"""N(mean, factor factor^\top), of a mean (D,) and a factor (D, d)."""
        model = cls((len(mean),), factor.shape[1]).to(factor.dtype)
        model._take(mean, *torch.linalg.svd(factor, full_matrices=False)[:2])
        return model

    @torch.no_grad()
    def prepare(self, x: Tensor) -> None:
        """Take the mean, and the components of most variance, from training data (n, *data_shape)."""
        y = x.flatten(1).double()
        if len(y) < 2:
            raise InvalidInput(f"x holds {len(y)} points: give at least 2")
        mean = y.mean(dim=0)
        scales, rows = torch.linalg.svd((y - mean) / math.sqrt(len(y)), full_matrices=False)[1:]
        found = min(self.latent_dim, len(scales))
        directions, deviations = y.new_zeros(self.ambient_dim, self.latent_dim), y.new_zeros(self.latent_dim)
        directions[:, :found], deviations[:found] = rows[:found].mT, scales[:found]
        self._take(mean, directions, deviations)

    @torch.no_grad()
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` samples of the law on the subspace, (n, *data_shape)."""
        self._require_fitted()
        z = normal((check_int(n, name="n"), self.latent_dim), self.mean, generator)
        return (self.mean + (z * self.deviations) @ self.directions.mT).reshape(n, *self.data_shape)

    def _take(self, mean: Tensor, directions: Tensor, deviations: Tensor) -> None:
        self.mean.copy_(mean)
        self.directions.copy_(directions)
        self.deviations.copy_(deviations)
        self.is_fitted.fill_(True)

    def _log_density(self, y: Tensor, sigma: Tensor) -> Tensor:
        self._require_fitted()
        centred, noise = y - self.mean, sigma.square()[:, None]
        along = centred @ self.directions  # (n, d)
        off = (centred - along @ self.directions.mT).square().sum(dim=1)
        variances = self.deviations.square() + noise
        quadratic = (along.square() / variances).sum(dim=1) + off / noise[:, 0]
        log_det = variances.log().sum(dim=1) + (self.ambient_dim - self.latent_dim) * noise[:, 0].log()
        return -0.5 * (quadratic + log_det + self.ambient_dim * _LOG_2PI)

    def _require_fitted(self) -> None:
        if not self.is_fitted:
            raise UnfittedModel("the Gaussian has no subspace yet: fit the model first")


@MODELS.register("circle-score")  # saved under this name; nothing to train, hence not among those made by name
class CircleScore(_Oracle):
    r"""A von Mises law on a circle in a plane of R^D, density proportional to \exp(\kappa \cos(\theta - \mu)).

    Given a noised point, \theta is von Mises again: its concentration and direction are those of the vector
    \kappa e_\mu + (r / \sigma^2) Px, P the projection on the plane, of length a and direction e. So the denoised point
    is r I_1(a) / I_0(a) e, in the plane, and the density is one of Bessel functions. It looks at no data; it is the law
    of `submanifold.data.manifold("circle")` with the same arguments.

    Args:
        data_shape: (D,) with D of at least 2, or (channels, height, width).
        kappa: concentration, 0 for the uniform law.
        mu: mean direction in radians.
        radius: r.
        frame_seed: of the plane, which for D = 2 is all there is.
    """

    family = "von Mises law on a circle"
    awareness = "aware"
    why = "its manifold is given"

    origin: Tensor

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        kappa: float = 1.0,
        mu: float = 0.0,
        radius: float = 1.0,
        frame_seed: int = 0,
    ) -> None:
        super().__init__(data_shape)
        D = check_int(self.ambient_dim, name="data_shape", low=2)
        self.circle = manifold("circle", kappa=kappa, mu=mu, radius=radius, ambient_dim=D, frame_seed=frame_seed)
        self.kappa, self.mu, self.radius = float(kappa), float(mu), float(radius)
        self.register_buffer("origin", torch.zeros(()))  # knows device and dtype, in files as well

    def prepare(self, x: Tensor) -> None:
        """Nothing: the law is given."""

    @torch.no_grad()
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` samples of the law on the circle, (n, *data_shape)."""
        seed = int(torch.randint(2**31, (), generator=generator))
        x = self.circle.sample(n, seed=seed)
        return torch.from_numpy(x).to(self.device, self.dtype).reshape(n, *self.data_shape)

    def _score(self, y: Tensor, sigma: Tensor) -> Tensor:
        towards, a, _ = self._tilted(y, sigma)
        mean = self.radius * torch.special.i1e(a) / torch.special.i0e(a)
        direction = towards / a.clamp(min=torch.finfo(a.dtype).tiny)[:, None]
        score: Tensor = ((mean[:, None] * direction) @ self._plane(y).mT - y) / sigma.square()[:, None]
        return score

    def _log_density(self, y: Tensor, sigma: Tensor) -> Tensor:
        _, a, inside = self._tilted(y, sigma)
        normal = (y - inside @ self._plane(y).mT).square().sum(dim=1)
        rho, noise = inside.norm(dim=1), sigma.square()
        b = self.radius * rho / noise
        # a - b - kappa, without cancellation, from a^2 - (b + kappa)^2 = 2 kappa b (cos - 1)
        along = inside @ y.new_tensor([math.cos(self.mu), math.sin(self.mu)])
        excess = 2 * self.kappa * (self.radius * along / noise - b) / (a + b + self.kappa).clamp(min=1e-30)
        quadratic = (normal + (rho - self.radius).square()) / noise
        bessel = torch.special.i0e(a).log() - torch.special.i0e(y.new_tensor(self.kappa)).log()
        log_density: Tensor = excess + bessel - 0.5 * (quadratic + self.ambient_dim * (_LOG_2PI + noise.log()))
        return log_density

    def _tilted(self, y: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        r"""\kappa e_\mu + (r / \sigma^2) Px, (n, 2), its length, (n,), and Px, (n, 2)."""
        inside = y @ self._plane(y)
        mean = self.kappa * y.new_tensor([math.cos(self.mu), math.sin(self.mu)])
        towards = mean + self.radius * inside / sigma.square()[:, None]
        return towards, towards.norm(dim=1), inside

    def _plane(self, y: Tensor) -> Tensor:
        """Orthonormal columns that span the plane, (D, 2), to the digits of y."""
        return torch.from_numpy(np.asarray(self.circle.frame)).to(y)


@register("ideal-denoiser")
class IdealDenoiser(_Oracle):
    r"""The law of the training points themselves, n^{-1} \sum_i \delta_{x_i}: what training without limits leads to.

    Its denoised point is the mean of the training points weighted by \exp(-|x - x_i|^2 / 2 \sigma^2) (Karras et al.
    2022, arXiv 2206.00364, eq. 57). It generates by memory, and serves as the model that has memorised.

    Args:
        data_shape: (D,) or (channels, height, width), flattened.
        preprocess: names of the invertible maps applied first; they have to be similarities.
    """

    family = "ideal denoiser of the training points"
    awareness = "aware"
    why = "it is the training points, which are on the manifold"
    sized_by_data = ("points",)

    points: Tensor

    def __init__(self, data_shape: Sequence[int], *, preprocess: Sequence[str] = ()) -> None:
        super().__init__(data_shape, preprocess)
        self.register_buffer("points", torch.zeros(0, self.ambient_dim))

    @torch.no_grad()
    def prepare(self, x: Tensor) -> None:
        """Keep the training data (n, *data_shape)."""
        super().prepare(x)
        self.points = self.preprocess(x).flatten(1).to(self.device, self.dtype).clone()  # (n, D)

    @torch.no_grad()
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` training points, drawn with replacement, (n, *data_shape)."""
        points = self._fitted_points()
        which = torch.randint(len(points), (check_int(n, name="n"),), generator=generator, device=self.device)
        return self.preprocess.inverse(points[which].reshape(n, *self.data_shape))

    def _log_density(self, y: Tensor, sigma: Tensor) -> Tensor:
        sums = [logits.logsumexp(dim=1) for logits in self._blocks(y, sigma)]
        constant = self.ambient_dim * (0.5 * _LOG_2PI + sigma.log()) + math.log(len(self.points))
        return torch.cat(sums) - constant

    def _score(self, y: Tensor, sigma: Tensor) -> Tensor:
        means = [logits.softmax(dim=1) @ self.points for logits in self._blocks(y, sigma)]
        return (torch.cat(means) - y) / sigma.square()[:, None]

    def _blocks(self, y: Tensor, sigma: Tensor) -> Iterator[Tensor]:
        """The logits of a few points at a time."""
        rows = max(1, _BUDGET // max(self._fitted_points().numel(), 1))
        yield from map(self._logits, torch.split(y, rows), torch.split(sigma, rows))

    def _logits(self, y: Tensor, sigma: Tensor) -> Tensor:
        """Log-weights of the training points at points (n, D), up to a constant, (n, N)."""
        points = self._fitted_points()
        squares = (y[:, None] - points).square().sum(dim=2)  # differences keep digits that products lose
        return -0.5 * squares / sigma.square()[:, None]

    def _fitted_points(self) -> Tensor:
        if len(self.points) == 0:
            raise UnfittedModel("the ideal denoiser has no points yet: fit the model first")
        return self.points
