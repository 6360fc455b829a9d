"""Dimensions and ranks from spectra: the rules, lPCA and LocalPCA."""

import numpy as np
import pytest
from scipy.linalg import hadamard
from sklearn.decomposition import PCA
from sklearn.utils.estimator_checks import check_estimator

from submanifold.dimension.lpca import LocalPCA
from submanifold.dimension.pca import SPECTRAL_RULES, lPCA
from submanifold.dimension.rank_rules import RANK_RULES, bulk_edge, largest_noise, median_noise
from submanifold.dimension.spectrum_nulls import DATA_RULES
from submanifold.dimension.spectrum_rules import RuleSettings, Spectra
from submanifold.errors import InvalidInput

SPECTRAL = SPECTRAL_RULES
RANKS = [*RANK_RULES, *DATA_RULES]


def planted(n, D, rank, seed, noise=0.3):
    rng = np.random.default_rng(seed)
    frame = np.linalg.qr(rng.standard_normal((D, rank)))[0]
    strength = np.linspace(6, 3, rank)
    return rng.standard_normal((n, rank)) * strength @ frame.T + noise * rng.standard_normal((n, D))


def of(rule, values, n=100, **settings):
    values = np.asarray(values, dtype=np.float64)
    return float(SPECTRAL[rule](Spectra(values[None], n, len(values)), RuleSettings(**settings))[0])


@pytest.mark.filterwarnings("ignore:X holds", "ignore:Skipping check")
@pytest.mark.parametrize(
    "estimator",
    [lPCA("Minka"), lPCA("scRMT"), lPCA("FO", robust=True), LocalPCA(6, ver="Kaiser")],
    ids=str,
)
def test_scikit_learn_accepts_the_estimator(estimator):
    check_estimator(estimator)


def test_rules_on_spectra_known_by_hand():
    values = [8.0, 4.0, 2.0, 1.0, 0.5, 0.5]
    assert of("FO", values, alphaFO=0.2) == 3
    assert of("FO", values, alphaFO=0.25) == 2  # must exceed
    assert of("ratio", values, alphaRatio=0.75) == 2
    assert of("ratio", values, alphaRatio=0.76) == 3
    assert of("maxgap", [8, 4, 3, 0.1, 0.09]) == 3
    assert of("Kaiser", values) == 2
    assert of("participation_ratio", values) == 16**2 / (64 + 16 + 4 + 1 + 0.5)
    assert of("Fan", [5, 4.9, 4.8, 0.01, 0.01], PFan=0.999) == 3  # the first gap
    assert of("Fan", [5, 4.9, 4.8, 0.01, 0.01], alphaFan=1e9) == 2  # the noise is the mean of the last three
    assert of("Fan", [50, 1.0, 1.0]) == 1
    assert of("denoised", values, noise_var=4 / 6) == 2
    assert of("denoised", values, noise_var=3.9 / 6) == 3


@pytest.mark.parametrize("d", [1, 2, 5, 30])
def test_rules_on_equal_eigenvalues(d):
    np.testing.assert_allclose(of("participation_ratio", np.full(d, 3.0)), d)
    assert of("FO", np.full(d, 3.0)) == d
    assert of("broken_stick", np.full(d, 3.0)) == 0
    assert of("ratio", np.full(d, 3.0), alphaRatio=1.0) == d


def test_broken_stick_is_the_expected_length_of_the_longest_pieces():
    r = 6
    cuts = np.sort(np.random.default_rng(0).random((100_000, r - 1)), axis=1)
    pieces = np.sort(np.diff(cuts, prepend=0, append=1, axis=1), axis=1)[:, ::-1].mean(axis=0)
    above, below = pieces + 0.01, pieces - 0.01
    for i in range(r - 1):
        values = np.where(np.arange(r) <= i, above, below)
        values[-1] += 1 - values.sum()
        assert of("broken_stick", np.sort(values)[::-1]) == i + 1


@pytest.mark.parametrize(("n", "D"), [(400, 40), (60, 60), (40, 160)])
def test_noise_is_found_and_called_noise(n, D):
    found = {rule: [] for rule in RANKS}
    for seed in range(12):
        X = 0.7 * np.random.default_rng(seed).standard_normal((n, D))
        values = np.linalg.svd(X - X.mean(axis=0), compute_uv=False) ** 2 / (n - 1)
        noise = median_noise(Spectra(values[None], n, D))[0]
        np.testing.assert_allclose(noise, 0.49, rtol=0.15)
        assert values[0] < 0.49 * 1.2 * bulk_edge(D, n - 1)
        for rule in ("GD", "KN", "MP", "scRMT"):
            found[rule].append(lPCA(rule).fit(X).dimension_)
    assert np.mean(found["GD"]) == 0
    assert np.mean(found["KN"]) <= 0.35
    assert np.mean(found["scRMT"]) <= 0.5
    assert np.mean(found["MP"]) < 1.5


