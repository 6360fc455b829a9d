"""The consensus: known manifolds, real digits, what is said beside the number, and what is refused."""

import json

import numpy as np
import pytest
from sklearn.datasets import load_digits, make_swiss_roll

import submanifold as sm
from submanifold.data.dataset import Dataset
from submanifold.dimension.duplicates import drop_duplicates
from submanifold.dimension.pooling import heterogeneity_p_value, random_effects
from submanifold.dimension.scale import scale_curve
from submanifold.errors import InvalidInput
from submanifold.neighbors import NeighborGraph


def _rng(seed):
    return np.random.default_rng(seed)


def circle(seed, n=1200):
    a = _rng(seed).uniform(0, 2 * np.pi, n)
    return np.stack([np.cos(a), np.sin(a)], axis=1)


def sphere(seed, n=1200):
    X = _rng(seed).standard_normal((n, 3))
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def torus(seed, n=3000):
    t, p = _rng(seed).uniform(0, 2 * np.pi, (2, n))
    return np.stack([(2 + np.cos(p)) * np.cos(t), (2 + np.cos(p)) * np.sin(t), np.sin(p)], axis=1)


def swiss_roll(seed):
    return make_swiss_roll(1200, random_state=seed)[0]


def linear_9_in_50(seed):
    rng = _rng(seed)
    return rng.standard_normal((1200, 9)) @ np.linalg.qr(rng.standard_normal((50, 9)))[0].T


def ball_10(seed):
    rng = _rng(seed)
    X = rng.standard_normal((1200, 10))
    return X / np.linalg.norm(X, axis=1, keepdims=True) * rng.random((1200, 1)) ** 0.1


def lollipop(seed, n=800):
    """A disc and a segment: dimension 2 and 1."""
    rng = _rng(seed)
    r, a = np.sqrt(rng.random(n)), rng.uniform(0, 2 * np.pi, n)
    disc = np.stack([r * np.cos(a), r * np.sin(a)], axis=1)
    return np.vstack([disc, np.stack([1 + rng.random(n), np.zeros(n)], axis=1)])


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("law", "d", "margin"),
    [
        (circle, 1, 0.05),
        (sphere, 2, 0.1),
        (torus, 2, 0.15),
        (swiss_roll, 2, 0.2),
        (linear_9_in_50, 9, 1.4),  # the reference is a ball, in which a Gaussian reads high: the interval holds 9
        (ball_10, 10, 1.6),
    ],
)
def test_known_manifolds(law, d, margin, seed):
    found = sm.dimension.estimate(law(seed), seed=seed)
    assert abs(found.dimension - d) < margin
    assert found.interval[0] < found.dimension < found.interval[1]
    assert found.interval[0] <= d * 1.01
    assert found.interval[1] >= d * 0.97
    assert abs(found.rounded - d) <= (1 if d >= 9 else 0)
    assert set(found.by_method) == {"mle", "twonn", "lpca"}
    if law in (circle, sphere):  # the torus is curved enough at this n for the methods to disagree
        assert found.warnings == ()
        assert abs(np.median(found.pointwise) / d - 1) < 0.08


def test_digits():
    digits = load_digits()
    found = sm.dimension.estimate(digits.data, labels=digits.target)
    assert 8 <= found.dimension <= 13
    assert set(found.by_class) == set(range(10))
    said = " ".join(found.warnings)
    assert "multiples of 1" in said
    assert "differs between classes" in said
    assert "methods disagree" in said
    assert found.pointwise.shape == (1797,)
    assert "intrinsic dimension" in str(found)
    assert "class 9" in str(found)


@pytest.mark.parametrize("seed", range(3))
def test_digits_are_read_alike_in_parts(seed):
    """Their curve falls gently at all scales, which must not be noise in one part and none in another."""
    part, _ = sm.data.load("digits").split(0.2, seed=seed)
    found = sm.dimension.estimate(part, seed=seed)
    assert 8.9 < found.dimension < 10.4
    assert not found.scale_curve.noisy


def test_one_search_serves_everything(monkeypatch):
    from submanifold.dimension import space

    made = []

    class Counted(NeighborGraph):
        def __init__(self, *args, **kwargs):
            made.append(args[1])
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(space, "NeighborGraph", Counted)
    monkeypatch.setattr("submanifold.dimension.base.NeighborGraph", Counted)
    sm.dimension.estimate(sphere(0, 400))
    assert len(made) == 1


