r"""How data become noise, x_t = \alpha(t) x_0 + \beta(t) \epsilon, and that all such ways are one.

Divided by \alpha, x_t is x_0 under noise of level \sigma = \beta / \alpha: whatever a network was trained to say of
x_t, noise, data, velocity or score, is the mean of x_0 given that, D(x, \sigma), in other words (Karras et al. 2022,
arXiv 2206.00364, section 3; Kingma & Gao 2023, arXiv 2303.00848, appendix D). Time t runs from data, 0, to noise, 1.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from submanifold.checks import check_choice, check_real
from submanifold.errors import InvalidInput

__all__ = [
    "PATHS",
    "PREDICTIONS",
    "CosineVariancePreserving",
    "LinearPath",
    "Path",
    "Rates",
    "TrigonometricPath",
    "VarianceExploding",
    "VariancePreserving",
    "as_prediction",
    "denoised_from",
    "denoiser_of",
    "noise_from",
]

PREDICTIONS = ("noise", "data", "velocity", "v", "score")
r"""What a network says of x_t: \epsilon; x_0; dx_t/dt; \alpha \epsilon - \beta x_0 (Salimans & Ho 2022, arXiv
2202.00512, appendix D); or the gradient of the log-density of x_t, -\epsilon / \beta."""


class Rates:
    r"""A moment of a path: \alpha, \beta, and, when they are asked for, their derivatives by t; each shaped like t."""

    def __init__(self, path: Path, t: Tensor) -> None:
        self.scale, self.noise = path.scale(t), path.noise(t)
        self._path, self._t = path, t

    @property
    def scale_rate(self) -> Tensor:
        r"""d\alpha / dt."""
        return self._rate(self._path.scale)

    @property
    def noise_rate(self) -> Tensor:
        r"""d\beta / dt."""
        return self._rate(self._path.noise)

    def _rate(self, f: Callable[[Tensor], Tensor]) -> Tensor:
        rate: Tensor = torch.func.jvp(f, (self._t,), (torch.ones_like(self._t),))[1]
        return rate

    def weights(self, kind: str) -> tuple[Tensor, Tensor]:
        r"""(a, b) of the prediction a x_0 + b \epsilon that is called `kind`, each shaped like t.

        Raises:
            InvalidInput: for an unknown kind.
        """
        one, zero = torch.ones_like(self.scale), torch.zeros_like(self.scale)
        match check_choice(kind, PREDICTIONS, name="kind"):
            case "noise":
                return zero, one
            case "data":
                return one, zero
            case "velocity":
                return self.scale_rate, self.noise_rate
            case "v":
                return -self.noise, self.scale
            case _:
                return zero, -1 / self.noise


class Path(ABC):
    r"""\alpha and \beta as functions of t in [0, 1], and back: when the noise level \beta / \alpha is \sigma."""

    @abstractmethod
    def scale(self, t: Tensor) -> Tensor:
        r"""\alpha(t), shaped like t."""

    @abstractmethod
    def noise(self, t: Tensor) -> Tensor:
        r"""\beta(t), shaped like t."""

    @abstractmethod
    def time(self, sigma: Tensor) -> Tensor:
        r"""t with \beta(t) / \alpha(t) = \sigma, shaped like sigma."""

    def level(self, t: Tensor) -> Tensor:
        r"""\sigma(t) = \beta(t) / \alpha(t), shaped like t."""
        return self.noise(t) / self.scale(t)

    def rates(self, t: Tensor) -> Rates:
        """Both at times t, with their derivatives."""
        return Rates(self, t)


class VarianceExploding(Path):
    r"""\alpha = 1, \beta geometric from sigma_min to sigma_max (Song et al. 2021, arXiv 2011.13456, eq. 31)."""

    def __init__(self, sigma_min: float = 0.002, sigma_max: float = 80.0) -> None:
        self.sigma_min = check_real(sigma_min, name="sigma_min", open_low=True)
        self.sigma_max = check_real(sigma_max, name="sigma_max", low=self.sigma_min, open_low=True)

    def scale(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def noise(self, t: Tensor) -> Tensor:
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** t

    def time(self, sigma: Tensor) -> Tensor:
        return (sigma / self.sigma_min).log() / math.log(self.sigma_max / self.sigma_min)


class VariancePreserving(Path):
    r"""\alpha^2 + \beta^2 = 1 with a rate of noise linear in t, \tfrac{d}{dt} \log \alpha = -(b_0 + t (b_1 - b_0)) / 2.

    Ho et al. 2020 (arXiv 2006.11239) in continuous time, Song et al. 2021 (arXiv 2011.13456, eq. 32-33).
    """

    def __init__(self, least: float = 0.1, most: float = 20.0) -> None:
        self.least = check_real(least, name="least", open_low=True)
        self.most = check_real(most, name="most", low=self.least)

    def scale(self, t: Tensor) -> Tensor:
        return (-0.5 * self._accumulated(t)).exp()

    def noise(self, t: Tensor) -> Tensor:
        return (-torch.expm1(-self._accumulated(t))).sqrt()

    def time(self, sigma: Tensor) -> Tensor:
        total = torch.log1p(sigma.square())  # -log alpha^2
        grows = self.most - self.least
        return 2 * total / (self.least + (self.least**2 + 2 * grows * total).sqrt())

    def _accumulated(self, t: Tensor) -> Tensor:
        return self.least * t + 0.5 * (self.most - self.least) * t.square()


class CosineVariancePreserving(Path):
    r"""\alpha^2 + \beta^2 = 1 with \alpha \propto \cos(\tfrac{\pi}{2} \tfrac{t + s}{1 + s}), \alpha(0) = 1.

    Nichol & Dhariwal 2021 (arXiv 2102.09672, eq. 17).
    """

    def __init__(self, offset: float = 0.008) -> None:
        self.offset = check_real(offset, name="offset")

    def scale(self, t: Tensor) -> Tensor:
        return self._angle(t).cos() / self._angle(torch.zeros_like(t)).cos()

    def noise(self, t: Tensor) -> Tensor:
        # 1 - cos^2 a / cos^2 b = sin(a + b) sin(a - b) / cos^2 b, without loss of digits near t = 0
        a, b = self._angle(t), self._angle(torch.zeros_like(t))
        return ((a + b).sin() * (a - b).sin()).clamp(min=0).sqrt() / b.cos()

    def time(self, sigma: Tensor) -> Tensor:
        b = self._angle(torch.zeros_like(sigma))
        # cos angle = cos b / sqrt(1 + sigma^2) by its tangent: an arccosine near 1 has half of the digits
        angle = torch.atan2((sigma.square() + b.sin().square()).sqrt(), b.cos())
        return angle * (2 / math.pi) * (1 + self.offset) - self.offset

    def _angle(self, t: Tensor) -> Tensor:
        return 0.5 * math.pi * (t + self.offset) / (1 + self.offset)


class LinearPath(Path):
    r"""\alpha = 1 - t, \beta = t: straight lines from data to noise (Lipman et al. 2023, arXiv 2210.02747; Liu et al.
    2023, arXiv 2209.03003). Both run their time the other way."""

    def scale(self, t: Tensor) -> Tensor:
        return 1 - t

    def noise(self, t: Tensor) -> Tensor:
        return t

    def time(self, sigma: Tensor) -> Tensor:
        return sigma / (1 + sigma)


class TrigonometricPath(Path):
    r"""\alpha = \cos(\pi t / 2), \beta = \sin(\pi t / 2): flow matching that preserves variance (Albergo &
    Vanden-Eijnden 2023, arXiv 2209.15571)."""

    def scale(self, t: Tensor) -> Tensor:
        return (0.5 * math.pi * t).cos()

    def noise(self, t: Tensor) -> Tensor:
        return (0.5 * math.pi * t).sin()

    def time(self, sigma: Tensor) -> Tensor:
        return sigma.atan() * (2 / math.pi)


PATHS: dict[str, Callable[[], Path]] = {
    "ve": VarianceExploding,
    "vp": VariancePreserving,
    "vp-cosine": CosineVariancePreserving,
    "linear": LinearPath,
    "trigonometric": TrigonometricPath,
}
"""By name, with the settings of their papers."""


def denoised_from(kind: str, output: Tensor, x_t: Tensor, at: Rates) -> Tensor:
    r"""D: the mean of x_0 given x_t, from what a network of this kind says of it.

    Every output is a x_0 + b \epsilon with known a and b, and x_t is another such sum: two equations, solved for x_0.

    Args:
        kind: one of `PREDICTIONS`.
        output: of the network, (n, *data_shape).
        x_t: what it saw, (n, *data_shape).
        at: when, numbers or (n,).

    Raises:
        InvalidInput: for an unknown kind.
    """
    a, b, scale, noise = _columns(kind, at, x_t)
    return (b * x_t - noise * output) / (b * scale - a * noise)


def noise_from(kind: str, output: Tensor, x_t: Tensor, at: Rates) -> Tensor:
    r"""The mean of \epsilon given x_t, from what a network of this kind says of it; see `denoised_from`."""
    a, b, scale, noise = _columns(kind, at, x_t)
    return (scale * output - a * x_t) / (b * scale - a * noise)


def as_prediction(kind: str, denoised: Tensor, x_t: Tensor, at: Rates) -> Tensor:
    """What a network of this kind says of x_t where the mean of x_0 is `denoised`: the inverse of `denoised_from`."""
    a, b, scale, noise = _columns(kind, at, x_t)
    return a * denoised + b * (x_t - scale * denoised) / noise


def denoiser_of(
    network: Callable[[Tensor, Tensor], Tensor], path: Path, kind: str
) -> Callable[[Tensor, Tensor], Tensor]:
    r"""D(x, \sigma) of a network that says `kind` of x_t and t on `path`.

    Args:
        network: called with x_t, (n, *data_shape), and t, (n,).
        path: on which it was trained.
        kind: one of `PREDICTIONS`.

    Returns:
        a function of x = x_0 + \sigma \epsilon, (n, *data_shape), and \sigma, a number or (n,), shaped like x.

    Raises:
        InvalidInput: for an unknown kind, or a path that is none.
    """
    check_choice(kind, PREDICTIONS, name="kind")
    if not isinstance(path, Path):
        raise InvalidInput(f"path={path!r} is not accepted: give a Path, such as one of {', '.join(PATHS)}")

    def denoise(x: Tensor, sigma: Tensor | float) -> Tensor:
        t = path.time(torch.as_tensor(sigma, device=x.device, dtype=x.dtype).expand(len(x)))
        at = path.rates(t)
        x_t = _like(at.scale, x) * x
        return denoised_from(kind, network(x_t, t), x_t, at)

    return denoise


def _columns(kind: str, at: Rates, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    r"""a, b, \alpha and \beta, each of the dimensions of x."""
    a, b = at.weights(kind)
    return _like(a, x), _like(b, x), _like(at.scale, x), _like(at.noise, x)


def _like(value: Tensor, x: Tensor) -> Tensor:
    """A number, or one for each row, with as many dimensions as x."""
    return value if value.ndim == 0 else value.reshape(-1, *[1] * (x.ndim - 1))
