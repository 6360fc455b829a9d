r"""The 24 benchmark manifolds of the literature on intrinsic dimension, by name.

References:
    Hein, Audibert 2005, "Intrinsic dimensionality estimation of submanifolds in R^d" (M1 to M13).
    Ceruti et al. 2014, "DANCo: an intrinsic dimensionality estimator exploiting angle and norm concentration" (Mbeta,
    Mn, Mp).
    Campadelli et al. 2015, "Intrinsic dimension estimation: relevant techniques and a benchmark framework".

The dimension is that of the law's support; at the sample sizes in use some look different (Mbeta concentrates where all
parameters are near 1, M8 folds below the distance of neighbours), which is what makes them a benchmark.
"""

from __future__ import annotations

import math
from functools import partial

from submanifold.data.benchmarks import maps
from submanifold.data.benchmarks.base import BENCHMARK, BenchmarkManifold, Chart
from submanifold.data.benchmarks.laws import beta, box, burr, cube_surface, normal, sphere

__all__ = ["BENCHMARK", "benchmark", "benchmark_names"]

_PI = math.pi
_thrice = partial(maps.folded, copies=3)
_unit = partial(box, 0.0, 1.0)

_MANIFOLDS = (
    BenchmarkManifold("M1_Sphere", 10, 11, "uniform on the unit sphere", sphere(10)),
    BenchmarkManifold("M2_Affine_3to5", 3, 5, "affine image of a cube", Chart(box(0.0, 4.0, 3), maps.affine_3to5)),
    BenchmarkManifold(
        "M3_Nonlinear_4to6", 4, 6, "concentrated, easily taken for 3-D", Chart(_unit(4), maps.concentrated)
    ),
    BenchmarkManifold("M4_Nonlinear", 4, 8, "folded cube", Chart(_unit(4), maps.folded)),
    BenchmarkManifold("M5a_Helix1d", 1, 3, "closed coil with eight windings", Chart(box(0.0, 2 * _PI, 1), maps.coil)),
    BenchmarkManifold(
        "M5b_Helix2d", 2, 3, "helicoid, dense about its axis", Chart(box(0.0, 10 * _PI, 2), maps.helicoid)
    ),
    BenchmarkManifold("M6_Nonlinear", 6, 36, "folded cube, repeated three times", Chart(_unit(6), _thrice)),
    BenchmarkManifold("M7_Roll", 2, 3, "Swiss roll", Chart(box([1.5 * _PI, 0.0], [4.5 * _PI, 21.0], 2), maps.roll)),
    BenchmarkManifold(
        "M8_Nonlinear", 12, 72, "folded cube, highly curved, repeated three times", Chart(_unit(12), _thrice)
    ),
    BenchmarkManifold("M9_Affine", 20, 20, "solid cube of side 5", Chart(box(-2.5, 2.5, 20), maps.identity)),
    BenchmarkManifold("M10a_Cubic", 10, 11, "surface of the unit cube", cube_surface(10)),
    BenchmarkManifold("M10b_Cubic", 17, 18, "surface of the unit cube", cube_surface(17)),
    BenchmarkManifold("M10c_Cubic", 24, 25, "surface of the unit cube", cube_surface(24)),
    BenchmarkManifold("M10d_Cubic", 70, 71, "surface of the unit cube", cube_surface(70)),
    BenchmarkManifold(
        "M11_Moebius", 2, 3, "band with ten half-twists", Chart(box([0.0, -1.0], [2 * _PI, 1.0], 2), maps.moebius)
    ),
    BenchmarkManifold("M12_Norm", 20, 20, "isotropic Gaussian", Chart(normal(20), maps.identity)),
    BenchmarkManifold(
        "M13a_Scurve", 2, 3, "S-shaped surface", Chart(box([-1.5 * _PI, 0.0], [1.5 * _PI, 2.0], 2), maps.s_curve)
    ),
    BenchmarkManifold(
        "M13b_Spiral",
        1,
        13,
        "helix with five turns, in three of 13 coordinates",
        Chart(box(0.0, 10 * _PI, 1), maps.spiral),
    ),
    BenchmarkManifold(
        "Mbeta", 10, 40, "waves of beta variates, strongly non-uniform", Chart(beta(10.0, 0.5, 10), maps.waves)
    ),
    BenchmarkManifold("Mn1_Nonlinear", 18, 72, "tangents and arctangents of a cube", Chart(_unit(18), maps.tangents)),
    BenchmarkManifold("Mn2_Nonlinear", 24, 96, "tangents and arctangents of a cube", Chart(_unit(24), maps.tangents)),
    BenchmarkManifold("Mp1_Paraboloid", 3, 12, "paraboloid, nonlinearly embedded", Chart(burr(3), maps.paraboloid)),
    BenchmarkManifold("Mp2_Paraboloid", 6, 21, "paraboloid, nonlinearly embedded", Chart(burr(6), maps.paraboloid)),
    BenchmarkManifold("Mp3_Paraboloid", 9, 30, "paraboloid, nonlinearly embedded", Chart(burr(9), maps.paraboloid)),
)
for _manifold in _MANIFOLDS:
    BENCHMARK.register(_manifold.name)(_manifold)


def benchmark(name: str) -> BenchmarkManifold:
    """The benchmark manifold called `name`.

    >>> benchmark("M1_Sphere").sample(3).shape
    (3, 11)

    Raises:
        InvalidInput: for an unknown name, with the nearest match.
    """
    return BENCHMARK[name]


def benchmark_names() -> list[str]:
    """Names that `benchmark` and `load` know."""
    return list(BENCHMARK)
