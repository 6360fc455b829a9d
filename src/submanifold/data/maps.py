r"""Single invertible maps between data and the coordinates a model works in, see `submanifold.data.preprocess`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from submanifold.data.lattice import lattice_spacing
from submanifold.errors import InvalidInput

__all__ = ["MAPS", "Dequantise", "Lattice", "Logit", "Map", "Scale", "Standardise", "Whiten"]

_OFF = 1e-2
"""How far from a level a value may be, in steps: rounding in float32 of values with thousands of levels."""


class Map(nn.Module, ABC):
    """One map; its statistics are buffers of fixed size."""

    mixes_features: ClassVar[bool] = False
    """Whether coordinates reach others: all those of a vector, or the channels of a pixel."""

    def __init__(self, data_shape: Sequence[int]) -> None:
        super().__init__()
        self.event_dims = tuple(range(-len(data_shape), 0))

    @abstractmethod
    def fit(self, x: Tensor) -> None:
        """Read the statistics off float64 data (n, *data_shape)."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """u = T(x)."""

    @abstractmethod
    def inverse(self, u: Tensor) -> Tensor:
        """x = T^{-1}(u)."""

    def inverse_bounds(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Bounds of T^{-1} on boxes, (n, *data_shape) each, in exact arithmetic.

        Here they are those of a T that moves each coordinate by a rising function.
        """
        ends = self.inverse(low), self.inverse(high)
        return self._widened(*ends, torch.maximum(ends[0].abs(), ends[1].abs()))

    def _widened(self, low: Tensor, high: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
        """Bounds wider by what may have been rounded where numbers were of a `size`, or of that of T^{-1}(0)."""
        slack = 32 * torch.finfo(low.dtype).eps * (size + 2 * self._largest_term())
        return low - slack, high + slack

    def _largest_term(self) -> Tensor:
        """The largest number that is added in T^{-1}, whatever u is."""
        return torch.zeros(())

    @abstractmethod
    def log_det(self, x: Tensor) -> Tensor:
        """log |det dT/dx| at x, shaped like the batch."""

    @abstractmethod
    def inverse_lipschitz(self) -> float:
        """The Lipschitz constant of T^{-1}."""


class _Affine(Map):
    r"""u = (x - m) / s coordinate by coordinate, with log-determinant -\sum_j \log s_j."""

    mean: Tensor
    scale: Tensor

    def __init__(self, data_shape: Sequence[int]) -> None:
        super().__init__(data_shape)
        self.register_buffer("mean", torch.zeros(*data_shape))
        self.register_buffer("scale", torch.ones(*data_shape))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.scale

    def inverse(self, u: Tensor) -> Tensor:
        return u * self.scale + self.mean

    def _largest_term(self) -> Tensor:
        return self.mean.abs()

    def log_det(self, x: Tensor) -> Tensor:
        batch = x.shape[: x.ndim + self.event_dims[0]]
        return -self.scale.double().log().sum().to(x.dtype).expand(batch)

    def inverse_lipschitz(self) -> float:
        return float(self.scale.max())


class Scale(_Affine):
    r"""u = (x - \bar x) / s with one number s, the root mean square deviation per coordinate.

    A similarity: angles and ratios of distances are those of the data.
    """

    def fit(self, x: Tensor) -> None:
        mean = x.mean(0)
        self.mean.copy_(mean)
        self.scale.fill_(_rms_deviation(x, mean))


class Standardise(_Affine):
    r"""u_j = (x_j - \bar x_j) / s_j, with s_j the standard deviation of feature j.

    A feature whose deviation is below 10^{-6} of its largest magnitude does not vary at the resolution of float32 (1.2
    10^{-7}); dividing by it would turn rounding into signal. Its s_j is the root mean square deviation over all
    features instead, which is large, never zero, and follows a change of units.
    """

    def fit(self, x: Tensor) -> None:
        mean = x.mean(0)
        deviation = (x - mean).square().mean(0).sqrt()
        varies = deviation > 1e-6 * x.abs().amax(0)
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(varies, deviation, _rms_deviation(x, mean)))


