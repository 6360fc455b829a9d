"""A graph, a matrix of distances or any metric in place of points: the same numbers, and honest about the rest."""

import json

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist, jensenshannon

import submanifold as sm
from submanifold.dimension import ESTIMATORS, PH, FisherS, MagnitudeDimension, names
from submanifold.dimension.duplicates import distinct_by_distance
from submanifold.errors import InvalidInput
from submanifold.neighbors import NeighborGraph, distinct_rows

NAN = float("nan")
PLACES = (
    "dimension",
    "interval",
    "raw",
    "scale",
    "by_class",
    "by_cluster",
    "scale_curve",
    "local",
    "pieces",
    "by_reference",
)


def sphere(n, seed=0, D=6):
    X = np.random.default_rng(seed).standard_normal((n, 3))
    return np.pad(X / np.linalg.norm(X, axis=1, keepdims=True), ((0, 0), (0, D - 3)))


def clusters(n=500):
    """Two spheres far apart, with copies, and labels that are not the clusters."""
    X = np.vstack([sphere(n), 40 + sphere(n, 1)])
    return np.vstack([X, X[:20]]), np.random.default_rng(0).integers(0, 2, 2 * n + 20)


def lollipop(n=700):
    rng = np.random.default_rng(0)
    r, a = np.sqrt(rng.random(n)), rng.uniform(0, 2 * np.pi, n)
    stick = np.stack([1 + rng.random(n), np.zeros(n)], axis=1)
    return np.vstack([np.stack([r * np.cos(a), r * np.sin(a)], axis=1), stick])


def distances(X, metric="euclidean"):
    D = cdist(X, X, metric)
    return np.maximum(D, D.T)


def numbers(found):
    """All that a consensus tells in numbers, but for what needs coordinates."""
    told = found.to_json()
    told["by_method"] = {name: told["by_method"][name] for name in ("mle", "twonn") if name in told["by_method"]}
    return {name: told[name] for name in (*PLACES, "by_method", "rounded", "n", "n_distinct") if name in told}


def assert_same(one, other, rtol=1e-9):
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            assert_same(one[name], other[name], rtol)
    elif isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b, rtol)
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=rtol, abs=1e-9)
    else:
        assert one == other


def count_searches(monkeypatch):
    made = []
    init = NeighborGraph.__init__

    def counted(self, X, k, **options):
        made.append(len(X))
        init(self, X, k, **options)

    monkeypatch.setattr(NeighborGraph, "__init__", counted)
    return made


# The same by another road


@pytest.mark.parametrize("data", [clusters, lambda: (lollipop(), np.repeat([0, 1], 700))])
def test_a_matrix_of_euclidean_distances_is_the_points(data):
    X, labels = data()
    points = sm.dimension.estimate(X, labels=labels)
    matrix = sm.dimension.estimate(distances(X), metric="precomputed", labels=labels)
    assert_same(numbers(points), numbers(matrix))
    np.testing.assert_allclose(points.pointwise, matrix.pointwise, rtol=1e-9)
    for one, other in zip(points.pieces, matrix.pieces, strict=True):
        np.testing.assert_array_equal(one.members, other.members)
    assert (points.ambient_dim, matrix.ambient_dim) == (X.shape[1], None)
    assert (points.metric, matrix.metric) == ("euclidean", "precomputed")
    left_out = "lpca was left out: X holds distances alone, and LocalPCA needs the coordinates of points."
    assert set(matrix.warnings) - set(points.warnings) == {left_out}


@pytest.mark.parametrize("metric", ["cityblock", "chebyshev", lambda a, b: np.abs(a - b).sum()])
def test_any_metric_is_the_matrix_of_its_distances(metric):
    X, labels = clusters(110)
    points = sm.dimension.estimate(X, metric=metric, labels=labels)
    name = "cityblock" if callable(metric) else metric
    assert_same(
        numbers(points), numbers(sm.dimension.estimate(distances(X, name), metric="precomputed", labels=labels))
    )
    assert points.metric == ("<lambda>" if callable(metric) else metric)
    assert points.ambient_dim == 6
    assert any(s.startswith("lpca was left out: LocalPCA measures in Euclidean space") for s in points.warnings)
    assert points.n_distinct == 220


def test_every_metric_sees_the_same_dimension_of_a_manifold():
    for metric in ("cityblock", "chebyshev", "euclidean", "l2"):
        found = sm.dimension.estimate(sphere(900), metric=metric)
        assert abs(found.dimension - 2) < 0.12, metric
        assert found.interval[0] < 2.02
        assert found.interval[1] > 1.98


