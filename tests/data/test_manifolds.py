"""Every analytic manifold: the density integrates to one, samples follow it, the projection is the nearest point."""

from __future__ import annotations

import numpy as np
import pytest
from charts import CHARTS, Chart
from scipy.stats import chi2, ortho_group

from submanifold.data import manifold, manifold_names
from submanifold.data.manifolds import Ball, Circle, Linear, Union
from submanifold.errors import InvalidInput

charted = pytest.mark.parametrize("chart", CHARTS.values(), ids=CHARTS.keys())
named = pytest.mark.parametrize("name", manifold_names())


@charted
def test_density_integrates_to_one(chart: Chart) -> None:
    count = {1: 4000, 2: 400, 3: 80}[chart.manifold.dim]
    # The midpoint rule errs by O(1 / count^2), times (b-a)^2/24 of a second derivative of order 1.
    assert chart.mass(count).sum() == pytest.approx(1, abs={1: 1e-6, 2: 1e-4, 3: 1e-3}[chart.manifold.dim])


@charted
def test_samples_follow_the_density(chart: Chart) -> None:
    """Pearson's chi-square on cells of the chart: no seed of five has p < 1e-4, as happens by chance once in 2000."""
    d = chart.manifold.dim
    cells, fine = {1: (40, 100), 2: (12, 30), 3: (6, 12)}[d]
    mass = chart.mass(cells * fine).reshape([cells, fine] * d)
    expected = mass.sum(axis=tuple(range(1, 2 * d, 2))).ravel()
    low, width = np.array(chart.low), (np.array(chart.high) - chart.low) / cells
    n = 20_000
    for seed in range(5):
        t = chart.parameters(chart.manifold.native(chart.manifold.sample(n, seed=seed)))
        cell = np.clip(((t - low) / width).astype(int), 0, cells - 1)
        observed = np.bincount(np.ravel_multi_index(tuple(cell.T), [cells] * d), minlength=cells**d)
        often = n * expected >= 5
        o = np.append(observed[often], observed[~often].sum())
        e = np.append(n * expected[often], max(n * expected[~often].sum(), 1.0))
        assert chi2.sf(((o - e) ** 2 / e).sum(), len(o) - 1) > 1e-4


@charted
def test_projection_is_the_nearest_point(chart: Chart) -> None:
    M = chart.manifold
    rng = np.random.default_rng(0)
    spread = np.abs(M.sample(100)).max()
    x = M.sample(100, seed=1) + spread * rng.standard_normal((100, M.ambient_dim)) * rng.uniform(0, 1, (100, 1))
    grid = M.embed(chart.point(chart.grid({1: 4000, 2: 250, 3: 60}[M.dim])[0]))
    nearest = np.min([np.linalg.norm(x - g[:, None], axis=2).min(0) for g in np.array_split(grid, 200)], axis=0)
    spacing = {1: 0.02, 2: 0.2, 3: 0.2}[M.dim] * spread
    assert (M.distance(x) <= nearest + 1e-9).all()  # no point of the grid is nearer
    if not isinstance(M, Linear):  # the grid of a plane ends at seven deviations
        assert (M.distance(x) >= nearest - spacing).all()


@named
@pytest.mark.parametrize("extra", [0, 1, 30])
def test_contract(name: str, extra: int) -> None:
    M = manifold(name, ambient_dim=manifold(name).ambient_dim + extra, frame_seed=3)
    x = M.sample(300, seed=7)
    assert x.shape == (300, M.ambient_dim)
    assert M.name == name
    assert M.dim < M.ambient_dim or name == "lollipop"
    np.testing.assert_array_equal(x, M.sample(300, seed=7))
    assert not np.array_equal(x, M.sample(300, seed=8))
    scale = np.abs(x).max()
    np.testing.assert_allclose(M.distance(x), 0, atol=1e-12 * scale)
    assert np.isfinite(M.log_prob(x)).all()
    assert np.isfinite(M.log_prob(x.astype(np.float32))).all()  # rounding to float32 keeps a point on M
    noised = x + scale * np.random.default_rng(0).standard_normal(x.shape)
    p = M.project(noised)
    np.testing.assert_allclose(M.project(p), p, atol=1e-10 * scale)
    np.testing.assert_allclose(M.distance(noised), np.linalg.norm(noised - p, axis=1))
    off = M.distance(noised) > 10 * M.tolerance
    assert np.isneginf(M.log_prob(noised[off])).all()
    assert len(M.sample(1)) == 1


