"""What a model is: a module that says by protocols what it can do, and by data how it is trained.

Notation: x is data, (n, *data_shape), D its number of coordinates; z a latent, (n, latent_dim).
Nothing outside a model asks for its class: a diagnostic asks `isinstance(model, Density)`, the trainer reads
`stages()`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar, Literal, Protocol, Self, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from submanifold.checks import check_int, check_tensor
from submanifold.data.preprocess import Preprocess
from submanifold.errors import IncomparableMeasures, InvalidInput

__all__ = [
    "Awareness",
    "Density",
    "EncoderDecoder",
    "Factored",
    "Generator",
    "LatentLaw",
    "LocalScales",
    "LogProbKind",
    "Measure",
    "Model",
    "Objective",
    "Score",
    "Stage",
    "check_batch",
    "check_data_shape",
    "require_same_measure",
]

Measure = Literal["ambient", "manifold"]
LogProbKind = Literal["exact", "bound", "unnormalised", "estimate"]
Awareness = Literal["aware", "unaware", "n/a"]


@runtime_checkable
class Generator(Protocol):
    """Draws samples."""

    data_shape: tuple[int, ...]

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` samples, (n, *data_shape), without gradients."""
        ...


@runtime_checkable
class Density(Protocol):
    """Scores points, with respect to a declared measure and with a declared meaning."""

    measure: Measure
    log_prob_kind: LogProbKind

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density in nats, in the units of the data as given, (n,)."""
        ...


@runtime_checkable
class EncoderDecoder(Protocol):
    """Maps data to latents and back."""

    latent_dim: int
    data_shape: tuple[int, ...]

    def encode(self, x: Tensor) -> Tensor:
        """Latents (n, latent_dim) of data (n, *data_shape); deterministic."""
        ...

    def decode(self, z: Tensor) -> Tensor:
        """Data (n, *data_shape) of latents (n, latent_dim); deterministic and differentiable."""
        ...


@runtime_checkable
class LocalScales(Protocol):
    """Knows how wide its density is around a point, direction by direction."""

    def local_scales(self, x: Tensor) -> Tensor:
        r"""Standard deviations (n, D), descending, of the Gaussian that the model is to first order around x.

        A flow x = T(u) has the singular values of J_T; a Gaussian decoder has \sqrt{s_i(J_g)^2 + \sigma^2}, with
        \sigma in the D - latent_dim directions that the decoder does not reach. In the units of the data.
        """
        ...


@runtime_checkable
class LatentLaw(Protocol):
    """Draws latents and decodes them: its samples are decode(sample_latent(n))."""

    def sample_latent(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` latents (n, latent_dim) from the model's own law of latents, without gradients."""
        ...

    def decoder_lipschitz_bound(self) -> float:
        """A certified upper bound of the decoder's Lipschitz constant, in data units; inf if none is known."""
        ...


@runtime_checkable
class Factored(Protocol):
    """Is a density on a manifold made of a density on R^latent_dim and a decoder."""

    def ambient_factor(self, x: Tensor) -> tuple[Density, Tensor]:
        """The density on R^latent_dim, and the points (n, latent_dim) at which it scores x."""
        ...