@pytest.mark.parametrize("metric", ["euclidean", "cityblock"])
def test_a_graph_in_place_of_the_search_changes_no_number(metric, monkeypatch):
    X, _ = clusters(300)
    X, labels = X[:600], np.arange(600) % 2
    plain = sm.dimension.estimate(X, metric=metric, labels=labels, methods=["mle", "gride", "corrint"])
    for graph in (NeighborGraph(X, 180, metric=metric), NeighborGraph(X, 150, metric=metric)):
        made = count_searches(monkeypatch)
        shared = sm.dimension.estimate(X, graph=graph, labels=labels, methods=["mle", "gride", "corrint"])
        monkeypatch.undo()
        assert 600 not in made
        assert shared.to_json() == plain.to_json()
        np.testing.assert_array_equal(shared.pointwise, plain.pointwise)


def test_a_graph_of_distances_is_used(monkeypatch):
    D = distances(sphere(300))
    plain, graph = sm.dimension.estimate(D, metric="precomputed"), NeighborGraph(D, 120, metric="precomputed")
    made = count_searches(monkeypatch)
    shared = sm.dimension.estimate(D, metric="precomputed", graph=graph)
    assert made == []
    assert shared.to_json() == plain.to_json()


def test_a_graph_of_large_data_is_looked_at_in_part(monkeypatch):
    monkeypatch.setattr("submanifold.dimension.space._MOST_ROWS", 300)
    X = sphere(900)
    plain, shared = sm.dimension.estimate(X), sm.dimension.estimate(X, graph=NeighborGraph(X, 100))
    assert shared.to_json() == plain.to_json()
    np.testing.assert_array_equal(shared.rows, plain.rows)
    some = NeighborGraph(X, 100, rows=np.arange(0, 900, 2)[::-1])
    found = sm.dimension.estimate(X, graph=some)
    assert set(found.rows) <= set(range(0, 900, 2))
    assert abs(found.dimension - 2) < 0.2


def test_neighbours_that_others_found_are_taken_with_or_without_points():
    X = sphere(500)
    D = distances(X)
    order = np.argsort(D, axis=1)[:, 1:121]
    found = NeighborGraph.from_arrays(np.take_along_axis(D, order, 1), order)
    plain = sm.dimension.estimate(X)
    for given in (sm.dimension.estimate(X, graph=found), sm.dimension.estimate(found)):
        assert given.dimension == pytest.approx(plain.dimension, rel=1e-9)
        assert given.search == "given"
        json.dumps(given.to_json(), allow_nan=False)
        assert "were given" in sm.dimension.wording.searched(given)
        assert not any("nan" in sentence for sentence in given.warnings)


# A graph alone


def test_a_graph_alone_is_read_as_far_as_it_reaches(monkeypatch):
    X = sphere(900)
    graph = NeighborGraph(X, 100)
    plain = sm.dimension.estimate(X)
    made = count_searches(monkeypatch)
    for alone in (sm.dimension.estimate(graph), sm.dimension.estimate(None, graph=graph)):
        assert made == []
        assert alone.dimension == plain.dimension
        assert set(alone.by_method) == {"mle", "twonn"}
        assert alone.ambient_dim == 6
        assert alone.scale_curve.ks[-1] == 100
        assert any("LocalPCA needs the coordinates" in sentence for sentence in alone.warnings)


def test_parts_of_a_graph_alone():
    X, labels = clusters(500)
    X, labels = X[:1000], np.where(X[:1000, 0] > 20, "far", "near")
    plain, alone = (sm.dimension.estimate(given, labels=labels) for given in (X, NeighborGraph(X, 150)))
    for of in ("by_class", "by_cluster"):
        there, here = getattr(plain, of), getattr(alone, of)
        assert there.keys() == here.keys()
        for name in there:
            assert here[name].dimension == pytest.approx(there[name].dimension, rel=0.02)
    X = lollipop()
    stick, disc = sm.dimension.estimate(NeighborGraph(X, 150)).pieces
    assert stick.interval[0] <= 1 <= stick.interval[1]
    assert abs(disc.dimension - 2) < 0.15


def test_classes_that_a_graph_does_not_know_are_told():
    graph = NeighborGraph(sphere(600), 100)
    found = sm.dimension.estimate(graph, labels=np.arange(600) % 12)
    assert found.by_class == {}
    assert "Classes 0, 1, 2, 3, 4 and 7 more: the graph holds too few neighbours inside them" in found.warnings[-1]


