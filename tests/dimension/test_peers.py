"""The same numbers as scikit-dimension where the estimator is the same."""

import numpy as np
import pytest

from submanifold.dimension import MLE, LocalPCA, TwoNN
from submanifold.neighbors import NeighborGraph

pytestmark = pytest.mark.peer


@pytest.fixture(name="X", params=[0, 1, 2])
def _points(request):
    rng = np.random.default_rng(request.param)
    return rng.standard_normal((600, 5)) @ rng.standard_normal((5, 12))


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("comb", ["mle", "mean", "median"])
@pytest.mark.parametrize("k", [5, 20, 100])
def test_mle(X, k, comb, unbiased):
    import skdim

    peer = skdim.id.MLE(unbiased=unbiased).fit(X, n_neighbors=k, comb=comb)
    ours = MLE(k, comb=comb, unbiased=unbiased).fit(X)
    np.testing.assert_allclose(ours.dimension_, peer.dimension_, rtol=1e-9)
    np.testing.assert_allclose(ours.dimension_pw_, peer.dimension_pw_, rtol=1e-9)


@pytest.mark.parametrize("method", ["linear", "mle"])
@pytest.mark.parametrize("discard", [0.05, 0.1, 0.33])
def test_twonn(X, discard, method):
    import skdim

    peer = skdim.id.TwoNN(discard_fraction=discard, method=method).fit(X)
    np.testing.assert_allclose(TwoNN(discard, method=method).fit(X).dimension_, peer.dimension_, rtol=1e-9)


@pytest.mark.parametrize("rule", [{"ver": "FO"}, {"ver": "maxgap"}, {"ver": "ratio", "alphaRatio": 0.9}], ids=str)
def test_local_pca(X, rule):
    import skdim

    X = X + 0.05 * np.random.default_rng(9).standard_normal(X.shape)
    graph = NeighborGraph(X, 40)
    ours = LocalPCA(40, **rule).fit(X).dimension_pw_[:150]
    peer = [skdim.id.lPCA(**rule).fit(X[[i, *graph.indices[i]]]).dimension_ for i in range(150)]
    np.testing.assert_array_equal(ours, peer)
