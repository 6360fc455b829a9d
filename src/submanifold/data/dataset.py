"""A data set: points, and what is known about them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from submanifold.checks import check_int, check_real
from submanifold.errors import InvalidInput

if TYPE_CHECKING:
    from submanifold.data.manifolds import Manifold

__all__ = ["Dataset", "split_rows"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Points `x` (n, *data_shape), in memory or memory-mapped, with what is known about them.

    Attributes:
        x: the points; images are (n, channels, height, width).
        name: what the data are called in reports.
        labels: class of each point, (n,), or None.
        manifold: the ground truth the points were drawn from, or None.
        lattice: spacing of the values when all of them are multiples of it (pixels: 1), or None for continuous data.
        true_dim: the dimension of what the points were drawn from, where it is known; that of `manifold` by default.
        noise_sigma: standard deviation of the isotropic Gaussian noise that was added to points of `manifold`, in each
            coordinate and in the units of x; 0 where they lie on it.
    """

    x: NDArray[Any] = field(repr=False)
    name: str = "data"
    labels: NDArray[np.int64] | None = field(default=None, repr=False)
    manifold: Manifold | None = None
    lattice: float | None = None
    true_dim: int | None = None
    noise_sigma: float = 0.0

    def __post_init__(self) -> None:
        if self.true_dim is None and self.manifold is not None:
            object.__setattr__(self, "true_dim", self.manifold.dim)
        check_real(self.noise_sigma, name="noise_sigma")
        if self.labels is not None and len(self.labels) != len(self.x):
            raise InvalidInput(
                f"labels hold {len(self.labels)} values: give one for each of the {len(self.x)} points of x"
            )

    def __len__(self) -> int:
        return len(self.x)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.x, dtype=dtype, copy=copy)

    @property
    def data_shape(self) -> tuple[int, ...]:
        """Shape of one point: (D,) or (channels, height, width)."""
        return tuple(self.x.shape[1:])

    @property
    def ambient_dim(self) -> int:
        """The number of coordinates of one point, D."""
        return math.prod(self.data_shape)

    @property
    def is_image(self) -> bool:
        """Whether the points are images."""
        return len(self.data_shape) == 3

    def flat(self) -> NDArray[Any]:
        """The points as a matrix (n, D)."""
        return self.x.reshape(len(self), -1)

    def take(self, index: NDArray[Any]) -> Dataset:
        """The points at `index` (integers or a mask), in that order."""
        return replace(self, x=self.x[index], labels=None if self.labels is None else self.labels[index])

    def split(self, fraction: float = 0.2, *, seed: int = 0) -> tuple[Dataset, Dataset]:
        """Shuffle and split into (rest, held out), see `split_rows`."""
        rest, held = split_rows(len(self), fraction, seed)
        return self.take(rest), self.take(held)

    def subsample(self, n: int, *, seed: int = 0) -> Dataset:
        """At most `n` points, drawn without replacement."""
        if check_int(n, name="n") >= len(self):
            return self
        return self.take(np.sort(np.random.default_rng(seed).choice(len(self), n, replace=False)))


def split_rows(n: int, fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of a shuffled split into (rest, held out), sorted; the latter are a `fraction` of them.

    At least one is on either side, and of four or more two are: one point has no law to compare with another.

    Args:
        n: how many rows.
        fraction: the share that is held out, in [0, 1].
        seed: of the shuffle.

    Raises:
        InvalidInput: for a fraction out of its range.
    """
    check_real(fraction, name="fraction", high=1.0)
    order = np.random.default_rng(seed).permutation(n)
    least = 2 if n >= 4 else 1
    n_held = min(max(round(fraction * n), least), n - least)
    return np.sort(order[n_held:]), np.sort(order[:n_held])