def test_the_largest_eigenvalue_of_noise_follows_tracy_and_widom():
    n, D = 100, 30
    largest = [
        np.linalg.svd(np.random.default_rng(s).standard_normal((n, D)), compute_uv=False)[0] ** 2 / n
        for s in range(1500)
    ]
    centre, scale = largest_noise(D, n)
    standard = (np.array(largest) - centre) / scale
    np.testing.assert_allclose(standard.mean(), -1.2065, atol=0.12)  # mean and deviation of the law of order 1
    np.testing.assert_allclose(standard.std(), 1.268, atol=0.1)
    for alpha, quantile in ((0.1, 0.4501), (0.05, 0.9793)):
        np.testing.assert_allclose((standard > quantile).mean(), alpha, atol=0.025)


@pytest.mark.parametrize("rule", RANKS)
@pytest.mark.parametrize(("n", "D"), [(500, 30), (60, 120)])
def test_planted_ranks_are_found(rule, n, D):
    for seed in range(3):
        X = planted(n, D, 4, seed)
        if rule == "scRMT":  # standardised data have equal noise where signals load on all coordinates equally
            rng = np.random.default_rng(seed)
            X = rng.standard_normal((n, 4)) @ hadamard(128)[1:5, :D] + rng.standard_normal((n, D))
        value = lPCA(rule, n_permutations=30).fit(X).dimension_
        margin = {"denoised": 1, "KN": 1, "MP": 1, "scRMT": 1}.get(rule, 0)
        assert abs(value - 4) <= margin, (seed, value)


@pytest.mark.parametrize("rule", ["FO", "Fan", "ratio", "GD", "parallel"])
def test_the_span_of_flat_data_and_isometries(rule):
    X = planted(300, 12, 4, 0, noise=0.0 if rule in ("FO", "ratio") else 0.05)
    estimator = lPCA(rule, alphaRatio=1 - 1e-9, n_permutations=20)
    value = estimator.fit(X).dimension_
    if rule in ("FO", "ratio", "GD", "parallel"):
        assert value == 4
    Q = np.linalg.qr(np.random.default_rng(1).standard_normal((12, 12)))[0]
    moves = [X * 1e-150, X * 1e150, X + 1e6, X[::-1], X.astype(np.float32)]
    if rule != "parallel":
        moves.append(3 * X @ Q - 2)
    if rule not in ("GD", "parallel", "Fan"):  # the noise of which is a mean over coordinates
        moves.append(np.hstack([X, np.zeros((300, 5))]))
    for moved in moves:
        assert estimator.fit(moved).dimension_ == value


@pytest.mark.parametrize("rule", RANK_RULES)
@pytest.mark.parametrize(("n", "D"), [(300, 12), (40, 100)])
def test_without_noise_the_rank_is_that_of_the_matrix(rule, n, D):
    # Fewer than half of the eigenvalues, so that their median is a rounding error.
    X = planted(n, D, 4, 0, noise=0.0)
    assert lPCA(rule).fit(X).dimension_ == np.linalg.matrix_rank(X) == 4
    assert lPCA(rule).fit(X + 1e3).dimension_ == 4


def test_minka_is_that_of_scikit_learn():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        n, D = int(rng.integers(30, 200)), int(rng.integers(3, 25))
        X = planted(n, D, int(rng.integers(1, 3)), seed, noise=rng.uniform(0.2, 3))
        expected = PCA(n_components="mle", svd_solver="full").fit(X).n_components_
        assert lPCA("Minka").fit(X).dimension_ == expected


@pytest.mark.parametrize("rule", SPECTRAL)
def test_many_spectra_at_once_are_each_by_itself(rule):
    rng = np.random.default_rng(0)
    values = np.sort(rng.exponential(size=(40, 9)) ** 3, axis=1)[:, ::-1]
    settings = RuleSettings(alphaRatio=0.9)
    together = SPECTRAL[rule](Spectra(values, 30, 9), settings)
    alone = [SPECTRAL[rule](Spectra(one[None], 30, 9), settings)[0] for one in values]
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("rule", SPECTRAL)
@pytest.mark.parametrize("values", [[1, 1, 1, 1], [5, 1, 1, 0], [5, 0, 0, 0], [5, 1, 0.2, 0, 0, 0], [2]], ids=str)
@pytest.mark.parametrize("n", [3, 100])
def test_degenerate_spectra_give_a_number(rule, values, n):
    value = of(rule, values, n=n)
    assert 0 <= value <= len(values)


