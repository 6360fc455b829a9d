r"""The Wasserstein distance between samples, exactly, by linear programming.

W_p(\mu, \nu)^p = \min_\gamma \sum_{ij} \gamma_{ij} \|x_i - y_j\|_2^p over the couplings \gamma of the
weights of x (n, D) and y (m, D), p \ge 1. Between two samples of one law it is not zero but a floor
that falls like n^{-1/d} with the intrinsic dimension d > 2 p; `wasserstein_floor` measures it.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from submanifold.checks import check_real
from submanifold.errors import InvalidInput
from submanifold.transport.floor import Floor, floor_between_parts
from submanifold.transport.line import Entries, monotone_coupling, uniform
from submanifold.transport.samples import check_pair, pairwise_distances

__all__ = ["Plan", "optimal_plan", "wasserstein", "wasserstein_floor"]

_MAX_PAIRS = 5000 * 5000
_MAX_PIVOTS = 10_000_000


@dataclass(frozen=True, eq=False)
class Plan:
    """An optimal coupling of n points with m points, kept as its non-zero entries.

    Point rows[k] of x sends mass[k] to point columns[k] of y; there are at most n + m - 1 entries.

    Attributes:
        value: the distance W_p.
        rows: indices into x, (k,).
        columns: indices into y, (k,).
        mass: what is sent, (k,), of sum 1.
        shape: (n, m).
    """

    value: float
    rows: NDArray[np.intp] = field(repr=False)
    columns: NDArray[np.intp] = field(repr=False)
    mass: NDArray[np.float64] = field(repr=False)
    shape: tuple[int, int]

    @property
    def coupling(self) -> NDArray[np.float64]:
        """The coupling as a dense matrix (n, m)."""
        gamma = np.zeros(self.shape)
        gamma[self.rows, self.columns] = self.mass
        return gamma

    def cost(self, x: ArrayLike | Any, y: ArrayLike | Any, p: float = 1.0) -> float:
        r"""(\sum_{ij} \gamma_{ij} \|x_i - y_j\|_2^p)^{1/p} of this coupling, for any x (n, D), y (m, D).

        It bounds W_p between them from above, whatever points the coupling was made for: an optimal
        coupling of latents so bounds the distance between what they decode to.

        Raises:
            InvalidInput: if x and y are not n and m points of one space.
        """
        x, y = check_pair(x, y)
        if (len(x), len(y)) != self.shape:
            raise InvalidInput(
                f"x and y hold {len(x)} and {len(y)} points: this plan couples {self.shape[0]} with {self.shape[1]}"
            )
        return _cost(x, y, (self.rows, self.columns, self.mass), p)


def optimal_plan(
    x: ArrayLike | Any,
    y: ArrayLike | Any,
    p: float = 1.0,
    weights_x: ArrayLike | None = None,
    weights_y: ArrayLike | None = None,
) -> Plan:
    r"""An optimal coupling of samples x (n, D) and y (m, D) for the cost \|x - y\|_2^p, and W_p.

    By network simplex (Bonneel et al. 2011, as implemented in POT), or by sorting if D = 1.

    Args:
        x: points (n, D).
        y: points (m, D).
        p: order of the distance, at least 1.
        weights_x: non-negative weights (n,), brought to sum 1; uniform if None.
        weights_y: the same for y, (m,).

    Raises:
        InvalidInput: for points or weights that are not accepted, or, if D > 1, more than
            5000 x 5000 pairs.
        RuntimeError: if the solver does not converge.
    """
    x, y = check_pair(x, y)
    p = check_real(p, name="p", low=1.0)
    a = _check_weights(weights_x, len(x), name="weights_x")
    b = _check_weights(weights_y, len(y), name="weights_y")
    entries = _couple(x, y, a, b, p)
    return Plan(_cost(x, y, entries, p), *entries, shape=(len(x), len(y)))


def wasserstein(x: ArrayLike | Any, y: ArrayLike | Any, p: float = 1.0) -> float:
    """The distance W_p between samples x (n, D) and y (m, D), exact up to rounding.

    Raises:
        InvalidInput: as `optimal_plan`.
        RuntimeError: as `optimal_plan`.
    """
    return optimal_plan(x, y, p).value


def wasserstein_floor(x: ArrayLike | Any, n: int, repeats: int = 10, p: float = 1.0, seed: int = 0) -> Floor:
    """W_p between two disjoint samples of n points each of x (N, D), over random draws.

    The draws come from one pool and overlap: `sd` is the spread of one distance, and the mean is
    surer than that, but by less than a factor sqrt(repeats).

    Raises:
        InvalidInput: if x has fewer than 2 n points, or as `optimal_plan`.
    """
    return floor_between_parts(lambda a, b: wasserstein(a, b, p), x, n, repeats=repeats, seed=seed)


def _check_weights(weights: ArrayLike | None, n: int, *, name: str) -> NDArray[np.float64]:
    if weights is None:
        return uniform(n)
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != (n,) or not np.isfinite(w).all() or (w < 0).any() or not w.any():
        raise InvalidInput(f"{name} is not accepted: give {n} non-negative numbers, not all zero")
    return np.asarray(w / w.sum())


def _cost(x: NDArray[np.float64], y: NDArray[np.float64], entries: Entries, p: float) -> float:
    rows, columns, mass = entries
    distance = np.linalg.norm(x[rows] - y[columns], axis=1)  # (k,)
    unit = float(distance.max()) or 1.0  # powers of it may leave the range of float64
    return unit * math.pow(mass @ (distance / unit) ** p, 1 / p)


def _couple(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    p: float,
) -> Entries:
    if x.shape[1] == 1:
        return monotone_coupling(x[:, 0], y[:, 0], a, b)
    if len(x) * len(y) > _MAX_PAIRS:
        raise InvalidInput(
            f"x and y hold {len(x)} and {len(y)} points: exact transport takes at most 5000 each; "
            "give a subsample, or use sliced_wasserstein"
        )
    import ot  # here, since it is slow to import and the line does without

    cost = pairwise_distances(x, y)  # (n, m)
    cost /= cost.max() or 1.0
    cost **= p
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its one warning is in the log, and raised below
        gamma, log = ot.emd(a, b, cost, numItermax=_MAX_PIVOTS, log=True)
    if log["warning"] is not None:
        raise RuntimeError(f"the optimal transport solver did not converge: {log['warning']}")
    rows, columns = np.nonzero(gamma)
    return rows, columns, gamma[rows, columns]
