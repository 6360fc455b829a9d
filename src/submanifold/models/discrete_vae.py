"""Variational autoencoders whose decoder gives a law of levels, for pixels and other values on a lattice."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import hardtanh

from submanifold.checks import check_choice, check_int
from submanifold.errors import InvalidInput
from submanifold.geometry import lipschitz_upper_bound
from submanifold.models.discretised import lattice_of, logistic_log_mass, sample_logistic
from submanifold.models.registry import preset, register
from submanifold.models.variational import VariationalAutoencoder
from submanifold.nn.given import NetworkLike

__all__ = ["DiscreteVAE"]


@register("logistic-vae")
class DiscreteVAE(VariationalAutoencoder):
    r"""Maximises the evidence lower bound of log-probabilities of levels,

    .. math:: \log p(x | z) = \sum_j \log P(x_j; g_j(z)),

    where P is a logistic law rounded to the nearest level (Kingma et al. 2016, arXiv 1606.04934, section 5; Salimans et
    al. 2017, arXiv 1701.05517, eq. 2) or any law of levels. Data on a lattice have probabilities, of at most 1: their
    likelihood is bounded, and there is no \sigma \to 0. `log_prob` is that of the density which is constant on the cell
    of each level, the one that dequantised models bound from below: log P(x) - D log \Delta.

    Args:
        data_shape: (D,) or (channels, height, width), of values on evenly spaced levels.
        latent_dim: number of latents d, below D; by default 2 \lfloor \sqrt{D} \rfloor or D - 1, the smaller.
        likelihood: "logistic", or "categorical", with a probability for each level.
        levels: most levels that a "categorical" law has room for.
        posterior, prior, components, beta, importance_samples, hidden, network, full_latent: see `VAE`.

    Raises:
        InvalidInput: when it sees data that are continuous, or off the levels of those it was fitted to, or that have
            more levels than a "categorical" law has room for.
    """

    family = "VAE, discretised logistic decoder"
    awareness = "n/a"
    why = "its law of levels is discrete as the data are, so that no likelihood is unbounded"

    def __init__(
        self,
        data_shape: Sequence[int],
        latent_dim: int | None = None,
        *,
        likelihood: str = "logistic",
        levels: int = 256,
        hidden: Sequence[int] = (128, 128),
        network: NetworkLike = "auto",
        posterior: str = "gaussian",
        prior: str = "normal",
        components: int = 32,
        beta: float = 1.0,
        importance_samples: int = 1,
        full_latent: bool = False,
    ) -> None:
        self.likelihood = check_choice(likelihood, ("logistic", "categorical"), name="likelihood")
        self.levels = check_int(levels, name="levels", low=2)
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
            preprocess=("lattice",),
            full_latent=full_latent,
            outputs=2 if likelihood == "logistic" else self.levels,
        )

    def prepare(self, x: Tensor) -> None:
        super().prepare(x)
        found = int(lattice_of(self.preprocess).levels)
        if self.likelihood == "categorical" and found > self.levels:
            raise InvalidInput(f"x has {found} levels and levels={self.levels}: give levels={found} or more")

    def decode(self, z: Tensor) -> Tensor:
        """The decoder's mean, (n, *data_shape); of a logistic law its location, held to the range of the levels."""
        return self.preprocess.inverse(self._mean(self.decoder(self.receive_latents(z))))

    def _bounds_of_decoded(self, low: Tensor, high: Tensor, parts: int) -> tuple[Tensor, Tensor]:
        least, most = (self._outputs(end) for end in super()._bounds_of_decoded(low, high, parts))
        if self.likelihood == "logistic":
            bounds = hardtanh(least[:, 0]), hardtanh(most[:, 0])
        else:
            L = int(lattice_of(self.preprocess).levels)
            least, most = least[:, :L], most[:, :L]
            at = lattice_of(self.preprocess).unit(torch.arange(L, device=least.device))
            bounds = -_largest_mean(least.flip(1), most.flip(1), -at.flip(0)), _largest_mean(least, most, at)
        return bounds[0].reshape(-1, *self.data_shape), bounds[1].reshape(-1, *self.data_shape)

    def decoder_lipschitz_bound(self) -> float:
        """A certified upper bound of the Lipschitz constant of `decode`; inf if the network has none that is known.

        Neither holding locations to [-1, 1] nor the mean of probabilities in their logits stretches.
        """
        return float(lipschitz_upper_bound(self.decoder)) * self.preprocess.inverse_lipschitz()

    @torch.no_grad()
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` samples, (n, *data_shape), on the levels of the training data."""
        z = self.sample_latent(n, generator=generator)
        blocks = [self._draw(self.decoder(part), generator) for part in torch.split(z, self._rows_at_a_time)]
        return self.preprocess.inverse(torch.cat(blocks).reshape(n, *self.data_shape))

    def _draw(self, decoded: Tensor, generator: torch.Generator | None) -> Tensor:
        """u of what the decoder says, (n, D)."""
        outputs, lattice = self._outputs(decoded), lattice_of(self.preprocess)
        if self.likelihood == "logistic":
            return sample_logistic(*self._logistic(outputs), lattice.levels, generator)
        probabilities = self._log_probabilities(outputs).exp()  # (n, levels, D)
        flat = probabilities.movedim(1, 2).flatten(0, 1)  # (n D, levels)
        return lattice.unit(torch.multinomial(flat, 1, generator=generator)).view(len(decoded), -1).to(self.dtype)

    def _log_likelihood(self, y: Tensor, z: Tensor) -> Tensor:
        """The log-density of y = u that is constant on cells, (n,)."""
        outputs, u, lattice = self._outputs(self.decoder(z)), y.flatten(1), lattice_of(self.preprocess)
        if self.likelihood == "logistic":
            log_masses = logistic_log_mass(u, *self._logistic(outputs), lattice.levels)  # (n, D)
        else:
            log_masses = self._log_probabilities(outputs).gather(1, lattice.level(u)[:, None])[:, 0]  # (n, D)
        return lattice.log_density(log_masses.sum(dim=1))

    def _outputs(self, decoded: Tensor) -> Tensor:
        """What the decoder says of each coordinate, (n, outputs, D)."""
        return decoded.reshape(len(decoded), -1, self.ambient_dim)

    def _logistic(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Locations and log-scales, (n, D) each."""
        return outputs[:, 0], outputs[:, 1]

    def _log_probabilities(self, outputs: Tensor) -> Tensor:
        """Of the levels that the data have, (n, levels, D)."""
        return outputs[:, : int(lattice_of(self.preprocess).levels)].log_softmax(dim=1)

    def _mean(self, decoded: Tensor) -> Tensor:
        """The mean of u, (n, *data_shape)."""
        outputs = self._outputs(decoded)
        if self.likelihood == "logistic":
            u = hardtanh(self._logistic(outputs)[0])
        else:
            probabilities = self._log_probabilities(outputs).exp()
            at = lattice_of(self.preprocess).unit(torch.arange(probabilities.shape[1], device=outputs.device))
            u = torch.einsum("nld,l->nd", probabilities, at)
        return u.reshape(-1, *self.data_shape)


def _largest_mean(low: Tensor, high: Tensor, at: Tensor) -> Tensor:
    """The largest mean, (n, D), of ascending numbers `at`, (L,), whose log-weights are between `low` and `high`, (n, L,
    D) each.

    It rises with the logits of the numbers above it and falls with the others: so those are all at their largest and
    these at their least, from some number on. Sums are kept as logarithms, so that none vanishes, and what is returned
    is larger than all that rounding may have taken off.
    """

    def summed(log_factor: Tensor) -> Tensor:
        """The logarithm of sums with each split, (n, L, D)."""
        below = (low + log_factor).logcumsumexp(dim=1)
        below = torch.cat([torch.full_like(below[:, :1], -torch.inf), below[:, :-1]], dim=1)
        return torch.logaddexp(below, (high + log_factor).flip(1).logcumsumexp(dim=1).flip(1))

    top = high.amax(dim=1, keepdim=True)
    low, high = low - top, high - top
    weight, moment = summed(torch.zeros_like(at[:, None])), summed((at - at[0]).log()[:, None])
    eps = torch.finfo(at.dtype).eps
    error = 4 * eps * (len(at) + 8) * (1 + weight.abs() + moment.abs())  # of logarithms of sums of so many terms
    above: Tensor = ((moment - weight).exp() * (1 + error)).amax(dim=1)
    return at[0] + above + 4 * eps * (at[0].abs() + above)


preset(
    "categorical-vae",
    DiscreteVAE,
    family="VAE, categorical decoder",
    likelihood="categorical",
)
