"""Estimators from angles and pairs within neighbourhoods: TLE, ESS, ABID."""

import numpy as np
import pytest
from scipy.special import gamma
from sklearn.utils.estimator_checks import check_estimator

from submanifold.dimension.abid import ABID
from submanifold.dimension.ess import ESS, expected_skewness
from submanifold.dimension.tle import TLE
from submanifold.dimension.variance import Patches
from submanifold.errors import InvalidInput
from submanifold.neighbors import NeighborGraph

EVERY = [
    TLE(n_neighbors=6),
    TLE(n_neighbors=6, comb="median"),
    ESS(n_neighbors=6),
    ESS("b", n_neighbors=6, comb="mle"),
    ESS(d=2, n_neighbors=7),
    ABID(6),
    ABID(6, ver="RABID", comb="mle"),
]


def flat(n, d, D, seed=0):
    rng = np.random.default_rng(seed)
    frame = np.linalg.qr(rng.standard_normal((D, d)))[0]
    return rng.standard_normal((n, d)) @ frame.T


def ball(n, d, seed):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    return X / np.linalg.norm(X, axis=1, keepdims=True) * rng.random((n, 1)) ** (1 / d)


def sphere(n, d, seed):
    X = np.random.default_rng(seed).standard_normal((n, d + 1))
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def around_the_origin(neighbours):
    """The origin, its neighbours, and the patch they form, nearest first."""
    order = np.argsort(np.linalg.norm(neighbours, axis=1), kind="stable")
    X = np.vstack([np.zeros(neighbours.shape[1]), neighbours[order]])
    r = np.linalg.norm(X[1:], axis=1)
    return X, Patches(r[None], np.arange(1, len(X))[None], np.zeros(1, dtype=np.int64))


@pytest.mark.filterwarnings("ignore:X holds 1 copies", "ignore:Skipping check")
@pytest.mark.parametrize("estimator", EVERY[::3], ids=str)
def test_scikit_learn_accepts_the_estimator(estimator):
    check_estimator(estimator)


@pytest.mark.parametrize("estimator", EVERY, ids=str)
def test_invariant_under_isometry_scale_padding_and_order(estimator):
    X = flat(250, 3, 5)
    X[:, 3:] += 0.1 * np.random.default_rng(3).standard_normal((250, 2))
    Q = np.linalg.qr(np.random.default_rng(1).standard_normal((5, 5)))[0]
    reference = estimator.fit(X)
    expected, local = reference.dimension_, reference.dimension_pw_
    order = np.random.default_rng(2).permutation(250)
    for moved in (7.0 * X @ Q + 2.0, X * 1e-150, X * 1e150, np.hstack([X, np.zeros((250, 4))]), X * 1e-6):
        np.testing.assert_allclose(estimator.fit(moved).dimension_pw_, local, rtol=1e-6)
    np.testing.assert_allclose(estimator.fit(X + 1e6).dimension_, expected, rtol=1e-5)
    np.testing.assert_allclose(estimator.fit(X.astype(np.float32)).dimension_, expected, rtol=1e-3)
    if not (isinstance(estimator, ESS) and estimator.d > 1):
        np.testing.assert_allclose(estimator.fit(X[order]).dimension_pw_, local[order], rtol=1e-9)


@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in (1, 2))])
@pytest.mark.parametrize("d", [1, 2, 5, 10])
def test_dimension_of_balls(d, seed):
    X = np.hstack([ball(800, d, seed), np.zeros((800, 3))])
    for estimator, margin in (
        (TLE(), 0.06 + 0.014 * d),
        (ESS(), 0.08),
        (ESS("b", n_neighbors=50), 0.08),
        (ESS(d=2, n_neighbors=15), 0.12) if d > 1 else (ESS(), 0.05),
        (ABID(40, ver="RABID", comb="mle"), 0.05 + 0.02 * d),  # at the boundary directions are one-sided
    ):
        value = estimator.fit(X).dimension_
        assert abs(value / d - 1) < margin, (estimator, value)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_dimension_of_curved_manifolds(seed):
    for d in (2, 4):
        X = sphere(1500, d, seed)
        for estimator in (TLE(), ESS(), ABID(30, ver="RABID", comb="mle")):
            assert abs(estimator.fit(X).dimension_ / d - 1) < 0.12, (estimator, d)


