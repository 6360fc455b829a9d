"""GeoMLE, PH and MagnitudeDimension: exact theorems, known manifolds, scikit-dimension, refusals."""

import numpy as np
import pytest
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import pdist, squareform
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimator

from submanifold.dimension.geomle import GeoMLE
from submanifold.dimension.magnitude import MagnitudeDimension, magnitude
from submanifold.dimension.mle import MLE
from submanifold.dimension.persistent import PH
from submanifold.dimension.spanning_trees import SpanningTrees
from submanifold.dimension.variance import Patches
from submanifold.errors import InvalidInput
from submanifold.neighbors import NeighborGraph

EVERY = [
    GeoMLE(2, 4),
    GeoMLE(2, 4, degree=(1,), fraction=0.9),
    PH(),
    MagnitudeDimension(),
    PH(metric="precomputed"),
    MagnitudeDimension(metric="precomputed"),
]
ROUNDED = {"check_estimators_dtypes": "distances between 20 points as whole numbers: PH refuses what is on a lattice"}


def sphere(n, d, seed=0, noise=0.0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d + 1))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x + noise * rng.standard_normal(x.shape)


@pytest.mark.filterwarnings("ignore:X holds 1 copies", "ignore:Skipping check")
@pytest.mark.parametrize("estimator", EVERY, ids=str)
def test_scikit_learn_accepts_the_estimator(estimator):
    rounded = ROUNDED if isinstance(estimator, PH) and estimator.metric == "precomputed" else None
    check_estimator(estimator, expected_failed_checks=rounded)


# GeoMLE


@pytest.mark.parametrize("settings", [{}, {"degree": (1,)}, {"fraction": 0.7}, {"k1": 2, "k2": 40, "degree": (1, 3)}])
@pytest.mark.parametrize("d", [1, pytest.param(4, marks=pytest.mark.slow), 15])
def test_extrapolation_is_exact_on_the_poisson_model(d, settings):
    values = []
    for seed in range(10):
        volumes = np.cumsum(np.random.default_rng(seed).exponential(size=(3000, 60)), axis=1)
        estimator = GeoMLE(**settings)
        patches = Patches(volumes ** (1 / d), np.zeros((3000, 60), np.int64), np.arange(3000))
        values.append(estimator._pool(estimator._local(patches, None)))
    assert abs(np.mean(values) - d) < 4 * np.std(values) / np.sqrt(10) + 0.002 * d


def test_the_estimate_is_the_value_of_the_polynomial_at_zero():
    X = sphere(500, 3)
    T = NeighborGraph(X, 20).distances
    pooled, R = [], []
    for k in range(3, 21):
        pooled.append(MLE(k).fit(X).dimension_)
        R.append(np.exp(np.log(T[:, k - 1]).mean()))
    for degree in (1, 2):
        design = np.stack([np.ones(18), np.array(R) ** degree], axis=1)
        w = np.arange(3, 21)
        expected = np.linalg.solve((design.T * w) @ design, (design.T * w) @ pooled)[0]
        np.testing.assert_allclose(GeoMLE(degree=(degree,)).fit(X).dimension_, expected, rtol=1e-9)


def test_averages_are_over_random_subsets():
    X, q, repeats = sphere(300, 2)[:150], 0.632, 300
    D = squareform(pdist(X))
    T = np.sort(D, axis=1)[:, 1:]
    averaged = GeoMLE(2, 6, fraction=q)._local(Patches(T, np.zeros(T.shape, np.int64), np.arange(150)), None)
    rng, drawn = np.random.default_rng(0), []
    for _ in range(repeats):
        kept = rng.random(150) < q
        others = np.where(kept, D, np.inf)
        np.fill_diagonal(others, np.inf)
        drawn.append(np.log(np.sort(others, axis=1)[:, :6]).mean(axis=0))
    error = np.std(drawn, axis=0) / np.sqrt(repeats)
    assert (abs(np.mean(drawn, axis=0) - averaged.mean(axis=0)) < 4 * error).all()


