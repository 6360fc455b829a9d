"""DANCo: divergences, reference, calibration over dimensions."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import i0e, i1e
from scipy.stats import vonmises
from sklearn.utils.estimator_checks import check_estimator

from submanifold.dimension import danco
from submanifold.dimension.danco import DANCo, direction_divergence, ratio_divergence
from submanifold.dimension.danco_reference import (
    LARGEST_DIMENSION,
    Reference,
    build_table,
    concentration,
    direction_statistics,
)
from submanifold.dimension.gride import ratio_dimension
from submanifold.dimension.mind import MiND_ML
from submanifold.errors import InvalidInput
from submanifold.neighbors import NeighborGraph


def normal(n, d, seed, D=None):
    X = np.random.default_rng(seed).standard_normal((n, d))
    return X if D is None else np.hstack([X, np.zeros((n, D - d))])


def ball(n, d, seed, D=None):
    X = normal(n, d, seed)
    X *= np.random.default_rng([seed, 1]).random((n, 1)) ** (1 / d) / np.linalg.norm(X, axis=1, keepdims=True)
    return X if D is None else np.hstack([X, np.zeros((n, D - d))])


def sphere(n, d, seed):
    X = normal(n, d + 1, seed)
    return X / np.linalg.norm(X, axis=1, keepdims=True)


@pytest.mark.filterwarnings("ignore:X holds 1 copies", "ignore:Skipping check")
@pytest.mark.parametrize(
    "estimator", [DANCo(4, ver="MIND_MLi"), pytest.param(DANCo(4), marks=pytest.mark.slow)], ids=str
)
def test_scikit_learn_accepts_the_estimator(estimator):
    check_estimator(estimator)


@pytest.mark.parametrize(("k", "d", "other"), [(3, 2, 5), (10, 10, 8.5), (10, 20, 25), (20, 4, 3), (35, 6, 7)])
def test_divergence_of_ratios_is_the_integral(k, d, other):
    def log_g(rho, d):
        return np.log(k * d) + (d - 1) * np.log(rho) + (k - 1) * np.log1p(-(rho**d))

    integral = quad(lambda r: np.exp(log_g(r, d)) * (log_g(r, d) - log_g(r, other)), 0, 1, limit=400)[0]
    np.testing.assert_allclose(ratio_divergence(d, np.array([other, d]), k), [integral, 0], rtol=1e-7, atol=1e-10)


def test_both_forms_of_the_divergence_of_ratios(monkeypatch):
    ratios = np.array([0.2, 0.7, 1.0, 1.3, 6.0])
    closed = ratio_divergence(1.0, ratios, 12)
    monkeypatch.setattr(danco, "_CLOSED_FORM", 0)
    np.testing.assert_allclose(ratio_divergence(1.0, ratios, 12), closed, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize(("nu", "tau", "other_nu", "other_tau"), [(1.2, 3.0, 1.5, 8.0), (2.0, 0.1, 1.4, 1.0)])
def test_divergence_of_directions_is_the_integral(nu, tau, other_nu, other_tau):
    p, q = vonmises(tau, loc=nu), vonmises(other_tau, loc=other_nu)
    integral = quad(lambda t: p.pdf(t) * (p.logpdf(t) - q.logpdf(t)), nu - np.pi, nu + np.pi)[0]
    value = direction_divergence(nu, tau, np.array([other_nu]), np.array([other_tau]))
    np.testing.assert_allclose(value, [integral], rtol=1e-8)
    assert abs(direction_divergence(nu, 300.0, np.array([nu]), np.array([300.0]))[0]) < 1e-10


def test_concentration_inverts_the_mean_resultant():
    tau = np.array([0.0, 1e-6, 0.01, 0.5, 1.0, 1.6, 3.0, 10.0, 100.0, 900.0])
    np.testing.assert_allclose(concentration(i1e(tau) / i0e(tau)), tau, rtol=1e-6, atol=1e-9)
    assert concentration(np.array([1.0]))[0] <= 1001


@pytest.mark.parametrize("d", [0.5, 1, 7, 60])
@pytest.mark.parametrize("k", [3, 10, 40])
def test_ratio_dimension_on_its_own_model(d, k):
    rng = np.random.default_rng(0)
    u = 1 - rng.random(40_000) ** (1 / k)  # rho^d, of density k (1 - u)^(k - 1)
    value = ratio_dimension(-np.log(u) / d, 1, k + 1)
    assert abs(np.log(value / d)) < 0.025
    np.testing.assert_allclose(ratio_dimension(-7 * np.log(u) / d, 1, k + 1), value / 7, rtol=1e-9)  # the 7th power
    s = np.log(u) / d
    around = [
        np.sum(np.log(t) + (t - 1) * s + (k - 1) * np.log(-np.expm1(t * s))) for t in value * np.array([0.99, 1, 1.01])
    ]
    assert around[1] > max(around[0], around[2])


def test_angles_of_directions_known_by_hand():
    frame = np.eye(4)[None]
    angle, tau = direction_statistics(frame)  # all angles are right
    np.testing.assert_allclose(angle, [np.pi / 2])
    assert tau[0] > 500
    triangle = np.array([[[1.0, 0], [-0.5, np.sqrt(0.75)], [-0.5, -np.sqrt(0.75)]]])
    np.testing.assert_allclose(direction_statistics(triangle)[0], [2 * np.pi / 3])
    line = np.array([[[1.0], [-1.0], [1.0], [-1.0]]])  # 2 of 6 pairs agree: mean cosine -1/3
    angle, tau = direction_statistics(line)
    np.testing.assert_allclose(angle, [np.pi])
    np.testing.assert_allclose(i1e(tau) / i0e(tau), [1 / 3], rtol=1e-9)
    assert np.isnan(direction_statistics(np.ones((1, 4, 1)))[1])  # one direction: concentrated without bound


def test_the_reference_is_monotone_and_tends_to_theory():
    d = np.linspace(1, LARGEST_DIMENSION, 2000)
    for n in (60, 333, 2500, 20_000, 102_400, 10**6):
        size, angle, tau = Reference.of(n, 10, 500).at(d)
        assert (np.diff(size) > 0).all()
        assert (np.diff(tau) > 0).all()
        assert (np.diff(angle[d > 3]) < 0).all()
        assert (angle[d > 2] > np.pi / 3).all()
    few, many = (Reference.of(n, 10, 10).at(np.array([2.0, 5.0]))[0] for n in (400, 50_000))
    assert (np.abs(many - [2, 5]) < np.abs(few - [2, 5])).all()
    np.testing.assert_allclose(many, [2, 5], rtol=0.05)


@pytest.mark.parametrize("n", [130, pytest.param(1100, marks=pytest.mark.slow)])
def test_the_table_is_what_is_simulated_anew(n):
    """At numbers of points between those of the table, by other random numbers."""
    from submanifold.dimension.danco_reference import _simulate

    table = Reference.of(n, 10, 120)
    for d in (1, 2, 5, 17, 33, 75):
        fresh = _simulate(d, n, 10, 12_000, np.random.default_rng([9, n, d]))
        size, angle, tau = table.at(np.array([float(d)]))
        np.testing.assert_allclose(np.log(size), fresh[0], atol=0.03)
        np.testing.assert_allclose(angle, fresh[1], atol=0.03)
        np.testing.assert_allclose(np.log(tau), fresh[2], atol=0.03 if d > 1 else 0.06)


def test_a_table_is_built_and_read(tmp_path, monkeypatch):
    from submanifold.dimension import danco_reference as reference

    monkeypatch.setattr(reference, "_TABLE_PAIRS", 2e3)
    monkeypatch.setattr(reference, "_SIZES", np.array([16, 24, 36, 50, 60, 70, 80, 100, 110]))
    build_table(str(tmp_path / "t.npz"))
    with np.load(tmp_path / "t.npz", allow_pickle=False) as stored:
        assert stored["values"].shape == (9, len(stored["dimensions"]), 3)
        assert np.isfinite(stored["values"]).all()


@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in (1, 2))])
@pytest.mark.parametrize(
    ("X", "d", "margin"),
    [
        (lambda s: normal(2500, 20, s), 20, 1.0),
        (lambda s: normal(2500, 20, s, 30), 20, 1.5),
        (lambda s: ball(2500, 5, s, 12), 5, 0.25),
        (lambda s: sphere(2500, 10, s), 10, 0.8),
        (lambda s: sphere(2500, 2, s), 2, 0.1),
        (lambda s: ball(600, 30, s, 60), 30, 2.5),
        (lambda s: normal(2500, 1, s, 3), 1, 0.05),
    ],
)
def test_known_dimensions(X, d, margin, seed):
    points = X(seed)
    assert abs(DANCo().fit(points).dimension_ - d) < margin
    if d != 20:
        assert abs(DANCo(fractal=False).fit(points).dimension_ - d) <= max(1, round(margin))


def test_balls_of_every_dimension_are_exact_after_rounding():
    for d in (1, 2, 3, 4, 6, 8, 11, 14):
        assert DANCo(fractal=False).fit(ball(2500, d, 0, 20)).dimension_ == d


@pytest.mark.parametrize("k", [5, pytest.param(20, marks=pytest.mark.slow)])
def test_other_numbers_of_neighbours(k):
    assert abs(DANCo(k).fit(ball(500, 4, 0, 6)).dimension_ - 4) < 0.5


def test_uncalibrated_versions():
    X = ball(2500, 6, 0, 12)
    graph = NeighborGraph(X, 11)
    s = np.log(graph.distances[:, 0] / graph.distances[:, 10])
    raw = ratio_dimension(-s, 1, 11)
    assert DANCo(ver="MIND_MLk").fit(X).dimension_ == MiND_ML(10).fit(X).dimension_ == raw
    logs = [len(s) * np.log(d) + np.sum((d - 1) * s + 9 * np.log(-np.expm1(d * s))) for d in range(1, 13)]
    assert DANCo(ver="MIND_MLi").fit(X).dimension_ == 1 + np.argmax(logs)
    assert DANCo(ver="MIND_MLk", D=3).fit(X).dimension_ == 3


@pytest.mark.parametrize("estimator", [DANCo(), DANCo(fractal=False), DANCo(ver="MIND_MLi")], ids=str)
def test_invariant_under_isometry_scale_padding_and_order(estimator):
    X = ball(300, 3, 0, 5)
    Q = np.linalg.qr(np.random.default_rng(1).standard_normal((5, 5)))[0]
    fitted = estimator.fit(X)
    expected = fitted.dimension_
    assert fitted.interval_[0] <= expected <= fitted.interval_[1]
    for moved in (7.0 * X @ Q + 2.0, X * 1e-150, X * 1e150, np.hstack([X, np.zeros((300, 4))]), X[::-1], X + 1e6):
        np.testing.assert_allclose(estimator.fit(moved).dimension_, expected, rtol=1e-4)
    np.testing.assert_allclose(estimator.fit(X.astype(np.float32)).dimension_, expected, rtol=1e-3)


def test_the_interval_holds_the_spread_over_samples():
    fits = [DANCo().fit(ball(400, 4, s, 8)) for s in range(12)]
    values = np.array([one.dimension_ for one in fits])
    widths = [np.log(one.interval_[1] / one.interval_[0]) / 4 for one in fits[:4]]
    assert 0.4 < np.mean(widths) / np.log(values).std(ddof=1) < 2.5


def test_lattices_and_few_points_give_a_number():
    grid = np.stack(np.meshgrid(*[np.arange(7.0)] * 3), axis=-1).reshape(-1, 3)
    assert 1 <= DANCo().fit(grid).dimension_ <= 3
    with pytest.raises(InvalidInput, match="lattice"):  # all distances tie
        DANCo(3).fit(np.eye(20))
    assert 1 <= DANCo().fit(normal(13, 2, 0)).dimension_ <= 2
    assert DANCo().fit(normal(60, 1, 0)).dimension_ == 1


def test_the_end_of_the_reference_is_said():
    with pytest.warns(UserWarning, match="ends at dimension 120"):
        assert DANCo().fit(normal(500, 300, 0)).dimension_ == LARGEST_DIMENSION


@pytest.mark.parametrize(
    ("fit", "named"),
    [
        (lambda: DANCo(2).fit(normal(50, 2, 0)), "k=2"),
        (lambda: DANCo(D=0).fit(normal(50, 2, 0)), "D=0"),
        (lambda: DANCo(ver="DANCofit").fit(normal(50, 2, 0)), "did you mean 'DANCoFit'"),
        (lambda: DANCo().fit(normal(11, 2, 0)), "11 neighbours were asked of 11"),
        (lambda: DANCo().fit(NeighborGraph(normal(90, 2, 0), 40)), "X is None"),
    ],
)
def test_refuses(fit, named):
    with pytest.raises(InvalidInput, match=named):
        fit()


def test_reference_of_the_whole_set():
    """Neighbours of some points of a larger set are held against balls as large as the set."""
    X = np.random.default_rng(0).standard_normal((4000, 9))
    X /= np.linalg.norm(X, axis=1, keepdims=True)  # read a little high, not as a whole number
    graph = NeighborGraph(X, 11)
    rows = np.arange(300)
    near = np.unique(np.concatenate([rows, graph.indices[rows].ravel()]))
    small = NeighborGraph.from_arrays(
        graph.distances[rows],
        np.searchsorted(near, graph.indices[rows]),
        rows=np.searchsorted(near, rows),
        n_points=len(near),
    )
    whole = DANCo().fit(X, graph=graph.take(rows)).dimension_
    assert DANCo(n_reference=4000).fit(X[near], graph=small).dimension_ == whole
    assert DANCo().fit(X[near], graph=small).dimension_ != whole


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("d", [2, 5, 9])
def test_integers_agree_with_the_peers_table(d):
    import skdim

    for seed in range(2):
        X = ball(1000, d, seed, 15)
        peer = skdim.id.DANCo(ver="DANCoFit", fractal=False).fit(X).dimension_
        assert abs(DANCo(fractal=False).fit(X).dimension_ - peer) <= (1 if d > 5 else 0)


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore")
def test_likelihoods_agree_with_the_peer():
    import skdim

    for d, D in ((2, 5), (4, 9), (5, 20), (8, 20)):
        X = ball(600, d, 0, D)
        for ver in ("MIND_MLk", "MIND_MLi"):
            peer = skdim.id.DANCo(ver=ver).fit(X).dimension_
            ours = DANCo(ver=ver).fit(X).dimension_
            if d > 2:
                np.testing.assert_allclose(ours, peer, rtol=1e-6)
            elif ver == "MIND_MLk":  # the peer stays at the integer it starts from, where the likelihood is lower
                graph = NeighborGraph(X, 11)
                s = np.log(graph.distances[:, 0] / graph.distances[:, 10])
                logs = [np.log(t) + np.mean((t - 1) * s + 9 * np.log(-np.expm1(t * s))) for t in (ours, peer)]
                assert logs[0] > logs[1]


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_peers_calibration_saturates():
    import skdim

    peer = skdim.id.DANCo(random_state=0).fit(normal(500, 18, 0))
    found = [float(one["dhat"]) for one in peer.calibration_data_["calibration_data"]]
    np.testing.assert_allclose(found[13:], 10, rtol=1e-6)  # k, whatever the dimension of the ball
    sizes = Reference.of(500, 10, 20).at(np.arange(1.0, 21))[0]
    np.testing.assert_allclose(found[1:8], sizes[1:8], rtol=0.1)
    assert sizes[17] > 12.5
