"""Fisher separability: counts, the formula and its inverse, known dimensions, local values."""

import numpy as np
import pytest
from scipy.special import betainc
from sklearn.utils.estimator_checks import check_estimator

from submanifold.dimension import fishers
from submanifold.dimension.fishers import FisherS, separability_dimension
from submanifold.errors import InvalidInput


def sphere(n, d, seed, D=None):
    X = np.random.default_rng(seed).standard_normal((n, d))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    return X if D is None else np.hstack([X, np.zeros((n, D - d))])


@pytest.mark.filterwarnings("ignore:X holds 1 copies", "ignore:Skipping check")
@pytest.mark.parametrize("estimator", [FisherS(), FisherS(alphas=[0.3, 0.5])], ids=str)
def test_scikit_learn_accepts_the_estimator(estimator):
    check_estimator(estimator)


@pytest.mark.parametrize("alpha", [0.2, 0.6, 0.8, 0.98])
def test_the_dimension_inverts_the_probability(alpha):
    d = np.array([0.5, 1.0, 3.0, 10.0, 100.0, 2000.0])
    log_p = (d - 1) / 2 * np.log1p(-(alpha**2)) - np.log(alpha * np.sqrt(2 * np.pi * d))
    fine = log_p > -300
    np.testing.assert_allclose(separability_dimension(np.exp(log_p[fine]), alpha), d[fine], rtol=1e-9)
    assert np.isnan(separability_dimension(np.zeros(1), alpha)[0])


@pytest.mark.parametrize("d", [5, 20, 80])
def test_the_probability_is_that_of_a_cap_of_the_sphere(d):
    alpha = 0.6
    cap = 0.5 * betainc((d - 1) / 2, 0.5, 1 - alpha**2)  # of the points y with <x, y> >= alpha
    assert abs(separability_dimension(np.array([cap]), alpha)[0] / d - 1) < 0.5 / d + 0.002


@pytest.mark.parametrize("block", [None, 700])
@pytest.mark.parametrize("on_sphere", [True, False])
def test_counts_are_those_of_the_double_loop(monkeypatch, on_sphere, block):
    if block:
        monkeypatch.setattr(fishers, "_BLOCK_VALUES", block)
    X = np.random.default_rng(0).standard_normal((150, 4)) * [3, 2, 1.5, 1]
    fitted = FisherS(project_on_sphere=on_sphere).fit(X)
    Z = fitted.Xp_
    assert np.allclose(np.linalg.norm(Z, axis=1), 1) or not on_sphere
    if not on_sphere:
        np.testing.assert_allclose(np.cov(Z.T), np.eye(4), atol=1e-10)
    G = Z @ Z.T
    own = np.diag(G).copy()
    np.fill_diagonal(G, -np.inf)
    for a, alpha in enumerate(fitted.alphas_[0]):
        expected = (alpha * own[:, None] <= G).sum(axis=1) / 149
        np.testing.assert_array_equal(fitted.p_alpha_[a], expected)
        assert fitted.separable_fraction_[a] == np.mean(expected == 0)
    chosen = np.flatnonzero(fitted.n_alpha_ == fitted.dimension_)
    assert len(chosen) == 1


@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in (1, 2))])
@pytest.mark.parametrize(("d", "margin"), [(3, 0.06), (6, 0.05), (12, 0.06)])
def test_spheres_are_of_their_linear_dimension(d, margin, seed):
    X = sphere(1500, d, seed, d + 4)
    fitted = FisherS().fit(X)
    assert fitted.Xp_.shape == (1500, d)
    assert abs(fitted.dimension_ / d - 1) < margin


def test_components_kept_by_the_conditional_number():
    X = np.random.default_rng(0).standard_normal((800, 6)) * [4, 4, 4, 1, 1, 1]
    low, high = FisherS().fit(X), FisherS(conditional_number=100).fit(X)
    assert (low.Xp_.shape[1], high.Xp_.shape[1]) == (3, 6)
    assert abs(low.dimension_ - 3) < 0.3
    assert abs(high.dimension_ - 6) < 0.5


def test_dimension_at_each_point():
    X = sphere(600, 5, 0)
    fitted = FisherS().fit(X)
    local, index = fitted.point_inseparability_to_pointID("selected")
    assert local.shape == index.shape == (600,)
    assert abs(np.median(local) - 5) < 0.7
    some, where = fitted.point_inseparability_to_pointID("selected", force_definite_dim=False)
    chosen = int(np.argmin(np.abs(fitted.n_alpha_ - fitted.dimension_)))
    np.testing.assert_array_equal(where, np.flatnonzero(fitted.p_alpha_[chosen]))
    np.testing.assert_array_equal(some, local[where])
    whole, _ = fitted.point_inseparability_to_pointID()
    assert np.isfinite(whole).all()
    first, _ = fitted.point_inseparability_to_pointID(0)
    np.testing.assert_allclose(first, separability_dimension(fitted.p_alpha_[0], 0.6), rtol=1e-12)


