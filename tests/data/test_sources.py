"""`load`: what goes in comes out, from every kind of source; and what cannot be read is refused in one sentence."""

from __future__ import annotations

import gzip
import io
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import scipy.sparse
import torch
from PIL import Image
from sklearn.datasets import load_digits

from submanifold.checks import check_matrix, check_tensor
from submanifold.data import Dataset, load, manifold, manifold_names
from submanifold.data.readers import numpy_files
from submanifold.errors import InvalidInput

RNG = np.random.default_rng(0)
X = RNG.standard_normal((30, 4))
PIXELS = RNG.integers(0, 256, (12, 5, 7), dtype=np.uint8)
LABELS = np.arange(12) % 3


def idx_bytes(array: np.ndarray[Any, Any], code: int) -> bytes:
    header = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


class _Items:
    """A map-style data set."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


def write_mnist(folder: Path, *, part: str = "train", packed: bool = True) -> None:
    for kind, axes, array in (("images", 3, PIXELS), ("labels", 1, LABELS.astype(np.uint8))):
        content = idx_bytes(array, 0x08)
        name = f"{part}-{kind}-idx{axes}-ubyte"
        (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(content) if packed else content)


def write_images(folder: Path, *, suffix: str = ".png") -> None:
    for i, (pixels, label) in enumerate(zip(PIXELS, LABELS, strict=True)):
        home = folder / f"class-{label}"
        home.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(home / f"{i:02d}{suffix}")


def test_digits() -> None:
    data, truth = load("digits"), load_digits()
    assert data.data_shape == (1, 8, 8)
    assert data.lattice == 1.0
    np.testing.assert_array_equal(data.flat(), truth.data)
    assert data.labels is not None
    np.testing.assert_array_equal(data.labels, truth.target)


def test_manifold_by_name_and_by_instance() -> None:
    data = load("circle", n=50, seed=3, kappa=2.0, ambient_dim=5)
    M = manifold("circle", kappa=2.0, ambient_dim=5)
    np.testing.assert_array_equal(data.x, M.sample(50, seed=3))
    np.testing.assert_array_equal(load(M, n=50, seed=3).x, data.x)
    assert data.manifold is not None
    assert data.manifold.dim == 1
    assert (data.name, data.lattice, len(load("torus"))) == ("circle", None, 5000)
    for name in manifold_names():  # some lie flat in their space
        data = load(name, n=20, drop_constant=True)
        assert data.manifold is not None
        np.testing.assert_allclose(data.manifold.distance(data.x), 0, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ambient_dim", [2, 5])
def test_data_say_how_much_noise_they_have(seed: int, ambient_dim: int) -> None:
    """Deviations of 20000 numbers and more scatter by half a percent."""
    options = {"n": 10_000, "seed": seed, "radius": 3.0, "ambient_dim": ambient_dim}
    clean, data = load("circle", **options), load("circle", noise=0.2, **options)
    assert clean.noise_sigma == 0
    assert data.noise_sigma == pytest.approx(float((data.x - clean.x).std()), rel=0.03)
    for same in (data.take(np.arange(5)), *data.split(0.5), load(data), load(data, limit=50)):
        assert same.noise_sigma == data.noise_sigma
        assert same.manifold is data.manifold
    with pytest.raises(InvalidInput, match=r"noise_sigma=-1\.0"):
        Dataset(data.x, noise_sigma=-1.0)


def test_a_data_set_keeps_its_true_dimension() -> None:
    assert load(load("M1_Sphere", n=50)).true_dim == 10


def test_arrays_tensors_lists_data_sets_of_torch() -> None:
    np.testing.assert_array_equal(load(X).x, X)
    np.testing.assert_array_equal(load(X.tolist()).x, X)
    np.testing.assert_array_equal(load(torch.from_numpy(X)).x, X)
    np.testing.assert_array_equal(load(torch.from_numpy(X).bfloat16()).x, torch.from_numpy(X).bfloat16().float())
    pairs = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.arange(30) % 4)
    data = load(pairs)
    np.testing.assert_array_equal(data.x, X)
    assert data.labels is not None
    np.testing.assert_array_equal(data.labels, np.arange(30) % 4)
    np.testing.assert_array_equal(load(torch.utils.data.TensorDataset(torch.from_numpy(X))).x, X)
    texts = load(_Items([(point, "odd" if i % 2 else "even") for i, point in enumerate(X)]))
    assert texts.labels is not None
    np.testing.assert_array_equal(texts.labels, np.arange(30) % 2)  # ranks: even, odd
    with pytest.raises(InvalidInput, match="labels"):
        load(_Items([(point, point[0]) for point in X]))  # a continuous target is no class
    same = load(Dataset(X, "mine", labels=np.arange(30)))
    assert (same.name, same.x is X) == ("mine", True)


@pytest.mark.parametrize("view", [X[::-1], X[:, ::-1], X.T, X.astype(">f4"), X.astype(np.longdouble), X > 0, X[:, :1]])
def test_every_array_comes_out_ready_for_torch(view: np.ndarray[Any, Any]) -> None:
    data = load(view)
    np.testing.assert_array_equal(torch.from_numpy(data.x).numpy(), view)


def test_axes() -> None:
    image = RNG.integers(0, 9, (4, 6, 7, 3))
    first = np.moveaxis(image, -1, 1)
    np.testing.assert_array_equal(load(image).x, first)
    np.testing.assert_array_equal(load(first).x, first)
    assert load(PIXELS).x.shape == (12, 1, 5, 7)
    assert load(np.arange(5.0)).x.shape == (5, 1)
    assert load(RNG.random((4, 3, 4, 4))).data_shape == (3, 4, 4)  # square images either way round
    assert load(RNG.random((4, 4, 4, 3))).data_shape == (3, 4, 4)
    for unclear in ((4, 3, 3, 3), (4, 8, 8, 5), (4, 1, 2, 2, 2), (4, 3, 7, 4)):
        with pytest.raises(InvalidInput, match="shape"):
            load(RNG.random(unclear))


def test_npy_and_memory_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "small.npy", X)
    data = load(tmp_path / "small.npy")
    np.testing.assert_array_equal(data.x, X)
    assert not isinstance(data.x, np.memmap)
    monkeypatch.setattr(numpy_files, "_IN_MEMORY", 100)
    mapped = load(str(tmp_path / "small.npy"))
    assert isinstance(mapped.x, np.memmap)
    assert not mapped.x.flags.writeable
    np.testing.assert_array_equal(mapped.x, X)
    assert mapped.name == "small"


def test_npz(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=X, other=X * 2, labels=np.arange(30) % 3)
    data = load(path)
    np.testing.assert_array_equal(data.x, X)
    assert data.labels is not None
    np.testing.assert_array_equal(load(path, key="other").x, 2 * X)
    np.savez(path, measured=X)
    np.testing.assert_array_equal(load(path).x, X)
    np.savez(path, a=X, b=X)
    with pytest.raises(InvalidInput, match="a, b"):
        load(path)


@pytest.mark.parametrize("kind", ["csv", "parquet", "frame"])
def test_tables(tmp_path: Path, kind: str) -> None:
    species = np.array(["cat", "ant", "bee"])[np.arange(30) % 3]
    table = pa.table({"a": X[:, 0], "b": X[:, 1], "whole": np.arange(30), "class": species})
    source: Any = tmp_path / f"t.{kind}"
    if kind == "csv":
        from pyarrow import csv

        csv.write_csv(table, source)
    elif kind == "parquet":
        pyarrow.parquet.write_table(table, source)
    else:
        source = table
    data = load(source)
    np.testing.assert_allclose(data.x, np.column_stack([X[:, :2], np.arange(30)]), rtol=1e-12)
    assert data.labels is not None
    np.testing.assert_array_equal(data.labels, np.array([2, 0, 1])[np.arange(30) % 3])  # ranks: ant, bee, cat
    with pytest.raises(InvalidInput, match="'class'"):
        load(source, labels="whole")  # now the text column is a feature


@pytest.mark.parametrize("kind", ["csv", "parquet", "frame"])
def test_columns_of_categories_and_text_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    """Ranks of categories are no coordinates: distances between them would mean nothing."""
    text = np.array(["cat", "ant", "bee"])[np.arange(30) % 3]
    columns: dict[str, Any] = {"a": X[:, 0], "species": pa.array(text).dictionary_encode(), "note": text[::-1].copy()}
    columns["day"] = pa.array(np.arange(30).astype("M8[D]"))
    table = pa.table(columns)
    source: Any = tmp_path / f"t.{kind}"
    if kind == "csv":
        from pyarrow import csv

        csv.write_csv(table.set_column(1, "species", pa.array(text)), source)
    elif kind == "parquet":
        pyarrow.parquet.write_table(table, source)
    else:
        source = table
    with pytest.raises(
        InvalidInput, match=r"not numbers \('species', 'note', 'day'\): remove them, encode them"
    ) as caught:
        load(source)
    assert "\n" not in str(caught.value)
    with pytest.raises(InvalidInput, match=r"not numbers \('note', 'day'\)"):
        load(source, labels="species")


def test_a_column_of_categories_may_be_the_label() -> None:
    species = pa.array(np.array(["cat", "ant", "bee"])[np.arange(30) % 3]).dictionary_encode()
    data = load(pa.table({"a": X[:, 0], "species": species}), labels="species")
    assert data.labels is not None
    np.testing.assert_array_equal(data.labels, np.array([2, 0, 1])[np.arange(30) % 3])
    assert data.data_shape == (1,)


def test_many_columns_of_text_make_a_short_sentence() -> None:
    with pytest.raises(InvalidInput, match="'t7' and 92 more") as caught:
        load(pa.table({f"t{i}": ["x", "y"] for i in range(100)}))
    assert len(str(caught.value)) < 250


class _Untyped:
    """A data frame with a column of objects, which the interchange protocol has no type for."""

    def __dataframe__(self, *args: Any, **kwargs: Any) -> _Untyped:
        return self

    def num_rows(self) -> int:
        return 3

    def get_chunks(self, n_chunks: int | None = None) -> list[_Untyped]:
        return [self]

    def column_names(self) -> list[str]:
        return ["mixed"]

    def get_column_by_name(self, name: str) -> _Untyped:
        return self

    @property
    def dtype(self) -> Any:
        raise NotImplementedError("Non-string object dtypes are not supported yet")


def test_columns_of_objects_are_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match=r"mixed or unknown type \('mixed'\): remove them"):
        load(_Untyped())


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "lil", "dok", "dia", "bsr"])
@pytest.mark.parametrize("make", [scipy.sparse.csr_matrix, scipy.sparse.csr_array])
def test_sparse_matrices_are_refused(kind: str, make: Any) -> None:
    sparse = make(np.where(X > 0, X, 0)).asformat(kind)
    for refuse, name in (
        (load, "source"),
        (check_matrix, "X"),
        (lambda x: check_tensor(x, (4,)), "x"),
    ):
        with pytest.raises(InvalidInput, match=rf"^{name} is a sparse matrix: give {name}\.toarray\(\)$"):
            refuse(sparse)
    np.testing.assert_array_equal(load(sparse.toarray()).x, np.where(X > 0, X, 0))


@pytest.mark.filterwarnings("ignore:Sparse CSR:UserWarning")
def test_sparse_tensors_are_refused() -> None:
    for sparse in (torch.eye(4).to_sparse(), torch.eye(4).to_sparse_csr()):
        for refuse, name in ((load, "source"), (check_matrix, "X")):
            with pytest.raises(InvalidInput, match=rf"^{name} is a sparse tensor: give {name}\.to_dense\(\)$"):
                refuse(sparse)


def test_csv_without_a_header(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "plain.csv", X, delimiter=",")
    np.testing.assert_allclose(load(tmp_path / "plain.csv").x, X)


def test_coordinates_called_y_are_no_labels(tmp_path: Path) -> None:
    lines = ["x,y,z", *(f"{a},{b},{c}" for a, b, c in RNG.integers(0, 9, (20, 3)))]
    (tmp_path / "cloud.csv").write_text("\n".join(lines))
    cloud = load(tmp_path / "cloud.csv")
    assert (cloud.data_shape, cloud.labels) == ((3,), None)
    (tmp_path / "target.csv").write_text("a,target\n" + "\n".join(f"{a},{b}" for a, b in X[:, :2]))
    assert load(tmp_path / "target.csv").data_shape == (2,)  # a continuous target is a feature


def test_folder_of_images(tmp_path: Path) -> None:
    write_images(tmp_path)
    data = load(tmp_path)
    order = np.argsort(LABELS, kind="stable")
    np.testing.assert_array_equal(data.x, PIXELS[order][:, None])
    assert data.labels is not None
    np.testing.assert_array_equal(data.labels, LABELS[order])
    assert data.lattice == 1.0


def test_folder_of_colour_images(tmp_path: Path) -> None:
    colour = RNG.integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    for i, pixels in enumerate(colour):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    Image.fromarray(PIXELS[0]).save(tmp_path / "9.png")  # a grey one among them
    data = load(tmp_path)
    np.testing.assert_array_equal(data.x[:3], np.moveaxis(colour, -1, 1))
    np.testing.assert_array_equal(data.x[3], np.repeat(PIXELS[:1], 3, axis=0))
    assert data.labels is None


@pytest.mark.parametrize(("mode", "dtype"), [("F", "f4"), ("I", "i4"), ("I;16", "u2")])
def test_images_of_many_levels_keep_them(tmp_path: Path, mode: str, dtype: str) -> None:
    levels = (1000 * RNG.random((4, 5, 7))).astype(dtype)
    for i, pixels in enumerate(levels):
        image = Image.fromarray(pixels)
        assert image.mode == mode
        image.save(tmp_path / f"{i}.tiff")
    np.testing.assert_array_equal(load(tmp_path).x, levels[:, None])


def test_grey_images_with_an_opaque_alpha_channel_are_grey(tmp_path: Path) -> None:
    for i, pixels in enumerate(PIXELS):
        Image.fromarray(pixels).convert("LA").save(tmp_path / f"{i:02d}.png")
    np.testing.assert_array_equal(load(tmp_path).x, PIXELS[:, None])


@pytest.mark.parametrize("packed", [True, False])
def test_idx(tmp_path: Path, packed: bool) -> None:
    write_mnist(tmp_path, packed=packed)
    suffix = ".gz" if packed else ""
    for source in (tmp_path, tmp_path / f"train-images-idx3-ubyte{suffix}"):
        data = load(source)
        np.testing.assert_array_equal(data.x, PIXELS[:, None])
        assert data.labels is not None
        np.testing.assert_array_equal(data.labels, LABELS)
    write_mnist(tmp_path, part="t10k", packed=packed)
    assert len(load(tmp_path, part="t10k")) == 12
    with pytest.raises(InvalidInput, match="t10k, train"):
        load(tmp_path, part="test")


@pytest.mark.parametrize(("code", "dtype"), [(0x09, "i1"), (0x0B, "i2"), (0x0C, "i4"), (0x0D, "f4"), (0x0E, "f8")])
def test_idx_of_every_type(tmp_path: Path, code: int, dtype: str) -> None:
    array = (10 * X).astype(dtype)
    (tmp_path / "a.idx").write_bytes(idx_bytes(array, code))
    np.testing.assert_array_equal(load(tmp_path / "a.idx").x, array)


def test_limit_takes_matching_points_and_labels(tmp_path: Path) -> None:
    write_images(tmp_path)
    tag = np.arange(30)
    by_array = load(np.column_stack([tag, X]), labels=tag, limit=10)
    assert by_array.labels is not None
    np.testing.assert_array_equal(by_array.x[:, 0], by_array.labels)
    assert len(by_array) == 10
    full, part = load(tmp_path), load(tmp_path, limit=5)
    assert full.labels is not None
    assert part.labels is not None
    for image, label in zip(part.x, part.labels, strict=True):
        (where,) = np.flatnonzero((full.x == image).all((1, 2, 3)))
        assert full.labels[where] == label
    assert len(load("digits", limit=100)) == 100


def test_constant_columns_may_be_dropped_and_constant_pixels_stay() -> None:
    x = np.column_stack([X[:, 0], np.ones(30), X[:, 1]])
    with pytest.raises(InvalidInput, match="column 1:"):
        load(x)
    np.testing.assert_array_equal(load(x, drop_constant=True).x, X[:, :2])
    assert (load("digits").x[:, 0, 0, 0] == 0).all()
    table = pa.table({"a": X[:, 0], "flat": np.ones(30)})
    with pytest.raises(InvalidInput, match="column 'flat'"):
        load(table)


def test_nothing_is_written_and_nothing_mutated(tmp_path: Path) -> None:
    write_images(tmp_path)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    load(tmp_path)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before
    kept = X.copy()
    load(X, limit=5)
    np.testing.assert_array_equal(X, kept)


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        (np.where(np.eye(30, 4) > 0, np.nan, X), {}, "NaN .* 4 of 30 points"),
        (np.where(np.eye(30, 4) > 0, np.inf, X), {}, "infinity"),
        (np.empty((0, 3)), {}, "0 points"),
        (np.empty((5, 0)), {}, "no coordinates"),
        (X[:1], {}, "1 points"),
        (np.ones((9, 3)), {}, "copies of one point"),
        (np.ones((9, 1, 2, 2)), {}, "copies of one point"),
        (np.array(["a", "b"]), {}, "dtype"),
        (np.array([{}, {}], dtype=object), {}, "numbers"),
        (X + 1j, {}, "complex"),
        (np.float64(3), {}, "single number"),
        ([[1, 2], [3]], {}, "ragged"),
        ({"a": 1}, {}, "dict"),
        (None, {}, "NoneType"),
        (X, {"labels": np.arange(3)}, "labels"),
        (X, {"labels": X[:, 0]}, "labels"),
        (X, {"labels": "column"}, "labels"),
        (X, {"limit": 1}, "limit"),
        (X, {"seed": 1}, "'seed'"),
        ("digitz", {}, "did you mean 'digits'"),
        ("swissroll", {}, "did you mean 'swiss-roll'"),
        ("circle", {"kapa": 1}, "did you mean 'kappa'"),
        ("circle", {"n": 0}, "n="),
        ("circle", {"seed": -1}, "seed=-1"),
        ("nowhere/x.npy", {}, "neither a known name nor an existing"),
    ],
)
def test_bad_input_is_refused(source: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        load(source, **options)
    assert "\n" not in str(caught.value)


def _npy(content: bytes, *, promised: int = 1_000_000) -> bytes:
    """A .npy header that promises so many floats, before `content`."""
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (%d,), }" % promised
    header += b" " * (117 - len(header)) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def _npz(content: bytes) -> bytes:
    """An archive of one array."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.npy", content)
    return buffer.getvalue()


