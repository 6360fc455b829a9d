"""Models whose laws and maps are known in closed form: what a diagnostic must say of them is a theorem."""

import math
import warnings

import numpy as np
import torch

from submanifold.data import Dataset
from submanifold.data.manifolds import manifold
from submanifold.models.base import Model
from submanifold.plotting import png_bytes


def circle_data(n, seed, mu=0.0, noise=0.0):
    """Von Mises data on the unit circle that know their manifold."""
    circle = manifold("circle", kappa=1.0, mu=mu)
    x = circle.sample(n, seed=seed)
    return Dataset(x + noise * np.random.default_rng(seed).standard_normal(x.shape), "circle", manifold=circle)


def blind(data):
    """The same points without the ground truth."""
    return Dataset(data.x, data.name)


def assert_draws(finding):
    """The figure renders to a PNG, without warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert png_bytes(finding.figure()).startswith(b"\x89PNG")


class Toy(Model):
    """A model without parameters that computes in float64."""

    def __init__(self, data_shape=(2,)):
        super().__init__(data_shape)
        self.register_buffer("zero", torch.zeros((), dtype=torch.float64))


class SmoothedCircle(Toy):
    r"""The von Mises law on a circle of radius r, convolved with N(0, \sigma^2 I_2); no widths of its own account."""

    measure = "ambient"
    log_prob_kind = "exact"

    def __init__(self, mu=0.0, sigma=0.01, kappa=1.0, radius=1.0):
        super().__init__()
        self.mu, self.sigma, self.kappa, self.radius = mu, sigma, kappa, radius

    def sample(self, n, *, generator=None):
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        angle = rng.vonmises(self.mu, self.kappa, n)
        x = self.radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return torch.from_numpy(x + self.sigma * rng.standard_normal((n, 2)))

    def log_prob(self, x):
        b = x * self.radius / self.sigma**2
        pull = torch.tensor([self.kappa * math.cos(self.mu), self.kappa * math.sin(self.mu)], dtype=x.dtype)
        a = torch.linalg.vector_norm(b + pull, dim=1)
        quadratic = (x.square().sum(dim=1) + self.radius**2) / (2 * self.sigma**2)
        log_bessel = a + torch.special.i0e(a).log()
        return log_bessel - quadratic - math.log(2 * math.pi * self.sigma**2) - math.log(np.i0(self.kappa))


class KnownWidths(SmoothedCircle):
    """The same, and it says how wide it is: sigma across the circle, sqrt(kappa^{-1} + sigma^2) along it."""

    def local_scales(self, x):
        along = math.sqrt(1 / self.kappa + self.sigma**2)
        return torch.tensor([along, self.sigma], dtype=torch.float64).expand(len(x), 2)


class Gaussian(Toy):
    """N(mean, covariance)."""

    measure = "ambient"
    log_prob_kind = "exact"

    def __init__(self, mean, covariance):
        super().__init__((len(mean),))
        self.law = torch.distributions.MultivariateNormal(
            *(torch.as_tensor(a, dtype=torch.float64) for a in (mean, covariance))
        )

    def sample(self, n, *, generator=None):
        noise = torch.randn(n, len(self.law.loc), generator=generator, dtype=torch.float64)
        return self.law.loc + noise @ self.law.scale_tril.T

    def log_prob(self, x):
        return self.law.log_prob(x)


class Sampler(Toy):
    """Draws by `f(n, rng)`, and can do nothing else."""

    def __init__(self, f, data_shape=(2,)):
        super().__init__(data_shape)
        self.f = f

    def sample(self, n, *, generator=None):
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        return torch.from_numpy(np.ascontiguousarray(self.f(n, rng)))


class Chart(Toy):
    """The angle as one latent: exact on the unit circle, and torn at angle pi. Its own law of latents is wrong."""

    latent_dim = 1

    def __init__(self, mu=math.pi):
        super().__init__()
        self.mu = mu
        self.radius = torch.nn.Parameter(torch.ones((), dtype=torch.float64))

    def encode(self, x):
        return torch.atan2(x[:, 1], x[:, 0])[:, None]

    def decode(self, z):
        return self.radius * torch.cat([z.cos(), z.sin()], dim=1)

    def sample_latent(self, n, *, generator=None):
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        return torch.from_numpy(rng.vonmises(self.mu, 1.0, n))[:, None]

    def sample(self, n, *, generator=None):
        return self.decode(self.sample_latent(n, generator=generator)).detach()

    def decoder_lipschitz_bound(self):
        return 1.0


class Identity(Toy):
    """As many latents as coordinates, and nothing learned."""

    latent_dim = 2

    def encode(self, x):
        return x

    def decode(self, z):
        return z


class Linear(Toy):
    """Encodes by the transpose of an isometry U (D, d), decodes by U times a factor; latents are N(shift, I)."""

    def __init__(self, D, d, seed=0, factor=1.0, shift=0.0):
        super().__init__((D,))
        self.latent_dim, self.factor, self.shift = d, factor, shift
        noise = torch.randn(D, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        self.register_buffer("U", torch.linalg.qr(noise).Q)

    def encode(self, x):
        return x @ self.U

    def decode(self, z):
        return self.factor * z @ self.U.T

    def sample_latent(self, n, *, generator=None):
        return self.shift + torch.randn(n, self.latent_dim, generator=generator, dtype=torch.float64)

    def sample(self, n, *, generator=None):
        return self.decode(self.sample_latent(n, generator=generator))

    def decoder_lipschitz_bound(self):
        return abs(self.factor)
