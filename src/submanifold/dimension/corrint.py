r"""The correlation integral.

$C(r)$ is the fraction of pairs of points at most r apart. On a set of dimension d it grows as $r^d$, so that between
two radii

$$ \hat d = \frac{\log(C(r_2) / C(r_1))}{\log(r_2 / r_1)}, \qquad
   r_1 = \operatorname{med}_i T_{k_1}(x_i), \quad r_2 = \operatorname{med}_i T_{k_2}(x_i) . $$
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from submanifold.checks import check_int
from submanifold.dimension.neighborhood import NeighborEstimator
from submanifold.dimension.variance import Patches
from submanifold.errors import InvalidInput
from submanifold.neighbors import NeighborGraph

__all__ = ["CorrInt"]

Vector = NDArray[np.float64]
Index = NDArray[np.int64]

_BLOCK_VALUES = 2**23
_UNIT_ROUNDOFF = 2.0**-24
_TIE = 1 + 1e-12  # a radius is itself a distance, which another formula may round up
_TIED = 0.6  # the part of pairs within a radius that are at it, beyond which C(r) is the staircase of a lattice


class CorrInt(NeighborEstimator):
    r"""Grassberger and Procaccia's correlation dimension, between two radii that the data choose.

    Pairs are counted exactly, from the neighbour graph where a point's last known neighbour is farther than $r_2$, and
    by all distances between the others: in a Gaussian cloud those are the few percent of points at its middle.

    Differences of density weigh in as well as the dimension: among points of unlike density most pairs within r are
    those of the dense regions.

    A matrix of distances (`DM=True` in scikit-dimension) is given as a complete graph,
    `NeighborGraph(distances, n - 1, metric="precomputed")`.

    References:
        Grassberger and Procaccia 1983, Measuring the strangeness of strange attractors, Physica D 9.

    Args:
        k1: neighbours that the smaller radius holds, at the median point.
        k2: those of the larger radius, above k1.
        random_state: seed of the splits behind `interval_`.

    Raises:
        InvalidInput: besides what `fit` refuses, a graph without points of which more neighbours would be needed.
    """

    uses_points = True

    def __init__(self, k1: int = 10, k2: int = 20, *, random_state: int = 0) -> None:
        self.k1 = k1
        self.k2 = k2
        self.random_state = random_state

    def required_neighbors(self) -> int:
        return check_int(self.k2, name="k2", low=check_int(self.k1, name="k1") + 1)

    def least_neighbors(self) -> int:
        return self.k1 + 1

    def _patches(self, graph: NeighborGraph) -> Patches:
        # Neighbours beyond the k2-th, which the graph holds for the interval, leave fewer pairs to be counted.
        return Patches.of(graph, graph.k)

    def _local(self, patches: Patches, X: Vector | None) -> Vector:
        return self._counts(patches, X, None)

    def _of_half(self, half: Patches, X: Vector | None) -> Vector:
        return self._counts(half, X, np.union1d(half.rows, half.indices))

    def _pool(self, local: Vector) -> float:
        count, at = local[:, :4].sum(axis=0).reshape(2, 2)  # pairs within r1 and r2, and pairs at these distances
        r1, r2 = local[0, 4:]
        if not r2 > r1 * _TIE or (at > _TIED * count).any():
            return float("nan")
        return float(np.log(count[1] / count[0]) / np.log(r2 / r1))

    def _counts(self, patches: Patches, X: Vector | None, members: Index | None) -> Vector:
        """Pairs within r1 and r2 of each row among points `members`, pairs at r1 and r2, and these radii: (m, 6)."""
        T = patches.distances  # (m, K)
        radii = np.median(T[:, [self.k1 - 1, min(self.k2, T.shape[1]) - 1]], axis=0)
        counts = np.stack([np.less_equal(T, r * _TIE).sum(axis=1) for r in radii], axis=1).astype(np.float64)  # (m, 2)
        at = counts - np.stack([np.less(T, r / _TIE).sum(axis=1) for r in radii], axis=1)
        known = T[:, -1] > radii[1] * _TIE
        beyond = np.flatnonzero(~known)  # more points may be within r2 than are known
        if len(beyond) and X is not None:
            # A pair is in the list of either point; only those of two points with lists that end too soon are not.
            others = np.arange(len(X)) if members is None else members
            others = np.setdiff1d(others, patches.rows[known], assume_unique=True)
            counts[beyond] = _pairs(X, patches.rows[beyond], others, radii * _TIE)
            counts[beyond] += _listed(patches, known, radii * _TIE, len(X))[patches.rows[beyond]]
        elif len(beyond) and members is None and T.shape[1] < self.n_points_ - 1:
            raise InvalidInput(
                f"graph holds {T.shape[1]} neighbours a point, of which all are within r2 at {len(beyond)} points: "
                "give the points as well, or more neighbours"
            )
        return np.hstack([counts, at, np.broadcast_to(radii, counts.shape)])


def _listed(patches: Patches, known: NDArray[np.bool_], radii: Vector, n: int) -> Vector:
    """How often each of n points is within each of `radii` (s,) of a point whose list of neighbours is `known`: (n, s).

    Distances are symmetric, so that these are points within the radii of it.
    """
    far, near = patches.distances[known], patches.indices[known]
    return np.stack([np.bincount(near[far <= r], minlength=n) for r in radii], axis=1)


def _pairs(X: Vector, rows: Index, members: Index, radii: Vector) -> Vector:
    r"""Other points of X[members] within each of `radii` (s,) of the points X[rows]: (m, s).

    Squared distances come from a float32 matrix product, with an error below $4 (D + 8) u (|x| + |y|)^2$; those that
    are nearer than that to a squared radius are computed again from differences in float64.
    """
    unit, radii = radii[-1], radii / radii[-1]
    center = X[rows].mean(axis=0)  # rows with many neighbours lie where most points do
    x, y = (((Z - center) / unit).astype(np.float32) for Z in (X[rows], X[members]))
    norm_x, norm_y = (np.einsum("nd,nd->n", z, z) for z in (x, y))
    # Points farther out than the rows by more than the largest radius, 1, count for none of them.
    farthest = (1 + 1e-5) * float(np.sqrt(norm_x.max())) + 1.5
    inside = norm_y <= farthest**2
    if not inside.all():
        members, y, norm_y = members[inside], y[inside], norm_y[inside]
    slack = 4 * (X.shape[1] + 8) * _UNIT_ROUNDOFF * (np.sqrt(norm_x.astype(np.float64)) + farthest) ** 2  # (m,)
    counts = np.empty((len(rows), len(radii)))
    step = max(1, _BLOCK_VALUES // len(y))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        squared = norm_x[part, None] + norm_y - 2 * x[part] @ y.T  # (b, n)
        i, j = np.nonzero(squared <= 1 + 2 * slack[part, None].astype(np.float32))
        value, at = squared[i, j].astype(np.float64), rows[part][i]
        for column, r in enumerate(radii):
            doubt = np.flatnonzero(np.abs(value - r**2) <= slack[part][i])
            within = value <= r**2
            within[doubt] = (((X[at[doubt]] - X[members[j[doubt]]]) / unit) ** 2).sum(axis=1) <= r**2
            counts[part, column] = np.bincount(i[within], minlength=len(squared)) - 1  # without the point itself
    return counts