def _pickled() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.npy", _npy(b"\0" * 80), "complete"),
        ("a.npy", b"", "complete"),
        ("a.npy", _pickled(), "pickles"),
        ("a.npy", b"\x80\x04K\x01.", "pickles|complete"),
        ("a.npz", b"PK\x03\x04 broken", "complete"),
        ("a.npz", _npz(_npy(b"\0" * 80)), "complete"),
        ("a.npy", _npz(_npy(b"\0" * 80)), "archive"),
        ("a.npz", _npy(b"\0" * 8_000_000), "single array"),
        ("a.npz", _npz(_npy(b"", promised=10**13)), "complete"),
        ("a.csv", b"", "table"),
        ("a.csv", b"a,b\n1,2\n3\n", "table"),
        ("a.csv", b"a,a\n1,2\n3,4\n", "several columns called 'a'"),
        ("a.csv", b"a,b\n1,x\n3,y\n", "'b'"),
        ("a.csv", b"a,b\n1,2\n3,\n5,6\n", "column 'b'"),
        ("a.parquet", b"PAR1 broken", "Parquet"),
        ("a.txt", b"1 2 3", "known kind"),
        ("a.idx", b"", "begins with nothing"),
        ("a.idx", b"\x01\x02\x08\x01", "no IDX"),
        ("a.idx", b"\0\0\x08\x09", "axes"),
        ("a.idx", b"\0\0\x08\x03\0\0", "within its header"),
        ("a.idx", idx_bytes(PIXELS, 8)[:-1], "truncated"),
        ("a.idx", idx_bytes(PIXELS, 8) + b"\0", "longer"),
        ("a.idx", b"\0\0\x08\x03" + b"\xff" * 12, "promises"),
        ("a.idx.gz", gzip.compress(idx_bytes(PIXELS, 8))[:-20], "gzip"),
    ],
)
def test_unreadable_files_are_refused(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInput, match=words) as caught:
        load(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_bad_images_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no images"):
        load(tmp_path)
    write_images(tmp_path)
    bad = tmp_path / "class-1" / "99.png"
    Image.fromarray(PIXELS[0][:, :3]).save(bad)
    with pytest.raises(InvalidInput, match=r"99\.png is 3 x 5 pixels .* is 7 x 5"):
        load(tmp_path)
    bad.write_bytes((tmp_path / "class-0" / "00.png").read_bytes()[:50])
    with pytest.raises(InvalidInput, match=r"99\.png is no readable image"):
        load(tmp_path)
    Image.new("RGBA", (7, 5), (1, 2, 3, 100)).save(bad)
    with pytest.raises(InvalidInput, match=r"99\.png is partly transparent"):
        load(tmp_path)


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    Image.new("1", (9000, 9000)).save(tmp_path / "bomb.png")  # 10 kB on disk
    with pytest.raises(InvalidInput, match=r"bomb\.png has 9000 x 9000 pixels"):
        load(tmp_path)


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((1000, 10)))
    monkeypatch.setattr(numpy_files, "_MAX_BYTES", 1000)
    with pytest.raises(InvalidInput, match="promises 80128 bytes in 'x'"):
        load(tmp_path / "a.npz")


def test_importing_data_is_light() -> None:
    heavy = "('torch', 'sklearn', 'scipy', 'pyarrow', 'PIL', 'matplotlib')"
    code = f"import sys, submanifold.data; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
