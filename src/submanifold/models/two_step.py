r"""Two-step models: learn the manifold with an autoencoder, then the distribution on it with a law of its latents.

f encodes, g decodes, d is the number of latents, p_Z the density of the law. J is the Jacobian of g, (D, d).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from submanifold import nn
from submanifold.checks import check_choice, check_real
from submanifold.data.preprocess import Preprocess
from submanifold.errors import InvalidInput, OffManifold, UnfittedModel
from submanifold.geometry import jacobian, log_volume
from submanifold.models.base import (
    Density,
    EncoderDecoder,
    Generator,
    LogProbKind,
    Measure,
    Model,
    Stage,
)
from submanifold.models.latents import number_of_latents
from submanifold.models.precision import double
from submanifold.models.registry import preset, register
from submanifold.nn.given import NetworkLike, name_of

__all__ = ["OnManifoldDensity", "TwoStep"]

_BLOCK = 1024
"""Points encoded at a time."""


@dataclass(frozen=True, eq=False)
class OnManifoldDensity:
    r"""A density on a manifold with what it takes to judge it; every field is a float64 tensor (n,) but `refused`.

    Attributes:
        log_prob: \log p_Z(f(x)) - \tfrac12 \log\det J^\top J, in nats with respect to d-dimensional volume in the units
            of the data; NaN where refused.
        residual: |x - g(f(x))|, in the units of the data.
        refused: whether x is too far from the manifold to be scored, or the decoder folds there, (n,) bool.
        sigma_min: smallest singular value of J.
        condition: largest singular value of J over the smallest.
        log_volume: \tfrac12 \log\det J^\top J.
    """

    log_prob: Tensor
    residual: Tensor
    refused: Tensor
    sigma_min: Tensor
    condition: Tensor
    log_volume: Tensor


class _Trainable(Protocol):
    def stages(self) -> list[Stage]: ...


class _Coder(EncoderDecoder, _Trainable, Protocol):
    """A model that encodes and decodes."""


class _Law(Density, Generator, _Trainable, Protocol):
    """A model that scores and samples."""


@register("two-step")
class TwoStep(Model):
    r"""An autoencoder and, once that is trained and frozen, a law p_Z of its latents; samples are g(z), z \sim p_Z.

    If the autoencoder reconstructs perfectly and p_Z is the law of the encoded data, g # p_Z is the law of the data,
    even though p_Z is fitted by maximum likelihood, since the latents have a density on R^d (Loaiza-Ganem et al. 2022,
    arXiv 2204.07172). Its density is with respect to volume on g(R^d), by the injective change of variables

    .. math:: \log p(x) = \log p_Z(f(x)) - \tfrac12 \log\det J(f(x))^\top J(f(x)), \qquad x = g(f(x)).

    Off that set the right-hand side is the density of the projection g(f(x)), which can be as large as one likes while
    the model is wrong. So points whose residual exceeds that of nearly all held-out data are refused.

    Args:
        autoencoder: a model that encodes and decodes; its own law, if it has one, is not used.
        law: a density that samples, of vectors (latent_dim,) or of images with as many coordinates, for autoencoders
            whose latents are images, flattened; or the name of one, which is then made with its defaults.
        whiten: whether the law is that of whitened latents, uncorrelated and of variance 1, by an invertible affine
            map; of latents that are images, of their channels. Latents that are encoded and decoded are as before.
        residual_quantile: points are refused beyond this quantile of the residuals of held-out data.
        train_autoencoder: whether training begins with the autoencoder, or takes it as it is.
    """

    family = "two-step model"
    awareness = "aware"
    networks: tuple[str, ...] = ("encoder", "decoder")  # those of the autoencoder of `assemble`
    why = "the law is fitted in as many dimensions as the data have, so that maximum likelihood is well posed"

    measure: Measure = "manifold"
    autoencoder: _Coder
    law: _Law
    threshold: Tensor

    def __init__(
        self,
        autoencoder: Model,
        law: Model | str = "flow",
        *,
        whiten: bool = False,
        residual_quantile: float = 0.99,
        train_autoencoder: bool = True,
    ) -> None:
        if not (isinstance(autoencoder, Model) and isinstance(autoencoder, EncoderDecoder)):
            raise InvalidInput(f"autoencoder={_word(autoencoder)} is not accepted: give a model with encode and decode")
        super().__init__(autoencoder.data_shape)
        self.latent_dim = autoencoder.latent_dim
        self.residual_quantile = check_real(residual_quantile, name="residual_quantile", high=1.0)
        self.train_autoencoder = train_autoencoder
        self.autoencoder = autoencoder
        self.networks = autoencoder.networks
        self.law = _make_law(law, self.latent_dim)
        self.whiten = bool(whiten)
        self.whitening = Preprocess(("whiten",) if whiten else (), self.law.data_shape)
        self.register_buffer("threshold", torch.tensor(torch.nan))

    @classmethod
    def assemble(
        cls,
        data_shape: Sequence[int],
        latent_dim: int | None = None,
        *,
        autoencoder: str = "autoencoder",
        law: Model | str = "flow",
        hidden: Sequence[int] = (128, 128),
        network: NetworkLike = "auto",
        preprocess: Sequence[str] = ("scale",),
        full_latent: bool = False,
        whiten: bool = False,
        residual_quantile: float = 0.99,
    ) -> TwoStep:
        """A two-step model from the names of its parts; the arguments are those of the autoencoder and of `TwoStep`.

        A law by name is one of images if the network makes its latents images: "spatial".
        """
        d = number_of_latents(latent_dim, data_shape, network)
        first = _create(
            autoencoder,
            data_shape,
            latent_dim=d,
            hidden=hidden,
            network=network,
            preprocess=preprocess,
            full_latent=full_latent,
        )
        if name_of(network) == "spatial" and isinstance(law, str):
            law = _create(law, nn.spatial_shape(data_shape, d))
        return cls(first, law, whiten=whiten, residual_quantile=residual_quantile)

    @property
    def log_prob_kind(self) -> LogProbKind:
        """What the law's log-likelihood is."""
        return self.law.log_prob_kind

    def stages(self) -> list[Stage]:
        first = self.autoencoder.stages() if self.train_autoencoder else []
        whitening = [Stage("whitening", transform=self._shaped, prepare=self.whitening.fit)] if self.whiten else []
        return [
            *(replace(stage, name=f"autoencoder: {stage.name}") for stage in first),
            *whitening,
            *(self._on_latents(stage) for stage in self.law.stages()),
            Stage("residual threshold", finish=self.calibrate),
        ]

    def _on_latents(self, stage: Stage) -> Stage:
        """A stage of the law as a stage of the whole: it sees encoded data, whitened."""
        inner_transform, inner_finish = stage.transform, stage.finish

        def transform(x: Tensor, *labels: Tensor | None) -> Tensor:
            seen = self._seen_by_law(self.encode(x))
            return seen if inner_transform is None else inner_transform(seen, *labels)

        def finish(x: Tensor) -> None:
            if inner_finish is not None:
                inner_finish(self._seen_by_law(self.encode(x)))

        return replace(stage, name=f"law: {stage.name}", transform=transform, finish=finish)

    def calibrate(self, x: Tensor) -> None:
        """Set the threshold beyond which points are refused, from data that the autoencoder was not trained on.

        An autoencoder that reconstructs no better than the mean of the data has learned no manifold to be on: all
        points are refused then, with a warning.
        """
        residual, deviation = self.residual(x), self.receive(x).double().flatten(1)
        deviation = deviation - deviation.mean(dim=0)
        if residual.square().sum() >= deviation.square().sum():
            warnings.warn(
                "the autoencoder reconstructs held-out data no better than their mean, so that no point counts as on "
                "the manifold and log_prob is NaN: train it longer, or give it more latents",
                stacklevel=2,
            )
            self.threshold.fill_(-torch.inf)
        else:
            self.threshold.fill_(residual.quantile(self.residual_quantile))

    def encode(self, x: Tensor) -> Tensor:
        """Latents f(x), (n, latent_dim)."""
        return self.autoencoder.encode(x)

    def decode(self, z: Tensor) -> Tensor:
        """Data g(z), (n, *data_shape)."""
        return self.autoencoder.decode(z)

    def _shaped(self, x: Tensor) -> Tensor:
        """Latents of data, (n, *data_shape of the law)."""
        return self.encode(x).reshape(-1, *self.law.data_shape)

    def _seen_by_law(self, z: Tensor) -> Tensor:
        """Latents (n, latent_dim) as the law sees them, whitened and in its shape."""
        seen: Tensor = self.whitening(z.reshape(-1, *self.law.data_shape))
        return seen

    @torch.no_grad()
    def sample(self, n: int, *, generator: torch.Generator | None = None, **options: Any) -> Tensor:
        """`n` samples, (n, *data_shape); `options` are those of the law's `sample`, such as labels."""
        return self.decode(self.sample_latent(n, generator=generator, **options))

    def sample_latent(self, n: int, *, generator: torch.Generator | None = None, **options: Any) -> Tensor:
        """`n` latents of the law, (n, latent_dim); `options` are those of its `sample`."""
        return self.whitening.inverse(self.law.sample(n, generator=generator, **options)).flatten(1)

    def decode_bounds(self, low: Tensor, high: Tensor, *, parts: int = 4) -> tuple[Tensor, Tensor]:
        """Certified bounds of what `decode` says of latents in boxes, (n, *data_shape) each, of an autoencoder that has
        such a method.

        Raises:
            InvalidInput: as that of the autoencoder, or if it has none.
        """
        known = getattr(self.autoencoder, "decode_bounds", None)
        if known is None:
            raise InvalidInput(f"autoencoder={_word(self.autoencoder)} knows no bounds of what it decodes")
        bounds: tuple[Tensor, Tensor] = known(low, high, parts=parts)
        return bounds

    def decoder_lipschitz_bound(self) -> float:
        """A certified upper bound of the Lipschitz constant of `decode`; inf if the autoencoder knows none."""
        known = getattr(self.autoencoder, "decoder_lipschitz_bound", None)
        return math.inf if known is None else float(known())

    @torch.no_grad()
    def residual(self, x: Tensor) -> Tensor:
        """|x - g(f(x))| in the units of the data, (n,), float64."""
        twin = double(self)
        x = twin.receive(x)
        return torch.cat([twin._residual(block, twin.encode(block)) for block in torch.split(x, _BLOCK)])

    def log_prob(self, x: Tensor, *, off_manifold: Literal["nan", "raise"] = "nan") -> Tensor:
        """Log-density in nats with respect to volume on the manifold, in the units of the data, (n,); no gradients.

        Args:
            x: points (n, *data_shape).
            off_manifold: what becomes of points that are refused: NaN and one warning, or an error.

        Raises:
            OffManifold: with off_manifold="raise", if any point is refused.
            UnfittedModel: before the threshold is known.
        """
        check_choice(off_manifold, ["nan", "raise"], name="off_manifold")
        details = self.score_details(x)
        n_refused = int(details.refused.sum())
        if n_refused:
            message = (
                f"{n_refused} of the {len(details.refused)} points of x are off the manifold (residual above "
                f"{float(self.threshold):.3g}), where this density says nothing"
            )
            if off_manifold == "raise":
                raise OffManifold(f"{message}: give points on the manifold, or off_manifold='nan'")
            warnings.warn(f"{message}: their log_prob is NaN", stacklevel=2)
        return details.log_prob.to(self.dtype)

    @torch.no_grad()
    def score_details(self, x: Tensor) -> OnManifoldDensity:
        """The density of x with its residuals and the geometry of the decoder, computed in float64.

        Raises:
            UnfittedModel: before the threshold is known.
        """
        if self.threshold.isnan():
            raise UnfittedModel("the model does not know yet how far off the manifold data lie: fit it first")
        twin = double(self)
        x = twin.receive(x)
        z = torch.cat([twin.encode(block) for block in torch.split(x, _BLOCK)])
        residual = twin._residual(x, z)
        volume = log_volume(jacobian(twin.decode, z))
        refused = ~(residual <= twin.threshold) | volume.log_volume.isinf()
        seen, log_det = twin.whitening.forward_and_log_det(z.reshape(-1, *twin.law.data_shape))
        log_prob = twin.law.log_prob(seen) + log_det - volume.log_volume
        return OnManifoldDensity(
            log_prob=log_prob.masked_fill(refused, torch.nan),
            residual=residual,
            refused=refused,
            sigma_min=volume.sigma_min,
            condition=volume.condition,
            log_volume=volume.log_volume,
        )

    @torch.no_grad()
    def ambient_factor(self, x: Tensor) -> tuple[Density, Tensor]:
        """The law, a density on R^latent_dim, and the latents f(x) at which it scores x, whitened if the law's are."""
        return self.law, self._seen_by_law(self.encode(x))

    def _residual(self, x: Tensor, z: Tensor) -> Tensor:
        error = (x - self.decode(z)).flatten(1)  # (n, D)
        length: Tensor = torch.linalg.vector_norm(error, dim=1)
        return length