def test_methods_and_k_reach_the_estimators():
    X = sphere(0)
    found = sm.dimension.estimate(X, methods=("mle",), k=10, seed=5)
    alone = sm.dimension.MLE(10, random_state=5).fit(X)
    np.testing.assert_allclose(found.dimension, alone.dimension_, rtol=1e-12)
    np.testing.assert_allclose(found.by_method["mle"].interval, alone.interval_, rtol=1e-12)
    curve = found.scale_curve
    np.testing.assert_allclose(curve.dimension[curve.ks == 10], alone.dimension_, rtol=1e-12)


def test_copies_change_nothing_but_the_counts():
    X = sphere(1, 500)
    plain, doubled = sm.dimension.estimate(X), sm.dimension.estimate(np.vstack([X, X[:50]]))
    assert doubled.dimension == plain.dimension
    assert doubled.warnings == ("50 of 550 points are copies of others and were dropped.",)
    np.testing.assert_array_equal(doubled.pointwise[500:], doubled.pointwise[:50])
    assert (doubled.n, len(doubled.rows)) == (550, 550)


def test_neighbourhoods_that_see_curvature_are_told():
    """Fifty of 1200 points reach so far on this torus that local PCA counts the normal direction too."""
    found = sm.dimension.estimate(torus(0, 1200))
    assert found.by_method["lpca"].dimension > 2.5
    assert abs(found.by_method["mle"].dimension - 2) < 0.15
    assert "methods disagree" in found.warnings[0]


@pytest.mark.parametrize("seed", range(3))
def test_union_of_two_dimensions_is_refused_one_number(seed):
    X = lollipop(seed)
    found = sm.dimension.estimate(X, labels=np.repeat(["disc", "stick"], 800), seed=seed)
    assert np.isnan(found.dimension)
    assert np.isnan(found.interval).all()
    stick, disc = found.pieces
    assert stick.interval[0] <= 1 <= stick.interval[1]
    assert disc.interval[0] <= 2 <= disc.interval[1]
    assert (stick.members >= 800).mean() > 0.95, "members are rows of X"
    assert (disc.members < 800).mean() > 0.95
    assert abs(stick.share - 0.5) < 0.05
    assert found.rounded == 2, "a space must hold the largest piece"
    assert "A pooled number would describe none of them" in found.warnings[0]
    assert str(found).startswith("no single intrinsic dimension")
    json.dumps(found.to_json(), allow_nan=False)
    assert abs(np.median(found.pointwise[:800]) - 2) < 0.15
    assert abs(np.median(found.pointwise[800:]) - 1) < 0.1
    assert abs(found.by_class["disc"].dimension - 2) < 0.12
    assert abs(found.by_class["stick"].dimension - 1) < 0.08
    said = " ".join(found.warnings)
    assert "differs between classes, from 1.0 (class stick) to" in said


def test_noise_shows_in_the_scale_curve():
    X = np.pad(circle(0, 2000), ((0, 0), (0, 8))) + 0.02 * _rng(1).standard_normal((2000, 10))
    curve = sm.dimension.estimate(X).scale_curve
    assert curve.dimension[0] > 6
    assert curve.dimension[-1] < 3
    assert (np.diff(curve.radii) > 0).all()
    assert ((curve.low < curve.dimension) & (curve.dimension < curve.high)).all()


def test_large_data_are_looked_at_in_part(monkeypatch):
    monkeypatch.setattr("submanifold.dimension.space._MOST_ROWS", 300)
    X = np.vstack([sphere(0, 1000), sphere(0, 1000)[:100]])
    found = sm.dimension.estimate(X)
    assert found.pointwise.shape == found.rows.shape == (300,)
    assert found.rows.max() < 1000, "rows are first appearances"
    assert abs(found.dimension - 2) < 0.2


