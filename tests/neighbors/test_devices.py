"""The search by torch is the exact search, on whatever device."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from submanifold.errors import InvalidInput
from submanifold.neighbors import NeighborGraph

DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])


def _normal(n, D, seed=0):
    return np.random.default_rng(seed).standard_normal((n, D))


CASES = {
    "normal": _normal(700, 12),
    "far off": _normal(700, 12) + 1e7,
    "small": _normal(700, 12) * 1e-180,
    "copies": np.repeat(_normal(100, 12), 7, axis=0),
    "binary": np.random.default_rng(0).integers(0, 2, (700, 16)).astype(np.float64),
    "one coordinate": _normal(700, 1),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", CASES)
def test_torch_finds_the_same(case, device):
    X = CASES[case]
    scale = 2.0 ** np.floor(np.log2(np.abs(X).max()))  # dividing by it is exact
    full = cdist(X / scale, X / scale)
    np.fill_diagonal(full, np.inf)
    graph = NeighborGraph(X, 10, device=device)
    np.testing.assert_allclose(graph.distances / scale, np.sort(full, axis=1)[:, :10], rtol=1e-10)
    assert (graph.indices != np.arange(len(X))[:, None]).all()
    some = NeighborGraph(X, 10, device=device, rows=[650, 3])
    np.testing.assert_allclose(some.distances, graph.distances[[650, 3]], rtol=1e-10)
    assert graph.recall == 1.0


def test_precision_of_products_is_given_back():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        NeighborGraph(_normal(50, 3), 4, device="cpu")
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a graphics card")
def test_absent_cards_are_refused():
    with pytest.raises(InvalidInput, match="graphics card"):
        NeighborGraph(_normal(9, 2), 3, device="cuda")
