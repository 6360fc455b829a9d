r"""Rules that read a dimension off the spectrum of a covariance matrix.

Notation: $\lambda_1 \ge \lambda_2 \ge \dots$ are the eigenvalues of the covariance of n points in D coordinates, of
which $r = \min(n, D)$ are kept (the others are zero); m = n - 1 degrees of freedom remain after centring; $\sigma^2$ is
the variance of the noise in each coordinate. A rule is a function of many spectra at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from submanifold.checks import check_real
from submanifold.errors import InvalidInput

__all__ = ["RULES", "RuleSettings", "Spectra"]

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

ROUNDING = 1e-12  # eigenvalues below this part of the largest are zero up to rounding
TRACY_WIDOM: Mapping[float, float] = MappingProxyType(
    {0.1: 0.4501, 0.05: 0.9793, 0.01: 2.0234, 0.005: 2.4224, 0.001: 3.2724}
)  # upper quantiles of the law of order 1


@dataclass(frozen=True, eq=False)
class Spectra:
    """Spectra of several clouds of equal size.

    Attributes:
        values: eigenvalues, descending, not negative, (b, r).
        n: points behind each.
        D: coordinates.
        centred: whether a mean was subtracted.
        unit: what an eigenvalue of 1 is in the units of the data, (b,).
    """

    values: Matrix
    n: int
    D: int
    centred: bool = True
    unit: Vector = field(default_factory=lambda: np.ones(1))

    @property
    def degrees(self) -> int:
        """Degrees of freedom, m."""
        return self.n - 1 if self.centred else self.n

    @property
    def rank(self) -> int:
        """The most eigenvalues that can differ from zero."""
        return min(self.degrees, self.D)


@dataclass(frozen=True)
class RuleSettings:
    """Parameters of all rules; see `submanifold.dimension.pca.lPCA`."""

    alphaFO: float = 0.05  # noqa: N815  # names of scikit-dimension
    alphaRatio: float = 0.95  # noqa: N815
    alphaFan: float = 10.0  # noqa: N815
    betaFan: float = 0.8  # noqa: N815
    PFan: float = 0.95
    noise_var: float | Vector | None = None
    alphaKN: float = 0.05  # noqa: N815

    def check(self, ver: str) -> None:
        """Refuse values that make no sense, or that rule `ver` cannot use."""
        for name in ("alphaFO", "alphaRatio", "betaFan", "PFan"):
            check_real(getattr(self, name), name=name, high=1.0, open_low=True)
        check_real(self.alphaFan, name="alphaFan", open_low=True)
        if self.alphaKN not in TRACY_WIDOM:
            raise InvalidInput(
                f"alphaKN={self.alphaKN!r} is not accepted: give one of {', '.join(map(str, TRACY_WIDOM))}"
            )
        if self.noise_var is not None:
            values = np.asarray(self.noise_var, dtype=np.float64)
            if values.ndim > 1 or not np.isfinite(values).all() or (values < 0).any():
                raise InvalidInput(f"noise_var={self.noise_var!r} is not accepted: give a variance, at least 0")
            if values.ndim and ver != "denoised":
                raise InvalidInput(f"noise_var has {values.size} values, which ver={ver!r} cannot use: give one number")


Rule = Callable[[Spectra, RuleSettings], Vector]


def above_fraction(s: Spectra, c: RuleSettings) -> Vector:
    r"""Fukunaga and Olsen 1971: the number of $\lambda_i > \alpha_{FO} \lambda_1$."""
    return np.asarray((s.values > c.alphaFO * s.values[:, :1]).sum(axis=1), dtype=np.float64)


def largest_gap(s: Spectra, c: RuleSettings) -> Vector:
    r"""The i at which $\lambda_i / \lambda_{i+1}$ is largest, among eigenvalues that can differ from zero."""
    values = s.values[:, : s.rank]
    floored = np.maximum(values, ROUNDING * values[:, :1])
    if floored.shape[1] == 1:
        return np.ones(len(floored))
    with np.errstate(invalid="ignore"):
        return np.asarray(np.argmax(floored[:, :-1] / floored[:, 1:], axis=1) + 1.0)


def explained(s: Spectra, c: RuleSettings) -> Vector:
    r"""The smallest i with $\sum_{j \le i} \lambda_j \ge \alpha_{Ratio} \sum_j \lambda_j$."""
    part = np.cumsum(s.values, axis=1) / _positive(s.values.sum(axis=1, keepdims=True))
    return np.asarray(np.minimum((part < c.alphaRatio).sum(axis=1) + 1.0, s.values.shape[1]))


def participation_ratio(s: Spectra, c: RuleSettings) -> Vector:
    r"""$(\sum_i \lambda_i)^2 / \sum_i \lambda_i^2$, the effective number of equal eigenvalues; no whole number."""
    return np.asarray(s.values.sum(axis=1) ** 2 / _positive((s.values**2).sum(axis=1)))


def kaiser(s: Spectra, c: RuleSettings) -> Vector:
    r"""Kaiser 1960: the number of $\lambda_i$ above their mean."""
    return np.asarray((s.values > s.values.mean(axis=1, keepdims=True)).sum(axis=1), dtype=np.float64)


def broken_stick(s: Spectra, c: RuleSettings) -> Vector:
    r"""Jackson 1993: how many of the first parts $\lambda_i / \sum_j \lambda_j$ exceed $\frac1r \sum_{j=i}^r \frac1j$.

    That is the expected length of the i-th longest piece of a stick broken at random in r.
    """
    r = s.values.shape[1]
    expected = np.cumsum(1 / np.arange(r, 0, -1.0))[::-1] / r
    above = s.values / _positive(s.values.sum(axis=1, keepdims=True)) > expected
    return np.asarray(np.cumprod(above, axis=1).sum(axis=1), dtype=np.float64)


def fan(s: Spectra, c: RuleSettings) -> Vector:
    r"""Fan, Gu, Qiao and Zhang 2010: the first of two criteria that holds.

    With p the number of eigenvalues that first explains more than the part `PFan` and
    $\sigma^2 = \mathrm{mean}(\lambda_p, \dots, \lambda_r)$ the noise, $\mu_i = \lambda_i - \sigma^2$: the smallest i
    with $\mu_i / \mu_{i+1} > \alpha$ or $\sum_{j \le i} \mu_j > \beta \sum_j \mu_j$; r where none holds; 1 where
    the first direction by itself is signal and all others noise.
    """
    values = s.values
    b, r = values.shape
    total = _positive(values.sum(axis=1, keepdims=True))
    first = np.minimum((np.cumsum(values, axis=1) / total <= c.PFan).sum(axis=1), r - 1)  # p - 1, (b,)
    tail = np.arange(r) >= first[:, None]
    noise = np.where(tail, values, 0.0).sum(axis=1) / tail.sum(axis=1)
    mu = values - noise[:, None]
    mu[np.abs(mu) <= ROUNDING * values[:, :1]] = 0.0
    left = np.broadcast_to(mu.sum(axis=1, keepdims=True), mu.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = np.zeros((b, r), dtype=bool)
        gap[:, :-1] = mu[:, :-1] / mu[:, 1:] > c.alphaFan
        met = gap | (np.cumsum(mu, axis=1) / left > c.betaFan)
    found = np.where(met.any(axis=1), met.argmax(axis=1) + 1.0, float(r))
    return np.where(first == 0, 1.0, found)  # p = 1: mu sums to zero, up to rounding


def _positive(values: Matrix) -> Matrix:
    return np.maximum(values, np.finfo(np.float64).tiny)


RULES: dict[str, Rule] = {
    "FO": above_fraction,
    "Fan": fan,
    "maxgap": largest_gap,
    "ratio": explained,
    "participation_ratio": participation_ratio,
    "Kaiser": kaiser,
    "broken_stick": broken_stick,
}