@named
def test_embedding_is_isometric(name: str) -> None:
    """Distances between points, distances to M, densities: all as in the native space."""
    low = manifold(name, ambient_dim=manifold(name).native_dim)
    high = manifold(name, ambient_dim=low.native_dim + 9, frame_seed=5)
    np.testing.assert_allclose(high.frame.T @ high.frame, np.eye(low.native_dim), atol=1e-14)
    y = low.sample(50, seed=2)
    x = high.sample(50, seed=2)
    np.testing.assert_allclose(high.native(x), y, atol=1e-12)
    gaps = [np.linalg.norm(z[:, None] - z[None], axis=2) for z in (x, y)]
    np.testing.assert_allclose(*gaps, atol=1e-12)
    np.testing.assert_allclose(high.log_prob(x), low.log_prob(y), atol=1e-9)
    off = np.random.default_rng(1).standard_normal((50, low.native_dim)) * 3
    np.testing.assert_allclose(high.distance(high.embed(off)), low.distance(off), atol=1e-9)


def test_frames_differ_by_seed_only() -> None:
    frames = [manifold("circle", ambient_dim=6, frame_seed=seed).frame for seed in (0, 0, 1)]
    np.testing.assert_array_equal(frames[0], frames[1])
    assert np.abs(frames[0] - frames[2]).max() > 0.1


@pytest.mark.parametrize("c", [1e-3, 50.0])
def test_change_of_units_shifts_log_density(c: float) -> None:
    """x -> c x multiplies d-dimensional volume by c^d."""
    pairs = [
        (manifold("circle", kappa=2.0), manifold("circle", kappa=2.0, radius=c)),
        (manifold("sphere", dim=4, kappa=3.0), manifold("sphere", dim=4, kappa=3.0, radius=c)),
        (manifold("torus"), manifold("torus", major_radius=2 * c, minor_radius=c)),
        (manifold("linear", dim=3), manifold("linear", dim=3, scales=[c] * 3)),
        (manifold("ball", dim=2), manifold("ball", dim=2, radius=c)),
    ]
    for one, scaled in pairs:
        x = one.sample(40, seed=1)
        shift = one.dim * np.log(c)
        np.testing.assert_allclose(scaled.log_prob(c * x), one.log_prob(x) - shift, atol=1e-9)


def test_linear_agrees_with_scipy() -> None:
    from scipy.stats import multivariate_normal

    A = np.random.default_rng(0).standard_normal((3, 3))
    M = manifold("linear", dim=3, covariance=A @ A.T, ambient_dim=8)
    x = M.sample(20_000, seed=4)
    expected = multivariate_normal(np.zeros(3), A @ A.T).logpdf(M.native(x))
    np.testing.assert_allclose(M.log_prob(x), expected, atol=1e-9)
    # Entries of a sample covariance have standard error at most sqrt(2/n) max(diag) = 1% of it; five of these.
    np.testing.assert_allclose(np.cov(x.T), M.frame @ A @ A.T @ M.frame.T, atol=0.05 * (A @ A.T).max())