@pytest.mark.parametrize("estimator", [FisherS(), FisherS(project_on_sphere=False)], ids=str)
def test_invariant_under_affine_maps_within_the_condition(estimator):
    X = np.random.default_rng(0).standard_normal((400, 4))
    Q = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))[0]
    expected = estimator.fit(X).dimension_
    stretched = X * [1.5, 1, 1, 0.8] @ Q  # whitening undoes it
    for moved in (7.0 * X @ Q + 2.0, X * 1e-150, X * 1e150, np.hstack([X, np.zeros((400, 3))]), X[::-1], stretched):
        np.testing.assert_allclose(estimator.fit(moved).dimension_, expected, rtol=1e-9)
    np.testing.assert_allclose(estimator.fit(X + 1e6).dimension_, expected, rtol=1e-3)
    np.testing.assert_allclose(estimator.fit(X.astype(np.float32)).dimension_, expected, rtol=1e-2)


def test_the_interval_holds_the_spread_over_samples():
    fits = [FisherS().fit(sphere(400, 5, s)) for s in range(15)]
    widths = [np.log(one.interval_[1] / one.interval_[0]) / 4 for one in fits[:4]]
    spread = np.log([one.dimension_ for one in fits]).std(ddof=1)
    assert 0.4 < np.mean(widths) / spread < 3


def test_the_limit_and_a_point_at_the_mean():
    X = sphere(300, 3, 0)
    assert FisherS().fit(X).n_alpha_.max() > 3
    assert FisherS(limit_maxdim=True).fit(X).n_alpha_.max() == 3
    symmetric = np.vstack([X, -X, np.zeros((1, 3))])
    assert abs(FisherS().fit(symmetric).dimension_ - 3) < 0.3


def test_lattices_and_lines_give_a_number():
    grid = np.stack(np.meshgrid(*[np.arange(6.0)] * 3), axis=-1).reshape(-1, 3)
    assert 2 < FisherS().fit(grid).dimension_ < 4
    assert 0.2 < FisherS().fit(np.linspace(0, 1, 50)[:, None]).dimension_ < 2


def test_copies_are_dropped():
    X = sphere(200, 4, 0)
    with pytest.warns(UserWarning, match="holds 50 copies"):
        assert FisherS().fit(np.vstack([X, X[:50]])).dimension_ == FisherS().fit(X).dimension_


@pytest.mark.slow
def test_memory_does_not_grow_with_the_square_of_the_points():
    import tracemalloc

    X = sphere(20_000, 10, 0)
    tracemalloc.start()
    value = FisherS().fit(X).dimension_
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert abs(value - 10) < 0.5
    assert peak < 300e6  # the matrix of all pairs has 3.2 GB


@pytest.mark.parametrize(
    ("fit", "named"),
    [
        (lambda X: FisherS(0.5).fit(X), "conditional_number=0.5"),
        (lambda X: FisherS(alphas=[0.5, 0.4]).fit(X), "alphas="),
        (lambda X: FisherS(alphas=[0.5, 1.0]).fit(X), "alphas="),
        (lambda X: FisherS(produce_plots=True).fit(X), "produce_plots=True"),
        (lambda X: FisherS().fit(X).point_inseparability_to_pointID("all"), "idx='all'"),
        (lambda X: FisherS().fit(X).point_inseparability_to_pointID(20), "idx=20"),
        (lambda X: FisherS().fit(X[:3]), "at least 4"),
        (lambda X: FisherS(100).fit(np.random.default_rng(0).standard_normal((30, 200))), "tell nothing"),
    ],
)
def test_refuses(fit, named):
    with pytest.raises(InvalidInput, match=named):
        fit(sphere(60, 3, 0))


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("n", "d", "D"), [(300, 5, 8), (200, 10, 10), (500, 25, 40)])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"conditional_number": 1000},
        {"project_on_sphere": False, "conditional_number": 100},
        {"alphas": np.arange(0.3, 1, 0.05)[None]},
    ],
    ids=str,
)
def test_agrees_with_the_peer(n, d, D, settings):
    import skdim

    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d)) @ rng.standard_normal((d, D)) + 0.02 * rng.standard_normal((n, D))
    peer, ours = skdim.id.FisherS(**settings).fit(X), FisherS(**settings).fit(X)
    np.testing.assert_allclose(ours.dimension_, peer.dimension_, rtol=1e-9)
    np.testing.assert_allclose(ours.n_alpha_, peer.n_alpha_, rtol=1e-9)
    np.testing.assert_allclose(ours.p_alpha_, peer.p_alpha_, rtol=1e-12)
    np.testing.assert_allclose(np.abs(ours.Xp_), np.abs(peer.Xp_), atol=1e-9)
    if (ours.p_alpha_[0] > 0).all():
        local = peer.point_inseparability_to_pointID(verbose=False)[0]
        np.testing.assert_allclose(ours.point_inseparability_to_pointID()[0], local, rtol=1e-9)
