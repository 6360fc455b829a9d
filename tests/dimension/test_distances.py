"""MOM, MADA, CorrInt, KNN and MiND_ML: formulas, the Poisson model, known manifolds, scikit-dimension, refusals."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import digamma, gammaln
from sklearn.utils.estimator_checks import check_estimator

from submanifold.dimension import estimate
from submanifold.dimension.corrint import CorrInt
from submanifold.dimension.knn import KNN, thinned_weights
from submanifold.dimension.mada import MADA
from submanifold.dimension.mind import MiND_ML
from submanifold.dimension.mom import MOM
from submanifold.dimension.variance import Patches, graph_size
from submanifold.errors import InvalidInput
from submanifold.neighbors import NeighborGraph

EVERY = [
    MOM(5),
    MOM(5, comb="mle"),
    MADA(5),
    MADA(4, comb="median"),
    CorrInt(2, 6),
    KNN(1, (0.8, 1.0)),
    KNN(1, (0.8, 1.0), gamma=2.0, integer=True),
    MiND_ML(4),
    MiND_ML(4, ver="MLi"),
]


def gaussian(n, d, D, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) @ np.linalg.qr(rng.standard_normal((D, d)))[0].T


def sphere(n, d, seed=0):
    x = np.random.default_rng(seed).standard_normal((n, d + 1))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def noisy(n, seed=0):
    t = np.random.default_rng(seed).uniform(0, 6, (n, 1))
    return np.hstack([np.cos(t), np.sin(t), t, 0 * t]) + 0.02 * np.random.default_rng(seed + 1).standard_normal((n, 4))


DATA = {"flat": gaussian(600, 5, 12), "curved": sphere(600, 3), "noisy": noisy(600), "full": gaussian(400, 20, 20)}


def poisson_patches(d, n, k, seed):
    """Distances in a homogeneous Poisson process from n independent points: T_j^d are sums of exponentials."""
    volumes = np.cumsum(np.random.default_rng(seed).exponential(size=(n, k)), axis=1)
    return Patches(volumes ** (1 / d), np.zeros((n, k), np.int64), np.arange(n))


def value(estimator, patches):
    return estimator._pool(estimator._local(patches, None))


@pytest.mark.filterwarnings("ignore:X holds 1 copies", "ignore:Skipping check")
@pytest.mark.parametrize("estimator", EVERY[::2], ids=str)
def test_scikit_learn_accepts_the_estimator(estimator):
    check_estimator(estimator)


def test_formulas():
    T = np.array([[1.0, 2.0, 3.0, 4.0, 6.0]])
    patches = Patches(T, np.zeros((1, 5), np.int64), np.arange(1))
    np.testing.assert_allclose(value(MOM(5), patches), 3.2 / (6 - 3.2))
    np.testing.assert_allclose(value(MADA(5), patches), np.log(2) / np.log(6 / 2))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("d", [1, 4, 15])
def test_exact_on_the_poisson_model(d, seed):
    n, k = 20_000, 20
    patches = poisson_patches(d, n, k, seed)
    local = MOM(k)._local(patches, None)
    relative = local / (1 + local)  # mean of T_j / T_k, of which the last is 1
    expected = ((k - 1) * d / (d + 1) + 1) / k
    assert abs(relative.mean() - expected) < 4.5 * relative.std() / np.sqrt(n)

    biased = d * np.log(2) / (digamma(k) - digamma(k // 2))
    assert abs(np.log(value(MADA(k, comb="mle"), patches) / biased)) < 4.5 * 0.33 / np.sqrt(n)

    assert abs(np.log(value(MiND_ML(19), patches) / d)) < 4.5 * 0.7 / np.sqrt(n) + 1e-3
    assert value(MiND_ML(19, ver="MLi"), patches) == d
    for gamma in (0.5, 1.0):
        assert abs(np.log(value(KNN(2, gamma=gamma), patches) / d)) < 4.5 * 1.6 / np.sqrt(n) + 1e-3
    assert value(KNN(2, integer=True), patches) == d


# MOM and MADA average skewed local estimates, CorrInt weighs in the density: see their docstrings.
@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in (1, 2))])
def test_known_manifolds(seed):
    torus = np.random.default_rng(seed).uniform(0, 2 * np.pi, (1500, 2))
    torus = np.hstack([np.cos(torus), np.sin(torus)])
    cases = [
        (MOM(), 0.08),
        (MOM(comb="mle"), 0.06),
        (MADA(), 0.12),
        (MADA(comb="mle"), 0.08),
        (CorrInt(), 0.06),
        (KNN(), 0.1),
        (MiND_ML(), 0.07),
    ]
    for X, d in ((torus, 2), (sphere(1500, 1, seed), 1), (sphere(1500, 4, seed), 4)):
        graph = NeighborGraph(X, 100)
        for estimator, margin in cases:
            fitted = estimator.fit(X, graph=graph)
            assert abs(fitted.dimension_ / d - 1) < margin, (estimator, d, fitted.dimension_)
            if seed == 0 and d == 2:
                assert fitted.interval_[0] < fitted.dimension_ < fitted.interval_[1]


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize(("k1", "k2"), [(10, 20), (5, 7), (1, 40)])
def test_correlation_integral_counts_every_pair(name, k1, k2):
    for X in (DATA[name], DATA[name][:-1], DATA[name][:90]):
        D = cdist(X, X)
        T = np.sort(D, axis=1)[:, 1:]
        radii = np.median(T[:, k1 - 1]), np.median(T[:, k2 - 1])
        C = [np.less_equal(D, r * (1 + 1e-12)).sum() - len(X) for r in radii]
        expected = np.log(C[1] / C[0]) / np.log(radii[1] / radii[0])
        np.testing.assert_allclose(CorrInt(k1, k2).fit(X).dimension_, expected, rtol=1e-12)


def test_correlation_integral_of_given_distances():
    X = DATA["flat"]
    D = cdist(X, X)
    order = np.argsort(D, axis=1)[:, 1:]
    complete = NeighborGraph.from_arrays(np.take_along_axis(D, order, 1), order)
    expected = CorrInt().fit(X)
    np.testing.assert_allclose(CorrInt().fit(complete).dimension_, expected.dimension_, rtol=1e-12)
    with pytest.raises(InvalidInput, match="give the points as well"):
        CorrInt().fit(NeighborGraph(X, 20))
    graph = NeighborGraph(X, 20)
    np.testing.assert_allclose(CorrInt().fit(X, graph=graph).dimension_, expected.dimension_, rtol=1e-12)


def test_correlation_integral_of_some_rows():
    X = gaussian(3000, 3, 3)
    graph = NeighborGraph(X, graph_size(20, 3000), rows=np.arange(0, 3000, 3))
    assert CorrInt().fit(X, graph=graph).dimension_ == pytest.approx(CorrInt().fit(X).dimension_, rel=0.02)


def test_correlation_integral_does_not_mix_distances():
    """The points are not asked where the graph's distances are others than theirs."""
    X = gaussian(400, 2, 2)
    with pytest.raises(InvalidInput, match="give the points as well, or more neighbours"):
        CorrInt().fit(X, graph=NeighborGraph(X, 25, metric="cityblock"))
    complete = NeighborGraph(X, 399, metric="cityblock")
    expected = CorrInt().fit(complete).dimension_
    assert CorrInt().fit(X, graph=complete).dimension_ == expected