@runtime_checkable
class Score(Protocol):
    r"""Knows the gradient of the log-density of noised data, p_\sigma = p * N(0, \sigma^2 I)."""

    def score(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """Score at x under noise level sigma, shaped like x."""
        ...

    def denoise(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        r"""E[x_0 | x_0 + \sigma \epsilon = x] = x + \sigma^2 score(x, sigma), shaped like x."""
        ...


def require_same_measure(*models: Density) -> Measure:
    """The common measure of the models' log-likelihoods.

    Raises:
        IncomparableMeasures: a density with respect to volume in R^D and one with respect to volume on a
            d-dimensional manifold have different units (nats per D-volume and per d-volume), so that neither is
            "larger".
    """
    measures = {model.measure for model in models}
    if len(measures) > 1:
        raise IncomparableMeasures(
            "these log-likelihoods are with respect to different measures (Lebesgue measure on the ambient space and "
            "volume on a manifold), so they cannot be compared: compare samples instead, for example with W1"
        )
    return measures.pop()


@dataclass(frozen=True)
class Objective:
    """What one optimiser minimises.

    `loss` maps a batch to a scalar, or to a mapping whose entry "loss" is minimised and whose other entries are
    logged; it draws its noise from torch's global generator, which the trainer seeds at every step. `every` is the
    number of steps between updates of these `parameters`, `learning_rate` a factor on the rate of the fit, `betas` the
    decay rates of the two moments of Adam. A `labelled` loss is called with the classes of the points too, (n,) int64,
    which the data then have to have.
    """

    name: str
    parameters: Sequence[nn.Parameter]
    loss: Callable[..., Tensor | Mapping[str, Tensor]]
    every: int = 1
    learning_rate: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)
    labelled: bool = False


@dataclass(frozen=True)
class Stage:
    """One part of training; a model has one, a two-step model several in a row.

    `transform` maps data to what this stage trains on (the latents of a frozen autoencoder); the trainer applies it
    once, without gradients, with the model in evaluation mode. `prepare` sees all of the transformed training data
    before the first step: it fits preprocessing, or a whole law that has a closed form. `finish` sees the held-out
    data, untransformed, after the last step. Without objectives a stage is over when it is prepared. A `labelled`
    stage is one whose transform is called with the classes of the points too, (n,) int64, or None where data have none.
    Parts of the model that have parameters, none of which an objective moves, are in evaluation mode throughout.
    """

    name: str
    objectives: Sequence[Objective] = ()
    transform: Callable[..., Tensor] | None = None
    prepare: Callable[[Tensor], None] | None = None
    finish: Callable[[Tensor], None] | None = None
    labelled: bool = False


def check_data_shape(data_shape: Sequence[int]) -> tuple[int, ...]:
    """`data_shape` as a tuple: (D,) for vectors or (channels, height, width) for images."""
    shape = tuple(data_shape) if isinstance(data_shape, Sequence) else ()
    if len(shape) not in (1, 3):
        raise InvalidInput(
            f"data_shape={data_shape!r} is not accepted: give (D,) for vectors or (channels, height, width) for images"
        )
    return tuple(check_int(size, name="data_shape") for size in shape)


def check_batch(x: Tensor) -> None:
    """Refuse a batch of one point, which has no law to compare with another."""
    if len(x) < 2:
        raise InvalidInput("the batch holds 1 point: give a batch_size of at least 2, laws of points are compared")


def _plain(value: Any) -> Any:
    """`value` as JSON-able data; a model becomes its name and configuration, and is refused nowhere but in `save`."""
    if isinstance(value, Model):
        return {"model": type(value), "config": value.config}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _learning(module: nn.Module) -> set[nn.Module]:
    """The parts of a module that have parameters of their own, not frozen."""
    return {part for part in module.modules() if any(p.requires_grad for p in part.parameters(recurse=False))}


class Model(nn.Module):
    """Base of every model: records its configuration, owns its preprocessing, and says how it is trained.

    A subclass takes plain, typed, JSON-able keyword arguments (or other models), calls
    `super().__init__(data_shape, preprocess)`, and implements `objectives` and the protocols it satisfies.

    Attributes:
        family: the family of models it belongs to, in the field's words.
        awareness: "unaware", "aware", or "n/a": whether, in the nonparametric regime, it can learn a distribution on an
            unknown manifold (Loaiza-Ganem et al. 2024, arXiv 2404.02954, section 3.4). Of a class it is that of a model
            with its defaults.
        why: the reason, in one sentence.
        networks: what its networks are called in `network=`; a module there is for the only one, or a mapping names one
            for each. Those of a model that is made of others are, in the class, those which it has by default, and in
            the model those which it has.
        sized_by_data: buffers whose first dimension is set by the training data; a checkpoint may change it.
    """

    family: ClassVar[str] = ""
    awareness: Awareness = "n/a"
    why: str = ""
    networks: tuple[str, ...] = ()
    sized_by_data: ClassVar[tuple[str, ...]] = ()

    config: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Record the constructor's arguments in `config`, defaults included."""
        self = super().__new__(cls)
        try:
            bound = inspect.signature(cls.__init__).bind(self, *args, **kwargs)
        except TypeError:  # __init__ is about to say what is wrong; copies come here without arguments
            return self
        bound.apply_defaults()
        arguments = list(bound.arguments.items())[1:]
        self.__dict__["config"] = {name: _plain(value) for name, value in arguments}
        return self

    def __init__(self, data_shape: Sequence[int], preprocess: Sequence[str] = ()) -> None:
        super().__init__()
        self.data_shape = check_data_shape(data_shape)
        self.ambient_dim = math.prod(self.data_shape)
        self.preprocess = Preprocess(preprocess, self.data_shape)

    @property
    def device(self) -> torch.device:
        """Where the model's tensors live."""
        first = next(chain(self.parameters(), self.buffers()), None)
        return torch.device("cpu") if first is None else first.device

    @property
    def dtype(self) -> torch.dtype:
        """The floating type in which the model computes."""
        first = next((t for t in chain(self.parameters(), self.buffers()) if t.is_floating_point()), None)
        return torch.get_default_dtype() if first is None else first.dtype

    def receive(self, x: Any, *, name: str = "x") -> Tensor:
        """Check data from outside and bring it to the model's shape, device and dtype, (n, *data_shape)."""
        return check_tensor(x, self.data_shape, name=name).to(self.device, self.dtype)

    def receive_latents(self, z: Any, *, name: str = "z") -> Tensor:
        """Check latents from outside and bring them to the model's device and dtype, (n, latent_dim)."""
        latent_dim: int = getattr(self, "latent_dim")  # noqa: B009  (only models that encode have one)
        return check_tensor(z, (latent_dim,), name=name).to(self.device, self.dtype)

    def prepare(self, x: Tensor) -> None:
        """Fit what is read off the training data at once (preprocessing), before the first step."""
        self.preprocess.fit(x)

    def objectives(self) -> list[Objective]:
        """What training minimises."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it optimises")

    def stages(self) -> list[Stage]:
        """The parts of training, in order."""
        return [Stage("fit", self.objectives(), prepare=self.prepare)]

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; modules that learn are in one part of a model, since parts have losses of their own.

        Raises:
            InvalidInput: for a module that has such a one in common with another part.
        """
        if isinstance(value, nn.Module):
            parts = {other: part for other, part in self.__dict__.get("_modules", {}).items() if other != name and part}
            for other, part in parts.items():
                for shared in _learning(value) & _learning(part):
                    raise InvalidInput(
                        f"{other} and {name} have one {type(shared).__name__} in common: give each of a model's "
                        "networks a module of its own"
                    )
        super().__setattr__(name, value)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """Make room for buffers whose length the checkpoint knows and a fresh model does not."""
        for name in self.sized_by_data:
            here, given = getattr(self, name), state_dict.get(prefix + name)
            if given is not None and given.shape[1:] == here.shape[1:]:
                setattr(self, name, here.new_empty(given.shape))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        return f"data_shape={self.data_shape}"
