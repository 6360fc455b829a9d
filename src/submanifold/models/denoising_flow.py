r"""Denoising normalizing flows: of u = (z, v) = T^{-1}(x), z says where on the manifold x is, and v how far off it.

y is x after preprocessing; d is the number of z, and D - d that of v. Levels of noise are in units of y.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from submanifold.checks import check_int, check_ints, check_real
from submanifold.models import _zuko
from submanifold.models.flow import Flow
from submanifold.models.latents import check_latent_dim, normal, number_of_latents
from submanifold.models.registry import register
from submanifold.nn.given import NetworkLike, is_named

__all__ = ["DenoisingFlow"]

_LOG_2PI = math.log(2 * math.pi)


@register("denoising-flow")
class DenoisingFlow(Flow):
    r"""A flow of noised data whose first d latents have to say the data without their noise.

    With \tilde y = y + \sigma \epsilon, \epsilon \sim N(0, I_D), and (z, v) = T^{-1}(\tilde y), it minimises

    .. math:: -\mathbb{E} \log q(\tilde y) + \lambda \, \mathbb{E} \, | y - T(z, 0) |^2, \qquad
              q(\tilde y) = p_Z(z) \, N(v; 0, \sigma^2 I) \, | \det \partial T^{-1} / \partial \tilde y |,

    p_Z the density of a second flow h of N(0, I_d) (Horvat & Pfister 2021, "Denoising normalizing flow", NeurIPS).
    Samples are T(z, 0), z \sim p_Z, on a manifold of dimension d; points are encoded as z and decoded as T(z, 0).

    Where the noise has been in the directions across the manifold alone, is small beside its curvature, and T keeps
    the two kinds of latents apart, T(z, 0) has the law of the data. The noise that is added has all directions.

    The points T(z, 0) are a continuous image of R^d, one to one, as no circle and no sphere is: along a seam there are
    neighbours with latents far apart. As T is continuous, points of a strip along the seam are decoded anywhere on the
    manifold, and the better the fit, the larger are the Lipschitz constants of T or its inverse (Cornish et al. 2020,
    arXiv 1909.13833, theorem 2.1). Noise puts points into the strip, so that the error jumps while the seam moves, and
    training is unstable: on a circle errors as large as its diameter remain, and the law along it is not learned. Give
    the `latent_dim` of a space that holds the manifold, 2 for a circle, if that is below D: samples are then off it by
    noise in the directions that are more than its own. In the plane, "mollified-flow" and "diffusion" have no seam.

    `log_prob` is \log q in the units of the data, with respect to volume in R^D: the density of noised data, exact. It
    is not that of samples, which have none there; at points of the manifold that one, with respect to volume on it, is
    by the same argument \log q + \tfrac{D - d}{2} \log 2 \pi \sigma^2, \sigma in the units of the data.

    Args:
        data_shape: (D,) or (channels, height, width), flattened.
        latent_dim: d, below D; by default 2 \lfloor \sqrt{D} \rfloor or D - 1, the smaller.
        sigma: the noise.
        reconstruction: \lambda, the weight of the squared error in units of y.
        kind: as of `Flow`; training has to invert the maps, which is slow for autoregressive ones.
        network, transforms, hidden, bins: those of T and of h, see `Flow`; h, which is autoregressive, has no
            network of your own.
        preprocess: names of the invertible maps applied first.
    """

    family = "denoising normalizing flow"
    awareness = "aware"
    why = "it samples on a manifold, with the law of the data if noise is small, across it, and told apart by T"

    def __init__(
        self,
        data_shape: Sequence[int],
        latent_dim: int | None = None,
        *,
        sigma: float = 0.1,
        reconstruction: float = 100.0,
        kind: str = "spline-coupling",
        network: NetworkLike = "mlp",
        transforms: int = 5,
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
        self.latent_dim = check_latent_dim(number_of_latents(latent_dim, data_shape), self.ambient_dim)
        self.sigma = check_real(sigma, name="sigma", open_low=True)
        self.reconstruction = check_real(reconstruction, name="reconstruction")
        self.law = _zuko.transforms(
            "spline-autoregressive",
            self.latent_dim,
            layers=transforms,
            hidden=check_ints(hidden, name="hidden"),
            bins=bins,
            network=network if is_named(network) else "mlp",
        )

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        """What is minimised, and its two terms: nats of noised data, and the squared error in units of y, each ()."""
        y, log_det = self.preprocess.forward_and_log_det(x)
        y = y.flatten(1)
        u, log_density = self._latents_and_log_density(y + self.sigma * torch.randn_like(y))
        nats = -(log_density + log_det).mean()
        error = (y - self.transform().inv(self._on_manifold(u))).square().sum(dim=1).mean()
        return {"loss": nats + self.reconstruction * error, "nats": nats, "reconstruction": error}

    def encode(self, x: Tensor) -> Tensor:
        """z, (n, latent_dim)."""
        z: Tensor = self.transform()(self.preprocess(self.receive(x)).flatten(1))[:, : self.latent_dim]
        return z

    def decode(self, z: Tensor) -> Tensor:
        """T(z, 0), (n, *data_shape)."""
        return self._generate(self._on_manifold(self.receive_latents(z)))

    @torch.no_grad()
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` samples, (n, *data_shape)."""
        return self.decode(self.sample_latent(n, generator=generator))

    @torch.no_grad()
    def sample_latent(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` latents of p_Z, (n, latent_dim)."""
        like = torch.empty(0, device=self.device, dtype=self.dtype)
        z: Tensor = self.law().inv(normal((check_int(n, name="n"), self.latent_dim), like, generator))
        return z

    def decoder_lipschitz_bound(self) -> float:
        """inf: no bound of T is known."""
        return math.inf

    def _normalise(self, x: Tensor) -> Tensor:
        r"""(h^{-1}(z), v / \sigma), (n, D), standard normal of noised data."""
        return self._standard(self.transform()(self.preprocess(x).flatten(1)))[0]

    def _log_density(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        return self._latents_and_log_density(y)[1]

    def _latents_and_log_density(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """(z, v), (n, D), of points (n, D), and log q, (n,)."""
        u, log_det = self.transform().call_and_ladj(y.contiguous())  # products of matrices round by strides
        standard, log_det_standard = self._standard(u)
        log_normal = -0.5 * (standard.square() + _LOG_2PI).sum(dim=1)
        return u, log_normal + log_det_standard + log_det

    def _standard(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Standard normal latents (n, D) of (z, v), and the log-determinant, (n,)."""
        z, v = u[:, : self.latent_dim], u[:, self.latent_dim :]
        w, log_det = self.law().call_and_ladj(z.contiguous())
        return torch.cat([w, v / self.sigma], dim=1), log_det - v.shape[1] * math.log(self.sigma)

    def _on_manifold(self, u: Tensor) -> Tensor:
        """(z, 0), (n, D), of latents that begin with z."""
        return nn.functional.pad(u[:, : self.latent_dim], (0, self.ambient_dim - self.latent_dim))