def test_correlation_integral_serves_the_consensus():
    """In the middle of a Gaussian more points are within the radii than the graph holds."""
    X = gaussian(3000, 3, 3)
    found = estimate(X, methods=["corrint"])
    np.testing.assert_allclose(found.dimension, CorrInt().fit(X).dimension_, rtol=1e-9)


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("q", [0.3, 0.5, 0.9, 1.0])
def test_thinning_a_poisson_process_scales_its_lengths(k, q):
    # E T_j^gamma is Gamma(j + a) / Gamma(j), a = gamma/d, over all points, and q^-a times that over the kept ones.
    j = np.arange(1, 400)
    for a in (0.1, 0.7, 2.0):
        moments = np.exp(gammaln(j + a) - gammaln(j))
        np.testing.assert_allclose(thinned_weights(q, k, len(j)) @ moments, q**-a * moments[:k].sum(), rtol=1e-9)


def test_lengths_are_the_mean_over_random_subsets():
    X, k, q, repeats = DATA["curved"][:200], 2, 0.5, 400
    T = NeighborGraph(X, 199).distances
    lengths = KNN(k, (q, 1.0))._local(Patches(T, np.zeros_like(T, dtype=np.int64), np.arange(200)), None)
    rng, D = np.random.default_rng(0), cdist(X, X)
    drawn = []
    for _ in range(repeats):
        kept = np.flatnonzero(rng.random(200) < q)
        near = np.sort(D[np.ix_(kept, kept)], axis=1)[:, 1 : k + 1]
        drawn.append(near.sum() / T.max())
    error = np.std(drawn) / np.sqrt(repeats)
    assert abs(np.mean(drawn) - q * lengths[:, 0].sum()) < 4 * error
    np.testing.assert_allclose(lengths[:, 1].sum(), T[:, :k].sum() / T.max(), rtol=1e-12)


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("k", [1, 4, 20])
def test_mind_is_the_most_likely_dimension(name, k):
    X = DATA[name]
    T = NeighborGraph(X, k + 1).distances
    rho = T[:, 0] / T[:, k]

    def log_likelihood(d):
        return np.log(d) + (d - 1) * np.log(rho).mean() + (k - 1) * np.log1p(-(rho**d)).mean()

    real = MiND_ML(k).fit(X).dimension_
    assert log_likelihood(real) >= max(log_likelihood(real * (1 + e)) for e in (-1e-3, -1e-5, 1e-5, 1e-3))
    whole = max(range(1, 60), key=log_likelihood)
    assert MiND_ML(k, ver="MLi").fit(X).dimension_ == whole
    assert MiND_ML(k, D=2, ver="MLi").fit(X).dimension_ == min(whole, 2)
    assert MiND_ML(k, D=2).fit(X).dimension_ == min(real, 2)


