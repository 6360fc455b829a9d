"""Unions of manifolds of different dimension: what the union-of-manifolds hypothesis is about."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from submanifold.data.manifolds.ball import Ball
from submanifold.data.manifolds.base import MANIFOLDS, Array, Manifold
from submanifold.errors import InvalidInput

__all__ = ["Union", "lollipop"]


class Union(Manifold):
    r"""The mixture \sum_k w_k P_k of laws on manifolds M_k of possibly different dimension in one space R^m.

    The density at a point is w_k p_k, with respect to volume on the M_k on which the point lies; densities on
    components of different dimension have different units. Where components meet, the point belongs to the one of
    lowest dimension; components are otherwise disjoint.

    Attributes:
        components: the M_k.
        weights: the w_k, (K,), which sum to 1.
        dim: the largest dimension of a component.

    Args:
        components: manifolds in the same ambient space.
        weights: positive numbers, normalised to sum to 1; equal if not given.
        name: the word for it in reports.
        ambient_dim: dimension of the space, at least m.
        frame_seed: seed of the position of R^m when `ambient_dim` is larger.
    """

    name = "union"

    def __init__(
        self,
        components: Sequence[Manifold],
        weights: Sequence[float] | None = None,
        *,
        name: str = "union",
        ambient_dim: int | None = None,
        frame_seed: int = 0,
    ) -> None:
        spaces = {component.ambient_dim for component in components}
        if len(spaces) != 1:
            raise InvalidInput(f"components live in spaces of dimension {sorted(spaces)}: give manifolds in one space")
        given = np.ones(len(components)) if weights is None else np.array(weights, dtype=float)
        if given.shape != (len(components),) or not (np.isfinite(given) & (given > 0)).all():
            raise InvalidInput(f"weights={weights!r} is not accepted: give {len(components)} positive numbers")
        self.components = tuple(components)
        self.weights: Array = given / given.sum()
        self.name = name
        super().__init__(max(self.dims), spaces.pop(), 1.0, ambient_dim=ambient_dim, frame_seed=frame_seed)
        self.tolerance = max(component.tolerance for component in components)

    @property
    def dims(self) -> tuple[int, ...]:
        """Dimension of each component."""
        return tuple(component.dim for component in self.components)

    def component_of(self, x: ArrayLike) -> NDArray[np.int64]:
        """Index of the component nearest to each point (n, D), (n,); of those that touch it, the lowest-dimensional."""
        return self._component_of(self.native(x))

    def _component_of(self, y: Array) -> NDArray[np.int64]:
        distance = np.stack([component.distance(y) for component in self.components])  # (K, n)
        near = distance <= distance.min(0) + self.tolerance
        dims = np.where(near, np.array(self.dims)[:, None], np.iinfo(np.int64).max)
        lowest: NDArray[np.int64] = dims.argmin(0)
        return lowest

    def _sample(self, n: int, rng: np.random.Generator) -> Array:
        which = rng.choice(len(self.components), n, p=self.weights)
        y = np.empty((n, self.native_dim))
        for k, component in enumerate(self.components):
            of_k = which == k
            if of_k.any():
                y[of_k] = component.sample(int(of_k.sum()), seed=int(rng.integers(2**63)))
        return y

    def _by_component(self, y: Array, out: Array, function: str) -> Array:
        which = self._component_of(y)
        for k, component in enumerate(self.components):
            of_k = which == k
            if of_k.any():
                out[of_k] = getattr(component, function)(y[of_k])
        return out

    def _log_prob(self, y: Array) -> Array:
        log_weights = np.log(self.weights)[self._component_of(y)]
        return log_weights + self._by_component(y, np.empty(len(y)), "log_prob")

    def _project(self, y: Array) -> Array:
        return self._by_component(y, np.empty_like(y), "project")


@MANIFOLDS.register("lollipop")
def lollipop(
    weights: Sequence[float] = (0.5, 0.4, 0.1),
    *,
    ambient_dim: int | None = None,
    frame_seed: int = 0,
) -> Union:
    """A disc on a stick, and a point apart: dimensions 2, 1 and 0 in the plane.

    The disc has radius 1 and centre (0, 0), the stick runs from (1, 0) to (3, 0), the point is (4, 0). After the
    lollipop of Tempczyk et al. 2022 (LIDL), arXiv 2206.14882.

    Args:
        weights: probabilities of disc, stick and point.
        ambient_dim: dimension of the space, at least 2.
        frame_seed: seed of the plane's position when `ambient_dim` is larger than 2.
    """
    parts = (Ball(2, 1.0, (0, 0)), Ball(1, 1.0, (2, 0)), Ball(0, 1.0, (4, 0)))
    return Union(parts, weights, name="lollipop", ambient_dim=ambient_dim, frame_seed=frame_seed)
