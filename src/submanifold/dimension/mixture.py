"""Data that are a union of pieces of different dimension: one number for all of them would describe none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.mixture import GaussianMixture

from submanifold.dimension.pointwise import LocalDimension
from submanifold.neighbors import NeighborGraph

__all__ = ["LEAST_RATIO", "Piece", "separate"]

_MOST_PIECES = 5
_LEAST_SHARE = 0.03
_LEAST_SEPARATION = 2.5  # Ashman's D; two equal normal laws have two modes beyond 2
LEAST_RATIO = 1.25
_ROUNDS = 5


@dataclass(frozen=True, eq=False)
class Piece:
    """The points that share a dimension.

    Attributes:
        dimension: of this piece by itself.
        interval: its 95% interval.
        share: the part of all points that belong to it.
        members: positions of its points in X, (m,).
    """

    dimension: float
    interval: tuple[float, float]
    share: float
    members: NDArray[np.int64] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """The piece without its members."""
        return {"dimension": self.dimension, "interval": list(self.interval), "share": self.share}


def separate(found: LocalDimension, graph: NeighborGraph) -> NDArray[np.int64] | None:
    """Which piece each row of `graph` belongs to, (m,), pieces in ascending order of dimension; None for a single one.

    The logarithms of the local dimensions are taken for a mixture of normal laws whose number minimises Schwarz's
    criterion, counted on points that are apart. Pieces count as different where their dimensions differ by a quarter
    and by so much of their scatter that they form modes of their own (Ashman, Bird and Zepf 1994, Detecting
    bimodality in astronomical datasets, equation 3). Points then join the majority around them.
    """
    if not found.varies:
        return None
    values = np.log(found.dimension)[:, None]
    thinned = values[:: max(1, found.n_neighbors // 2)]
    fits = [
        GaussianMixture(pieces, n_init=2, random_state=0, reg_covar=found.relative_error**2 / 4).fit(thinned)
        for pieces in range(1, _MOST_PIECES + 1)
        if len(thinned) >= 10 * pieces
    ]
    for fit in sorted(fits, key=lambda fit: float(fit.bic(thinned))):
        pieces = fit.n_components
        if pieces == 1:
            return None
        order = np.argsort(fit.means_[:, 0])
        if _distinct(fit.means_[order, 0], fit.covariances_[order, 0, 0], fit.weights_[order]):
            rank = np.argsort(order)
            return _joined(rank[fit.predict(values)], graph, found.n_neighbors, pieces)
    return None


def _distinct(means: NDArray[np.float64], variances: NDArray[np.float64], weights: NDArray[np.float64]) -> bool:
    gaps = np.diff(means)
    scatter = np.sqrt((variances[1:] + variances[:-1]) / 2)
    return bool(
        (weights >= _LEAST_SHARE).all()
        and (gaps >= np.log(LEAST_RATIO)).all()
        and (gaps >= _LEAST_SEPARATION * scatter).all()
    )


def _joined(piece: NDArray[np.int64], graph: NeighborGraph, k: int, pieces: int) -> NDArray[np.int64]:
    """Each row joins the piece to which most of its neighbours belong, a few times over."""
    for _ in range(_ROUNDS):
        known = np.full(graph.n_points, -1)
        known[graph.rows] = piece
        around = np.concatenate([piece[:, None], known[graph.indices[:, :k]]], axis=1)  # (m, k + 1)
        votes = np.stack([(around == one).sum(axis=1) for one in range(pieces)], axis=1)  # (m, pieces)
        piece = votes.argmax(axis=1)
    return piece
