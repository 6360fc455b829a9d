r"""Invertible maps between data and the coordinates a model works in, with their log-determinants.

Notation: x is data, (..., *data_shape), D its number of coordinates; u = T(x) the coordinates of the model. A density
q of u is the density p(x) = q(T(x)) |det dT/dx| of x, so that `log_det` keeps likelihoods in the units of the data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from submanifold.checks import check_choice
from submanifold.data.lattice import lattice_spacing
from submanifold.errors import InvalidInput, UnfittedModel

__all__ = ["Dequantise", "Logit", "Preprocess", "Scale", "Standardise"]


class _Map(nn.Module):
    """One map; its statistics are buffers of fixed size."""

    def __init__(self, data_shape: Sequence[int]) -> None:
        super().__init__()
        self.event_dims = tuple(range(-len(data_shape), 0))

    def fit(self, x: Tensor) -> None:
        """Read the statistics off float64 data (n, *data_shape)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """u = T(x)."""
        raise NotImplementedError

    def inverse(self, u: Tensor) -> Tensor:
        """x = T^{-1}(u)."""
        raise NotImplementedError

    def log_det(self, x: Tensor) -> Tensor:
        """log |det dT/dx| at x, shaped like the batch."""
        raise NotImplementedError

    def inverse_lipschitz(self) -> float:
        """The Lipschitz constant of T^{-1}."""
        raise NotImplementedError


class _Affine(_Map):
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


class Dequantise(_Map):
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
        return x + self.step * (torch.rand_like(x) - 0.5) if self.training else x

    def inverse(self, u: Tensor) -> Tensor:
        return u

    def log_det(self, x: Tensor) -> Tensor:
        return x.new_zeros(x.shape[: x.ndim + self.event_dims[0]])

    def inverse_lipschitz(self) -> float:
        return 1.0


class Logit(_Map):
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

    def log_det(self, x: Tensor) -> Tensor:
        v = self._unit(x)
        inside = ((v > 0) & (v < 1)).all(self.event_dims)  # (...,)
        safe = v.clamp(torch.finfo(v.dtype).eps, 1 - torch.finfo(v.dtype).eps)
        slope = (1 - 2 * self.alpha) / (self.width.double() * safe.double() * (1 - safe.double()))
        total = slope.log().sum(self.event_dims).to(x.dtype)  # (...,)
        return torch.where(inside, total, -torch.inf)

    def inverse_lipschitz(self) -> float:
        return float(self.width) / (4 * (1 - 2 * self.alpha))  # the sigmoid is steepest, 1/4, at 0


MAPS: dict[str, Callable[[Sequence[int]], _Map]] = {
    "dequantise": Dequantise,
    "logit": Logit,
    "scale": Scale,
    "standardise": Standardise,
}


def _rms_deviation(x: Tensor, mean: Tensor) -> Tensor:
    """Root mean square deviation from the mean point, per coordinate."""
    rms = (x - mean).square().mean().sqrt()
    if rms == 0:
        raise InvalidInput(f"x holds {len(x)} copies of one point: give distinct points to fit")
    return rms


class Preprocess(nn.Module):
    r"""A composition T = T_k \circ ... \circ T_1 of named invertible maps, fitted on training data.

    `Preprocess(("dequantise", "scale"), (1, 8, 8))` first dequantises. Without names it is the identity and
    needs no fitting. Every method takes a batch (n, *data_shape), or one point (*data_shape), and works under
    `torch.func` transforms (in training mode "dequantise" asks for `randomness="different"`).

    Args:
        names: any of "scale", "standardise", "dequantise", "logit", applied in this order.
        data_shape: shape of one point.

    Raises:
        InvalidInput: for an unknown name.
        UnfittedModel: when used before `fit`.
    """

    is_fitted: Tensor

    def __init__(self, names: Sequence[str], data_shape: Sequence[int]) -> None:
        super().__init__()
        if isinstance(names, str) or not isinstance(names, Sequence):
            raise InvalidInput(f"preprocess={names!r} is not accepted: give a list of names out of {', '.join(MAPS)}")
        self.names = tuple(check_choice(name, MAPS, name="preprocess") for name in names)
        self.data_shape = tuple(data_shape)
        self.maps = nn.ModuleList(MAPS[name](self.data_shape) for name in self.names)
        self.register_buffer("is_fitted", torch.tensor(not self.names))

    @property
    def _steps(self) -> list[_Map]:
        return cast("list[_Map]", list(self.maps))

    @property
    def fitted(self) -> bool:
        """Whether the statistics are known."""
        return bool(self.is_fitted)

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Read the statistics of each map off data (n, *data_shape) that passed through the maps before it."""
        mode, u = self.training, x.detach().double()
        self.train()  # what follows "dequantise" must expect its noise
        for step in self._steps:
            step.fit(u)
            u = step(u)
        self.train(mode)
        self.is_fitted.fill_(True)

    def require_fitted(self) -> None:
        """Refuse to go on before `fit`."""
        if not self.fitted:
            raise UnfittedModel(f"the preprocessing {self.names} has not seen data: fit the model first")

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """u = T(x), and log |det du/dx| in nats, (n,)."""
        self.require_fitted()
        total = x.new_zeros(x.shape[: x.ndim - len(self.data_shape)])
        for step in self._steps:
            total = total + step.log_det(x)
            x = step(x)
        return x, total

    def forward(self, x: Tensor) -> Tensor:
        """u = T(x)."""
        self.require_fitted()
        for step in self._steps:
            x = step(x)
        return x

    def inverse(self, u: Tensor) -> Tensor:
        """x = T^{-1}(u); the inverse of "dequantise" is the identity."""
        self.require_fitted()
        for step in reversed(self._steps):
            u = step.inverse(u)
        return u

    def log_det(self, x: Tensor) -> Tensor:
        """log |det du/dx| at x in nats, (n,)."""
        return self.forward_and_log_det(x)[1]

    def inverse_lipschitz(self) -> float:
        """A certified Lipschitz constant of T^{-1}: the product of those of its parts."""
        self.require_fitted()
        return math.prod(step.inverse_lipschitz() for step in self._steps)

    def extra_repr(self) -> str:
        return f"names={self.names}"
