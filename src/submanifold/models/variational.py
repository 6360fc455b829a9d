r"""What variational autoencoders share: an encoder, a posterior, a prior, a decoder, and bounds of the likelihood.

y is x after preprocessing, and log p(x) = log p(y) + log |det dy/dx|, so that every figure is in nats and in the units
of the data. What the decoder's output means as a law of y, the likelihood, is left to subclasses.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from submanifold.checks import check_choice, check_int, check_real
from submanifold.errors import InvalidInput
from submanifold.models.base import LogProbKind, Measure, Objective
from submanifold.models.latents import CodingModel, normal, number_of_latents
from submanifold.models.posteriors import POSTERIORS, GaussianPosterior, gaussian_kl
from submanifold.models.priors import PRIORS
from submanifold.nn.given import NetworkLike, name_of

__all__ = ["VariationalAutoencoder"]

_BUDGET = 2**22
"""How many decoded numbers are held at a time (16 MiB)."""


class VariationalAutoencoder(CodingModel):
    """A posterior, a prior and a bound; see `VAE` for the arguments.

    A subclass says what its likelihood is, `_log_likelihood`.
    """

    measure: Measure = "ambient"
    log_prob_kind: LogProbKind = "bound"

    def __init__(
        self,
        data_shape: Sequence[int],
        latent_dim: int | None,
        *,
        posterior: str,
        prior: str,
        components: int,
        beta: float,
        importance_samples: int,
        hidden: Sequence[int],
        network: NetworkLike,
        preprocess: Sequence[str],
        full_latent: bool,
        outputs: int = 1,
    ) -> None:
        # masked, so that no network of another kind can be there
        of_latents: NetworkLike = network if name_of(network) == "kan" else "mlp"
        d = number_of_latents(latent_dim, data_shape, network)
        law = POSTERIORS[check_choice(posterior, POSTERIORS, name="posterior")](d, of_latents)
        super().__init__(
            data_shape,
            d,
            hidden=hidden,
            network=network,
            preprocess=preprocess,
            full_latent=full_latent,
            features=law.n_features,
            outputs=outputs,
        )
        self.posterior = law
        self.prior = PRIORS[check_choice(prior, PRIORS, name="prior")](
            self.latent_dim, self.data_shape, check_int(components, name="components"), of_latents
        )
        self.beta = check_real(beta, name="beta")
        self.importance_samples = check_int(importance_samples, name="importance_samples")
        self.has_gaussian_kl = posterior == "gaussian" and prior == "normal"
        if prior == "vampprior" and posterior != "gaussian":
            raise InvalidInput(
                f'posterior={posterior!r} with prior="vampprior" is not accepted: it is a mixture of posteriors '
                'with a density that is known everywhere, give posterior="gaussian"'
            )
        if self.beta != 1 and self.importance_samples > 1:
            raise InvalidInput(
                f"beta={beta!r} with importance_samples={importance_samples} is not accepted: the importance bound has "
                "no term that beta weighs, give beta=1 or importance_samples=1"
            )

    def objectives(self) -> list[Objective]:
        return [Objective("elbo", list(self.parameters()), self.loss)]

    def prepare(self, x: Tensor) -> None:
        super().prepare(x)
        self.prior.prepare(self.preprocess(x))

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        """What is minimised, in nats, ().

        With one importance sample that is reconstruction + beta kl, the parts of -ELBO, which are told too.
        """
        y, log_det = self._noised(x)
        features = self.encoder(y)
        if self.importance_samples > 1:
            eps = normal((self.importance_samples, len(y), self.latent_dim), features)
            return {"loss": -(self._importance_bound(y, features, eps) + log_det).mean(), **self._told()}
        z, log_q = self.posterior.draw(features, normal((len(y), self.latent_dim), features))
        reconstruction = -(self._log_likelihood(y, z) + log_det).mean()
        kl = self._kl(features, z, log_q).mean()
        return {
            "loss": reconstruction + self.beta * kl,
            "reconstruction": reconstruction.detach(),
            "kl": kl.detach(),
            **self._told(),
        }

    def elbo(self, x: Tensor, n_samples: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """The evidence lower bound in nats, (n,), its expectation averaged over `n_samples` latents per point."""
        y, log_det = self.preprocess.forward_and_log_det(self.receive(x))
        features = self.encoder(y)
        total = torch.zeros_like(log_det)
        for _ in range(check_int(n_samples, name="n_samples")):
            z, log_q = self.posterior.draw(features, normal((len(y), self.latent_dim), features, generator))
            total = total + self._log_likelihood(y, z) - self._kl(features, z, log_q)
        return total / n_samples + log_det

    def log_prob(self, x: Tensor, n_importance: int = 64, generator: torch.Generator | None = None) -> Tensor:
        r"""A lower bound on log p(x) in nats, (n,), that rises to log p(x) with the number K of importance samples,

        .. math:: \mathbb{E}_{z_k \sim q(z|x)} \log \tfrac1K \sum_{k=1}^{K} \frac{p(x | z_k) \, p(z_k)}{q(z_k | x)}

        (Burda et al. 2016, arXiv 1509.00519, eq. 8), estimated by one draw of the K samples. Without a generator the
        draw is the same on every call, and on every device.
        """
        y, log_det = self.preprocess.forward_and_log_det(self.receive(x))
        like = y if generator is not None else y.new_empty(0, device="cpu")
        generator = generator or torch.Generator().manual_seed(0)
        rows = self._rows_at_a_time // check_int(n_importance, name="n_importance")
        blocks = torch.split(y, max(1, rows))
        inside = any(torch.func.debug_unwrap(t) is not t for t in (y, *self.parameters()))
        bounds = []
        for block in blocks:
            eps = normal((n_importance, len(block), self.latent_dim), like, generator).to(y.device)
            # a graph of all blocks would hold `n_importance` networks for each point: those of many are made again
            # (not inside `torch.func`, whose transforms refuse that)
            bound = (
                self._encoded_bound(block, eps)
                if len(blocks) == 1 or inside
                else checkpoint(self._encoded_bound, block, eps, use_reentrant=False)
            )
            bounds.append(bound)
        return torch.cat(bounds) + log_det

    @property
    def _rows_at_a_time(self) -> int:
        """Latents that are decoded at a time."""
        return max(1, _BUDGET // self.decoded_numbers)

    def encode(self, x: Tensor) -> Tensor:
        """The centre of the posterior, (n, latent_dim); of a Gaussian one the mean."""
        return self.posterior.centre(self.encoder(self.preprocess(self.receive(x))))

    @torch.no_grad()
    def sample_latent(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` latents of the prior, (n, latent_dim)."""
        return self.prior.sample(check_int(n, name="n"), generator, self._moments)

    @torch.no_grad()
    def kl_per_unit(self, x: Tensor) -> Tensor:
        """KL(q(z_i | x) || N(0, 1)) in nats, averaged over x, for each latent, (latent_dim,).

        Raises:
            InvalidInput: for a model whose posterior or prior does not treat latents one by one.
        """
        if not self.has_gaussian_kl:
            raise InvalidInput(
                "the latents of this model have no divergence of their own: "
                'it is known for posterior="gaussian" and prior="normal"'
            )
        return gaussian_kl(*self._moments(self.preprocess(self.receive(x)))).mean(dim=0)

    def active_units(self, x: Tensor, threshold: float = 0.1) -> int:
        """How many latents carry more than `threshold` nats about x: at the optimum, the dimension of the manifold."""
        return int((self.kl_per_unit(x) > threshold).sum())

    @abstractmethod
    def _log_likelihood(self, y: Tensor, z: Tensor) -> Tensor:
        """log p(y | z), (n,)."""

    def _noised(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What is trained on, y (n, *data_shape), and log |det dy/dx|, (n,)."""
        return self.preprocess.forward_and_log_det(x)

    def _told(self) -> dict[str, Tensor]:
        """What the history of training says besides the loss."""
        return {}

    def _moments(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of a Gaussian posterior, each (n, latent_dim)."""
        assert isinstance(self.posterior, GaussianPosterior)
        return self.posterior.moments(self.encoder(y))

    def _kl(self, features: Tensor, z: Tensor, log_q: Tensor) -> Tensor:
        """KL(q(z | y) || p(z)), (n,): exact where it has a formula, and else its estimate by the one latent z."""
        if self.has_gaussian_kl:
            assert isinstance(self.posterior, GaussianPosterior)
            return gaussian_kl(*self.posterior.moments(features)).sum(dim=1)
        return log_q - self.prior.log_prob(z, self._moments)

    def _encoded_bound(self, y: Tensor, eps: Tensor) -> Tensor:
        """The `_importance_bound` of points whose features are not known yet, (n,)."""
        return self._importance_bound(y, self.encoder(y), eps)

    def _importance_bound(self, y: Tensor, features: Tensor, eps: Tensor) -> Tensor:
        """log 1/K sum_k of the importance weights of the latents that `eps`, (K, n, d), makes, (n,)."""
        K = len(eps)
        z, log_q = self.posterior.draw(features, eps)  # (K, n, d), (K, n)
        repeated = y.expand(K, *y.shape).flatten(0, 1)  # (K n, *data_shape)
        log_likelihood = self._log_likelihood(repeated, z.flatten(0, 1)).view(K, -1)  # (K, n)
        weights = log_likelihood + self.prior.log_prob(z, self._moments) - log_q
        return weights.logsumexp(dim=0) - math.log(K)
