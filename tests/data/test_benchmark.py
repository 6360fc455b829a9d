"""The benchmark manifolds: their dimension is the rank of their parametrisation, and their laws are those described."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chi2, kstest

from submanifold.data import BenchmarkManifold, benchmark, benchmark_names, load, manifold, source_names
from submanifold.data.benchmarks import Chart
from submanifold.data.noise import spread
from submanifold.errors import InvalidInput

Array = NDArray[np.float64]

DIMENSIONS = {  # name: (d, D), Campadelli et al. 2015
    "M1_Sphere": (10, 11),
    "M2_Affine_3to5": (3, 5),
    "M3_Nonlinear_4to6": (4, 6),
    "M4_Nonlinear": (4, 8),
    "M5a_Helix1d": (1, 3),
    "M5b_Helix2d": (2, 3),
    "M6_Nonlinear": (6, 36),
    "M7_Roll": (2, 3),
    "M8_Nonlinear": (12, 72),
    "M9_Affine": (20, 20),
    "M10a_Cubic": (10, 11),
    "M10b_Cubic": (17, 18),
    "M10c_Cubic": (24, 25),
    "M10d_Cubic": (70, 71),
    "M11_Moebius": (2, 3),
    "M12_Norm": (20, 20),
    "M13a_Scurve": (2, 3),
    "M13b_Spiral": (1, 13),
    "Mbeta": (10, 40),
    "Mn1_Nonlinear": (18, 72),
    "Mn2_Nonlinear": (24, 96),
    "Mp1_Paraboloid": (3, 12),
    "Mp2_Paraboloid": (6, 21),
    "Mp3_Paraboloid": (9, 30),
}
CUBES = ("M10a_Cubic", "M10b_Cubic", "M10c_Cubic", "M10d_Cubic")
SEEDS = range(4)


def chart(name: str) -> Chart:
    sampler = benchmark(name).sampler
    assert isinstance(sampler, Chart)
    return sampler


def points(name: str, n: int = 2500) -> Array:
    return np.concatenate([benchmark(name).sample(n, seed) for seed in SEEDS])


def test_the_24_manifolds_and_their_dimensions() -> None:
    assert {name: (benchmark(name).dim, benchmark(name).ambient_dim) for name in benchmark_names()} == DIMENSIONS
    assert set(DIMENSIONS) < set(source_names())


@pytest.mark.parametrize("name", DIMENSIONS)
@pytest.mark.parametrize("n", [1, 2, 71, 2500])
def test_every_number_of_points(name: str, n: int) -> None:
    M = benchmark(name)
    for noise in (0.0, 0.1):
        x = M.sample(n, seed=1, noise=noise)
        assert x.shape == (n, M.ambient_dim)
        assert x.dtype == np.float64
        assert np.isfinite(x).all()
        assert len(np.unique(x, axis=0)) == n
        np.testing.assert_array_equal(x, M.sample(n, seed=1, noise=noise))
        assert not np.isclose(x, M.sample(n, seed=2, noise=noise)).all()


@pytest.mark.parametrize("name", [name for name in DIMENSIONS if name != "M1_Sphere" and name not in CUBES])
def test_the_dimension_is_the_rank_of_the_jacobian(name: str) -> None:
    M, f = benchmark(name), chart(name)
    p = f.law(60, np.random.default_rng(7))  # (n, d)
    assert p.shape[1] == M.dim
    h = 1e-6 * np.minimum(p.std(axis=0).min(), 1.0)
    columns = [(f.embed(p + h * e) - f.embed(p - h * e)) / (2 * h) for e in np.eye(M.dim)]
    J = np.stack(columns, axis=2)  # (n, D, d)
    s = np.linalg.svd(J, compute_uv=False)
    # Rounding in the differences is about 1e-10 of the largest stretch.
    assert (np.linalg.matrix_rank(J, rtol=1e-7) == M.dim).all(), s[:, -1] / s[:, 0]


@pytest.mark.parametrize("name", CUBES)
def test_cubes_are_uniform_on_all_faces(name: str) -> None:
    x, d = points(name), benchmark(name).dim
    low, high = x == 0, x == 1
    assert ((low | high).sum(axis=1) == 1).all()  # the interior of one face: dimension d
    assert ((x >= 0) & (x <= 1)).all()
    counts = np.concatenate([low.sum(axis=0), high.sum(axis=0)])  # (2 (d + 1),)
    expected = len(x) / (2 * (d + 1))
    statistic = float((np.square(counts - expected) / expected).sum())
    assert chi2.sf(statistic, 2 * d + 1) > 1e-3
    inside = x[~(low | high)]
    assert kstest(inside[::7], "uniform").pvalue > 1e-3


def test_the_sphere_is_round_and_uniform() -> None:
    x = points("M1_Sphere")
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, rtol=1e-14)
    D = x.shape[1]
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=4.5 / np.sqrt(D * len(x)))
    np.testing.assert_allclose(x.T @ x / len(x), np.eye(D) / D, atol=4.5 * np.sqrt(2 / len(x)) / D)
    fourth = (x**4).mean(axis=0)  # E x_i^4 = 3 / (D (D + 2))
    np.testing.assert_allclose(fourth, 3 / (D * (D + 2)), rtol=0.2)
    # Every direction has the law of one coordinate: (1 + x_i) / 2 ~ Beta(d/2, d/2).
    along = x @ (np.arange(1, D + 1) / np.linalg.norm(np.arange(1, D + 1)))
    assert kstest((1 + along) / 2, "beta", args=((D - 1) / 2, (D - 1) / 2)).pvalue > 1e-3


def test_affine_manifolds_have_exact_rank_and_covariance() -> None:
    x = points("M2_Affine_3to5")
    s = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)
    assert s[2] > 0.1 * s[0]
    assert s[3] < 1e-12 * s[0]
    cube = points("M9_Affine")
    assert abs(cube).max() <= 2.5
    np.testing.assert_allclose(np.cov(cube.T), 25 / 12 * np.eye(20), atol=0.1)
    np.testing.assert_allclose(np.cov(points("M12_Norm").T), np.eye(20), atol=0.07)


def test_curves_and_surfaces_lie_where_they_are_said_to() -> None:
    def zero(value: Array, size: float = 1.0) -> None:
        np.testing.assert_allclose(value, 0, atol=1e-12 * size)

    x, y, z = points("M5a_Helix1d").T
    zero(np.square(np.hypot(x, y) - 2) + z**2 - 1)  # on a torus,
    zero(np.sin(8 * np.arctan2(y, x)) - z)  # eight times around
    x, y, z = points("M5b_Helix2d").T
    zero(x * np.sin(2 * z) - y * np.cos(2 * z), 100)
    x, _, z = points("M7_Roll").T
    t = np.hypot(x, z)
    zero(x - t * np.cos(t), 10)
    zero(z - t * np.sin(t), 10)
    x, y, z = points("M11_Moebius").T
    phi = np.arctan2(y, x)
    zero((np.hypot(x, y) - 1) * np.sin(5 * phi) - z * np.cos(5 * phi))
    x, _, z = points("M13a_Scurve").T
    zero(x**2 + np.square(1 - abs(z)) - 1)
    spiral = points("M13b_Spiral")
    x, y, t = spiral.T[:3]
    zero(np.hypot(x - 100 * np.cos(t), y - 100 * np.sin(t)), 100)
    assert (spiral[:, 3:] == 0).all()
    for name, d in (("Mp1_Paraboloid", 3), ("Mp2_Paraboloid", 6), ("Mp3_Paraboloid", 9)):
        x = points(name)
        y = x[:, : d + 1]
        zero(np.square(y[:, :d]).sum(axis=1) - y[:, d], 10)
        np.testing.assert_array_equal(x[:, d + 1 :], np.concatenate([np.sin(y), y**2], axis=1))


@pytest.mark.parametrize(
    ("name", "d", "copies"), [("M4_Nonlinear", 4, 1), ("M6_Nonlinear", 6, 3), ("M8_Nonlinear", 12, 3)]
)
def test_folded_cubes_give_their_parameters_back(name: str, d: int, copies: int) -> None:
    x = points(name)
    once = x[:, : 2 * d]
    np.testing.assert_array_equal(x, np.tile(once, (1, copies)))
    pairs = once.reshape(-1, d, 2)
    radius, turn = np.hypot(pairs[..., 0], pairs[..., 1]), np.arctan2(pairs[..., 1], pairs[..., 0]) / (2 * np.pi) % 1
    np.testing.assert_allclose(np.roll(radius, 1, axis=1), turn, atol=1e-9)  # both are p_i
    assert kstest(radius[:, 0], "uniform").pvalue > 1e-3


def test_maps_at_points_worked_out_by_hand() -> None:
    concentrated = chart("M3_Nonlinear_4to6").embed
    np.testing.assert_allclose(concentrated(np.eye(4)[1:2]), [[1, 0, 2, 1, -1, -1]], atol=1e-15)
    by_hand = [[0, 1, 1.5625, -1.25, -2.4375, 0.25]]
    np.testing.assert_allclose(concentrated(np.array([[0.25, 0.5, 1.0, 0.75]])), by_hand, atol=1e-15)
    x, y = 0.3, 0.8
    once = [np.tan(x * np.cos(y)), np.tan(y * np.cos(x)), np.arctan(y * np.sin(x)), np.arctan(x * np.sin(y))]
    np.testing.assert_allclose(chart("Mn1_Nonlinear").embed(np.array([[x, y]])), [once * 2], rtol=1e-15)


@pytest.mark.parametrize("name", ["Mp1_Paraboloid", "Mp3_Paraboloid"])
def test_burr_variates(name: str) -> None:
    """P(s_1 > a, s_2 > b) = 1 / (1 + a + b) for the odds s = (1 - p) / p."""
    p = points(name)[:, :2]
    s = (1 - p) / p
    for a, b in ((1.0, 0.0), (0.5, 0.5), (2.0, 1.0), (0.1, 5.0)):
        share, chance = ((s > (a, b)).all(axis=1)).mean(), 1 / (1 + a + b)
        assert abs(share - chance) < 4 * np.sqrt(chance * (1 - chance) / len(s))
    assert kstest(p[:, 0], "uniform").pvalue > 1e-3


def test_beta_variates_give_the_radius_of_the_waves() -> None:
    """With a = 2 pi p, (x / p, y / p) = (sin cos a, cos sin a), so that arcsin(x / p)^2 + arccos(y / p)^2 = 1."""
    f = chart("Mbeta")
    p = f.law(4000, np.random.default_rng(3))
    x = f.embed(p)
    np.testing.assert_allclose(
        np.square(np.arcsin(x[:, :10] / p)) + np.square(np.arccos(x[:, 10:20] / p)), 1, atol=1e-9
    )
    np.testing.assert_array_equal(x[:, :20], x[:, 20:])
    assert kstest(p[:, 0], "beta", args=(10, 0.5)).pvalue > 1e-3


@pytest.mark.parametrize("name", ["M1_Sphere", "M5b_Helix2d", "M10d_Cubic", "M13b_Spiral", "Mp3_Paraboloid"])
def test_noise_has_its_level_in_every_direction(name: str) -> None:
    M = benchmark(name)
    clean = M.sample(2500, seed=5)
    size = np.sqrt(np.square(clean - clean.mean(axis=0)).sum(axis=1).mean())
    for noise in (1e-3, 0.2):
        error = M.sample(2500, seed=5, noise=noise) - clean
        assert np.sqrt(np.square(error).sum(axis=1).mean()) == pytest.approx(noise * size, rel=0.05)
        sigma = error.std()
        assert kstest(error.ravel()[:5000] / sigma, "norm").pvalue > 1e-3
        np.testing.assert_allclose(error.std(axis=0), sigma, rtol=0.1)  # isotropic
        together = np.corrcoef(error[:, 0], clean[:, 0])[0, 1]
        assert abs(together) < 4 / np.sqrt(len(error))  # the noise does not repeat the draws of the points


def test_one_point_gets_as_much_noise_as_many() -> None:
    M = benchmark("M9_Affine")
    errors = [M.sample(1, seed, 0.1) - M.sample(1, seed) for seed in range(300)]
    size = spread(M.sample)
    assert size == pytest.approx(np.sqrt(20 * 25 / 12), rel=0.02)
    assert np.sqrt(np.square(errors).sum(axis=(1, 2)).mean()) == pytest.approx(0.1 * size, rel=0.05)


@pytest.mark.parametrize("units", [1e-6, 1e6])
def test_noise_of_analytic_manifolds_has_no_units_and_no_codimension(units: float) -> None:
    for ambient_dim in (2, 50):
        M = manifold("circle", kappa=0.0, radius=units, ambient_dim=ambient_dim)
        noisy = load("circle", n=4000, seed=2, noise=0.05, kappa=0.0, radius=units, ambient_dim=ambient_dim)
        assert noisy.manifold is not None
        error = noisy.x - M.sample(4000, seed=2)
        assert np.sqrt(np.square(error).sum(axis=1).mean()) == pytest.approx(0.05 * units, rel=0.03)
        np.testing.assert_array_equal(load(M, n=4000, seed=2, noise=0.05).x, noisy.x)


@pytest.mark.parametrize("name", ["M1_Sphere", "M10d_Cubic", "M13b_Spiral"])
def test_load_by_name(name: str) -> None:
    data = load(name, n=300, seed=4, noise=0.01)
    np.testing.assert_array_equal(data.x, benchmark(name).sample(300, seed=4, noise=0.01))
    flat = load(name, n=300)  # constant coordinates are part of the manifold
    assert (flat.name, flat.data_shape, flat.lattice) == (name, (benchmark(name).ambient_dim,), None)


def test_bad_arguments_are_refused() -> None:
    M: BenchmarkManifold = benchmark("M1_Sphere")
    for call, words in (
        (lambda: benchmark("M1_Sphre"), "benchmark manifold 'M1_Sphre' is unknown: did you mean 'M1_Sphere'"),
        (lambda: load("M7_Rol"), "did you mean 'M7_Roll'"),
        (lambda: M.sample(0), "n=0"),
        (lambda: M.sample(5, seed=-1), "seed=-1"),
        (lambda: M.sample(5, noise=-0.1), "noise=-0.1"),
        (lambda: M.sample(5, noise=float("nan")), "noise=nan"),
        (lambda: load("circle", noise=-1), "noise=-1"),
        (lambda: load("M7_Roll", nois=1), "did you mean 'noise'"),
    ):
        with pytest.raises(InvalidInput, match=words):
            call()


def test_the_same_seed_gives_the_same_points_in_another_process() -> None:
    code = "from submanifold.data import benchmark; print(benchmark('M10a_Cubic').sample(9, 3, 0.1).sum().hex())"
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert there == float(benchmark("M10a_Cubic").sample(9, 3, 0.1).sum()).hex()


@pytest.mark.peer
@pytest.mark.parametrize("name", [name for name in DIMENSIONS if name not in CUBES])
def test_laws_agree_with_scikit_dimension(name: str) -> None:
    """Coordinate by coordinate, up to the many comparisons; the cubes are left out, for they lack faces there."""
    from scipy.stats import ks_2samp
    from skdim.datasets import BenchmarkManifolds

    M = benchmark(name)
    theirs = BenchmarkManifolds(random_state=1).generate(name=name, n=2500, dim=M.ambient_dim, d=M.dim)
    ours = M.sample(2500)
    p = [ks_2samp(ours[:, j], theirs[:, j]).pvalue for j in range(M.ambient_dim)]
    assert min(p) > 1e-3 / M.ambient_dim
