r"""The intrinsic dimension of binary data, from the Hamming distances between points.

Between two points of d independent fair bits the Hamming distance r has the law $2^{-d} \binom{d}{r}$. For bits that
depend on each other d is replaced by a number that varies with the distance,

$$ P(r) = C\, 2^{-d(r)} \binom{d(r)}{r}, \qquad d(r) = d_0 + d_1 r, $$

fitted to the observed distances by the smallest Kullback-Leibler divergence
$\sum_r \hat P(r) \log(\hat P(r) / P(r))$ over the distances observed in a range, on which both laws sum to one (so that
distances that cannot occur, such as odd ones between points with equally many ones, do no harm). The binary intrinsic
dimension is $d_0$: the number of independent bits at small distances.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import digamma, gammaln, logsumexp, polygamma

from submanifold.checks import check_real
from submanifold.dimension.cloud import CloudEstimator
from submanifold.errors import InvalidInput

__all__ = ["BID", "hamming_counts"]

Vector = NDArray[np.float64]
Counts = NDArray[np.int64]

_BLOCK_BYTES = 2**22
_POLISHING = 20
_TABLE = np.array([byte.bit_count() for byte in range(2**8)], dtype=np.uint8)


class BID(CloudEstimator):
    r"""Acevedo, Rodriguez and Laio's binary intrinsic dimension.

    Copies are kept: a distance of 0 is an observation like any other.

    On independent fair bits, which look the same from every point, its variance falls as $1/n^2$, and
    `interval_` is about 1.4 times too wide.

    References:
        Acevedo, Rodriguez and Laio 2025, Unsupervised detection of semantic correlations in big data, Communications
        Physics 8.

    Args:
        alphamin: distances below their quantile of this order are left out of the fit.
        alphamax: distances above their quantile of this order are left out; less than 1 looks at small scales (DADApy
            has 0.2, with a larger error).
        random_state: seed of the splits behind `interval_`.

    Attributes:
        slope_: $d_1$, 0 for independent fair bits.
        log_divergence_: logarithm of the Kullback-Leibler divergence at the minimum.
        distances_: the distances fitted, (s,).
        probability_: their observed frequencies, (s,), which sum to one.
        model_: $P(r)$ at the minimum, (s,).

    Raises:
        InvalidInput: for features with values other than one pair such as False and True, 0 and 1, or -1 and 1, or
            fewer than three different distances in the range.
    """

    drops_copies = False
    least_points = 3

    slope_: float
    log_divergence_: float
    distances_: Counts
    probability_: Vector
    model_: Vector

    def __init__(self, alphamin: float = 0.0, alphamax: float = 1.0, *, random_state: int = 0) -> None:
        self.alphamin = alphamin
        self.alphamax = alphamax
        self.random_state = random_state

    def _estimate(self, X: Vector, rng: np.random.Generator) -> float:
        low = check_real(self.alphamin, name="alphamin", high=1.0)
        high = check_real(self.alphamax, name="alphamax", low=low, high=1.0)
        counts = hamming_counts(_bits(X))
        cumulated = np.cumsum(counts) / counts.sum()
        first = int(np.searchsorted(cumulated, low, side="left")) if low > 0 else 0
        last = int(np.searchsorted(cumulated, high, side="left")) if high < 1 else len(counts) - 1
        r = first + np.flatnonzero(counts[first : last + 1])
        if len(r) < 3:
            raise InvalidInput(
                f"X has {len(r)} different Hamming distances between the quantiles alphamin={low} and alphamax={high}: "
                "give points or quantiles with at least 3"
            )
        P = counts[r] / counts[r].sum()
        d0, d1, divergence = _fit(r.astype(np.float64), P, X.shape[1])
        self.slope_, self.distances_, self.probability_ = d1, r, P
        self.log_divergence_ = float(np.log(max(divergence, np.finfo(float).tiny)))
        self.model_ = np.exp(_log_model(r.astype(np.float64), d0, d1))
        return d0


def hamming_counts(bits: NDArray[np.bool_]) -> Counts:
    """How many pairs of rows of `bits` (n, D) differ in r features, for r = 0..D: (D + 1,)."""
    n, D = bits.shape
    packed = np.packbits(bits, axis=1)  # (n, ceil(D / 8))
    packed = np.ascontiguousarray(np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8)))).view(np.uint64)  # (n, w)
    counts = np.zeros(D + 1, dtype=np.int64)
    total: Any = np.uint16 if D < 2**16 else np.uint32
    step = max(1, _BLOCK_BYTES // (8 * n))  # few enough rows for the cache
    for start in range(0, n, step):
        block, later = packed[start : start + step], packed[start:]
        r = np.zeros((len(block), len(later)), dtype=total)
        for word in range(packed.shape[1]):
            r += _ones(block[:, None, word] ^ later[None, :, word])
        # Within the block itself each pair is met twice, and each point meets itself.
        own = r[:, : len(block)]
        counts += np.bincount(r[:, len(block) :].ravel(), minlength=D + 1)
        counts += np.bincount(own[np.triu_indices(len(block), 1)], minlength=D + 1)
    return counts


def _bits(X: Vector) -> NDArray[np.bool_]:
    values = np.unique(X)
    if len(values) > 2:
        raise InvalidInput(
            f"X has {len(values)} different values: give binary features, such as False and True, 0 and 1, or -1 and 1"
        )
    return np.asarray(np.equal(X, values[-1]))


def _ones(words: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """The number of ones among the bits of each word; numpy 1 has no function for it."""
    count = getattr(np, "bitwise_count", None)
    if count is not None:
        return np.asarray(count(words))
    return np.asarray(_TABLE[words[..., None].view(np.uint8)].sum(axis=-1, dtype=np.uint8))


def _log_weight(r: Vector, d0: float, d1: float) -> Vector:
    """The logarithm of P(r) / C."""
    d = d0 + d1 * r
    return np.asarray(-d * np.log(2) + gammaln(d + 1) - gammaln(r + 1) - gammaln(d - r + 1))


def _log_model(r: Vector, d0: float, d1: float) -> Vector:
    log_weight = _log_weight(r, d0, d1)
    return np.asarray(log_weight - logsumexp(log_weight))


def _fit(r: Vector, P: Vector, D: int) -> tuple[float, float, float]:
    """d0, d1 and the divergence at its minimum over laws with d(r) >= r at all distances fitted."""

    def divergence(at: Vector) -> float:
        d0, d1 = D * at[0], at[1]
        if not (d0 + d1 * r[[0, -1]] >= r[[0, -1]]).all():
            return float("inf")
        return float(P @ (np.log(P) - _log_model(r, d0, d1)))

    start = np.array([max(2 * float(P @ r), r[-1] + 1) / D, 0.0])
    found = minimize(divergence, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-15, "maxiter": 4000})
    at = np.array([D * found.x[0], found.x[1]])
    for _ in range(_POLISHING):  # Newton's method: a minimum is only known to half the digits of its value
        step = _newton_step(r, P, at)
        if not divergence((at + step) / [D, 1]) <= found.fun + 1e-13 or np.abs(step / [D, 1]).max() < 1e-14:
            break
        at = at + step
    return float(at[0]), float(at[1]), divergence(at / [D, 1])


def _newton_step(r: Vector, P: Vector, at: Vector) -> Vector:
    d = at[0] + at[1] * r
    basis = np.stack([np.ones_like(r), r])  # (2, s): the derivative of d by d0 and d1
    Q = np.exp(_log_model(r, *at))
    first = (digamma(d + 1) - digamma(d - r + 1) - np.log(2)) * basis  # (2, s)
    second = polygamma(1, d + 1) - polygamma(1, d - r + 1)
    gradient = first @ (Q - P)
    centred = first - (first @ Q)[:, None]
    hessian = (centred * Q) @ centred.T + (basis * ((Q - P) * second)) @ basis.T
    if np.linalg.eigvalsh(hessian)[0] <= 0:
        return np.zeros(2)
    return np.asarray(-np.linalg.solve(hessian, gradient))