class Whiten(Map):
    r"""u = S^{-1/2} V^T (x - m), with V diag(S) V^T the covariance of the features and m their mean.

    Of images the features are the channels, and all pixels of all images together have mean 0 and covariance I. A
    direction of which the deviation is below 10^{-3} of the largest hardly varies, and is divided by that instead.
    """

    mixes_features = True
    mean: Tensor
    directions: Tensor
    deviations: Tensor

    def __init__(self, data_shape: Sequence[int]) -> None:
        super().__init__(data_shape)
        features = data_shape[0]
        self.repeats = math.prod(data_shape[1:])
        self.register_buffer("mean", torch.zeros(features, *[1] * (len(data_shape) - 1)))
        self.register_buffer("directions", torch.eye(features))
        self.register_buffer("deviations", torch.ones(features))

    def fit(self, x: Tensor) -> None:
        _rms_deviation(x, x.mean(0))  # refuses points that all coincide
        rows = x.flatten(2).movedim(1, 2).flatten(0, 1) if x.ndim > 2 else x  # (n, features)
        mean = rows.mean(0)
        variances, directions = torch.linalg.eigh((rows - mean).mT @ (rows - mean) / len(rows))
        deviations = variances.clamp(min=0).sqrt()
        self.mean.copy_(mean.reshape(self.mean.shape))
        self.directions.copy_(directions)
        self.deviations.copy_(deviations.clamp(min=1e-3 * float(deviations.max())))

    def forward(self, x: Tensor) -> Tensor:
        return self._mixed((self.directions / self.deviations).mT, x - self.mean)

    def inverse(self, u: Tensor) -> Tensor:
        return self._mixed(self.directions * self.deviations, u) + self.mean

    def inverse_bounds(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        matrix = self.directions * self.deviations
        middle, reach = self.inverse(0.5 * (low + high)), self._mixed(matrix.abs(), 0.5 * (high - low))
        size = len(matrix) * self._mixed(matrix.abs(), torch.maximum(low.abs(), high.abs()))
        return self._widened(middle - reach, middle + reach, size)

    def _largest_term(self) -> Tensor:
        return self.mean.abs()

    def _mixed(self, matrix: Tensor, x: Tensor) -> Tensor:
        """A matrix times the features of each point."""
        first = self.event_dims[0]
        return (x.movedim(first, -1) @ matrix.mT.to(x.dtype)).movedim(-1, first)

    def log_det(self, x: Tensor) -> Tensor:
        batch = x.shape[: x.ndim + self.event_dims[0]]
        return (-self.repeats * self.deviations.double().log().sum()).to(x.dtype).expand(batch)

    def inverse_lipschitz(self) -> float:
        return float(self.deviations.max())


class Dequantise(Map):
    r"""u = x + \Delta \epsilon, \epsilon uniform on [-1/2, 1/2) and independent per coordinate, while training; and u =
    x otherwise.

    The expected log-density of noised data is a lower bound on the log-probability of the lattice cell
    (Theis, van den Oord, Bethge 2016, arXiv 1511.01844, eq. 6). The spacing \Delta of the values is read off the
    data; it is 0, and the map the identity, for continuous data. The noise comes from torch's global generator.
    """

    step: Tensor

    def __init__(self, data_shape: Sequence[int]) -> None:
        super().__init__(data_shape)
        self.register_buffer("step", torch.zeros(()))

    def fit(self, x: Tensor) -> None:
        self.step.fill_(lattice_spacing(x.cpu().numpy()) or 0.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.noised(x) if self.training else x

    def noised(self, x: Tensor) -> Tensor:
        r"""x + \Delta \epsilon."""
        return x + self.step * (torch.rand_like(x) - 0.5)

    def inverse(self, u: Tensor) -> Tensor:
        return u

    def log_det(self, x: Tensor) -> Tensor:
        return x.new_zeros(x.shape[: x.ndim + self.event_dims[0]])

    def inverse_lipschitz(self) -> float:
        return 1.0


class Logit(Map):
    r"""u = \log v/(1-v), v = \alpha + (1-2\alpha) (x-a)/(b-a), with a and b the extremes of the data.

    The range of the data, widened by \alpha/(1-2\alpha) of its length on either side, becomes the real line (Dinh,
    Sohl-Dickstein, Bengio 2017, arXiv 1605.08803, section 4.1, which uses \alpha = 0.05). Any density of u is zero for
    x outside that box: there u is the box's border and the log-determinant is minus infinity.
    """

    alpha = 0.05
    low: Tensor
    width: Tensor

    def __init__(self, data_shape: Sequence[int]) -> None:
        super().__init__(data_shape)
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("width", torch.ones(()))

    def fit(self, x: Tensor) -> None:
        _rms_deviation(x, x.mean(0))  # refuses points that all coincide
        self.low.copy_(x.min())
        self.width.copy_(x.max() - x.min())

    def _unit(self, x: Tensor) -> Tensor:
        return self.alpha + (1 - 2 * self.alpha) * (x - self.low) / self.width

    def forward(self, x: Tensor) -> Tensor:
        return torch.logit(self._unit(x), eps=torch.finfo(x.dtype).eps)

    def inverse(self, u: Tensor) -> Tensor:
        return self.low + self.width * (torch.sigmoid(u) - self.alpha) / (1 - 2 * self.alpha)

    def _largest_term(self) -> Tensor:
        return self.low.abs() + self.width

    def log_det(self, x: Tensor) -> Tensor:
        v = self._unit(x)
        inside = ((v > 0) & (v < 1)).all(self.event_dims)  # (...,)
        safe = v.clamp(torch.finfo(v.dtype).eps, 1 - torch.finfo(v.dtype).eps)
        slope = (1 - 2 * self.alpha) / (self.width.double() * safe.double() * (1 - safe.double()))
        total = slope.log().sum(self.event_dims).to(x.dtype)  # (...,)
        return torch.where(inside, total, -torch.inf)

    def inverse_lipschitz(self) -> float:
        return float(self.width) / (4 * (1 - 2 * self.alpha))  # the sigmoid is steepest, 1/4, at 0


class Lattice(Map):
    r"""u = 2 (x - a) / (b - a) - 1, for values a, a + \Delta, ..., b: levels 0, ..., L - 1, evenly on [-1, 1].

    A law of levels is a density in two ways that agree: mass over \Delta^D for x, and mass over (2 / (L - 1))^D for u,
    each constant on the cell about a value, as `log_density` says. That is what a dequantised density is bounded by.

    Raises:
        InvalidInput: when fitted, for continuous or constant data; after that, for values that are not on the lattice.
    """

    low: Tensor
    step: Tensor
    levels: Tensor

    def __init__(self, data_shape: Sequence[int]) -> None:
        super().__init__(data_shape)
        self.ambient_dim = math.prod(data_shape)
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("step", torch.ones(()))
        self.register_buffer("levels", torch.tensor(2.0))

    def fit(self, x: Tensor) -> None:
        step = lattice_spacing(x.cpu().numpy())
        if step is None:
            raise InvalidInput(
                "x holds values that are not on a lattice: give values on evenly spaced levels, such as pixels, or "
                "use a model of continuous data"
            )
        self.low.copy_(x.min())
        self.step.fill_(step)
        self.levels.copy_(((x.max() - x.min()) / step).round() + 1)

    def forward(self, x: Tensor) -> Tensor:
        if not torch.func.debug_unwrap(self.holds(x), recurse=True).all():  # a question vmap would not answer
            high = float(self.low + self.step * (self.levels - 1))
            raise InvalidInput(
                f"x has values off the lattice of the training data: give values from {float(self.low):g} to {high:g} "
                f"in steps of {float(self.step):g}"
            )
        return ((x - self.low) / self.step).round() * (2 / (self.levels - 1)) - 1

    def holds(self, x: Tensor) -> Tensor:
        """Which points lie on the lattice, shaped like the batch."""
        place = (x - self.low) / self.step
        level = place.round()
        on = ((place - level).abs() <= _OFF) & (level >= 0) & (level <= self.levels - 1)
        return on.flatten(x.ndim + self.event_dims[0]).all(dim=-1)

    def inverse(self, u: Tensor) -> Tensor:
        return self.low + (u + 1) / 2 * (self.levels - 1) * self.step

    def _largest_term(self) -> Tensor:
        return self.low.abs() + self.levels * self.step

    def log_det(self, x: Tensor) -> Tensor:
        batch = x.shape[: x.ndim + self.event_dims[0]]
        return (self.ambient_dim * (self._width() / self.step).log()).to(x.dtype).expand(batch)

    def inverse_lipschitz(self) -> float:
        return float(self.step / self._width())

    def level(self, u: Tensor) -> Tensor:
        """The level of each u, whole numbers shaped like u."""
        return ((u + 1) / self._width()).round().long()

    def unit(self, level: Tensor) -> Tensor:
        """The u of each level."""
        return level.to(self.step.dtype) * self._width() - 1

    def log_density(self, log_mass: Tensor) -> Tensor:
        """The log-density of u of log-probabilities of whole points."""
        return log_mass - self.ambient_dim * self._width().log()

    def _width(self) -> Tensor:
        """The length of a cell of u, ()."""
        return 2 / (self.levels - 1)


MAPS: dict[str, Callable[[Sequence[int]], Map]] = {
    "dequantise": Dequantise,
    "lattice": Lattice,
    "logit": Logit,
    "scale": Scale,
    "standardise": Standardise,
    "whiten": Whiten,
}


def _rms_deviation(x: Tensor, mean: Tensor) -> Tensor:
    """Root mean square deviation from the mean point, per coordinate."""
    rms = (x - mean).square().mean().sqrt()
    if rms == 0:
        raise InvalidInput(f"x holds {len(x)} copies of one point: give distinct points to fit")
    return rms