@pytest.mark.parametrize(
    ("name", "arguments", "word"),
    [
        ("circel", {}, "circle"),
        ("circle", {"kapa": 1.0}, "kappa"),
        ("circle", {"kappa": -1.0}, "kappa"),
        ("circle", {"radius": 0.0}, "radius"),
        ("circle", {"ambient_dim": 1}, "ambient_dim"),
        ("sphere", {"dim": 0}, "dim"),
        ("torus", {"minor_radius": 2.0}, "minor_radius"),
        ("swiss-roll", {"height": np.nan}, "height"),
        ("linear", {"dim": 2, "scales": [1.0]}, "scales"),
        ("linear", {"dim": 2, "covariance": [[1.0, 2.0], [2.0, 1.0]]}, "covariance"),
        ("linear", {"dim": 3, "ambient_dim": 2}, "ambient_dim"),
        ("ball", {"dim": 3, "center": (0, 0)}, "center"),
        ("lollipop", {"weights": (1, 2)}, "weights"),
    ],
)
def test_refuses_bad_arguments(name: str, arguments: dict[str, object], word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        manifold(name, **arguments)


def test_refuses_points_of_another_space() -> None:
    with pytest.raises(InvalidInput, match=r"R\^2"):
        manifold("circle").log_prob(np.zeros((4, 3)))
    with pytest.raises(InvalidInput, match="NaN"):
        manifold("circle").distance([[np.nan, 0.0]])


def test_union_integrates_to_its_weights() -> None:
    """Each component carries its weight: quadrature of w_k p_k over M_k, with respect to the volume of M_k."""
    M = manifold("lollipop", weights=(5, 4, 1), ambient_dim=6)
    r, a = np.meshgrid((np.arange(400) + 0.5) / 400, 2 * np.pi * (np.arange(200) + 0.5) / 200)
    disc = np.stack([(r * np.cos(a)).ravel(), (r * np.sin(a)).ravel()], axis=1)
    stick = np.stack([1 + 2 * (np.arange(1000) + 0.5) / 1000, np.zeros(1000)], axis=1)
    on_disc = np.exp(M.log_prob(M.embed(disc)))
    assert (on_disc * r.ravel()).sum() * (2 * np.pi / 200) / 400 == pytest.approx(0.5, abs=1e-4)
    assert np.exp(M.log_prob(M.embed(stick))).sum() * 2 / 1000 == pytest.approx(0.4, abs=1e-9)
    assert np.exp(M.log_prob(M.embed([[4.0, 0.0]]))) == pytest.approx(0.1)


def test_union_components() -> None:
    M = manifold("lollipop", ambient_dim=4)
    assert isinstance(M, Union)
    assert M.dims == (2, 1, 0)
    assert M.dim == 2
    on_each = M.embed([[0.0, 0.5], [2.0, 0.0], [4.0, 0.0], [1.0, 0.0]])
    np.testing.assert_array_equal(M.component_of(on_each), [0, 1, 2, 1])  # the joint belongs to the stick
    n = 20_000
    share = np.bincount(M.component_of(M.sample(n, seed=1)), minlength=3) / n
    np.testing.assert_allclose(share, M.weights, atol=5 * np.sqrt(0.25 / n))


def test_union_of_disjoint_circles_is_their_mixture() -> None:
    circles = [Circle(1.0, ambient_dim=5, frame_seed=1), Circle(3.0, radius=4.0, ambient_dim=5, frame_seed=2)]
    M = Union(circles, [1, 3])
    for k, circle in enumerate(circles):
        x = circle.sample(30, seed=k)
        np.testing.assert_allclose(M.log_prob(x), np.log(M.weights[k]) + circle.log_prob(x), atol=1e-9)
    with pytest.raises(InvalidInput, match="components"):
        Union([Circle(), Ball(2)])


def test_distances_are_invariant_under_rotation() -> None:
    """A torus seen through another frame: rotating points and frame together changes nothing."""
    M = manifold("torus", ambient_dim=5)
    N = manifold("torus", ambient_dim=5)
    Q = ortho_group(5, seed=0).rvs()
    N.frame = Q @ M.frame
    x = np.random.default_rng(0).standard_normal((100, 5)) * 3
    np.testing.assert_allclose(N.distance(x @ Q.T), M.distance(x), atol=1e-10)
