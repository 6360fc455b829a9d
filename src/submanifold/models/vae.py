r"""The Gaussian variational autoencoder.

Latents z \sim N(0, I_d); decoder p(y | z) = N(g(z), \sigma^2 I_D); encoder q(z | y) = N(\mu(y), diag s(y)^2).
y is x after preprocessing, and log p(x) = log p(y) + log |det dy/dx|, so that every figure is in nats and in the units
of the data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

from submanifold import nn
from submanifold.checks import check_int, check_real
from submanifold.errors import InvalidInput
from submanifold.geometry import jacobian, lipschitz_upper_bound, singular_values
from submanifold.models.base import LogProbKind, Measure, Model, Objective
from submanifold.models.latents import check_latent_dim
from submanifold.models.precision import double
from submanifold.models.registry import register

__all__ = ["VAE"]

_LOG_2PI = math.log(2 * math.pi)
_BUDGET = 2**22
"""How many decoded numbers one block of importance samples may hold (16 MiB)."""


@register("vae")
class VAE(Model):
    r"""Maximises the evidence lower bound,

    .. math:: \mathrm{ELBO}(x) = \mathbb{E}_{q(z|x)} \log p(x | z) - \mathrm{KL}(q(z | x) \,\|\, N(0, I)),

    of Kingma & Welling 2014 (arXiv 1312.6114, eq. 3). With a learned \sigma the bound is unbounded on data that lie on
    a manifold: \sigma \to 0 for any distribution on it (Dai & Wipf 2019, arXiv 1903.05789; Loaiza-Ganem et al. 2022,
    arXiv 2204.07172). That makes it a good autoencoder and a bad density, see `submanifold.lens.repair`.

    Args:
        data_shape: (D,) or (channels, height, width).
        latent_dim: number of latents d, below D.
        hidden: widths of the hidden layers of the encoder; the decoder mirrors them.
        network: which network, a name of `submanifold.nn`; "auto" is convolutional for images.
        decoder_scale: \sigma in the units of the data, or "learned".
        preprocess: names of the invertible maps applied first.
        full_latent: accept latent_dim = D.
    """

    family = "Gaussian VAE"
    awareness = "unaware"
    why = "its decoder noise gives a density on all of R^D, whose likelihood grows without bound as the noise shrinks"

    measure: Measure = "ambient"
    log_prob_kind: LogProbKind = "bound"

    def __init__(
        self,
        data_shape: Sequence[int],
        latent_dim: int,
        *,
        hidden: Sequence[int] = (128, 128),
        network: str = "auto",
        decoder_scale: float | str = "learned",
        preprocess: Sequence[str] = ("scale",),
        full_latent: bool = False,
    ) -> None:
        super().__init__(data_shape, preprocess)
        self.latent_dim = check_latent_dim(latent_dim, self.ambient_dim, full_latent=full_latent)
        self.encoder = nn.encoder(network, self.data_shape, 2 * self.latent_dim, hidden)
        self.decoder = nn.decoder(network, self.latent_dim, self.data_shape, tuple(hidden)[::-1])
        self.fixed_scale: float | None = None
        if decoder_scale == "learned":
            self.log_scale = Parameter(torch.zeros(()))
        elif isinstance(decoder_scale, str):
            raise InvalidInput(f'decoder_scale={decoder_scale!r} is not accepted: give a number above 0 or "learned"')
        else:
            self.fixed_scale = check_real(decoder_scale, name="decoder_scale", open_low=True)

    def objectives(self) -> list[Objective]:
        return [Objective("elbo", list(self.parameters()), self.loss)]

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        """-ELBO in nats, with its two parts (reconstruction + kl) and sigma, each ()."""
        y, log_det = self.preprocess.forward_and_log_det(x)
        mean, scale = self._posterior(y)
        log_likelihood = self._log_likelihood(y, mean + scale * torch.randn_like(mean)) + log_det
        reconstruction, kl = -log_likelihood.mean(), _kl(mean, scale).sum(dim=1).mean()
        sigma = self._sigma().detach() * self._unit()
        return {
            "loss": reconstruction + kl,
            "reconstruction": reconstruction.detach(),
            "kl": kl.detach(),
            "scale": sigma,
        }

    def elbo(self, x: Tensor, n_samples: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """The evidence lower bound in nats, (n,), its expectation averaged over `n_samples` latents per point."""
        y, log_det = self.preprocess.forward_and_log_det(self.receive(x))
        mean, scale = self._posterior(y)
        log_likelihood = torch.zeros_like(log_det)
        for _ in range(check_int(n_samples, name="n_samples")):
            log_likelihood = log_likelihood + self._log_likelihood(
                y, mean + scale * _noise(mean.shape, mean, generator)
            )
        return log_likelihood / n_samples - _kl(mean, scale).sum(dim=1) + log_det

    def log_prob(self, x: Tensor, n_importance: int = 64, generator: torch.Generator | None = None) -> Tensor:
        r"""A lower bound on log p(x) in nats, (n,), that rises to log p(x) with the number K of importance samples,

        .. math:: \mathbb{E}_{z_k \sim q(z|x)} \log \tfrac1K \sum_{k=1}^{K} \frac{p(x | z_k) \, p(z_k)}{q(z_k | x)}

        (Burda et al. 2016, arXiv 1509.00519, eq. 8), estimated by one draw of the K samples. Without a generator the
        draw is the same on every call.
        """
        y, log_det = self.preprocess.forward_and_log_det(self.receive(x))
        if generator is None:
            generator = torch.Generator(self.device).manual_seed(0)
        rows = max(1, _BUDGET // (check_int(n_importance, name="n_importance") * self.ambient_dim))
        bounds = [self._importance_bound(block, n_importance, generator) for block in torch.split(y, rows)]
        return torch.cat(bounds) + log_det

    def encode(self, x: Tensor) -> Tensor:
        """The posterior mean, (n, latent_dim)."""
        return self._posterior(self.preprocess(self.receive(x)))[0]

    def decode(self, z: Tensor) -> Tensor:
        """The decoder's mean in the units of the data, (n, *data_shape)."""
        return self.preprocess.inverse(self.decoder(self.receive_latents(z)))

    @torch.no_grad()
    def sample_latent(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` latents of the prior N(0, I), (n, latent_dim)."""
        return _noise((check_int(n, name="n"), self.latent_dim), self._sigma(), generator)

    def decoder_lipschitz_bound(self) -> float:
        """A certified upper bound of the Lipschitz constant of `decode`; inf if the network has none that is known."""
        return float(lipschitz_upper_bound(self.decoder)) * self.preprocess.inverse_lipschitz()

    @torch.no_grad()
    def sample(self, n: int, *, generator: torch.Generator | None = None, noise: bool = True) -> Tensor:
        """`n` samples, (n, *data_shape); without `noise`, decoder means g(z), which lie on g's image."""
        y = self.decoder(self.sample_latent(n, generator=generator))
        if noise:
            y = y + self._sigma() * _noise(y.shape, y, generator)
        return self.preprocess.inverse(y)

    @torch.no_grad()
    def local_scales(self, x: Tensor) -> Tensor:
        r"""Standard deviations (n, D), descending: the singular values of [J_g, \sigma I] at f(x), in data units.

        That is \sqrt{s_i(J_g)^2 + \sigma^2} for i <= d and \sigma for the other D - d directions.
        """
        twin = double(self)
        z = twin.encode(x)
        J = jacobian(twin.decode, z)  # (n, D, d)
        noise = twin._noise_widths(z).flatten(1)  # (n, D)
        if torch.allclose(noise, noise[:, :1].expand_as(noise), rtol=1e-6, atol=0):
            reached = torch.zeros_like(noise)
            reached[:, : self.latent_dim] = singular_values(J)
            return (reached.square() + noise.square()).sqrt()
        both = torch.cat([J, torch.diag_embed(noise)], dim=2)  # (n, D, d + D)
        scales: Tensor = singular_values(both)  # (n, D)
        return scales

    @property
    def decoder_scale_value(self) -> float:
        r"""\sigma in the units of the data; its root mean square over coordinates that are scaled differently."""
        return float(self._sigma().detach() * self._unit())

    @torch.no_grad()
    def kl_per_unit(self, x: Tensor) -> Tensor:
        """KL(q(z_i | x) || N(0, 1)) in nats, averaged over x, for each latent, (latent_dim,)."""
        return _kl(*self._posterior(self.preprocess(self.receive(x)))).mean(dim=0)

    def active_units(self, x: Tensor, threshold: float = 0.1) -> int:
        """How many latents carry more than `threshold` nats about x: at the optimum, the dimension of the manifold."""
        return int((self.kl_per_unit(x) > threshold).sum())

    def _posterior(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of q(z | y), each (n, latent_dim)."""
        mean, log_scale = self.encoder(y).chunk(2, dim=1)
        return mean, log_scale.clamp(-15, 5).exp()

    def _sigma(self) -> Tensor:
        r"""\sigma of y, ()."""
        if self.fixed_scale is None:
            return self.log_scale.exp()
        return self.fixed_scale / self._unit()

    def _unit(self) -> Tensor:
        """dx/dy at y = 0, root mean square over the coordinates, ()."""
        y = torch.zeros(1, *self.data_shape, device=self.device, dtype=self.dtype)
        return _stretch(self.preprocess.inverse, y).square().mean().sqrt()

    def _noise_widths(self, z: Tensor) -> Tensor:
        """Standard deviation of the decoder's noise in each coordinate of x, to first order, (n, *data_shape)."""
        return self._sigma() * _stretch(self.preprocess.inverse, self.decoder(z))

    def _log_likelihood(self, y: Tensor, z: Tensor) -> Tensor:
        """log N(y; g(z), sigma^2 I), (n,)."""
        sigma = self._sigma()
        squares: Tensor = ((y - self.decoder(z)) / sigma).square().flatten(1).sum(dim=1)
        return -0.5 * squares - self.ambient_dim * (sigma.log() + 0.5 * _LOG_2PI)

    def _importance_bound(self, y: Tensor, n_importance: int, generator: torch.Generator) -> Tensor:
        """log 1/K sum_k of the importance weights of one block of points, (n,)."""
        mean, scale = self._posterior(y)
        eps = _noise((n_importance, *mean.shape), mean, generator)
        z = mean + scale * eps  # (K, n, d)
        repeated = y.expand(n_importance, *y.shape).flatten(0, 1)  # (K n, *data_shape)
        log_likelihood = self._log_likelihood(repeated, z.flatten(0, 1)).view(n_importance, -1)  # (K, n)
        log_prior = -0.5 * z.square().sum(dim=2)
        log_posterior = -0.5 * eps.square().sum(dim=2) - scale.log().sum(dim=1)  # both without (d/2) log 2 pi
        return (log_likelihood + log_prior - log_posterior).logsumexp(dim=0) - math.log(n_importance)


def _kl(mean: Tensor, scale: Tensor) -> Tensor:
    """KL(N(mean, scale^2) || N(0, 1)) for each unit, (n, latent_dim)."""
    return 0.5 * (mean.square() + scale.square() - 1) - scale.log()


def _noise(shape: Sequence[int], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard Gaussian noise of the device and dtype of `like`."""
    return torch.randn(*shape, generator=generator, device=like.device, dtype=like.dtype)


def _stretch(elementwise: Callable[[Tensor], Tensor], y: Tensor) -> Tensor:
    """The derivative of an elementwise map at y, shaped like y."""
    derivative: Tensor = torch.func.jvp(elementwise, (y,), (torch.ones_like(y),))[1]
    return derivative
