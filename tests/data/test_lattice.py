"""Lattice detection: every usual kind of quantised data is found, continuous data are not."""

from __future__ import annotations

import numpy as np
import pytest

from submanifold.data import lattice_spacing, manifold, manifold_names


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("step", [1.0, 3.0, 1 / 255, 2 / 255, 0.01, 2.5, 1 / 65535])
def test_finds_the_step(step: float, dtype: str, seed: int) -> None:
    levels = 65536 if step == 1 / 65535 else 256
    k = np.random.default_rng(seed).integers(0, levels, (500, 300))
    for offset in (0.0, -1.0):
        x = (offset + k * step).astype(dtype)
        assert lattice_spacing(x) == pytest.approx(step, rel=1e-6)


def test_finds_the_step_of_float32_values_held_as_float64() -> None:
    x = (np.random.default_rng(0).integers(0, 256, (100, 64)) / 255).astype(np.float32).astype(np.float64)
    assert lattice_spacing(x) == pytest.approx(1 / 255, rel=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float32"])
def test_greatest_common_divisor_of_whole_numbers(dtype: str) -> None:
    x = np.array([[0, 4], [10, 4], [14, 0]], dtype=dtype)
    assert lattice_spacing(x) == 2.0  # though no two neighbouring levels differ by 2


def test_one_value_off_the_lattice_refutes_it_even_if_rare() -> None:
    x = np.random.default_rng(0).integers(0, 17, 1_000_000).astype(np.float64)
    assert lattice_spacing(x) == 1.0
    x[123_457] = 3.5
    assert lattice_spacing(x) is None
    x = 2.0 * np.random.default_rng(0).integers(0, 17, 1_000_000)
    x[123_457] = 3.0
    assert lattice_spacing(x) == 1.0


@pytest.mark.parametrize("name", [name for name in manifold_names() if name != "lollipop"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_continuous_data_have_none(name: str, dtype: str) -> None:
    for seed in range(3):
        assert lattice_spacing(manifold(name, ambient_dim=6).sample(500, seed=seed).astype(dtype)) is None


def test_repeated_points_do_not_make_a_lattice() -> None:
    x = np.random.default_rng(0).standard_normal((50, 3))
    assert lattice_spacing(np.repeat(x, 20, axis=0)) is None


def test_degenerate_data_have_none() -> None:
    assert lattice_spacing(np.ones(10)) is None
    assert lattice_spacing(np.array([1.0])) is None
    assert lattice_spacing(np.array([])) is None