def test_an_outlier_collapses_the_rule_but_not_the_robust_one():
    X = planted(400, 10, 5, 0, noise=0.02)
    assert lPCA().fit(X).dimension_ == lPCA(robust=True).fit(X).dimension_ == 5
    far = np.vstack([X, np.full((1, 10), 3000.0)])
    assert lPCA().fit(far).dimension_ == 1
    assert lPCA(robust=True).fit(far).dimension_ == 5
    many = np.vstack([X, 3000 + 0.01 * np.random.default_rng(1).standard_normal((150, 10))])
    assert lPCA(robust=True, alphaFO=0.02).fit(many).dimension_ in (5, 6)


def test_neighbourhoods_of_lpca():
    X = planted(80, 6, 2, 0, noise=0.0)
    fitted = lPCA().fit_pw(X, n_neighbors=15)
    np.testing.assert_array_equal(fitted.dimension_pw_, 2)
    assert fitted.dimension_ == 2
    near = np.argsort(((X[:, None] - X) ** 2).sum(axis=2), axis=1)[:, 1:16]
    again = lPCA("participation_ratio").fit_pw(X, precomputed_knn=near).dimension_pw_
    alone = [lPCA("participation_ratio").fit(X[i]).dimension_ for i in near[:20]]
    np.testing.assert_allclose(again[:20], alone, rtol=1e-9)
    slow = lPCA("participation_ratio", robust=True).fit_pw(X, precomputed_knn=near, smooth=True)
    assert slow.dimension_pw_smooth_.shape == (80,)


@pytest.mark.parametrize("rule", SPECTRAL)
def test_local_rules_on_a_sphere_with_noise(rule):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((800, 4))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    X = np.hstack([X, np.zeros((800, 6))]) + 0.01 * rng.standard_normal((800, 10))
    fitted = LocalPCA(40, ver=rule, comb="median").fit(X)
    assert fitted.dimension_pw_.shape == (800,)
    assert 2 <= fitted.dimension_ <= 4.5 or rule in ("broken_stick", "denoised", "Minka")


def test_noise_has_the_unit_of_the_data():
    X = planted(300, 12, 3, 0)
    for rule in ("MP", "GD", "KN", "denoised"):
        for scale in (1.0, 1e-3, 1e4):
            fitted = lPCA(rule, noise_var=0.09 * scale**2).fit(scale * X)
            assert fitted.dimension_ == 3
        local = LocalPCA(60, ver=rule, noise_var=0.09).fit(X)
        np.testing.assert_array_equal(
            local.dimension_pw_, LocalPCA(60, ver=rule, noise_var=9e-8).fit(1e-3 * X).dimension_pw_
        )
    each = np.full(12, 0.09)
    assert lPCA("denoised", noise_var=each).fit(X).dimension_ == 3


def test_eigenvalues_in_place_of_points():
    X = planted(200, 8, 3, 1)
    fitted = lPCA().fit(X)
    values = PCA().fit(X).explained_variance_
    np.testing.assert_allclose(fitted.explained_var_, values, rtol=1e-9)
    np.testing.assert_allclose(fitted.gap_, values[:-1] / values[1:], rtol=1e-9)
    for rule in SPECTRAL:
        expected = lPCA(rule).fit(X).dimension_
        found = lPCA(rule, fit_explained_variance=True, n_samples=200).fit(values).dimension_
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    raw = np.linalg.eigvalsh(X.T @ X / 200)[::-1]
    np.testing.assert_allclose(lPCA(center=False).fit(X).explained_var_, raw, rtol=1e-9)


def test_interval_and_threshold():
    X = planted(300, 10, 3, 0)
    fitted = lPCA("participation_ratio").fit(X)
    low, high = fitted.interval_
    assert 0 < low < fitted.dimension_ < high < 10
    assert lPCA("scRMT").fit(X).threshold_ > 0


@pytest.mark.parametrize(
    ("fit", "named"),
    [
        (lambda X: lPCA("Fann").fit(X), "did you mean 'Fan'"),
        (lambda X: lPCA(alphaFO=0).fit(X), "alphaFO=0"),
        (lambda X: lPCA("KN", alphaKN=0.2).fit(X), "alphaKN=0.2"),
        (lambda X: lPCA("MP", noise_var=-1.0).fit(X), "noise_var=-1.0"),
        (lambda X: lPCA("MP", noise_var=[1.0, 2.0]).fit(X), "noise_var has 2 values"),
        (lambda X: lPCA("parallel", quantile=0.0).fit(X), "quantile=0.0"),
        (lambda X: lPCA("parallel", null="bootstrap").fit(X), "null='bootstrap'"),
        (lambda X: lPCA(robust=True, center=False).fit(X), "needs a centre"),
        (lambda X: lPCA("MP", fit_explained_variance=True).fit([2.0, 1.0]), "n_samples=None"),
        (lambda X: lPCA(fit_explained_variance=True).fit(X), "no spectrum"),
        (lambda X: lPCA("scRMT", fit_explained_variance=True).fit([2.0, 1.0]), "ver='scRMT'"),
        (lambda X: lPCA().fit_pw(X, n_neighbors=300), "n_neighbors=300"),
        (lambda X: LocalPCA(5, ver="parallel").fit(X), "ver='parallel'"),
        (lambda X: LocalPCA(5, ver="Fan", alphaFan=0.0).fit(X), "alphaFan=0.0"),
    ],
)
def test_refuses(fit, named):
    with pytest.raises(InvalidInput, match=named):
        fit(planted(60, 5, 2, 0))


