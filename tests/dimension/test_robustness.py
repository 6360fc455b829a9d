"""Every estimator on awkward data, and under changes that leave the dimension as it is.

Each gives the number it gives for clean data, within a margin, or refuses with a sentence: never NaN, infinity or a
warning about arithmetic, never a number that the form of the data has changed. For binary data see `test_binary`.
"""

import warnings
from functools import cache

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.spatial.distance import cdist

from submanifold.dimension import ESTIMATORS
from submanifold.dimension.neighborhood import NeighborEstimator
from submanifold.errors import InvalidInput
from submanifold.neighbors import NeighborGraph

NAMES = [name for name in ESTIMATORS if name != "bid"]

pytestmark = [pytest.mark.filterwarnings("error::RuntimeWarning"), pytest.mark.parametrize("name", NAMES)]


N = 160


def plane(n=N, d=3, D=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) @ np.linalg.qr(rng.standard_normal((D, d)))[0].T


def turned(Y, seed=1):
    return Y @ np.linalg.qr(np.random.default_rng(seed).standard_normal((Y.shape[1], Y.shape[1])))[0]


def dimension(name, data):
    """The estimate, or the sentence of the refusal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            value = ESTIMATORS[name]().fit(data).dimension_
        except InvalidInput as refusal:
            return str(refusal)
    assert np.isfinite(value)
    assert value > 0
    return value


X = plane()
WIDE = turned(np.hstack([X, np.zeros((N, 34))]))  # in 40 coordinates
ORDER = np.random.default_rng(0).permutation(N)
SAME = {
    "rotation": turned(X),
    "translation by 1e6": X + 1e6,
    "translation by 1e6 in 40 coordinates": WIDE + 1e6,
    "translation by 1e8 in 40 coordinates": WIDE + 1e8,
    "scale 1e-6": X * 1e-6,
    "scale 1e6": X * 1e6,
    "scale 1e-10": X * 1e-10,
    "scale 1e-200": X * 1e-200,
    "scale 1e160": X * 1e160,
    "constant columns": np.hstack([np.full((N, 3), 5.0), X, np.full((N, 1), -1e3)]),
    "float32": X.astype(np.float32),
    "10% copies": np.vstack([X, X[: N // 10]]),
    "every point three times": np.repeat(X, 3, axis=0),
    "40 copies of one point": np.vstack([X[:100], np.repeat(X[:1], 39, axis=0), X[100:]]),
    "another order": X[ORDER],
    "copies in another order": np.repeat(X, 2, axis=0)[::-1],
    "Fortran order": np.asfortranarray(X),
    "list": X.tolist(),
}


@cache
def clean(name):
    return dimension(name, X)


@pytest.mark.parametrize("changed", SAME)
def test_what_leaves_the_dimension_as_it_is(name, changed):
    assert dimension(name, SAME[changed]) == pytest.approx(clean(name), rel=0.01)


# Few dimensions: Fisher separability presumes many; the magnitude approaches the dimension from below.
ONE = {"fishers": (0.2, 2)}


def test_one_coordinate(name):
    low, high = ONE.get(name, (0.8, 1.25))
    assert low < dimension(name, np.random.default_rng(3).uniform(size=(N, 1))) < high


def test_lattices_are_refused_or_give_their_dimension(name):
    grid = np.stack(np.meshgrid(*[np.arange(7.0)] * 3), axis=-1).reshape(-1, 3)
    for data in (grid, np.round(4 * X)):
        value = dimension(name, data)
        assert isinstance(value, str) or 1.5 < value < 6


def test_few_points_are_refused_or_give_a_number(name):
    for n in (1, 2, 3, 4, 5, 10, 21, 22, 120):
        value = dimension(name, X[:n])
        if isinstance(value, str):
            continue
        assert 0 < value < 1e3
        low, high = ESTIMATORS[name]().fit(X[:n]).interval_  # wide, not wrong
        assert 0 <= low <= high


def test_as_many_neighbours_as_points_are_refused(name):
    estimator = ESTIMATORS[name]()
    if isinstance(estimator, NeighborEstimator):
        k = estimator.required_neighbors()
        points = plane(k + 1)
        with pytest.raises(InvalidInput, match=f"{k} neighbours were asked of {k} distinct points"):
            estimator.fit(points[:k])
        estimator.fit(points)  # all others are neighbours
        assert estimator.interval_[0] <= estimator.dimension_ <= estimator.interval_[1]


def _with(value):
    bad = X.copy()
    bad[3, 1] = value
    return bad


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (_with(np.nan), "NaN or infinity in 1 of 160 points: remove them"),
        (_with(np.inf), "NaN or infinity in 1 of 160 points: remove them"),
        (np.ones((50, 3)), "50 copies of one point"),
        (np.repeat(X[:1], 100, axis=0), "100 copies of one point"),
        (csr_matrix(X), r"give X.toarray\(\)"),
        (X[:, 0], r"X has shape \(160,\): give points as rows"),
    ],
    ids=["NaN", "infinity", "ones", "copies", "sparse", "one axis"],
)
def test_what_says_nothing_is_refused(name, data, said):
    with pytest.raises(InvalidInput, match=said):
        ESTIMATORS[name]().fit(data)


@pytest.mark.parametrize("random_state", [None, -1, 0.5])
def test_seeds_are_integers(name, random_state):
    with pytest.raises(InvalidInput, match="random_state="):
        ESTIMATORS[name](random_state=random_state).fit(X)


def test_distances_in_place_of_points(name):
    if not issubclass(ESTIMATORS[name], NeighborEstimator):
        return
    D = cdist(X, X)
    graph = NeighborGraph(D, N - 1, metric="precomputed")
    points = X if ESTIMATORS[name].needs_points else None
    assert ESTIMATORS[name]().fit(points, graph=graph).dimension_ == pytest.approx(clean(name), rel=1e-6)
    asymmetric = D.copy()
    asymmetric[3, 5] += 0.1
    for bad, said in ((D[:, :100], "160"), (asymmetric, "symmetric"), (D + np.eye(N), "diagonal|itself")):
        with pytest.raises(InvalidInput, match=said):
            NeighborGraph(bad, 50, metric="precomputed")
    arrays = graph.distances, graph.indices
    for bad, said in (
        ((arrays[0][:, :50], arrays[1]), "one shape"),
        ((arrays[0][:, ::-1], arrays[1]), "ascending"),
        ((arrays[0][:120], arrays[1][:120]), "indices are not accepted"),
    ):
        with pytest.raises(InvalidInput, match=said):
            ESTIMATORS[name]().fit(X, precomputed_knn_arrays=bad)


def test_a_second_fit_forgets_the_first(name):
    estimator = ESTIMATORS[name]().fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        if hasattr(estimator, "dimension_pw_") and issubclass(ESTIMATORS[name], NeighborEstimator):
            estimator.fit(X, smooth=True)
            assert estimator.dimension_pw_smooth_.shape == (N,)
        estimator.fit(np.vstack([X[:150], X[:10]]))
    assert not hasattr(estimator, "dimension_pw_smooth_")
    assert estimator.dimension_ == dimension(name, X[:150])
    assert all(len(getattr(estimator, key)) == 160 for key in vars(estimator) if key == "dimension_pw_")
