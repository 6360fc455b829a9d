"""Rendered images: the rank of the rendering is the number of parameters, and the pixels are smooth in them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from submanifold.data import image_manifold, image_manifold_names, load
from submanifold.data.rendered import ImageManifold
from submanifold.errors import InvalidInput

Array = NDArray[np.float64]

FAMILIES: list[tuple[str, dict[str, Any], int]] = [
    ("squares", {}, 3),
    ("squares", {"size": 32}, 3),
    ("squares", {"side": 0.3, "blur": 0.5}, 2),
    ("blobs", {}, 6),
    ("blobs", {"k": 1, "size": 28}, 3),
    ("blobs", {"k": 3, "intensities": True, "size": 24}, 12),
    ("rotated-shapes", {}, 1),
    ("rotated-shapes", {"translate": True}, 3),
    ("rotated-shapes", {"scale": True}, 2),
    ("rotated-shapes", {"translate": True, "scale": True, "size": 32}, 4),
]
every = pytest.mark.parametrize(("name", "arguments", "d"), FAMILIES)


def inner(M: ImageManifold, n: int, seed: int) -> Array:
    """Parameters (n, d) with room around them."""
    low, high = np.array(M.low), np.array(M.high)
    return 0.9 * M.parameters(n, seed) + 0.05 * (low + high)


def jacobian(M: ImageManifold, p: Array, h: float) -> Array:
    """Central differences of the pixels, (n, D, d)."""
    columns = [(M.render(p + h * e) - M.render(p - h * e)).reshape(len(p), -1) / (2 * h) for e in np.eye(M.dim)]
    return np.stack(columns, axis=2)


@every
def test_images(name: str, arguments: dict[str, Any], d: int) -> None:
    M = image_manifold(name, **arguments)
    size = arguments.get("size", 16)
    assert (M.dim, M.data_shape, M.ambient_dim) == (d, (1, size, size), size**2)
    for n in (1, 500):
        x = M.sample(n, seed=3)
        assert x.shape == (n, 1, size, size)
        assert x.dtype == np.float64
        assert x.min() >= 0
        assert x.max() <= 1
        np.testing.assert_array_equal(x, M.render(M.parameters(n, seed=3)))
        np.testing.assert_array_equal(x, M.sample(n, seed=3))
        assert not np.isclose(x, M.sample(n, seed=4)).all()
    assert x.max() > 0.5


@every
def test_the_dimension_is_the_rank_of_the_rendering(name: str, arguments: dict[str, Any], d: int) -> None:
    M = image_manifold(name, **arguments)
    for seed in range(3):
        p = inner(M, 30, seed)
        assert p.shape == (30, d)
        J = jacobian(M, p, 1e-5)
        # Blobs that almost coincide shrink some directions a thousandfold; the differences are exact to 1e-7.
        assert (np.linalg.matrix_rank(J, rtol=1e-5) == d).all()
        assert len(np.unique(M.render(p).round(6), axis=0)) == 30


@every
def test_pixels_are_smooth_functions_of_the_parameters(name: str, arguments: dict[str, Any], d: int) -> None:
    """Central differences converge at rate h^2, which takes three bounded derivatives; a kink would leave rate h^0."""
    M = image_manifold(name, **arguments)
    p = inner(M, 20, 5)
    exact = jacobian(M, p, 1e-5)
    errors = [np.linalg.norm(jacobian(M, p, h) - exact) for h in (2e-3, 1e-3)]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)


def test_a_square_keeps_its_light() -> None:
    """Blur moves light about: the pixels of a square add up to its area, wherever it is."""
    M = image_manifold("squares", size=32)
    p = M.parameters(200, seed=1)
    np.testing.assert_allclose(M.render(p).sum(axis=(1, 2, 3)) / 32**2, p[:, 2] ** 2, rtol=1e-3)
    v, u = np.indices((32, 32)) / 32 + 1 / 64
    x = M.render(p)[:, 0]
    mass = x.sum(axis=(1, 2))
    np.testing.assert_allclose((x * u).sum(axis=(1, 2)) / mass, p[:, 0], atol=1e-3)
    np.testing.assert_allclose((x * v).sum(axis=(1, 2)) / mass, p[:, 1], atol=1e-3)


def test_translation_by_whole_pixels_shifts_the_image() -> None:
    M = image_manifold("rotated-shapes", size=16, translate=True, scale=True)
    p = np.array([[1.0, 0.45, 0.45, 0.8]])
    moved = M.render(p + np.array([0, 1, 2, 0]) / 16)
    np.testing.assert_allclose(moved, np.roll(M.render(p), (2, 1), axis=(2, 3)), atol=1e-3)


def test_quarter_turns_turn_the_image_and_a_full_turn_is_none() -> None:
    M = image_manifold("rotated-shapes", size=17)
    x = M.render(np.array([0.3, 0.3 + np.pi / 2, 0.3 + np.pi]))[:, 0]
    np.testing.assert_allclose(x[1], np.rot90(x[0], -1), atol=1e-12)  # from u (right) towards v (down)
    np.testing.assert_allclose(x[2], np.rot90(x[0], 2), atol=1e-12)
    assert np.abs(x[0] - x[2]).max() > 0.3  # no symmetry
    ends = M.render(np.array([0.0, 2 * np.pi]))
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-12)


def test_blobs_are_interchangeable_and_one_blob_is_a_gaussian() -> None:
    M = image_manifold("blobs", k=2)
    p = M.parameters(20, seed=2)
    np.testing.assert_allclose(M.render(p), M.render(np.roll(p, 3, axis=1)), atol=1e-15)
    one = image_manifold("blobs", k=1, intensities=True, size=20)
    q = one.parameters(20, seed=2)
    v, u = np.indices((20, 20)) / 20 + 1 / 40
    centre, width, a = q[:, :2, None, None], q[:, 2, None, None], q[:, 3, None, None]
    gaussian = a * np.exp(-(np.square(u - centre[:, 0]) + np.square(v - centre[:, 1])) / (2 * width**2))
    np.testing.assert_allclose(one.render(q)[:, 0], gaussian, atol=1e-14)


@pytest.mark.parametrize("name", ["squares", "blobs", "rotated-shapes"])
def test_noise_has_its_level(name: str) -> None:
    M = image_manifold(name)
    clean = M.sample(1000, seed=1)
    size = np.sqrt(np.square(clean - clean.mean(axis=0)).sum(axis=(1, 2, 3)).mean())
    error = M.sample(1000, seed=1, noise=0.1) - clean
    assert np.sqrt(np.square(error).sum(axis=(1, 2, 3)).mean()) == pytest.approx(0.1 * size, rel=0.05)
    np.testing.assert_allclose(error.std(axis=0), error.std(), rtol=0.12)


def test_load_by_name() -> None:
    data = load("squares", n=200, seed=2, noise=0.01, size=20)
    np.testing.assert_array_equal(data.x, image_manifold("squares", size=20).sample(200, seed=2, noise=0.01))
    assert (data.name, data.data_shape, data.lattice) == ("squares", (1, 20, 20), None)
    for name in image_manifold_names():
        assert load(name, n=50).is_image


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("square", {}, "did you mean 'squares'"),
        ("squares", {"sise": 32}, "did you mean 'size'"),
        ("squares", {"size": 4}, "size=4"),
        ("squares", {"side": 0.9}, "side=0.9"),
        ("squares", {"side": 0.0}, "side=0.0"),
        ("squares", {"blur": 0.0}, "blur=0.0"),
        ("blobs", {"k": 0}, "k=0"),
        ("rotated-shapes", {"blur": 0.1}, "blur=0.1"),
    ],
)
def test_bad_arguments_are_refused(name: str, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        image_manifold(name, **arguments)


def test_bad_parameters_are_refused() -> None:
    M = image_manifold("squares")
    with pytest.raises(InvalidInput, match="2 columns: give 3, u, v, side"):
        M.render([[0.5, 0.5]])
    with pytest.raises(InvalidInput, match="range of side"):
        M.render([[0.5, 0.5, 0.9]])
    with pytest.raises(InvalidInput, match="seed=-1"):
        M.sample(3, seed=-1)
    with pytest.raises(InvalidInput, match="n=0"):
        M.parameters(0)