@pytest.mark.parametrize("d", [8, pytest.param(15, marks=pytest.mark.slow)])
def test_extrapolation_corrects_curvature_and_boundaries(d):
    plain, corrected = [], []
    for seed in range(3):
        cube = np.random.default_rng(seed).uniform(size=(1500, d))
        for X in (sphere(1500, d, seed), cube):
            plain.append(abs(MLE().fit(X).dimension_ / d - 1))
            corrected.append(abs(GeoMLE().fit(X).dimension_ / d - 1))
    assert np.mean(corrected) < 0.6 * np.mean(plain)


@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in (1, 2))])
@pytest.mark.parametrize(("d", "margin"), [(1, 0.06), (2, 0.06), (5, 0.08)])
def test_geomle_of_known_manifolds(d, margin, seed):
    fitted = GeoMLE().fit(sphere(1500, d, seed))
    assert abs(fitted.dimension_ / d - 1) < margin
    assert fitted.interval_[0] < fitted.dimension_ < fitted.interval_[1]


# PH


def all_lengths(X):
    return SpanningTrees(squareform(pdist(X))).lengths(np.arange(len(X)))


def clusters(n, D, rng):
    """Four, of which two are of equal size, far apart: neighbours say nothing of the edges between them."""
    return rng.standard_normal((n, D)) + 100 * rng.choice([0, 0, 1, 1, 2, 4], n)[:, None]


def lattice(n, D, rng):
    """Hardly two of the distances differ."""
    return np.unique(rng.integers(0, 20 if D <= 2 else 3, (3 * n, D)), axis=0)[:n].astype(float)


def outliers(n, D, rng):
    return rng.standard_cauchy((n, D))


