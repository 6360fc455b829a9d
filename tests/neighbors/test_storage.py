"""A graph comes back from its file as it was, for its own data, and nothing else comes back."""

import os
import pickle

import numpy as np
import pytest
from safetensors.numpy import save_file

from submanifold.errors import InvalidInput
from submanifold.neighbors import NeighborGraph


@pytest.fixture
def data():
    return np.random.default_rng(0).standard_normal((120, 7))


def _same(one, other):
    for name in ("distances", "indices", "rows"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name in ("n_points", "ambient_dim", "metric", "method", "recall", "recall_interval", "k"):
        assert getattr(one, name) == getattr(other, name)


@pytest.mark.parametrize("options", [{}, {"rows": [4, 2]}, {"metric": "manhattan"}])
def test_round_trip(data, tmp_path, options):
    graph = NeighborGraph(data, 5, **options)
    graph.save(tmp_path / "graph")
    _same(NeighborGraph.load(tmp_path / "graph"), graph)
    again = NeighborGraph.load(tmp_path / "graph", data)
    _same(again, graph)
    _same(again.take([1, 0]), graph.take([1, 0]))
    again.save(tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "graph").read_bytes()


def test_precomputed_round_trip(data, tmp_path):
    full = np.abs(data[:, :1] - data[:, 0])
    NeighborGraph(full, 4, metric="precomputed").save(tmp_path / "graph")
    _same(NeighborGraph.load(tmp_path / "graph", full), NeighborGraph(full, 4, metric="precomputed"))


def test_pickle_leaves_the_data_behind(data):
    graph = NeighborGraph(data, 3)
    text = pickle.dumps(graph)
    _same(pickle.loads(text), graph)
    assert data[:5].tobytes() not in text


def test_other_data_are_refused(data, tmp_path):
    NeighborGraph(data, 5).save(tmp_path / "graph")
    changed = data.copy()
    changed[77, 3] += 1e-9
    for other in (changed, data[:-1], data[::-1]):
        with pytest.raises(InvalidInput, match="other data"):
            NeighborGraph.load(tmp_path / "graph", other)


def test_damaged_and_foreign_files_are_refused(data, tmp_path):
    path = tmp_path / "graph"
    NeighborGraph(data, 5).save(path)
    whole = path.read_bytes()
    for content in (b"", whole[:7], whole[:200], whole[:-9], pickle.dumps([1, 2]), b"\xff" * 8 + whole[8:]):
        path.write_bytes(content)
        with pytest.raises(InvalidInput, match="damaged or no graph"):
            NeighborGraph.load(path)
    save_file({"distances": np.ones((2, 2))}, path)
    with pytest.raises(InvalidInput, match="no graph"):
        NeighborGraph.load(path)
    with pytest.raises(InvalidInput, match="is no file"):
        NeighborGraph.load(tmp_path / "absent")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("indices", np.full((120, 5), 120)),
        ("indices", np.zeros((120, 4), dtype=np.int64)),
        ("distances", np.full((120, 5), np.nan)),
        ("distances", np.ones((120, 5), dtype=np.float32)),
        ("rows", np.arange(3)),
    ],
)
def test_contradictions_are_refused(data, tmp_path, name, value):
    graph = NeighborGraph(data, 5)
    graph._set(**{name: value})
    graph.save(tmp_path / "graph")
    with pytest.raises(InvalidInput):
        NeighborGraph.load(tmp_path / "graph")


def test_a_failed_save_leaves_the_old_file(data, tmp_path, monkeypatch):
    path = tmp_path / "graph"
    graph = NeighborGraph(data, 5)
    graph.save(path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "no space left")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        graph.take([1]).save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["graph"]
