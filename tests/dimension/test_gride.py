"""GRIDE: the root of its score, the Poisson model, DADApy's and scikit-dimension's numbers, and the curve of scales."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.utils.estimator_checks import check_estimator

from submanifold.dimension.gride import GRIDE, ratio_dimension, ratio_error
from submanifold.dimension.twonn import TwoNN
from submanifold.dimension.variance import graph_size
from submanifold.errors import InvalidInput
from submanifold.neighbors import NeighborGraph

ORDERS = [(1, 2), (2, 4), (8, 16), (3, 4), (1, 21), (3, 11)]


def gauss(n, d, D, seed):
    rng = np.random.RandomState(seed)
    return rng.standard_normal((n, d)) @ rng.standard_normal((d, D))


def sphere(n, d, seed):
    x = np.random.RandomState(seed).standard_normal((n, d + 1))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def noisy_circle(n, seed):
    rng = np.random.RandomState(seed)
    t = rng.uniform(0, 2 * np.pi, n)
    return np.stack([np.cos(t), np.sin(t), 0 * t], 1) + 0.01 * rng.standard_normal((n, 3))


DATA = {"gauss": gauss(500, 5, 12, 0), "sphere": sphere(500, 2, 1), "noisy circle": noisy_circle(500, 2)}

# DADApy 0.3.4 with numpy 1.26: data = Data(X, maxk=499); data.compute_distances(maxk=499);
# data.return_id_scaling_gride(range_max=64); data.compute_id_2NN(algorithm=..., mu_fraction=0.9, set_attr=False)[0].
DADAPY = {
    "gauss": (
        [
            4.638494789690624,
            5.211063303337927,
            4.648131582186994,
            4.579725541826308,
            4.26122739322958,
            3.9514157398074463,
        ],
        [
            0.2074397932605365,
            0.16796662784248212,
            0.10621318773005757,
            0.07394994553704978,
            0.04864346020824364,
            0.03188429833410566,
        ],
        [
            2.4132321317218866,
            2.852824739402389,
            3.3319113374145153,
            3.8953608814175538,
            4.568615537322492,
            5.411743530286804,
        ],
        {"base": 4.8531726532580555, "ml": 4.638494802726401},
    ),
    "sphere": (
        [
            2.036394574757229,
            2.0378580303044584,
            1.9253126991511385,
            1.9348460567375003,
            2.010700167317612,
            2.0411631744012997,
        ],
        [
            0.09107033396337882,
            0.06565609032355361,
            0.043979276844143704,
            0.03125729684372857,
            0.022951617257595914,
            0.016468234548224773,
        ],
        [
            0.09786951045918747,
            0.1435903769503183,
            0.2092476987349255,
            0.3027691113623611,
            0.4318372700285443,
            0.6092845572162542,
        ],
        {"base": 1.9644878351844894, "ml": 2.036394578108148},
    ),
    "noisy circle": (
        [
            2.4898579932566784,
            2.160726305174845,
            1.4652347433030084,
            1.060215300646698,
            1.0374129379475197,
            1.02066189583324,
        ],
        [
            0.11134983454486293,
            0.06958933349476674,
            0.03345587047154713,
            0.017119017314805522,
            0.011839222399646403,
            0.00823265276360371,
        ],
        [
            0.018850103676358466,
            0.027170441635230073,
            0.042856034194108786,
            0.07871906759694823,
            0.1537191029620078,
            0.30302788832937844,
        ],
        {"base": 2.5169899366599564, "ml": 2.489857971540789},
    ),
}


def poisson_logs(d, n, n1, n2, seed):
    """Logarithms of ratios of the distances of independent points in a homogeneous Poisson process."""
    volumes = np.cumsum(np.random.default_rng(seed).exponential(size=(n, n2)), axis=1)
    return (np.log(volumes[:, n2 - 1]) - np.log(volumes[:, n1 - 1])) / d


@pytest.mark.parametrize("name", DATA)
def test_dadapy(name):
    # DADApy stops at differences of 1e-7 in d.
    dimensions, errors, radii, two_nn = DADAPY[name]
    fitted = GRIDE(multiscale=True).fit(DATA[name])
    np.testing.assert_array_equal(fitted.scales_, [1, 2, 4, 8, 16, 32])
    np.testing.assert_allclose(fitted.dimension_scales_, dimensions, rtol=1e-6)
    np.testing.assert_allclose(fitted.error_scales_, errors, rtol=1e-6)
    T = NeighborGraph(DATA[name], 64).distances.mean(axis=0)
    np.testing.assert_allclose(fitted.radius_scales_, T[2 * fitted.scales_ - 1], rtol=1e-12)
    # DADApy's radius is halfway between the two neighbours.
    np.testing.assert_allclose((fitted.radius_scales_ + T[fitted.scales_ - 1]) / 2, radii, rtol=1e-12)
    np.testing.assert_allclose(fitted.dimension_, two_nn["ml"], rtol=1e-9)
    np.testing.assert_allclose(TwoNN().fit(DATA[name]).dimension_, two_nn["base"], rtol=1e-9)


@pytest.mark.parametrize(("n1", "n2"), ORDERS)
@pytest.mark.parametrize("d", [0.3, 2.0, 40.0])
def test_the_root_maximises_the_likelihood(d, n1, n2):
    s = poisson_logs(d, 400, n1, n2, seed=3)

    def minus_log_likelihood(log_d):
        b = np.exp(log_d)
        return -(len(s) * log_d + (n2 - n1 - 1) * np.log(np.expm1(b * s)).sum() - (n2 - 1) * b * s.sum())

    best = minimize_scalar(minus_log_likelihood, bounds=np.log([d / 5, 5 * d]), method="bounded").fun
    found = ratio_dimension(s, n1, n2)
    assert minus_log_likelihood(np.log(found)) <= best + 1e-9 * abs(best)
    h = 1e-4  # the error is the curvature there
    curvature = (
        minus_log_likelihood(np.log(found * (1 + h)))
        - 2 * minus_log_likelihood(np.log(found))
        + minus_log_likelihood(np.log(found * (1 - h)))
    ) / (h * found) ** 2
    np.testing.assert_allclose(ratio_error(s, n1, n2, found), curvature**-0.5, rtol=1e-3)


@pytest.mark.parametrize("n1", [1, 3, 10])
def test_closed_form_of_consecutive_neighbours(n1):
    X = DATA["gauss"]
    T = NeighborGraph(X, n1 + 1).distances
    s = np.log(T[:, n1] / T[:, n1 - 1])
    np.testing.assert_allclose(GRIDE(n1, n1 + 1).fit(X).dimension_, (len(s) - 1) / (n1 * s.sum()), rtol=1e-10)


@pytest.mark.parametrize("size", [1e-12, 1.0, 1e3])
def test_the_root_is_found_at_any_size_of_ratios(size):
    s = poisson_logs(1.0, 200, 2, 9, seed=0)
    np.testing.assert_allclose(ratio_dimension(size * s, 2, 9), ratio_dimension(s, 2, 9) / size, rtol=1e-9)


@pytest.mark.parametrize("d", [1, 5, 20])
@pytest.mark.parametrize(("n1", "n2"), ORDERS)
def test_exact_on_the_poisson_model(d, n1, n2):
    values, errors = [], []
    for seed in range(200):
        s = poisson_logs(d, 250, n1, n2, seed)
        values.append(ratio_dimension(s, n1, n2, len(s) - 1))
        errors.append(ratio_error(s, n1, n2, values[-1]))
    spread = np.std(values)
    assert abs(np.mean(values) - d) < 4 * spread / np.sqrt(200) + 0.002 * d
    assert abs(spread / np.mean(errors) - 1) < 0.2


def test_scales_are_single_scales():
    X = DATA["noisy circle"]
    graph = NeighborGraph(X, graph_size(16, 500))
    fitted = GRIDE(multiscale=True, range_max=16).fit(X)
    assert list(fitted.scales_) == [1, 2, 4, 8]
    for i, n1 in enumerate(fitted.scales_):
        alone = GRIDE(int(n1)).fit(graph)
        np.testing.assert_allclose(fitted.dimension_scales_[i], alone.dimension_, rtol=1e-12)
        np.testing.assert_allclose(fitted.error_scales_[i], alone.error_, rtol=1e-12)
    assert (fitted.interval_scales_[:, 0] < fitted.dimension_scales_).all()
    assert (fitted.interval_scales_[:, 1] > fitted.dimension_scales_).all()
    np.testing.assert_allclose(fitted.interval_scales_[0], fitted.interval_, rtol=0.05)


def test_settings_of_one_fit_and_shared_graphs():
    X = DATA["gauss"]
    expected = GRIDE(2, 6).fit(X)
    np.testing.assert_allclose(GRIDE().fit(X, n1=2, n2=6).error_, expected.error_, rtol=1e-12)
    graph = NeighborGraph(X, graph_size(6, 500))
    for given in (GRIDE(2, 6).fit(graph), GRIDE(2, 6).fit(X, graph=graph)):
        np.testing.assert_allclose((given.dimension_, *given.interval_), (expected.dimension_, *expected.interval_))
    arrays = (graph.distances, graph.indices)
    assert GRIDE(2, 6).fit(None, precomputed_knn_arrays=arrays).dimension_ == pytest.approx(expected.dimension_)


def test_few_points_give_the_scales_they_have():
    fitted = GRIDE(multiscale=True).fit(DATA["gauss"][:7])
    assert list(fitted.scales_) == [1, 2]
    assert np.isfinite(fitted.dimension_scales_).all()


@pytest.mark.filterwarnings("ignore:X holds 1 copies", "ignore:Skipping check")
@pytest.mark.parametrize("estimator", [GRIDE(2, 5), GRIDE(multiscale=True, range_max=4)], ids=str)
def test_scikit_learn_accepts_the_estimator(estimator):
    check_estimator(estimator)


@pytest.mark.parametrize(
    ("estimator", "named"),
    [(GRIDE(0), "n1=0"), (GRIDE(2, 2), "n2=2"), (GRIDE(range_max=1), "range_max=1"), (GRIDE(1.5), "n1=1.5")],
)
def test_refusals(estimator, named):
    with pytest.raises(InvalidInput, match=named):
        estimator.fit(DATA["gauss"])


@pytest.mark.peer
@pytest.mark.parametrize(("n1", "n2"), ORDERS)
@pytest.mark.parametrize("name", DATA)
def test_peer(name, n1, n2):
    import skdim

    X = DATA[name]
    peer, ours = skdim.id.GRIDE(n1, n2).fit(X), GRIDE(n1, n2).fit(X)
    np.testing.assert_allclose((ours.dimension_, ours.error_), (peer.dimension_, peer.error_), rtol=1e-6)


@pytest.mark.peer
@pytest.mark.parametrize("name", DATA)
def test_peer_scales(name):
    import skdim

    X = DATA[name]
    peer, ours = skdim.id.GRIDE(multiscale=True).fit(X), GRIDE(multiscale=True).fit(X)
    for attribute in ("scales_", "dimension_scales_", "error_scales_", "radius_scales_"):
        np.testing.assert_allclose(getattr(ours, attribute), getattr(peer, attribute), rtol=1e-6)


@pytest.mark.peer
def test_peer_leaves_out_the_same_outliers():
    import skdim

    X = np.vstack([DATA["gauss"], DATA["gauss"][:30] + 1e-6])  # near copies: ratios of a million
    for n1, n2 in ORDERS:
        peer, ours = skdim.id.GRIDE(n1, n2).fit(X), GRIDE(n1, n2).fit(X)
        np.testing.assert_allclose((ours.dimension_, ours.error_), (peer.dimension_, peer.error_), rtol=1e-6)
