"""Single estimators: closed forms, manifolds of known dimension, invariances, copies, refusals."""

import numpy as np
import pytest
import torch
from sklearn.utils.estimator_checks import check_estimator

from submanifold.data.dataset import Dataset
from submanifold.dimension import ESTIMATORS, MLE, LocalPCA, TwoNN, names
from submanifold.dimension.variance import Patches, graph_size
from submanifold.errors import InvalidInput
from submanifold.neighbors import NeighborGraph

EVERY = [MLE(5), MLE(5, comb="mean", unbiased=True), TwoNN(), TwoNN(method="mle"), LocalPCA(6)]


def gaussian(n, d, D, seed=0):
    rng = np.random.default_rng(seed)
    frame = np.linalg.qr(rng.standard_normal((D, d)))[0]
    return rng.standard_normal((n, d)) @ frame.T


@pytest.mark.filterwarnings("ignore:X holds 1 copies", "ignore:Skipping check")
@pytest.mark.parametrize("estimator", EVERY, ids=str)
def test_scikit_learn_accepts_the_estimator(estimator):
    check_estimator(estimator)


def test_names_are_those_of_the_registry():
    assert {"calibrated", "lpca", "mle", "twonn"} <= set(names())
    with pytest.raises(InvalidInput, match="did you mean 'twonn'"):
        ESTIMATORS["twon"]


def _pareto_patches(d, n, k, seed):
    """Distances in a homogeneous Poisson process from n independent points: T_j^d are sums of exponentials."""
    volumes = np.cumsum(np.random.default_rng(seed).exponential(size=(n, k)), axis=1)
    return Patches(volumes ** (1 / d), np.zeros((n, k), np.int64), np.arange(n))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("d", [1, 4, 15])
def test_exact_on_the_poisson_model(d, seed):
    n = 20_000
    cases = [  # with the standard error of the logarithm under independence
        (MLE(10), 10, 1 / np.sqrt(9 * n)),
        (MLE(10, comb="mean", unbiased=True), 10, 1 / np.sqrt(7 * n)),
        (TwoNN(), 2, 1.3 / np.sqrt(n)),
        (TwoNN(method="mle"), 2, 1.1 / np.sqrt(n)),
        (TwoNN(0.0, method="mle"), 2, 1 / np.sqrt(n)),
    ]
    for estimator, k, error in cases:
        value = estimator._pool(estimator._local(_pareto_patches(d, n, k, seed), None))
        assert abs(np.log(value / d)) < 4.5 * error + 1e-3, (estimator, value)


@pytest.mark.parametrize("method", ["linear", "mle"])
def test_twonn_keeps_enough_of_few_ratios(method):
    for n in (4, 5, 8):
        assert 0 < TwoNN(0.9, method=method).fit(gaussian(n, 2, 2)).dimension_ < np.inf


def test_mle_is_the_formula():
    T = np.array([[1.0, 2.0, 4.0, 8.0]])
    patches = Patches(T, np.zeros((1, 4), np.int64), np.arange(1))
    inverse = (np.log(8) + np.log(4) + np.log(2)) / 3
    np.testing.assert_allclose(MLE(4)._pool(MLE(4)._local(patches, None)), 1 / inverse)


@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in (1, 2))])
def test_known_manifolds(seed):
    rng = np.random.default_rng(seed)
    sphere = rng.standard_normal((1500, 3))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    angle = rng.uniform(0, 2 * np.pi, 1500)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    for X, d in ((circle, 1), (sphere, 2), (gaussian(1500, 4, 30, seed), 4)):
        for estimator, margin in ((MLE(), 0.04), (TwoNN(), 0.12), (LocalPCA(), 0.01)):
            value = estimator.fit(X).dimension_
            assert abs(value / d - 1) < margin, (estimator, d, value)


def test_local_pca_rules_on_a_flat_manifold():
    X = gaussian(400, 3, 20)
    for ver in ("FO", "maxgap"):
        fitted = LocalPCA(40, ver=ver).fit(X)
        np.testing.assert_array_equal(fitted.dimension_pw_, 3)
        assert fitted.interval_ == (3.0, 3.0)
    np.testing.assert_array_equal(LocalPCA(40, ver="ratio", alphaRatio=1 - 1e-9).fit(X).dimension_pw_, 3)
    assert LocalPCA(40, ver="ratio", alphaRatio=0.3).fit(X).dimension_ < 2