@pytest.mark.parametrize("X", [np.arange(100.0)[:, None], np.indices((7, 7, 7)).reshape(3, -1).T])
def test_lattice_is_told_and_ratios_are_left_out(X):
    found = sm.dimension.estimate(X)
    assert "twonn" not in found.by_method
    assert "multiples of 1" in found.warnings[0]
    assert "twonn was left out" in found.warnings[-1]
    assert found.rounded == X.shape[1]
    json.dumps(found.to_json(), allow_nan=False)
    found.figure()


def test_small_classes_are_named():
    labels = np.zeros(400, dtype=int)
    labels[:10] = 1
    found = sm.dimension.estimate(sphere(0, 400), labels=labels)
    assert set(found.by_class) == {0}
    assert found.warnings == ("Class 1 holds too few distinct points for an estimate.",)


def test_labels_of_a_dataset_are_used():
    X = lollipop(0)
    data = Dataset(X, labels=np.repeat([0, 1], 800))
    assert set(sm.dimension.estimate(data).by_class) == {0, 1}


def test_json_and_figure():
    X = sphere(0, 400)
    found = sm.dimension.estimate(X, labels=np.arange(400) % 2)
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert data["rounded"] == 2
    assert data["by_class"].keys() == {"0", "1"}
    left, right = found.figure().axes
    assert left.get_xlabel() == "neighbours k (the scale)"
    assert [t.get_text() for t in right.get_yticklabels()] == [
        "consensus", "mle", "twonn", "lpca", "class 0", "class 1",
    ]  # fmt: skip


def test_deterministic():
    X = sphere(3, 300)
    first, second = (sm.dimension.estimate(X, seed=4) for _ in range(2))
    assert (first.dimension, first.interval) == (second.dimension, second.interval)


@pytest.mark.parametrize("n", [8, 12, 30])
def test_few_points_give_wide_intervals(n):
    found = sm.dimension.estimate(_rng(n).random((n, 2)))
    assert found.interval[1] / found.interval[0] > 1.3
    json.dumps(found.to_json(), allow_nan=False)


def test_random_effects_against_worked_numbers():
    # Equal variances v: tau^2 = max(0, s^2 - v) with s^2 the sample variance of the logarithms.
    y, v = np.array([0.0, 0.4, 0.8]), 0.01
    value, variance = random_effects(np.exp(y), [v] * 3)
    tau2 = 0.16 - v
    np.testing.assert_allclose([value, variance], [np.exp(0.4), v + tau2 / 3], rtol=1e-12)
    # Methods that agree: no extra variance, and perfectly dependent errors do not average out.
    np.testing.assert_allclose(random_effects([3.0, 3.0], [0.04, 0.04]), [3.0, 0.04], rtol=1e-12)
    np.testing.assert_allclose(random_effects([7.0], [0.02]), [7.0, 0.02], rtol=1e-12)
    wide, narrow = random_effects([2.0, 4.0], [1e-4, 1e-4])[1], random_effects([2.0, 2.2], [1e-4, 1e-4])[1]
    assert wide > 10 * narrow


def test_heterogeneity_is_uniform_when_there_is_none():
    rng = _rng(0)
    p = [heterogeneity_p_value(np.exp(rng.normal(1, 0.1, 5)), [0.01] * 5) for _ in range(2000)]
    assert abs(np.mean(np.array(p) < 0.1) - 0.1) < 0.03
    assert heterogeneity_p_value([3.0], [0.1]) == 1.0


def test_drop_duplicates_against_numpy():
    X = _rng(0).integers(0, 3, (300, 4)).astype(float)
    X[0] = -0.0
    X[1] = 0.0
    distinct, place = drop_duplicates(X)
    np.testing.assert_array_equal(distinct[place], X)
    assert len(distinct) == len(np.unique(X, axis=0))


def test_scale_curve_starts_at_two_and_ends_at_the_last_k():
    curve = scale_curve(NeighborGraph(sphere(0, 300), 60), k_max=60)
    assert (curve.ks[0], curve.ks[-1]) == (2, 60)
    assert curve.to_json().keys() == {"ks", "radii", "dimension", "low", "high", "calibrated", "plateau"}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"X": np.ones((20, 2))}, "copies of one point"),
        ({"X": [[np.nan, 1.0], [2.0, 3.0]]}, "NaN"),
        ({"X": np.eye(7)}, "7 distinct points"),
        ({"X": sphere(0, 50), "methods": ("mle", "dancer")}, "'dancer' is unknown"),
        ({"X": sphere(0, 50), "methods": ()}, "methods is empty"),
        ({"X": sphere(0, 50), "k": 25}, "k=25"),
        ({"X": sphere(0, 50), "k": 2}, "k=2"),
        ({"X": sphere(0, 50), "labels": np.zeros(49)}, "labels have shape"),
        ({"X": np.arange(99.0)[:, None], "methods": ("twonn",)}, "lattice"),
    ],
)
def test_refuses(arguments, named):
    with pytest.raises(InvalidInput, match=named):
        sm.dimension.estimate(**arguments)