@pytest.mark.parametrize("few", [0, 10**6], ids=["from lists", "from distances"])
@pytest.mark.parametrize("points", [clusters, lattice, outliers])
@pytest.mark.parametrize("n", [2, 5, 60, 400])
@pytest.mark.parametrize("D", [1, 2, 10])
def test_lengths_are_those_of_a_minimum_spanning_tree(points, n, D, few, monkeypatch):
    monkeypatch.setattr("submanifold.dimension.spanning_trees._FEW", few)
    rng = np.random.default_rng(n)
    distances = squareform(pdist(points(n, D, rng)))
    n = len(distances)
    trees = SpanningTrees(distances)
    for size in sorted({2, n // 10, n // 2, n} - {0, 1}):
        chosen = rng.choice(n, min(size, n), replace=False)
        expected = np.sort(minimum_spanning_tree(distances[np.ix_(chosen, chosen)]).data)
        np.testing.assert_array_equal(trees.lengths(chosen), expected)


@pytest.mark.parametrize("points", [clusters, lattice, outliers])
def test_trees_of_many_points_are_those_of_few(points, monkeypatch):
    distances = squareform(pdist(points(1500, 5, np.random.default_rng(0))))
    chosen = np.random.default_rng(1).choice(len(distances), len(distances) * 3 // 4, replace=False)
    found = SpanningTrees(distances).lengths(chosen)
    monkeypatch.setattr("submanifold.dimension.spanning_trees._FEW", 10**6)
    np.testing.assert_array_equal(found, SpanningTrees(distances).lengths(chosen))


def test_the_tree_of_points_on_a_line_joins_the_next():
    x = np.random.default_rng(0).standard_normal((50, 1))
    np.testing.assert_allclose(all_lengths(x), np.sort(np.diff(np.sort(x[:, 0]))), rtol=1e-12)
    fitted = PH(nsteps=4, subsamples=3).fit(x)  # all lengths together are the range of the points
    np.testing.assert_allclose(fitted.y_[fitted.x_ == np.log(50)], 0, atol=1e-12)


def test_persistence_is_that_of_every_subset():
    X = sphere(120, 2)
    fitted = PH(alpha=0.7, nsteps=3, subsamples=4).fit(X)
    assert len(fitted.x_) == 9  # four subsets of two sizes, and all points once
    np.testing.assert_allclose(np.exp(fitted.x_[[0, 4, 8]]), [60, 90, 120])
    slope = np.polyfit(fitted.x_, fitted.y_, 1)[0]
    np.testing.assert_allclose(fitted.dimension_, 0.7 / (1 - slope), rtol=1e-9)
    total = ((all_lengths(X) / pdist(X).max()) ** 0.7).sum()
    np.testing.assert_allclose(fitted.y_[-1], np.log(total), rtol=1e-12)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("d", "margin"), [(1, 0.15), (2, 0.15), (4, 0.25)])
def test_ph_of_known_manifolds(d, margin, seed):
    fitted = PH().fit(sphere(400, d, seed))
    assert abs(fitted.dimension_ / d - 1) < margin
    assert fitted.interval_[0] < fitted.dimension_ < fitted.interval_[1]


def test_ph_of_many_points_looks_at_some():
    X = sphere(900, 2)
    fitted = PH(n_points=400).fit(X)
    assert fitted.x_.max() == np.log(400)
    assert fitted.dimension_ == PH(n_points=400).fit(X).dimension_ != PH(n_points=400, random_state=1).fit(X).dimension_


@pytest.mark.parametrize(
    "estimator", [MagnitudeDimension(80), pytest.param(PH(nsteps=5, n_points=150), marks=pytest.mark.slow)], ids=str
)
def test_intervals_cover_where_most_points_are_left_out(estimator):
    """A half is no less then than what the estimate is made of, and the choice of points is part of the error."""
    rng, found = np.random.default_rng(0), []
    for seed in range(200):
        fitted = clone(estimator).set_params(random_state=seed).fit(rng.standard_normal((600, 3)))
        found.append((fitted.dimension_, *fitted.interval_))
    values, low, high = np.array(found).T
    assert 0.9 <= np.mean((low <= values.mean()) & (values.mean() <= high)) <= 0.99  # 95%, 3 errors less, 2.6 more


# Magnitude


@pytest.mark.parametrize("t", [0.1, 1.0, 30.0])
def test_magnitude_in_closed_form(t):
    two = np.array([[0.0, 1.0], [1.0, 0.0]])
    np.testing.assert_allclose(magnitude(two, t), 2 / (1 + np.exp(-t)), rtol=1e-12)
    # n points on a line at distances h: 1 + the sum of tanh(t h / 2).
    x = np.cumsum(np.random.default_rng(0).uniform(0.5, 1.5, 40))
    expected = 1 + np.tanh(t * np.diff(x) / 2).sum()
    np.testing.assert_allclose(magnitude(abs(x[:, None] - x), t), expected, rtol=1e-9)
    # Products with the l1 distance multiply.
    grid = np.stack(np.meshgrid(x[:6], x[:5]), axis=-1).reshape(-1, 2)
    product = (1 + np.tanh(t * np.diff(x[:6]) / 2).sum()) * (1 + np.tanh(t * np.diff(x[:5]) / 2).sum())
    np.testing.assert_allclose(magnitude(squareform(pdist(grid, "cityblock")), t), product, rtol=1e-9)
    # Complete symmetry: n / (1 + (n - 1) e^-t).
    simplex = 1 - np.eye(7)
    np.testing.assert_allclose(magnitude(simplex, t), 7 / (1 + 6 * np.exp(-t)), rtol=1e-12)


def test_slopes_are_derivatives_of_magnitude():
    X = sphere(150, 2)
    fitted = MagnitudeDimension().fit(X)
    distances = squareform(pdist(X))
    for t, slope, size in zip(fitted.scales_, fitted.slopes_, fitted.magnitudes_, strict=True):
        np.testing.assert_allclose(magnitude(distances, t), size, rtol=1e-7)
        h = 1e-4
        growth = np.log(magnitude(distances, t * (1 + h)) / magnitude(distances, t * (1 - h))) / (2 * h)
        np.testing.assert_allclose(slope, growth, rtol=1e-4)
    assert fitted.dimension_ == fitted.slopes_.max()


@pytest.mark.parametrize(
    "points", [clusters, outliers, lambda n, D, rng: sphere(n, D)], ids=["clusters", "far", "near"]
)
@pytest.mark.parametrize("d", [1, 3, 10])
def test_the_largest_slope_of_all_scales_is_found(points, d):
    X = points(200, d, np.random.default_rng(0))
    distances = squareform(pdist(X))
    nearest = np.median(np.sort(distances, axis=1)[:, 1])
    log_t = np.linspace(np.log(0.1 / distances.max()), np.log(20 / nearest), 600)
    slopes = np.gradient(np.log([magnitude(distances, t) for t in np.exp(log_t)]), log_t)
    assert MagnitudeDimension().fit(X).dimension_ == pytest.approx(slopes.max(), rel=1e-3)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("d", "low", "high"), [(1, 0.93, 1.02), (2, 1.55, 2.0), (3, 1.9, 2.6)])
def test_magnitude_of_segment_square_and_cube_from_below(d, low, high, seed):
    fitted = MagnitudeDimension().fit(np.random.default_rng(seed).uniform(size=(900, d)))
    assert low < fitted.dimension_ < high
    assert fitted.scales_[0] < fitted.scales_[np.argmax(fitted.slopes_)] < fitted.scales_[-1]


def test_geomle_says_why_it_refuses():
    # Short segments at the points of a grid: a line from near, four dimensions from farther away.
    X = np.repeat(np.stack(np.meshgrid(*[np.arange(6.0)] * 4), axis=-1).reshape(-1, 4), 4, axis=0)[:1500]
    X[:, 0] += np.random.default_rng(0).uniform(-0.2, 0.2, len(X))
    with pytest.raises(InvalidInput, match="extrapolates them to 0 or below"):
        GeoMLE().fit(X)
    with pytest.raises(InvalidInput, match="values on a lattice"):
        GeoMLE().fit(np.eye(40))


@pytest.mark.parametrize(
    ("estimator", "named"),
    [
        (GeoMLE(1), "k1=1"),
        (GeoMLE(5, 5), "k2=5"),
        (GeoMLE(degree=()), "one or more different powers"),
        (GeoMLE(degree=(1, 1)), "one or more different powers"),
        (GeoMLE(fraction=0.0), "fraction=0.0"),
        (PH(alpha=0), "alpha=0"),
        (PH(n_range_min=0.9, n_range_max=0.5), "n_range_max=0.5"),
        (PH(n_range_min=0.9999), "make no two subsets"),
        (PH(nsteps=1), "nsteps=1"),
        (PH(n_points=2), "n_points=2"),
        (MagnitudeDimension(1), "n_points=1"),
    ],
    ids=str,
)
def test_refusals(estimator, named):
    with pytest.raises(InvalidInput, match=named):
        estimator.fit(sphere(100, 2))


@pytest.mark.peer
@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.5])
def test_peer_of_ph(alpha):
    # Subsets are drawn otherwise: the tree of all points is the same, the dimensions agree within their spread.
    import skdim

    X = sphere(400, 3)
    peers = [skdim.id.PH(alpha=alpha, nsteps=10, subsamples=5, random_state=s).fit(X) for s in range(5)]
    ours = [PH(alpha=alpha, random_state=s).fit(X) for s in range(5)]
    unit = pdist(X).max() ** alpha
    np.testing.assert_allclose(np.exp(ours[0].y_[-1]) * unit, np.exp(peers[0].y_[-1]), rtol=1e-9)
    found, other = ([one.dimension_ for one in many] for many in (ours, peers))
    assert abs(np.mean(found) - np.mean(other)) < 4 * np.hypot(np.std(found), np.std(other)) / np.sqrt(5) + 0.02