def _make_law(law: Model | str, latent_dim: int) -> _Law:
    """The law as a model of as many coordinates as there are latents, checked."""
    made = _create(law, (latent_dim,)) if isinstance(law, str) else law
    if not (isinstance(made, Model) and isinstance(made, Density) and isinstance(made, Generator)):
        raise InvalidInput(f"law={_word(law)} is not accepted: give a model with log_prob and sample, or its name")
    if math.prod(made.data_shape) != latent_dim:
        raise InvalidInput(
            f"law has data_shape={made.data_shape}: give a law of the {latent_dim} latents, "
            f"data_shape=({latent_dim},), or of images of as many coordinates"
        )
    if made.measure != "ambient":
        raise InvalidInput(
            f"law={_word(law)} is a density on a manifold: give one on all of R^{latent_dim}, such as 'flow'"
        )
    return made


def _word(value: object) -> str:
    return repr(value) if isinstance(value, str) else type(value).__name__


def _create(name: str, data_shape: Sequence[int], **kwargs: Any) -> Model:
    """A registered model by its name."""
    from submanifold.models import catalogue  # deferred: it imports this module

    return catalogue.create(name, data_shape, **kwargs)


preset(
    "latent-diffusion",
    TwoStep,
    family="latent diffusion",
    why="diffusion in as many dimensions as the data have, or in some more, decoded by an autoencoder",
    autoencoder="adversarial-vae",
    law="diffusion",
    whiten=True,
)