@pytest.mark.parametrize("estimator", EVERY, ids=str)
def test_invariant_under_isometry_scale_and_padding(estimator):
    X = gaussian(300, 3, 5)
    Q = np.linalg.qr(np.random.default_rng(1).standard_normal((5, 5)))[0]
    reference = estimator.fit(X)
    expected = (reference.dimension_, *reference.interval_)
    for moved in (7.0 * X @ Q + 2.0, X * 1e-150, X * 1e150, np.hstack([X, np.zeros((300, 4))])):
        fitted = estimator.fit(moved)
        np.testing.assert_allclose((fitted.dimension_, *fitted.interval_), expected, rtol=1e-6)


@pytest.mark.parametrize("estimator", EVERY, ids=str)
def test_copies_are_dropped_with_a_warning(estimator):
    X = gaussian(300, 3, 5)
    plain = estimator.fit(X)
    expected, interval = plain.dimension_, plain.interval_
    with pytest.warns(UserWarning, match="holds 100 copies"):
        fitted = estimator.fit(np.vstack([X, X[:100]]))
    assert (fitted.dimension_, fitted.interval_) == (expected, interval)
    if hasattr(fitted, "dimension_pw_"):
        np.testing.assert_array_equal(fitted.dimension_pw_[300:], fitted.dimension_pw_[:100])


def test_one_graph_serves_all():
    X = gaussian(500, 4, 12)
    graph = NeighborGraph(X, graph_size(30, 500))
    for estimator in (MLE(30), TwoNN(), LocalPCA(30)):
        alone = estimator.fit(X)
        expected = (alone.dimension_, *alone.interval_)
        shared = estimator.fit(X, graph=graph)
        np.testing.assert_allclose((shared.dimension_, *shared.interval_), expected, rtol=1e-12)
    assert MLE(30).fit(graph).n_features_in_ == 12


def test_accepts_datasets_tensors_and_images():
    X = gaussian(200, 3, 12)
    expected = MLE(5).fit(X).dimension_
    for given in (torch.from_numpy(X), Dataset(X.reshape(200, 3, 2, 2))):
        np.testing.assert_allclose(MLE(5).fit(given).dimension_, expected, rtol=1e-12)


def test_estimators_name_the_same_seed_the_same_interval():
    X = gaussian(400, 4, 8)
    first, again, other = (MLE(random_state=seed).fit(X).interval_ for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("fit", "named"),
    [
        (lambda: MLE(20).fit(gaussian(20, 2, 3)), "20 neighbours were asked of 20 distinct points"),
        (lambda: MLE(2).fit(gaussian(20, 2, 3)), "n_neighbors=2"),
        (lambda: MLE(comb="mode").fit(gaussian(40, 2, 3)), "comb='mode'"),
        (lambda: TwoNN(method="mel").fit(gaussian(40, 2, 3)), "did you mean 'mle'"),
        (lambda: TwoNN(1.0).fit(gaussian(40, 2, 3)), "discard_fraction=1.0"),
        (lambda: LocalPCA(5, alphaFO=0.0).fit(gaussian(40, 2, 3)), "alphaFO=0.0"),
        (lambda: LocalPCA(5, ver="fan").fit(gaussian(40, 2, 3)), "ver='fan'"),
        (lambda: MLE(5).fit([[np.nan, 0.0], [1.0, 2.0]]), "NaN"),
        (lambda: MLE(5).fit(np.ones((30, 2))), "copies of one point"),
        (lambda: MLE(5).fit(None), "graph"),
        (lambda: MLE(5).fit(NeighborGraph(gaussian(40, 2, 3), 4)), "graph holds 4 neighbours"),
        (lambda: MLE(5).fit(gaussian(50, 2, 3), graph=NeighborGraph(gaussian(40, 2, 3), 25)), "40 points"),
        (lambda: MLE(5).fit(NeighborGraph(np.repeat(gaussian(40, 2, 3), 2, 0), 30)), "copies"),
        (lambda: LocalPCA(5).fit(NeighborGraph(gaussian(40, 2, 3), 25)), "X is None"),
        (lambda: TwoNN().fit(np.arange(90.0)[:, None]), "lattice"),
    ],
)
def test_refuses(fit, named):
    with pytest.raises(InvalidInput, match=named):
        fit()