def test_a_union_that_a_graph_cannot_take_apart_is_told(monkeypatch):
    from submanifold.dimension.space import GraphSpace

    monkeypatch.setattr(GraphSpace, "part", lambda *_: None)
    found = sm.dimension.estimate(NeighborGraph(lollipop(), 150))
    assert found.pieces == ()
    assert any("seem a union of pieces of different dimension" in sentence for sentence in found.warnings)


# What distances do not tell, and what they mislead in


def test_copies_are_points_at_distance_zero():
    X = np.random.default_rng(0).integers(0, 5, (300, 3)).astype(float)
    for one, other in zip(distinct_by_distance(distances(X)), distinct_rows(X), strict=True):
        np.testing.assert_array_equal(one, other)
    chain = np.ones((4, 4))  # 0 = 2 and 2 = 3, but not 0 = 3
    for i, j in ((0, 0), (1, 1), (2, 2), (3, 3), (0, 2), (2, 3)):
        chain[i, j] = chain[j, i] = 0
    np.testing.assert_array_equal(distinct_by_distance(chain)[1], [0, 1, 0, 0])


def test_points_that_another_metric_does_not_tell_apart_are_dropped():
    X = sphere(150)
    X = np.vstack([X, X[:30] + 7 * np.eye(6)[5]])
    found = sm.dimension.estimate(X, metric=lambda a, b: np.abs(a[:3] - b[:3]).sum())
    assert (found.n, found.n_distinct) == (180, 150)
    np.testing.assert_array_equal(found.pointwise[150:], found.pointwise[:30])
    assert "30 of 180 points are copies" in found.warnings[0]


@pytest.mark.parametrize("metric", ["cosine", "sqeuclidean", lambda a, b: np.square(a - b).sum()])
def test_squares_of_distances_are_told(metric):
    """On a sphere the cosine distance is half the squared chord: logarithms of distances are twice as far apart."""
    X = sphere(250)
    plain, squared = sm.dimension.estimate(X), sm.dimension.estimate(X, metric=metric)
    np.testing.assert_allclose(squared.scale_curve.dimension[:9], plain.scale_curve.dimension[:9] / 2, rtol=1e-6)
    assert any("half of the dimension is read" in sentence for sentence in squared.warnings)
    matrix = sm.dimension.estimate(np.square(distances(X)), metric="precomputed")
    assert any("one side is longer than the other two" in sentence for sentence in matrix.warnings)
    for honest in (plain, sm.dimension.estimate(distances(X), metric="precomputed")):
        assert not any("half of the dimension" in sentence for sentence in honest.warnings)


def test_whole_numbers_of_distances_are_told():
    X = np.random.default_rng(0).integers(0, 2, (300, 40)).astype(float)
    found = sm.dimension.estimate(distances(X, "cityblock"), metric="precomputed", methods=["mle"])
    assert any("All distances between neighbours are multiples of 1:" in sentence for sentence in found.warnings)


def test_results_of_distances_are_told_and_drawn():
    from submanifold.cli.curve import curve_lines
    from submanifold.dimension.wording import verdict

    found = sm.dimension.estimate(distances(sphere(200)), metric="precomputed")
    assert str(found).startswith("intrinsic dimension 2.")
    assert " of 200 points with precomputed distances\n" in str(found)
    assert verdict(found, "X").startswith("X: 200 points with precomputed distances lie near a manifold of about ")
    assert found.rounded == 2
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["ambient_dim"] is None
    assert len(found.figure().axes) == 2
    assert len(found.local.figure().axes) == 1
    assert curve_lines(found)


# Estimators of the whole cloud


@pytest.mark.parametrize("estimator", [PH(nsteps=4), MagnitudeDimension(200), PH(n_points=200)], ids=str)
def test_whole_clouds_are_read_from_their_distances(estimator):
    X = sphere(260, D=3)
    X = np.vstack([X, X[:9]])
    for metric in ("euclidean", "cityblock"):
        if metric == "cityblock" and estimator.n_points < 260:
            continue  # of points, the random part is drawn in their Euclidean order
        with pytest.warns(UserWarning, match="9 copies"):
            points = estimator.set_params(metric=metric).fit(X)
        expected = (points.dimension_, *points.interval_)
        with pytest.warns(UserWarning, match="9 copies"):
            matrix = estimator.set_params(metric="precomputed").fit(distances(X, metric))
        np.testing.assert_allclose((matrix.dimension_, *matrix.interval_), expected, rtol=1e-9)
        assert matrix.n_features_in_ == 269
    estimator.set_params(metric="euclidean")


