r"""The Gaussian variational autoencoder, and what follows from it by a choice of posterior, prior or bound.

Latents z \sim p(z); decoder p(y | z) = N(g(z), \sigma^2 I_D); encoder q(z | y).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

from submanifold.checks import check_real
from submanifold.errors import InvalidInput
from submanifold.geometry import jacobian, singular_values
from submanifold.models.base import Awareness
from submanifold.models.latents import normal
from submanifold.models.precision import double
from submanifold.models.registry import preset, register
from submanifold.models.variational import VariationalAutoencoder
from submanifold.nn.given import NetworkLike

__all__ = ["VAE"]

_LOG_2PI = math.log(2 * math.pi)
_BLURRED = "data and model are blurred alike before they are compared, so that the divergence is finite on a manifold"


@register("vae")
class VAE(VariationalAutoencoder):
    r"""Maximises the evidence lower bound,

    .. math:: \mathrm{ELBO}(x) = \mathbb{E}_{q(z|x)} \log p(x | z) - \mathrm{KL}(q(z | x) \,\|\, p(z)),

    of Kingma & Welling 2014 (arXiv 1312.6114, eq. 3). With a learned \sigma the bound is unbounded on data that lie on
    a manifold: \sigma \to 0 for any distribution on it (Dai & Wipf 2019, arXiv 1903.05789; Loaiza-Ganem et al. 2022,
    arXiv 2204.07172). That makes it a good autoencoder and a bad density, see `submanifold.lens.repair`.

    Args:
        data_shape: (D,) or (channels, height, width).
        latent_dim: number of latents d, below D; by default 2 \lfloor \sqrt{D} \rfloor or D - 1, the smaller.
        hidden: widths of the hidden layers of the encoder; the decoder mirrors them.
        network: a name of `submanifold.nn`, of which "auto" is convolutional for images from 16 x 16 on, or networks of
            your own in place of `networks`, see `submanifold.nn.given`.
        decoder_scale: \sigma in the units of the data, or "learned".
        posterior: "gaussian", N(\mu(y), diag s(y)^2), or "flow" (Kingma et al. 2016, arXiv 1606.04934), of KANs if
            `network` is "kan", as of a prior that is one.
        prior: "normal", N(0, I); or learned: "mixture" of Gaussians, "vampprior" (Tomczak & Welling 2018, arXiv
            1705.07120) or "flow".
        components: of a prior that has some.
        beta: weight of the KL-divergence in training (Higgins et al. 2017); 1 gives the bound. With a learned \sigma, R
            nats of latents along d dimensions take D R / d off the reconstruction term, so that they are not worth
            their price, and stay unused, where beta is above D / d.
        importance_samples: with more than one, training maximises the importance-weighted bound of `log_prob` (Burda
            et al. 2016, arXiv 1509.00519) with so many.
        spread: a width, in preprocessed units, by default those of the data's root mean square deviation, with which
            data and model are blurred alike: training maximises the bound on y + noise with \sigma fixed to that
            width, and the model is the law without either (the delta-VAE of Zhang et al. 2020, arXiv 1811.08968,
            section 4.2). It minimises a divergence that is finite for laws on manifolds; the narrower the spread, the
            longer training takes to get the law right. `log_prob` and `local_scales` are those of the blurred law, the
            only one of the two with a density; `sample` draws from the sharp one.
        preprocess: names of the invertible maps applied first.
        full_latent: accept latent_dim = D.

    Raises:
        InvalidInput: for arguments that are not accepted, or not together.
    """

    family = "Gaussian VAE"
    awareness: Awareness = "unaware"
    why = "its decoder noise gives a density on all of R^D, whose likelihood grows without bound as the noise shrinks"

    def __init__(
        self,
        data_shape: Sequence[int],
        latent_dim: int | None = None,
        *,
        hidden: Sequence[int] = (128, 128),
        network: NetworkLike = "auto",
        decoder_scale: float | str = "learned",
        posterior: str = "gaussian",
        prior: str = "normal",
        components: int = 32,
        beta: float = 1.0,
        importance_samples: int = 1,
        spread: float | None = None,
        preprocess: Sequence[str] = ("scale",),
        full_latent: bool = False,
    ) -> None:
        super().__init__(
            data_shape,
            latent_dim,
            posterior=posterior,
            prior=prior,
            components=components,
            beta=beta,
            importance_samples=importance_samples,
            hidden=hidden,
            network=network,
            preprocess=preprocess,
            full_latent=full_latent,
        )
        self.fixed_scale: float | None = None
        self.spread = None if spread is None else check_real(spread, name="spread", open_low=True)
        if self.spread is not None:
            if decoder_scale != "learned":
                raise InvalidInput(
                    f"decoder_scale={decoder_scale!r} with spread={spread!r} is not accepted: the spread is the scale, "
                    "leave decoder_scale out"
                )
            self.awareness, self.why = "aware", _BLURRED
        elif decoder_scale == "learned":
            self.log_scale = Parameter(torch.zeros(()))
        elif isinstance(decoder_scale, str):
            raise InvalidInput(f'decoder_scale={decoder_scale!r} is not accepted: give a number above 0 or "learned"')
        else:
            self.fixed_scale = check_real(decoder_scale, name="decoder_scale", open_low=True)

    @torch.no_grad()
    def sample(self, n: int, *, generator: torch.Generator | None = None, noise: bool | None = None) -> Tensor:
        """`n` samples, (n, *data_shape).

        With `noise`, the default unless the model has a `spread`, the decoder's noise is added; without it samples are
        decoder means g(z), which lie on g's image.
        """
        y = self.decoder(self.sample_latent(n, generator=generator))
        if self.spread is None if noise is None else noise:
            y = y + self._sigma() * normal(y.shape, y, generator)
        return self.preprocess.inverse(y)

    @torch.no_grad()
    def local_scales(self, x: Tensor) -> Tensor:
        r"""Standard deviations (n, D), descending: the singular values of [A J_g, \sigma A] at f(x), A = dx/dy.

        With A = s I that is s \sqrt{s_i(J_g)^2 + \sigma^2} for i <= d and s \sigma for the other D - d directions.
        """
        twin = double(self)
        z = twin.encode(x)
        J = jacobian(twin.decode, z)  # (n, D, d)
        noise = twin._sigma() * twin.preprocess.inverse_derivative(twin.decoder(z))  # (n, G, G, D / G)
        widths = noise.flatten(1)
        if noise.shape[1] == 1 and torch.allclose(widths, widths[:, :1].expand_as(widths), rtol=1e-6, atol=0):
            reached = torch.zeros_like(widths)
            reached[:, : self.latent_dim] = singular_values(J)
            return torch.hypot(reached, widths)
        full = torch.diag_embed(noise).movedim(-2, 2).reshape(len(z), self.ambient_dim, self.ambient_dim)
        scales: Tensor = singular_values(torch.cat([J, full], dim=2))  # (n, D)
        return scales

    @property
    def decoder_scale_value(self) -> float:
        r"""\sigma in the units of the data; the root mean square of the noise in a coordinate where they differ."""
        return float(self._sigma().detach() * self._unit())

    def _told(self) -> dict[str, Tensor]:
        return {"scale": self._sigma().detach() * self._unit()}

    def _noised(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, log_det = super()._noised(x)
        return (y if self.spread is None else y + self.spread * torch.randn_like(y)), log_det

    def _log_likelihood(self, y: Tensor, z: Tensor) -> Tensor:
        """log N(y; g(z), sigma^2 I), (n,)."""
        sigma = self._sigma()
        squares: Tensor = (y - self.decoder(z)).square().flatten(1).sum(dim=1)
        return -0.5 * squares / sigma.square() - self.ambient_dim * (sigma.log() + 0.5 * _LOG_2PI)

    def _sigma(self) -> Tensor:
        r"""\sigma of y, ()."""
        if self.spread is not None:
            return torch.tensor(self.spread, device=self.device, dtype=self.dtype)
        if self.fixed_scale is None:
            return self.log_scale.exp()
        return self.fixed_scale / self._unit()

    def _unit(self) -> Tensor:
        """What dx/dy at y = 0 makes of white noise: its root mean square in a coordinate, ()."""
        y = torch.zeros(1, *self.data_shape, device=self.device, dtype=self.dtype)
        derivative = self.preprocess.inverse_derivative(y).double()  # its squares may leave float32
        return (derivative.square().sum() / self.ambient_dim).sqrt().to(y.dtype)


preset("beta-vae", VAE, family="Gaussian VAE, beta-weighted KL", beta=4.0)
preset("iwae", VAE, family="Gaussian VAE, importance-weighted bound", importance_samples=8)
preset("iaf-vae", VAE, family="Gaussian VAE, flow posterior", posterior="flow")
preset("mixture-vae", VAE, family="Gaussian VAE, mixture prior", prior="mixture")
preset("vampprior-vae", VAE, family="Gaussian VAE, VampPrior", prior="vampprior")
preset("flow-prior-vae", VAE, family="Gaussian VAE, flow prior", prior="flow")
preset(
    "delta-vae",
    VAE,
    family="delta-VAE, spread KL",
    awareness="aware",
    why=_BLURRED,
    spread=0.3,
)