@pytest.mark.parametrize("d", [2, 7, 25])
def test_rabid_is_unbiased_for_isotropic_directions(d):
    m, k = 3000, 15
    X = np.random.default_rng(0).standard_normal((m * k + 1, d))
    X[-1] = 0.0
    indices = np.arange(m * k).reshape(m, k)
    rows = np.full(m, m * k)
    patches = Patches(np.sort(np.linalg.norm(X[indices], axis=2), axis=1), indices, rows)
    inverse = 1 / ABID(ver="RABID")._local(patches, X)
    assert abs(inverse.mean() - 1 / d) < 4 * inverse.std() / np.sqrt(m)


def test_a_wider_interval_for_fewer_points():
    X = ball(1000, 4, 0)
    for estimator in (TLE(), ESS(), ABID(30)):
        widths = [np.diff(np.log(estimator.fit(X[:n]).interval_))[0] for n in (200, 1000)]
        assert 0 < widths[1] < widths[0] < 0.5, estimator


@pytest.mark.parametrize("estimator", [TLE(), ESS(), ABID(20)], ids=str)
def test_lattices_give_a_number(estimator):
    grid = np.stack(np.meshgrid(*[np.arange(8.0)] * 3), axis=-1).reshape(-1, 3)
    value = estimator.fit(grid).dimension_
    assert 1.5 < value < 6


@pytest.mark.parametrize("estimator", EVERY, ids=str)
def test_copies_share_the_value_of_the_point_kept(estimator):
    X = flat(200, 3, 5)
    expected = estimator.fit(X).dimension_
    with pytest.warns(UserWarning, match="holds 50 copies"):
        fitted = estimator.fit(np.vstack([X, X[:50]]))
    assert fitted.dimension_ == expected
    np.testing.assert_array_equal(fitted.dimension_pw_[200:], fitted.dimension_pw_[:50])


def test_tle_is_the_formula_of_the_paper():
    V = ball(9, 3, 0)
    X, patches = around_the_origin(V)
    V, r = X[1:], patches.distances[0, -1]

    def radius(v, w):  # of the ball about v + t (q - v) of radius t r on whose sphere w lies
        a, b = r**2 - v @ v, -v @ (w - v)
        if abs(a) < 1e-12:
            return r * (w - v) @ (w - v) / (2 * b)
        t = (np.sqrt(b**2 + (w - v) @ (w - v) * a) - b) / a
        np.testing.assert_allclose(np.linalg.norm(w - v + t * v), t * r, rtol=1e-9)
        return r * t

    logs = []
    for i, v in enumerate(V):
        logs += [2 * np.log(np.linalg.norm(v) / r)]
        logs += [np.log(radius(v, w) / r) + np.log(radius(-v, w) / r) for j, w in enumerate(V) if i != j]
    expected = -2 * len(logs) / np.sum(logs)
    np.testing.assert_allclose(TLE(n_neighbors=9)._local(patches, X), [expected], rtol=1e-12)


def test_tle_leaves_out_what_is_nearer_than_epsilon():
    X, patches = around_the_origin(ball(12, 3, 1))
    near = X.copy()
    near[1] *= 1e-7 / np.linalg.norm(near[1])
    patches.distances[0, 0] = 1e-7
    values = [float(TLE(epsilon)._local(patches, near)[0]) for epsilon in (0.0, 1e-4, 1e-3)]
    assert values[1] == values[2] > values[0]