def test_neighbourhoods_are_read_from_distances():
    X = sphere(60, D=3)
    one, other = PH(nsteps=3).fit_pw(X, n_neighbors=20), PH(nsteps=3, metric="precomputed")
    np.testing.assert_allclose(other.fit_pw(distances(X), n_neighbors=20).dimension_pw_, one.dimension_pw_, rtol=1e-9)


def test_a_metric_that_scipy_knows_is_given_as_a_function():
    X = np.random.default_rng(0).dirichlet(np.ones(4), 150)
    found = PH(metric=jensenshannon).fit(X)
    assert 2 < found.dimension_ < 4


def test_all_estimators_are_called_alike():
    X = sphere(150)
    graph = NeighborGraph(X, 149)
    for name in names():
        given = (X > 0) if name == "bid" else X
        fitted = ESTIMATORS[name]().fit(given, graph=graph)
        assert fitted.dimension_ > 0, name


def test_chosen_methods_see_the_distances():
    X = sphere(250)
    D = distances(X)
    every = ["mle", "ph", "magnitude", "corrint", "fishers", "pca"]
    found = sm.dimension.estimate(D, metric="precomputed", methods=every)
    points = sm.dimension.estimate(X, methods=every)
    assert set(found.by_method) == {"mle", "ph", "magnitude", "corrint"}
    for name, one in found.by_method.items():
        assert one.dimension == pytest.approx(points.by_method[name].dimension, rel=1e-6), name
    assert [s.split()[0] for s in found.warnings if "was left out" in s] == ["fishers", "pca"]
    city = sm.dimension.estimate(X, metric="cityblock", methods=["ph"])
    assert city.dimension == pytest.approx(PH(metric="cityblock").fit(X).dimension_, rel=1e-9)


def test_tensors_of_a_type_that_numpy_lacks_are_read():
    half = torch.from_numpy(distances(sphere(60))).bfloat16()
    found, same = (sm.dimension.estimate(D, metric="precomputed") for D in (half, half.float().numpy()))
    assert found.to_json() == same.to_json()
    points = torch.from_numpy(sphere(60)).bfloat16()
    assert PH().fit(points).dimension_ == PH().fit(points.float().numpy()).dimension_


# What is refused


def _changed(D, *entries, value):
    D = D.copy()
    for i, j in entries:
        D[i, j] = value
    return D


X = sphere(60)
D = distances(X)
G = NeighborGraph(X, 59)


