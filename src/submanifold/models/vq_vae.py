r"""The vector-quantised autoencoder: latents are entries of codebooks, and their law is one of discrete codes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from submanifold import nn
from submanifold.checks import check_int, check_real
from submanifold.errors import InvalidInput
from submanifold.models.base import Objective, Stage
from submanifold.models.latents import CodingModel, DecodedLatents
from submanifold.models.registry import register
from submanifold.nn.given import NetworkLike

__all__ = ["VQVAE"]

_DECAY = 0.99
_UNUSED = 0.1
"""A code with a smaller share of the points than this, of the fair one, begins anew; as one with exactly this share."""


@register("vq-vae")
class VQVAE(DecodedLatents, CodingModel):
    r"""Rounds each group of latents to the nearest entry of a codebook of its own, and minimises

    .. math:: \tfrac1D \| y - g(e) \|^2 + \tfrac{\beta}{d} \| z - \mathrm{sg}[e] \|^2, \qquad z = f(y), \;
        e = \mathrm{nearest}(z),

    where sg stops gradients and g's are passed on to z as if it had not been rounded (van den Oord et al. 2017, arXiv
    1711.00937, eq. 3). Entries are running means of the latents that are rounded to them (ibid., appendix A.1), and
    those that hardly any are begin anew at a random one of the batch (Dhariwal et al. 2020, arXiv 2005.00341, appendix
    B). In a second stage an autoregressive law of the codes is fitted by maximum likelihood: data and law of codes
    are both discrete, so that none has a support that the other misses.

    Args:
        data_shape: (D,) or (channels, height, width).
        latent_dim: number of latents d, below D; by default 2 \lfloor \sqrt{D} \rfloor or D - 1, the smaller.
        codes: entries of each codebook.
        code_dim: latents in a group, a divisor of d; by default the greatest that d and 4 have in common.
        commitment: \beta.
        law_hidden: widths of the masked network that is the law of codes.
        hidden: widths of the hidden layers of the encoder; the decoder mirrors them.
        network: a name of `submanifold.nn`, of which "auto" is convolutional for images from 16 x 16 on, or networks of
            your own in place of `networks`, see `submanifold.nn.given`.
        preprocess: names of the invertible maps applied first.
        full_latent: accept latent_dim = D.
    """

    family = "vector-quantised autoencoder"
    awareness = "n/a"
    why = "the law of its codes is discrete as they are, so that likelihood and law have no dimensions to differ in"

    begun: Tensor
    codebooks: Tensor
    counts: Tensor
    log_frequencies: Tensor

    def __init__(
        self,
        data_shape: Sequence[int],
        latent_dim: int | None = None,
        *,
        codes: int = 128,
        code_dim: int | None = None,
        commitment: float = 0.25,
        law_hidden: Sequence[int] = (128,),
        hidden: Sequence[int] = (128, 128),
        network: NetworkLike = "auto",
        preprocess: Sequence[str] = ("scale",),
        full_latent: bool = False,
    ) -> None:
        super().__init__(
            data_shape, latent_dim, hidden=hidden, network=network, preprocess=preprocess, full_latent=full_latent
        )
        self.codes = check_int(codes, name="codes", low=2)
        self.code_dim = math.gcd(self.latent_dim, 4) if code_dim is None else check_int(code_dim, name="code_dim")
        if self.latent_dim % self.code_dim:
            raise InvalidInput(
                f"code_dim={code_dim!r} is not accepted for {self.latent_dim} latents: give a divisor of them"
            )
        self.commitment = check_real(commitment, name="commitment")
        groups = self.latent_dim // self.code_dim
        self.register_buffer("codebooks", torch.randn(groups, self.codes, self.code_dim))
        self.register_buffer("counts", torch.ones(groups, self.codes))  # running mean of a batch's points with the code
        self.register_buffer("begun", torch.tensor(False))
        self.register_buffer("log_frequencies", torch.zeros(groups, self.codes))
        self.law = nn.causal_network("masked", self.latent_dim if groups > 1 else 1, self.codes, law_hidden)

    def stages(self) -> list[Stage]:
        coder = [*self.encoder.parameters(), *self.decoder.parameters()]
        law = list(self.law.parameters())
        return [
            Stage("codes", [Objective("codes", coder, self.loss)], prepare=self.prepare),
            Stage("law", [Objective("law", law, self.law_loss)], transform=self.encode, prepare=self.prepare_law),
        ]

    @torch.no_grad()
    def prepare(self, x: Tensor) -> None:
        """Fit the preprocessing, and begin with codes that are latents of data; trained ones are left alone."""
        super().prepare(x)
        if self.begun:
            return
        chosen = x[torch.randint(len(x), (self.codes,), device=x.device)]
        z = self.encoder(self.preprocess(chosen))
        noise = 0.01 * torch.randn_like(z)  # codes of few points differ
        self.codebooks.copy_(self._groups(z + noise).movedim(0, 1))
        self.counts.fill_(1.0)

    @torch.no_grad()
    def prepare_law(self, e: Tensor) -> None:
        """Read off rounded latents (n, latent_dim) how often each code is used; the network corrects that."""
        counts = one_hot(self._nearest(e), self.codes).sum(dim=0)  # (groups, codes)
        self.log_frequencies.copy_(((counts + 0.5) / (len(e) + 0.5 * self.codes)).log())

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        """What is minimised, the reconstruction error per coordinate and that of rounding per latent, each ()."""
        y = self.preprocess(x)
        z = self.encoder(y)
        index = self._nearest(z)
        e = self._entries(index)
        reconstruction = (y - self.decoder(z + (e - z).detach())).square().mean()
        rounding = (z - e).square().mean()
        if self.training:
            self.begun.fill_(True)
            self._follow(self._groups(z.detach()), index)
        return {
            "loss": reconstruction + self.commitment * rounding,
            "reconstruction": reconstruction.detach(),
            "rounding": rounding.detach(),
        }

    def law_loss(self, e: Tensor) -> Tensor:
        """Minus the log-probability of the codes of rounded latents (n, latent_dim), in nats, ()."""
        index = self._nearest(e)  # (n, groups)
        total: Tensor = cross_entropy(self._logits(e).flatten(0, 1), index.flatten()) * index.shape[1]
        return total

    def encode(self, x: Tensor) -> Tensor:
        """Rounded latents, (n, latent_dim)."""
        return self._entries(self._nearest(super().encode(x)))

    @torch.no_grad()
    def sample_latent(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` rounded latents of the law of codes, (n, latent_dim)."""
        self.preprocess.require_fitted()
        features, state = self.law.begin(check_int(n, name="n"))
        known: list[Tensor] = []
        for codebook, log_frequencies in zip(self.codebooks, self.log_frequencies, strict=True):
            probabilities = (features + log_frequencies).softmax(dim=1)
            chosen = torch.multinomial(probabilities, 1, generator=generator)[:, 0]
            known += codebook[chosen].T  # code_dim times (n,)
            if len(known) < self.latent_dim:
                for column in known[-self.code_dim :]:
                    features, state = self.law.advance(column, state)
        return torch.stack(known, dim=1)

    @torch.no_grad()
    def _follow(self, z: Tensor, index: Tensor) -> None:
        """Move codes towards the latents z (n, groups, code_dim) that are rounded to them by `index` (n, groups)."""
        members = one_hot(index, self.codes).to(z.dtype)  # (n, groups, codes)
        counts = members.sum(dim=0)
        sums = torch.einsum("ngk,ngc->gkc", members, z)
        kept, came = _DECAY * self.counts, (1 - _DECAY) * counts
        self.counts.copy_(kept + came)
        mean = (kept[..., None] * self.codebooks + (1 - _DECAY) * sums) / self.counts[..., None].clamp(min=1e-12)
        fair = len(z) / self.codes
        unused = (self.counts < _UNUSED * fair)[..., None]
        which = torch.randint(len(z), (self.codes, index.shape[1]), device=z.device)
        anew = z[which, torch.arange(index.shape[1], device=z.device)].movedim(0, 1)  # (groups, codes, code_dim)
        self.codebooks.copy_(torch.where(unused, anew, mean))
        self.counts.clamp_(min=_UNUSED * fair)

    def _groups(self, z: Tensor) -> Tensor:
        """Latents by group, (n, groups, code_dim)."""
        return z.reshape(len(z), self.latent_dim // self.code_dim, self.code_dim)

    def _nearest(self, z: Tensor) -> Tensor:
        """The index of each group's nearest code, (n, groups)."""
        groups = self._groups(z.detach()).movedim(1, 0)  # (groups, n, code_dim)
        exact = "donot_use_mm_for_euclid_dist"  # or codes far from zero would not be their own nearest
        return torch.cdist(groups, self.codebooks, compute_mode=exact).argmin(dim=2).T

    def _entries(self, index: Tensor) -> Tensor:
        """The codes of that index, (n, latent_dim)."""
        return self.codebooks[torch.arange(index.shape[1], device=index.device), index].flatten(1)

    def _logits(self, e: Tensor) -> Tensor:
        """Of each group's code given the groups before it, (n, groups, codes): the row of a group's first latent."""
        correction: Tensor = self.law(e)[:, :: self.code_dim]
        return correction + self.log_frequencies
