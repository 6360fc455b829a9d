"""What a benchmark manifold is: a name, the two dimensions, and a law to draw points from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from submanifold.checks import check_int
from submanifold.data.noise import add_noise, noise_sigma
from submanifold.registry import Registry

__all__ = ["BENCHMARK", "Array", "BenchmarkManifold", "Chart"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Chart:
    """A law given by a parametrisation: x = embed(p) with p drawn from `law`.

    Attributes:
        law: draws parameters (n, d) from a generator.
        embed: maps parameters (n, d) to points (n, D).
    """

    law: Callable[[int, np.random.Generator], Array]
    embed: Callable[[Array], Array]

    def __call__(self, n: int, rng: np.random.Generator) -> Array:
        return self.embed(self.law(n, rng))  # (n, d) -> (n, D)


@dataclass(frozen=True)
class BenchmarkManifold:
    """A d-dimensional manifold in R^D with a law on it, of which only the dimension and samples are known.

    Attributes:
        name: the word for it in code, command line and reports.
        dim: intrinsic dimension d.
        ambient_dim: number of coordinates D.
        description: what it is, in a few words.
        sampler: draws points (n, D) from a generator; a `Chart` where the manifold has a parametrisation.
    """

    name: str
    dim: int
    ambient_dim: int
    description: str
    sampler: Callable[[int, np.random.Generator], Array] = field(repr=False)

    def sample(self, n: int, seed: int = 0, noise: float = 0.0) -> Array:
        """`n` independent points, (n, D).

        Args:
            n: number of points.
            seed: the same seed gives the same points, and the same points under any noise.
            noise: root mean square length of the isotropic Gaussian noise added in R^D, as a fraction of the root mean
                square distance of the noise-free points from their mean.

        Raises:
            InvalidInput: for n < 1, a negative seed, or a negative noise.
        """
        check_int(n, name="n")
        x = self.sampler(n, np.random.default_rng(check_int(seed, name="seed", low=0)))  # (n, D)
        return add_noise(x, noise_sigma(noise, x.shape[1], self.sample), seed)


BENCHMARK: Registry[BenchmarkManifold] = Registry("benchmark manifold")