@pytest.mark.parametrize(
    ("fit", "named"),
    [
        (lambda: sm.dimension.estimate(D[:50], metric="precomputed"), r"X has shape \(50, 60\).* square"),
        (lambda: sm.dimension.estimate(D[0], metric="precomputed"), "X of shape"),
        (lambda: sm.dimension.estimate(_changed(D, (3, 4), value=9), metric="precomputed"), "X .* not symmetric"),
        (lambda: sm.dimension.estimate(_changed(D, (3, 4), (4, 3), value=-1), metric="precomputed"), "X .* negative"),
        (lambda: sm.dimension.estimate(_changed(D, (3, 4), (4, 3), value=NAN), metric="precomputed"), "X .* NaN"),
        (lambda: sm.dimension.estimate(D + np.eye(60), metric="precomputed"), "X .* diagonal"),
        (lambda: sm.dimension.estimate(np.zeros((60, 60)), metric="precomputed"), "X .* all 0"),
        (
            lambda: sm.dimension.estimate(np.kron(D[:7, :7], np.ones((9, 9))), metric="precomputed"),
            "X holds 7 distinct",
        ),
        (lambda: sm.dimension.estimate(csr_array(D), metric="precomputed"), "X is a sparse matrix"),
        (lambda: sm.dimension.estimate(X, metric=lambda a, b: 0.0), "X holds 1 distinct points by metric='<lambda>'"),
        (lambda: sm.dimension.estimate(X, metric="citiblock"), "did you mean 'cityblock'"),
        (lambda: sm.dimension.estimate(X, metric=3), "metric=3"),
        (lambda: sm.dimension.estimate(X, metric=lambda a: 0), "metric=<lambda> .* function of two points"),
        (lambda: sm.dimension.estimate(X, metric=lambda a, b: NAN), "metric=<lambda> .* not finite"),
        (lambda: sm.dimension.estimate(X, metric=np.zeros(3)), "metric=.* is unknown"),
        (lambda: sm.dimension.estimate(X, n_jobs=0), "n_jobs=0"),
        (lambda: sm.dimension.estimate(X, seed=-1), "seed=-1"),
        (lambda: sm.dimension.estimate(X, seed=1.5), "seed=1.5"),
        (lambda: sm.dimension.estimate(X, methods="mle"), r"methods='mle' .* such as \['mle'\]"),
        (lambda: sm.dimension.estimate(X, methods=[3]), "3 is unknown"),
        (lambda: sm.dimension.estimate(X, labels=[[1], [1, 2]] * 30), "labels are a ragged list"),
        (lambda: sm.dimension.estimate(X, graph=G.distances), "graph is of type ndarray"),
        (lambda: sm.dimension.estimate(None), "X is None and no graph"),
        (lambda: sm.dimension.estimate(G, graph=G), "graph is not accepted where X is a graph"),
        (lambda: sm.dimension.estimate(G, metric="cosine"), "metric='cosine' is not that of the graph, 'euclidean'"),
        (lambda: sm.dimension.estimate(sphere(50), graph=G), "graph was made of 60 points.* 50 points of X"),
        (lambda: sm.dimension.estimate(sphere(60, 1), graph=G), "graph has point 0 at distances .* in X"),
        (lambda: sm.dimension.estimate(D, graph=G), "graph has point 0 .* metric='euclidean'"),
        (lambda: sm.dimension.estimate(X, metric="cityblock", graph=G), "graph has point 0 .* metric='cityblock'"),
        (lambda: sm.dimension.estimate(X, graph=NeighborGraph(X, 58)), "graph holds 58 neighbours .* at least 59"),
        (lambda: sm.dimension.estimate(NeighborGraph(X, 30)), "graph holds 30 neighbours a point: give at least 59"),
        (lambda: sm.dimension.estimate(NeighborGraph(X, 59, rows=[1, 2, 3])), "graph holds the neighbours of 3 points"),
        (lambda: sm.dimension.estimate(NeighborGraph(np.vstack([X, X]), 110)), "graph holds copies of points"),
        (
            lambda: sm.dimension.estimate(X, graph=NeighborGraph(X, 59, metric=lambda a, b: np.abs(a - b).sum())),
            "graph was made with metric='<lambda>'.* give metric=",
        ),
        (lambda: sm.dimension.estimate(D, metric="precomputed", methods=["lpca"]), "LocalPCA needs the coordinates"),
        (lambda: sm.dimension.estimate(D, metric="precomputed", methods=["fishers"]), "FisherS needs the coordinates"),
        (lambda: sm.dimension.estimate(X, metric="cosine", methods=["pca"]), "lPCA measures in Euclidean space"),
        (lambda: sm.dimension.estimate(X, metric=np.str_("cosine"), methods=["pca"]), "not by metric='cosine'"),
        (lambda: sm.dimension.estimate(G, methods=["ph"]), "PH looks at all points"),
        (lambda: sm.dimension.estimate(G, labels=np.zeros(59)), "labels have shape"),
        (lambda: FisherS().fit(G), "X is a NeighborGraph: FisherS looks at all points at once and needs their coord"),
        (lambda: PH().fit(None, graph=G), "X is None: PH .* distances"),
        (lambda: PH(metric="precomputed").fit(D[:50]), "X has shape"),
        (lambda: MagnitudeDimension(metric="precomputed").fit(_changed(D, (3, 4), value=9)), "not symmetric"),
        (lambda: MagnitudeDimension(metric="precomputed").fit(X), "square"),
        (lambda: PH(metric="euklid").fit(X), "metric='euklid'"),
        (lambda: PH(metric=lambda a, b: float(a[0] * 0)).fit(X), "metric=<lambda> tells 1 points of X apart"),
    ],
)
def test_refuses(fit, named):
    with pytest.raises(InvalidInput, match=named):
        fit()


def test_copies_have_no_place_in_a_graph():
    X = sphere(300)
    rows = np.r_[np.arange(40), np.arange(80, 300)]
    near = NeighborGraph(np.vstack([X, X[50]]), 100, rows=rows)  # no row has a copy of its own
    with pytest.raises(InvalidInput, match="X holds 1 copies of other points among 301, for which graph has no place"):
        sm.dimension.estimate(np.vstack([X, X[50]]), graph=near)