def test_expected_skewness_has_its_known_values():
    np.testing.assert_allclose(
        expected_skewness(np.array([1.0, 2, 3]), "a", 1), [0, 2 / np.pi, np.pi / 4], rtol=1e-12, atol=1e-15
    )
    np.testing.assert_allclose(expected_skewness(np.array([1.0, 2, 3]), "b", 1), [1, 2 / np.pi, 0.5], rtol=1e-12)
    np.testing.assert_allclose(expected_skewness(np.array([2.0, 3]), "a", 2), [0, np.pi / 8], rtol=1e-12)
    n = np.arange(5.0, 50)
    np.testing.assert_allclose(
        expected_skewness(n, "a", 3),
        gamma(n / 2) ** 4 / (gamma((n + 1) / 2) ** 3 * gamma((n - 3) / 2)),
        rtol=1e-10,
    )


@pytest.mark.parametrize(("ver", "d"), [("a", 1), ("b", 1), ("a", 2), ("a", 3)])
def test_skewness_of_isotropic_vectors_is_as_expected(ver, d):
    rng = np.random.default_rng(0)
    for n in (4, 9):
        X = rng.standard_normal((40_000, d + 1, n))
        G = X @ X.transpose(0, 2, 1)
        lengths = np.sqrt(np.einsum("bii->bi", G)).prod(axis=1)
        value = np.abs(G[:, 0, 1]) if ver == "b" else np.sqrt(np.linalg.det(G))
        expected = expected_skewness(np.array([n]), ver, d)[0]
        np.testing.assert_allclose(value.sum() / lengths.sum(), expected, rtol=0.02)


@pytest.mark.parametrize("k", [4, 9, 30])
def test_ess_of_a_regular_simplex(k):
    cosine = 1 / (k - 1)  # between any two vertices as seen from the centre
    X = 3.0 * np.eye(k) + 5.0
    for ver, expected in (("a", np.sqrt(1 - cosine**2)), ("b", cosine)):
        fitted = ESS(ver).fit_once(X)
        np.testing.assert_allclose(fitted.essval_, [expected], rtol=1e-9)
        n = np.arange(1.0, 3000)
        rising = 1 if ver == "a" else -1
        interpolated = np.interp(rising * expected, rising * expected_skewness(n, ver, 1), n)
        np.testing.assert_allclose(fitted.dimension_, interpolated, rtol=1e-6)


def test_ess_keeps_the_skewness_of_neighbourhoods():
    X = ball(200, 4, 0)
    for ver, d in (("a", 1), ("b", 1), ("a", 2)):
        fitted = ESS(ver, d, n_neighbors=12).fit(X)
        graph = NeighborGraph(X, 12)
        alone = [ESS(ver, d).fit_once(X[near]).essval_[0] for near in graph.indices[:20]]
        np.testing.assert_allclose(fitted.essval_[:20], alone, rtol=1e-9)


def test_ess_samples_simplices_by_the_seed():
    X = ball(60, 4, 0)
    first, again, other = (ESS(d=3, n_neighbors=25, random_state=s).fit(X).dimension_ for s in (0, 0, 1))
    assert first == again != other
    np.testing.assert_allclose(first, other, rtol=0.03)


@pytest.mark.parametrize("k", [5, 12, 40])
def test_abid_is_the_double_loop(k):
    X = flat(120, 4, 9) + 0.05 * np.random.default_rng(1).standard_normal((120, 9))
    graph = NeighborGraph(X, k)
    fitted, raw = ABID(k).fit(X), ABID(k, ver="RABID").fit(X)
    for i in range(0, 120, 10):
        U = X[graph.indices[i]] - X[i]
        U /= np.linalg.norm(U, axis=1, keepdims=True)
        squares = np.array([[(a @ b) ** 2 for b in U] for a in U])
        np.testing.assert_allclose(fitted.dimension_pw_[i], k**2 / squares.sum(), rtol=1e-10)
        off = squares.sum() - np.trace(squares)
        np.testing.assert_allclose(raw.dimension_pw_[i], k * (k - 1) / off, rtol=1e-10)
    np.testing.assert_allclose(1 / fitted.dimension_pw_, 1 / k + (1 - 1 / k) / raw.dimension_pw_, rtol=1e-9)
    assert (fitted.dimension_pw_ <= k).all()