@pytest.mark.parametrize(
    ("fit", "named"),
    [
        (lambda: MOM(1).fit(DATA["flat"]), "n_neighbors=1"),
        (lambda: MOM(comb="mode").fit(DATA["flat"]), "comb='mode'"),
        (lambda: MADA(comb="mode").fit(DATA["flat"]), "comb='mode'"),
        (lambda: MADA(1.5).fit(DATA["flat"]), "n_neighbors=1.5"),
        (lambda: CorrInt(5, 5).fit(DATA["flat"]), "k2=5"),
        (lambda: KNN(ps=(0.5,)).fit(DATA["flat"]), "two different fractions"),
        (lambda: KNN(ps=(0.5, 1.5)).fit(DATA["flat"]), "ps=1.5"),
        (lambda: KNN(gamma=0).fit(DATA["flat"]), "gamma=0"),
        (lambda: MiND_ML(D=0).fit(DATA["flat"]), "D=0"),
        (lambda: MiND_ML(ver="ML").fit(DATA["flat"]), "ver='ML'"),
        (lambda: MiND_ML().fit(DATA["flat"][:21]), "21 neighbours were asked of 21 distinct points"),
    ],
)
def test_refusals(fit, named):
    with pytest.raises(InvalidInput, match=named):
        fit()


@pytest.mark.peer
@pytest.mark.parametrize("comb", ["mean", "median"])
@pytest.mark.parametrize("k", [5, 20, 21, 100])
@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("kind", [MOM, MADA])
def test_peer_of_local_estimators(kind, name, k, comb):
    import skdim

    peer = getattr(skdim.id, kind.__name__)().fit(DATA[name], n_neighbors=k, comb=comb)
    ours = kind(k, comb=comb).fit(DATA[name])
    np.testing.assert_allclose(ours.dimension_, peer.dimension_, rtol=1e-9)
    np.testing.assert_allclose(ours.dimension_pw_, peer.dimension_pw_, rtol=1e-9)


@pytest.mark.peer
@pytest.mark.parametrize("kind", [MOM, MADA])
def test_peer_of_defaults_and_smoothing(kind):
    import skdim

    X = DATA["curved"]
    peer = getattr(skdim.id, kind.__name__)().fit(X, smooth=True)
    ours = kind().fit(X, smooth=True)
    np.testing.assert_allclose(ours.dimension_, peer.dimension_, rtol=1e-9)
    np.testing.assert_allclose(ours.dimension_pw_smooth_, peer.dimension_pw_smooth_, rtol=1e-9)


@pytest.mark.peer
@pytest.mark.parametrize(("k1", "k2"), [(10, 20), (5, 7), (2, 40)])
@pytest.mark.parametrize("name", DATA)
def test_peer_of_the_correlation_integral(name, k1, k2):
    # Of an odd number of points the median radius is itself the distance of a pair, which the peer counts or not as
    # rounding has it; the brute-force test above shows that ours always counts it.
    import skdim

    peer = skdim.id.CorrInt(k1=k1, k2=k2).fit(DATA[name])
    np.testing.assert_allclose(CorrInt(k1, k2).fit(DATA[name]).dimension_, peer.dimension_, rtol=1e-9)


@pytest.mark.peer
@pytest.mark.parametrize("k", [5, 20])
@pytest.mark.parametrize("name", DATA)
def test_peer_of_mind(name, k):
    # The peer's optimiser stops early, and on the curved and noisy data at an integer: ours is the more likely.
    import skdim

    X = DATA[name]
    peer = skdim.id.MiND_ML(k=k, D=X.shape[1]).fit(X).dimension_
    ours = MiND_ML(k).fit(X).dimension_
    T = NeighborGraph(X, k + 1).distances
    rho = T[:, 0] / T[:, k]

    def log_likelihood(d):
        return np.log(d) + (d - 1) * np.log(rho).mean() + (k - 1) * np.log1p(-(rho**d)).mean()

    assert log_likelihood(ours) >= log_likelihood(peer) - 1e-14
    if peer % 1:
        np.testing.assert_allclose(ours, peer, rtol=1e-6)
    whole = skdim.id.MiND_ML(k=k, D=X.shape[1], ver="MLi").fit(X).dimension_
    assert MiND_ML(k, ver="MLi").fit(X).dimension_ == whole
