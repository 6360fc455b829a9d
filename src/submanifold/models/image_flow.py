r"""Normalizing flows of images: x = T(u), u \sim N(0, I_D), T made of convolutions at several scales."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor, nn

from submanifold.checks import check_choice, check_int, check_ints
from submanifold.data.maps import Dequantise
from submanifold.errors import InvalidInput
from submanifold.models.bijections import (
    CONDITIONERS,
    ActNorm,
    AffineCoupling,
    Bijection,
    Conditioner,
    InvertibleConvolution,
    SplineCoupling,
    Squeeze,
)
from submanifold.models.latents import normal
from submanifold.models.likelihood import ExactLikelihood
from submanifold.models.registry import register
from submanifold.nn.given import BegunAtZero, NetworkLike, given_network, is_given, is_named, named, word

__all__ = ["ImageFlow"]

_MOST_SCALES = 3
_LOOK = 2048
"""Images, spread evenly over the training data, from which the layers are initialised."""


@register("image-flow")
class ImageFlow(ExactLikelihood):
    r"""Maximises the exact log-likelihood of images by change of variables, with Glow's layers.

    At each scale blocks of 2 x 2 pixels become channels, some steps of normalised activations, 1x1 convolution and
    coupling follow (`submanifold.models.bijections`), and half of the channels, standardised given the other
    half, become part of u; the other half goes on to the next scale (Dinh et al. 2017, arXiv 1605.08803, section 3.6;
    Kingma & Dhariwal 2018, arXiv 1807.03039). `prepare` gives every normalisation mean 0 and variance 1 on the data,
    and leaves one that has been trained as it is.

    Args:
        data_shape: (channels, height, width), height and width even.
        scales: how often the image is halved; "auto" is as often as height and width can, at most 3 times, and after
            the first only to 2 pixels or more.
        steps: normalisations, convolutions and couplings at each scale.
        hidden: numbers of feature maps of the network in each coupling.
        network: that network: "conv", 3x3, 1x1 and 3x3 convolutions; "kan", a KAN of the channels at every pixel in
            place of what is between the outer convolutions; or a callable that makes one for the shapes of an input and
            of an output, images of one size, see `submanifold.nn.given`: its outputs are multiplied by numbers that
            begin at zero.
        coupling: "spline" (Durkan et al. 2019, arXiv 1906.04032), or "affine", which takes half as long.
        bins: pieces of each spline.
        preprocess: names of the invertible maps applied first; "dequantise" leaves continuous data as they are.

    Raises:
        InvalidInput: for vectors, or images that cannot be halved so often.
    """

    family = "normalizing flow of images"
    awareness = "unaware"
    why = "an invertible map gives a density on all of R^D, whose likelihood grows without bound on a manifold"

    begun: Tensor
    """Whether training has: what it found is not initialised again."""

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        scales: int | Literal["auto"] = "auto",
        steps: int = 4,
        hidden: Sequence[int] = (64, 64),
        network: NetworkLike = "conv",
        coupling: str = "spline",
        bins: int = 8,
        preprocess: Sequence[str] = ("dequantise", "scale"),
    ) -> None:
        super().__init__(data_shape, preprocess)
        check_int(steps, name="steps")
        hidden, bins = check_ints(hidden, name="hidden"), check_int(bins, name="bins", low=2)
        couplings: dict[str, Callable[[Conditioner, int], Bijection]] = {
            "affine": lambda conditioner, channels: AffineCoupling(channels, hidden, conditioner),
            "spline": lambda conditioner, channels: SplineCoupling(channels, hidden, bins, conditioner),
        }
        couple = couplings[check_choice(coupling, couplings, name="coupling")]
        self.register_buffer("begun", torch.tensor(False))
        self.scales = nn.ModuleList()
        self.shapes: list[tuple[int, int, int]] = []
        channels, height, width = _image(self.data_shape)
        for _ in range(_halvings(self.data_shape, scales)):
            channels, height, width = 4 * channels, height // 2, width // 2
            conditioner = _conditioner(network, (height, width))
            self.scales.append(_scale(channels, steps, partial(couple, conditioner)))
            self.shapes.append((channels, height, width))
            channels //= 2
        # all of the last scale's channels are u, so that its last coupling has nothing to standardise
        cast("nn.ModuleList", self.scales[-1]).pop(-1)

    @torch.no_grad()
    def prepare(self, x: Tensor) -> None:
        super().prepare(x)
        if self.begun:
            return
        with self.preprocess.mode(training=True):
            self._transform(self.preprocess(x[:: math.ceil(len(x) / _LOOK)]), initialise=True)

    def loss(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        """Negative log-likelihood in nats, ()."""
        if self.training:
            self.begun.fill_(True)
        return super().loss(x)

    def bits_per_dim(self, x: Tensor) -> Tensor:
        r"""-\log_2 of the density of x per coordinate, (n,).

        Where "dequantise" has found values on a lattice of spacing \Delta, this is the bound on the code length of
        its cells, -(\log_2 p(x + \Delta \epsilon) + D \log_2 \Delta) / D for one draw of \epsilon, the same in each
        call (Theis et al. 2016, arXiv 1511.01844, eq. 6), which is the same in all units. Otherwise units matter.
        """
        x = self.receive(x)
        step = self._spacing()
        if step:
            noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype).to(x)
            x = x + step * (noise - 0.5)
        with self.preprocess.mode(training=False):
            return -self._log_prob(x) / (self.ambient_dim * math.log(2)) - math.log2(step or 1.0)

    @torch.no_grad()
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` samples, (n, *data_shape)."""
        like = torch.empty(0, device=self.device, dtype=self.dtype)
        u = normal((check_int(n, name="n"), self.ambient_dim), like, generator)
        return self.preprocess.inverse(self._generate(u))

    def _normalise(self, x: Tensor) -> Tensor:
        """u = T^{-1}(x), (n, D)."""
        return self._transform(self.preprocess(x))[0]

    def _log_prob(self, x: Tensor) -> Tensor:
        y, log_det = self.preprocess.forward_and_log_det(x)
        u, log_det_transform = self._transform(y)
        log_base = -0.5 * (u.square() + math.log(2 * math.pi)).sum(dim=1)
        return log_base + log_det_transform + log_det

    def _transform(self, y: Tensor, *, initialise: bool = False) -> tuple[Tensor, Tensor]:
        """u (n, D) of preprocessed images, and the log-determinant (n,); layers are initialised on the way if asked."""
        log_det = y.new_zeros(len(y))
        pieces: list[Tensor] = []
        for index, layers in enumerate(self._layers()):
            for layer in layers:
                if initialise:
                    layer.initialise(y)
                y, log_det_layer = layer(y)
                log_det = log_det + log_det_layer
            if index < len(self.scales) - 1:
                y, out = y.chunk(2, dim=1)
                pieces.append(out.flatten(1))
        return torch.cat([*pieces, y.flatten(1)], dim=1), log_det

    def _generate(self, u: Tensor) -> Tensor:
        """Preprocessed images of u (n, D)."""
        *sizes, last = (math.prod(shape) // 2 for shape in self.shapes)
        *pieces, y = torch.split(u, [*sizes, 2 * last], dim=1)
        y = y.reshape(len(u), *self.shapes[-1])
        for index, layers in reversed(list(enumerate(self._layers()))):
            if index < len(self.scales) - 1:
                y = torch.cat([y, pieces[index].reshape(y.shape)], dim=1)
            for layer in reversed(layers):
                y = layer.inverse(y)
        return y

    def _layers(self) -> list[list[Bijection]]:
        """The layers at each scale."""
        return [[cast("Bijection", layer) for layer in cast("nn.ModuleList", scale)] for scale in self.scales]

    def _spacing(self) -> float:
        r"""\Delta of the data, or 0."""
        return sum(float(first.step) for first in self.preprocess.maps[:1] if isinstance(first, Dequantise))


def _scale(channels: int, steps: int, couple: Callable[[int], Bijection]) -> nn.ModuleList:
    """The layers at one scale, the last of which standardises the half that leaves given the half that stays."""
    layers: list[Bijection] = [Squeeze()]
    for _ in range(steps):
        layers += [ActNorm(channels), InvertibleConvolution(channels), couple(channels)]
    return nn.ModuleList([*layers, couple(channels)])


def _conditioner(network: NetworkLike, size: tuple[int, int]) -> Conditioner:
    """What makes the networks of couplings of images of a height and width."""
    if isinstance(network, nn.Module) or not (is_named(network) or is_given(network)):
        raise InvalidInput(
            f"network={word(network)} is not accepted by image-flow, which has a network in each coupling, of several "
            'sizes: give a callable that makes a module for an input shape and an output shape, "conv" or "kan"'
        )
    if is_given(network):
        return lambda channels, out, hidden: BegunAtZero(
            given_network(network, (channels, *size), (out, *size), role="conditioner"), (out, *size)
        )
    name, options = named(network, CONDITIONERS)
    return partial(CONDITIONERS[name], **options)


def _image(data_shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(data_shape) != 3 or data_shape[1] % 2 or data_shape[2] % 2:
        raise InvalidInput(
            f"data_shape={data_shape} is not accepted by image-flow: give (channels, height, width), with height and "
            "width even"
        )
    channels, height, width = data_shape
    return channels, height, width


def _halvings(data_shape: tuple[int, ...], scales: int | str) -> int:
    """How often the images are halved."""
    _, height, width = _image(data_shape)
    side = math.gcd(height, width)
    possible = (side & -side).bit_length() - 1  # the power of 2 in it
    if scales == "auto":
        to_two_pixels = min(height, width).bit_length() - 2
        return max(1, min(possible, to_two_pixels, _MOST_SCALES))
    if check_int(scales, name="scales") > possible:
        raise InvalidInput(
            f"scales={scales} with data_shape={data_shape} is not accepted: give at most {possible}, as often as "
            "height and width can be halved"
        )
    return int(scales)