@pytest.mark.parametrize("d", [1, 3, 8])
def test_abid_of_a_cross_polytope_is_its_dimension(d):
    X, patches = around_the_origin(np.vstack([np.eye(d), -np.eye(d)]))
    np.testing.assert_allclose(ABID()._local(patches, X), [d], rtol=1e-12)
    np.testing.assert_allclose(ABID(ver="RABID")._local(patches, X), [2 * d - 1], rtol=1e-12)


@pytest.mark.parametrize(
    ("fit", "named"),
    [
        (lambda: TLE(0.2).fit(ball(40, 2, 0)), "epsilon=0.2"),
        (lambda: TLE(n_neighbors=2).fit(ball(40, 2, 0)), "n_neighbors=2"),
        (lambda: TLE(comb="mode").fit(ball(40, 2, 0)), "comb='mode'"),
        (lambda: ESS("c").fit(ball(40, 2, 0)), "ver='c'"),
        (lambda: ESS("b", 2).fit(ball(40, 2, 0)), "give d=1, or ver='a'"),
        (lambda: ESS(d=4, n_neighbors=5).fit(ball(40, 2, 0)), "n_neighbors=5"),
        (lambda: ESS(d=0).fit(ball(40, 2, 0)), "d=0"),
        (lambda: ABID(ver="TABID").fit(ball(140, 2, 0)), "did you mean"),
        (lambda: ABID(2).fit(ball(40, 2, 0)), "n_neighbors=2"),
        (lambda: ABID(50).fit(ball(40, 2, 0)), "50 neighbours were asked of 40"),
        (lambda: TLE().fit(NeighborGraph(ball(90, 2, 0), 40)), "X is None"),
    ],
)
def test_refuses(fit, named):
    with pytest.raises(InvalidInput, match=named):
        fit()


@pytest.fixture(name="X", params=["flat", "curved", "noisy"])
def _points(request):
    rng = np.random.default_rng(5)
    return {
        "flat": flat(300, 5, 12),
        "curved": np.hstack([sphere(300, 3, 0), np.sin(sphere(300, 3, 0))]),
        "noisy": flat(300, 3, 8) + 0.1 * rng.standard_normal((300, 8)),
    }[request.param]


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("k", [10, 20, 50])
def test_tle_agrees_with_the_peer(X, k):
    import skdim

    peer = skdim.id.TLE().fit(X, n_neighbors=k)
    ours = TLE(n_neighbors=k).fit(X)
    np.testing.assert_allclose(ours.dimension_pw_, peer.dimension_pw_, rtol=1e-9)
    np.testing.assert_allclose(ours.dimension_, peer.dimension_, rtol=1e-9)


@pytest.mark.peer
@pytest.mark.parametrize(("ver", "d", "k"), [("a", 1, 100), ("a", 1, 20), ("b", 1, 30), ("a", 2, 12), ("a", 3, 10)])
def test_ess_agrees_with_the_peer(X, ver, d, k):
    import skdim

    peer = skdim.id.ESS(ver=ver, d=d, random_state=0).fit(X[:110], n_neighbors=k)
    ours = ESS(ver, d).fit(X[:110], n_neighbors=k)
    np.testing.assert_allclose(ours.dimension_pw_, peer.dimension_pw_, rtol=1e-9)
    np.testing.assert_allclose(ours.essval_, peer.essval_, rtol=1e-9)
    np.testing.assert_allclose(ours.dimension_, peer.dimension_, rtol=1e-9)
    once = skdim.id.ESS(ver=ver, d=d, random_state=0).fit_once(X[:20]).dimension_
    np.testing.assert_allclose(ESS(ver, d).fit_once(X[:20]).dimension_, once, rtol=1e-9)


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_peers_epsilon_has_a_unit():
    import skdim

    X = flat(200, 4, 6)
    value = TLE().fit(X).dimension_
    np.testing.assert_allclose(TLE().fit(1e-10 * X).dimension_, value, rtol=1e-9)
    assert skdim.id.TLE().fit(1e-10 * X, n_neighbors=20).dimension_ < 0.1 * value