def _normal(n, d, seed=0):
    return _rng(seed).standard_normal((n, d))


def test_k_beyond_the_curve_reaches_classes_and_clusters():
    X = _normal(1000, 3)
    found = sm.dimension.estimate(X, k=150, labels=["a"] * 500 + ["b"] * 500)
    assert found.reading.k == 150
    assert set(found.by_class) == {"a", "b"}
    assert set(sm.dimension.estimate(np.vstack([X[:500], 50 + X[500:]]), k=120).by_cluster) == {0, 1}


@pytest.mark.parametrize(
    "labels", [np.array(["a", None] * 100, dtype=object), np.r_[np.full(100, 0.5), np.full(100, np.nan)]]
)
def test_missing_labels_are_refused(labels):
    with pytest.raises(InvalidInput, match="labels are missing for 100 of 200"):
        sm.dimension.estimate(_normal(200, 3), labels=labels)


def test_labels_of_any_kind():
    X = _normal(200, 3)
    assert set(sm.dimension.estimate(X, labels=np.array(["a", "b"] * 100, dtype=object)).by_class) == {"a", "b"}
    many = sm.dimension.estimate(X, labels=_rng(1).standard_normal(200))
    assert sum("too few distinct points" in sentence for sentence in many.warnings) == 1
    assert "and 195 more hold" in many.warnings[-1]


@pytest.mark.parametrize("method", ["fishers", "pca", "calibrated"])
def test_one_chosen_method_is_told_as_it_is(method):
    found = sm.dimension.estimate(_normal(60, 3), methods=[method])
    only = found.by_method[method]
    assert (found.dimension, found.interval) == (only.dimension, only.interval)
    json.dumps(found.to_json(), allow_nan=False)


def test_methods_of_unknown_error_do_not_drown_the_others():
    assert random_effects([3.0, 5.0], [np.inf, np.inf]) == (pytest.approx(np.sqrt(15)), np.inf)
    np.testing.assert_allclose(random_effects([3.0, 5.0], [0.02, np.inf]), [3.0, 0.02])
    assert heterogeneity_p_value([3.0, 5.0], [0.02, np.inf]) == 1.0


@pytest.mark.parametrize("X", [np.eye(50), np.arange(200.0)[:, None], np.indices((20, 20)).reshape(2, -1).T])
def test_more_dimensions_than_coordinates_are_called_impossible(X):
    found = sm.dimension.estimate(X)
    assert found.interval[0] <= found.dimension <= found.interval[1]
    said = " ".join(found.warnings)
    assert ("which no data can exceed" in said) == (found.interval[0] > X.shape[1])
    assert "multiples of 1" in said
    json.dumps(found.to_json(), allow_nan=False)


def test_what_is_beyond_the_table_is_not_called_known():
    from submanifold.dimension.wording import how, verdict

    found = sm.dimension.estimate(_normal(300, 500))
    assert found.interval[1] == np.inf
    assert "at least about 200" in verdict(found, "X")
    assert "no law that is tabulated" in " ".join(how(found))


def test_sentences_do_not_claim_what_was_not_done():
    raw = sm.dimension.estimate(_normal(500, 20), methods=["mle"])
    assert "and are not corrected" in " ".join(raw.warnings)
    plane = np.pad(_normal(4000, 2), ((0, 0), (0, 6))) + 0.006 * _normal(4000, 8, 1)
    among, beyond = sm.dimension.estimate(plane, k=3), sm.dimension.estimate(plane)
    assert "as here, is too high" in " ".join(among.warnings)
    assert "the consensus is read beyond" in " ".join(beyond.warnings)
    assert beyond.reading.k > 3