@pytest.fixture(name="clouds")
def _clouds():
    rng = np.random.default_rng(0)
    made = []
    for _ in range(25):
        n, D, rank = int(rng.integers(12, 80)), int(rng.integers(3, 40)), int(rng.integers(0, 4))
        signal = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, D)) * rng.uniform(0.2, 2)
        made.append(rng.standard_normal((n, D)) + signal)
    return made


@pytest.mark.peer
@pytest.mark.parametrize("rule", SPECTRAL)
def test_lpca_agrees_with_the_peer(clouds, rule):
    import skdim

    for X in clouds:
        if rule == "maxgap" and X.shape[1] >= len(X):
            continue  # the peer takes the eigenvalue that centring makes zero for the largest gap
        peer = skdim.id.lPCA(ver=rule).fit(X)
        ours = lPCA(rule, alphaRatio=0.05).fit(X)
        np.testing.assert_allclose(ours.dimension_, peer.dimension_, rtol=1e-9)
        np.testing.assert_allclose(ours.explained_var_, peer.explained_var_[: len(ours.explained_var_)], atol=1e-9)


@pytest.mark.peer
@pytest.mark.parametrize(
    "settings",
    [
        {"ver": "FO", "alphaFO": 0.2},
        {"ver": "ratio", "alphaRatio": 0.9},
        {"ver": "Fan", "alphaFan": 3, "betaFan": 0.6, "PFan": 0.8},
        {"ver": "MP", "noise_var": 0.8},
        {"ver": "GD", "noise_var": 1.1},
        {"ver": "KN", "noise_var": 1.0, "alphaKN": 0.01},
        {"ver": "KN", "alphaKN": 0.1},
        {"ver": "denoised", "noise_var": 1.0},
        {"ver": "FO", "center": False},
        {"ver": "MP", "center": False},
    ],
    ids=str,
)
def test_lpca_agrees_with_the_peer_at_other_settings(clouds, settings):
    import skdim

    for X in clouds:
        values = PCA().fit(X).explained_variance_ratio_
        if settings["ver"] == "Fan" and values[0] > settings["PFan"]:
            continue  # all variance in excess of the noise is then zero, up to rounding, which decides for the peer
        peer = skdim.id.lPCA(**settings).fit(X + 1.0).dimension_
        np.testing.assert_allclose(lPCA(**settings).fit(X + 1.0).dimension_, peer, rtol=1e-9)


@pytest.mark.peer
@pytest.mark.parametrize("rule", [rule for rule in SPECTRAL if rule != "maxgap"])
def test_neighbourhoods_agree_with_the_peer(rule):
    import skdim

    for D in (6, 30):
        X = planted(120, D, 3, 0)
        peer = skdim.id.lPCA(ver=rule, alphaRatio=0.9).fit_pw(X, n_neighbors=20)
        ours = lPCA(rule, alphaRatio=0.9).fit_pw(X, n_neighbors=20)
        np.testing.assert_allclose(ours.dimension_pw_, peer.dimension_pw_, rtol=1e-9)


@pytest.mark.peer
def test_scrmt_where_the_peer_finds_nothing():
    import skdim

    for n, D, peer_finds in ((500, 30, 0), (100, 100, 2), (60, 120, 2)):
        rng = np.random.default_rng(0)
        X = rng.standard_normal((n, D)) + rng.standard_normal((n, 2)) @ hadamard(128)[1:3, :D]
        assert lPCA("scRMT").fit(X).dimension_ == 2
        assert skdim.id.lPCA(ver="scRMT", random_state=0).fit(X).dimension_ == peer_finds


@pytest.mark.peer
@pytest.mark.parametrize("null", ["permute", "signflip"])
def test_parallel_analysis_agrees_with_the_peer(null):
    import skdim

    for n, D, rank in ((200, 20, 3), (60, 80, 2)):
        X = planted(n, D, rank, 0)
        peer = skdim.id.lPCA(ver="parallel", null=null, random_state=0).fit(X).dimension_
        assert lPCA("parallel", null=null).fit(X).dimension_ == peer == rank
