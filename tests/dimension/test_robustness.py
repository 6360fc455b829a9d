"""Every estimator on awkward data, and under changes that leave the dimension as it is.

Each gives the number it gives for clean data, within a margin, or refuses with a sentence: never NaN, infinity or a
warning about arithmetic, never a number that the form of the data has changed.
"""

import warnings

import numpy as np
import pytest

from submanifold.dimension.corrint import CorrInt
from submanifold.dimension.geomle import GeoMLE
from submanifold.dimension.gride import GRIDE
from submanifold.dimension.knn import KNN
from submanifold.dimension.lpca import LocalPCA
from submanifold.dimension.mada import MADA
from submanifold.dimension.magnitude import MagnitudeDimension
from submanifold.dimension.mind import MiND_ML
from submanifold.dimension.mle import MLE
from submanifold.dimension.mom import MOM
from submanifold.dimension.persistent import PH
from submanifold.dimension.twonn import TwoNN
from submanifold.errors import InvalidInput

ESTIMATORS = {
    "mle": MLE,
    "twonn": TwoNN,
    "lpca": LocalPCA,
    "gride": GRIDE,
    "mom": MOM,
    "mada": MADA,
    "corrint": CorrInt,
    "knn": KNN,
    "mind": MiND_ML,
    "geomle": GeoMLE,
    "ph": PH,
    "magnitude": MagnitudeDimension,
}
# These draw subsets of the data by row, so that another order of the rows makes other subsets.
DRAWING = ("PH",)

pytestmark = [
    pytest.mark.filterwarnings("error::RuntimeWarning"),
    pytest.mark.parametrize("make", ESTIMATORS.values(), ids=ESTIMATORS.keys()),
]


def plane(n=300, d=3, D=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) @ np.linalg.qr(rng.standard_normal((D, d)))[0].T


X = plane()
Q = np.linalg.qr(np.random.default_rng(1).standard_normal((6, 6)))[0]


def dimension(make, data):
    """The estimate, or the sentence of the refusal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            value = make().fit(data).dimension_
        except InvalidInput as refusal:
            return str(refusal)
    assert np.isfinite(value)
    assert value > 0
    return value


INVARIANT = {
    "rotation": X @ Q,
    "translation by 1e6": X + 1e6,
    "scale 1e-6": X * 1e-6,
    "scale 1e6": X * 1e6,
    "scale 1e-150": X * 1e-150,
    "scale 1e150": X * 1e150,
    "scale 1e-200": X * 1e-200,
    "scale 1e160": X * 1e160,
    "more coordinates": np.hstack([X, np.zeros((300, 30))]),
    "constant columns": np.hstack([np.full((300, 3), 5.0), X, np.full((300, 1), -1e3)]),
    "float32": X.astype(np.float32),
    "10% copies": np.vstack([X, X[:40]]),
    "every point three times": np.repeat(X, 3, axis=0),
    "copies in another order": np.repeat(X, 2, axis=0)[::-1],
    "Fortran order": np.asfortranarray(X),
    "list": X.tolist(),
}


@pytest.mark.parametrize("changed", INVARIANT)
def test_what_leaves_the_dimension_as_it_is(make, changed):
    value, expected = dimension(make, INVARIANT[changed]), dimension(make, X)
    if "another order" in changed and make.__name__ in DRAWING:
        assert abs(value / expected - 1) < 0.15  # other subsets
    else:
        assert abs(value / expected - 1) < 0.01, (value, expected)


def test_the_order_of_points_does_not_matter(make):
    order = np.random.default_rng(0).permutation(300)
    value, expected = dimension(make, X[order]), dimension(make, X)
    margin = 0.15 if make.__name__ in DRAWING else 1e-9  # other subsets
    assert abs(value / expected - 1) < margin


def test_a_large_offset_in_many_coordinates(make):
    wide = np.hstack([X, np.zeros((300, 34))]) @ np.linalg.qr(np.random.default_rng(2).standard_normal((40, 40)))[0]
    value, expected = dimension(make, wide + 1e6), dimension(make, X)
    assert abs(value / expected - 1) < 0.01


def test_one_coordinate(make):
    value = dimension(make, np.random.default_rng(3).uniform(size=(300, 1)))
    assert 0.8 < value < 1.25


def test_a_lattice_is_refused_or_gives_a_number(make):
    grid = np.stack(np.meshgrid(*[np.arange(8.0)] * 3), axis=-1).reshape(-1, 3)
    value = dimension(make, grid)
    assert isinstance(value, str) or 0 < value < 30
    rounded = dimension(make, np.round(2 * X))
    assert isinstance(rounded, str) or 0 < rounded < 30


def test_few_points_are_refused_or_give_a_number(make):
    for n in (2, 3, 4, 5, 10, 21, 22):
        value = dimension(make, X[:n])
        assert isinstance(value, str) or 0 < value < 1e3
    fitted_at = [n for n in (2, 3, 4, 5, 10, 30, 120) if not isinstance(dimension(make, X[:n]), str)]
    for n in fitted_at:  # intervals of few points are wide, not wrong
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            low, high = make().fit(X[:n]).interval_
        assert 0 <= low <= high


def test_what_says_nothing_is_refused(make):
    bad = X.copy()
    bad[3, 1] = np.nan
    infinite = X.copy()
    infinite[0, 0] = np.inf
    for data in (bad, infinite, np.ones((50, 3)), np.repeat(X[:1], 100, axis=0), X[:1]):
        sentence = dimension(make, data)
        assert isinstance(sentence, str)
        assert len(sentence.split()) > 3
