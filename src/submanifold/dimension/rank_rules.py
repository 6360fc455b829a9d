r"""Rules for the rank of a linear signal in noise, of variance $\sigma^2$ in each of D coordinates, from a spectrum.

They answer how many directions stand out from noise, not how many a manifold has: tangent directions of the same
variance as the noise are not seen, and where there is no noise all directions stand out. Notation as in
`submanifold.dimension.spectrum_rules`; $\beta = D / m$.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import gammaln

from submanifold.dimension.spectrum_rules import ROUNDING, TRACY_WIDOM, Rule, RuleSettings, Spectra

__all__ = ["RANK_RULES", "bulk_edge", "largest_noise", "median_noise"]

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

_BLOCK_VALUES = 2**22


def bulk_edge(D: int, degrees: int) -> float:
    r"""$(1 + \sqrt{D / m})^2$, where the spectrum of pure noise of variance 1 ends (Marchenko and Pastur 1967)."""
    return float((1 + np.sqrt(D / degrees)) ** 2)


def largest_noise(D: int, degrees: int) -> tuple[float, float]:
    r"""Centre and scale of the largest eigenvalue of noise, whose law about them is that of Tracy and Widom.

    $\mu = (\sqrt{m - 1/2} + \sqrt{D - 1/2})^2 / m$ and
    $s = \sqrt{\mu / m}\, (1/\sqrt{m - 1/2} + 1/\sqrt{D - 1/2})^{1/3}$ (Ma 2012, Johnstone 2001).
    """
    a, b = np.sqrt(degrees - 0.5), np.sqrt(D - 0.5)
    return float((a + b) ** 2 / degrees), float((a + b) / degrees * (1 / a + 1 / b) ** (1 / 3))


def median_noise(s: Spectra) -> Vector:
    r"""$\sigma^2$ as the median eigenvalue over the median of the Marchenko-Pastur law, (b,)."""
    beta = s.D / s.degrees
    return np.asarray(np.median(s.values[:, : s.rank], axis=1) / (max(1.0, beta) * _median_of_law(min(beta, 1 / beta))))


def _noise(s: Spectra, c: RuleSettings) -> Vector:
    if c.noise_var is None:
        return median_noise(s)
    with np.errstate(over="ignore", divide="ignore"):
        return np.full(len(s.values), float(np.mean(c.noise_var))) / s.unit


def marchenko_pastur(s: Spectra, c: RuleSettings) -> Vector:
    r"""The number of $\lambda_i > \sigma^2 (1 + \sqrt\beta)^2$."""
    return _above(s, _noise(s, c) * bulk_edge(s.D, s.degrees))


def gavish_donoho(s: Spectra, c: RuleSettings) -> Vector:
    r"""Gavish and Donoho 2014: the number of $\lambda_i > \sigma^2 \lambda_*(\beta)^2$.

    $\lambda_*(\beta)^2 = 2 (\beta + 1) + 8 \beta / (\beta + 1 + \sqrt{\beta^2 + 14 \beta + 1})$, the threshold of
    singular values that is best in squared error.
    """
    beta = s.D / s.degrees
    square = 2 * (beta + 1) + 8 * beta / (beta + 1 + np.sqrt(beta**2 + 14 * beta + 1))
    return _above(s, _noise(s, c) * square)


def denoised(s: Spectra, c: RuleSettings) -> Vector:
    r"""Lun, McCarthy and Marioni 2016: the smallest i >= 1 with $\sum_{j > i} \lambda_j \le D \sigma^2$, all noise."""
    spent = np.maximum(_noise(s, c) * s.D, ROUNDING * s.values[:, 0])
    left = s.values[:, ::-1].cumsum(axis=1)[:, ::-1]  # sums from i on, (b, r)
    return np.asarray(np.maximum((left > spent[:, None]).sum(axis=1), 1.0))


def kritchman_nadler(s: Spectra, c: RuleSettings) -> Vector:
    r"""Kritchman and Nadler 2008: a sequence of tests against the law of Tracy and Widom.

    The i-th direction is signal if all before it are and $\lambda_i > \hat\sigma^2_{i-1} (\mu + t_\alpha s)$ with
    $\mu$, s those of noise in D - i + 1 coordinates, and $\hat\sigma^2_{i-1}$ the noise that remains when i - 1
    signals, corrected for the bias of their eigenvalues, are taken out.
    """
    found = np.zeros(len(s.values))
    active = np.arange(len(s.values))
    for i in range(1, s.rank if s.rank > 1 else 2):
        values = s.values[active]
        known = c.noise_var is not None
        noise = _noise(s, c)[active] if known else _corrected_noise(values, i - 1, s.degrees, s.D)
        centre, scale = largest_noise(s.D - i + 1, s.degrees)
        threshold = noise * (centre + TRACY_WIDOM[c.alphaKN] * scale)
        signal = values[:, i - 1] > np.maximum(threshold, ROUNDING * values[:, 0])
        active = active[signal]
        found[active] = i
        if len(active) == 0 or s.rank == 1:
            break
    return found


def _corrected_noise(values: Matrix, k: int, degrees: int, D: int) -> Vector:
    """The fixed point of noise and signal strengths (b,), given the first k eigenvalues are signal."""
    rest = values[:, k:].sum(axis=1)
    noise = rest / (D - k)
    if k == 0:
        return np.asarray(noise)
    signal = values[:, :k]
    moving = np.ones(len(values), dtype=bool)
    for _ in range(100):
        b = signal + (noise * (1 - (D - k) / degrees))[:, None]
        inside = b**2 - 4 * signal * noise[:, None]
        moving &= (inside >= 0).all(axis=1)
        strength = (b + np.sqrt(np.maximum(inside, 0.0))) / 2
        better = (rest + (signal - strength).sum(axis=1)) / (D - k)
        step = np.abs(better - noise)
        noise = np.where(moving, better, noise)
        moving &= step > 1e-8 * np.abs(noise)
        if not moving.any():
            break
    return np.asarray(noise)


def minka(s: Spectra, c: RuleSettings) -> Vector:
    r"""Minka 2000: the rank of largest evidence, by Laplace's method, in 1, ..., D - 1.

    $$ \log p(k) = \log p(U) - \tfrac n2 \sum_{j \le k} \log \lambda_j - \tfrac{n (D-k)}2 \log v
         + \tfrac{m_k + k}2 \log 2\pi - \tfrac12 \log |A| - \tfrac k2 \log n , $$

    v the mean of the eigenvalues after the k-th and $m_k = D k - k (k+1) / 2$. The evidence is without bound where v is
    zero: that is the rank of data without noise, unless it is all that so few points can have.
    """
    step = max(1, _BLOCK_VALUES // s.values.shape[1] ** 2)
    parts = [_evidence(s.values[i : i + step], s.n, s.D, s.rank) for i in range(0, len(s.values), step)]
    return np.asarray(np.concatenate(parts).argmax(axis=1) + 1.0)


def _evidence(values: Matrix, n: int, D: int, rank: int) -> Matrix:
    """The logarithm of the evidence (b, K) of ranks k = 1, ..., K."""
    r = values.shape[1]
    K = max(1, min(r, D - 1))
    top = np.maximum(values[:, :1], np.finfo(np.float64).tiny)
    lam = np.maximum(values / top, 0.0)  # (b, r); a common factor does not move the maximum
    floor = ROUNDING
    live = np.maximum(lam, floor)
    k = np.arange(1, K + 1)
    v = (lam.sum(axis=1, keepdims=True) - np.cumsum(lam, axis=1)[:, :K]) / np.maximum(D - k, 1)  # (b, K)
    exhausted = (lam[:, :K] <= floor) | ((v <= floor) & (k >= rank))
    v = np.maximum(v, floor)
    axis = (D - k + 1) / 2
    prior = -k * np.log(2.0) + np.cumsum(gammaln(axis) - axis * np.log(np.pi))
    likelihood = -n / 2 * np.cumsum(np.log(live), axis=1)[:, :K] - n * (D - k) / 2 * np.log(v)
    m = D * k - k * (k + 1) / 2
    # log |A| sums over i <= k and j > i: pairs within the k directions, then pairs of one and a direction of noise.
    apart = np.log(np.maximum(lam[:, :, None] - lam[:, None, :], floor))  # log(lam_i - lam_j), (b, r, r)
    sharper = np.log(np.maximum(1 / live[:, None, :] - 1 / live[:, :, None], floor))  # log(1/lam_j - 1/lam_i)
    upper = np.triu(np.ones((r, r)), 1)
    within = np.cumsum(((apart + sharper) * upper).sum(axis=1), axis=1)[:, :K]  # by the later j
    rows = np.cumsum(apart * upper, axis=1)  # over i <= k, (b, k, j)
    beyond = np.einsum("bkj,kj->bk", rows[:, :K], np.triu(np.ones((r, r)), 1)[:K])
    beyond = beyond + (D - r) * np.cumsum(np.log(live), axis=1)[:, :K]
    loose = np.log(np.maximum(1 / v[:, :, None] - 1 / live[:, None, :K], floor))  # (b, k, i)
    beyond = beyond + (D - k) * np.einsum("bki,ki->bk", loose, np.tril(np.ones((K, K))))
    log_A = within + beyond + m * np.log(n)
    evidence = prior + likelihood + (m + k) / 2 * np.log(2 * np.pi) - log_A / 2 - k / 2 * np.log(n)
    evidence = np.where(exhausted, -np.inf, evidence)
    evidence[np.isneginf(evidence).all(axis=1), 0] = 0.0
    return np.asarray(evidence)


def _above(s: Spectra, threshold: Vector) -> Vector:
    floor = ROUNDING * s.values[:, 0]  # where there is no noise, the threshold is a multiple of rounding errors
    return np.asarray((s.values > np.maximum(threshold, floor)[:, None]).sum(axis=1), dtype=np.float64)


@lru_cache(maxsize=64)
def _median_of_law(beta: float) -> float:
    """The median of the Marchenko-Pastur law with ratio beta <= 1 and variance 1."""
    middle, half = 1 + beta, 2 * np.sqrt(beta)  # its support is middle +- half

    def mass(angle: float) -> float:  # of the part below middle - half cos(angle)
        inner = quad(lambda t: np.sin(t) ** 2 / (middle - half * np.cos(t)), 0.0, angle, epsabs=1e-12)[0]
        return float(inner * half**2 / (2 * np.pi * beta)) - 0.5

    return float(middle - half * np.cos(brentq(mass, 0.0, np.pi, xtol=1e-13)))


RANK_RULES: dict[str, Rule] = {
    "MP": marchenko_pastur,
    "GD": gavish_donoho,
    "KN": kritchman_nadler,
    "Minka": minka,
    "denoised": denoised,
}
