"""Spectra and volume elements: known decompositions, areas of surfaces, and hard conditioning."""

import math

import pytest
import torch
from torch import Tensor

from submanifold.errors import InvalidInput
from submanifold.geometry import jacobian, log_volume, singular_values
from submanifold.nn import MLP


def matrices(spectrum: list[float], D: int, n: int = 5, seed: int = 0) -> Tensor:
    """n matrices (D, d) with the given singular values and random singular vectors."""
    generator = torch.Generator().manual_seed(seed)
    d = len(spectrum)
    U = torch.linalg.qr(torch.randn(n, D, d, generator=generator, dtype=torch.float64)).Q
    V = torch.linalg.qr(torch.randn(n, d, d, generator=generator, dtype=torch.float64)).Q
    return U * torch.tensor(spectrum, dtype=torch.float64) @ V.mT


def test_a_known_spectrum_is_recovered() -> None:
    spectrum = [7.0, 2.0, 1.0, 0.25]
    J = matrices(spectrum, D=9)
    expected = torch.tensor(spectrum, dtype=torch.float64).expand(5, 4)
    torch.testing.assert_close(singular_values(J), expected, rtol=1e-13, atol=0)
    torch.testing.assert_close(singular_values(J.mT), expected, rtol=1e-13, atol=0)
    volume = log_volume(J)
    torch.testing.assert_close(volume.log_volume, torch.full((5,), math.log(3.5)).double())
    torch.testing.assert_close(volume.condition, torch.full((5,), 28.0).double())
    assert volume.sigma_max.allclose(expected[:, 0])
    assert volume.sigma_min.allclose(expected[:, -1])


@pytest.mark.parametrize("seed", range(5))
def test_a_condition_number_of_1e9_costs_the_gram_matrix_everything_and_us_nothing(
    seed: int,
) -> None:
    J = matrices([1.0, 1e-9], D=50, n=200, seed=seed)
    expected = math.log(1e-9)
    naive = 0.5 * torch.logdet(J.mT @ J)  # NaN where rounding made the determinant negative
    assert ((naive - expected).abs() < 0.01).double().mean() < 0.2
    assert naive.isnan().any()
    volume = log_volume(J)
    assert (volume.log_volume - expected).abs().max() < 1e-5
    assert (volume.condition / 1e9 - 1).abs().max() < 1e-5


def test_the_sphere_and_the_torus_have_their_areas() -> None:
    R, r = 2.0, 0.7

    def sphere(z: Tensor) -> Tensor:
        t, p = z.T
        return torch.stack([t.sin() * p.cos(), t.sin() * p.sin(), t.cos()], 1)

    def torus(z: Tensor) -> Tensor:
        u, v = z.T
        w = R + r * v.cos()
        return torch.stack([w * u.cos(), w * u.sin(), r * v.sin()], 1)

    grid = (torch.arange(64, dtype=torch.float64) + 0.5) / 64
    z = torch.cartesian_prod(math.pi * grid, 2 * math.pi * grid)
    on_sphere = log_volume(jacobian(sphere, z)).log_volume
    torch.testing.assert_close(on_sphere, z[:, 0].sin().log(), rtol=1e-12, atol=1e-12)
    z = 2 * math.pi * torch.cartesian_prod(grid, grid)
    area = log_volume(jacobian(torus, z)).log_volume.exp().mean() * (2 * math.pi) ** 2
    assert area.item() == pytest.approx(4 * math.pi**2 * R * r, rel=1e-12)  # periodic quadrature


@pytest.mark.parametrize("seed", range(3))
def test_changes_of_coordinates(seed: int) -> None:
    torch.manual_seed(seed)
    g = MLP([3, 16, 10], "tanh").double()
    J = jacobian(g, torch.randn(8, 3, dtype=torch.float64))
    volume = log_volume(J).log_volume
    Q = torch.linalg.qr(torch.randn(10, 10, dtype=torch.float64)).Q
    torch.testing.assert_close(log_volume(Q @ J).log_volume, volume, rtol=1e-9, atol=1e-9)
    A = torch.randn(3, 3, dtype=torch.float64)
    shifted = volume + torch.linalg.slogdet(A).logabsdet
    torch.testing.assert_close(log_volume(J @ A).log_volume, shifted, rtol=1e-9, atol=1e-9)
    scaled = volume + 3 * math.log(100)
    torch.testing.assert_close(log_volume(100 * J).log_volume, scaled, rtol=1e-9, atol=1e-9)


def test_square_jacobians_agree_with_slogdet() -> None:
    J = torch.randn(50, 6, 6, dtype=torch.float64)
    expected = torch.linalg.slogdet(J).logabsdet
    torch.testing.assert_close(log_volume(J).log_volume, expected, rtol=1e-10, atol=1e-10)


def test_lost_rank_is_shown_and_not_hidden() -> None:
    volume = log_volume(torch.tensor([[[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]]))
    assert volume.log_volume.item() == -math.inf
    assert volume.sigma_min.item() == 0
    assert volume.condition.item() == math.inf


def test_float32_is_decomposed_in_float64() -> None:
    J = matrices([1.0, 1e-6], D=6).float()
    assert singular_values(J).dtype == torch.float64
    torch.testing.assert_close(singular_values(J), torch.linalg.svdvals(J.double()))


def test_bad_jacobians_are_refused() -> None:
    with pytest.raises(InvalidInput, match="give D >= d"):
        log_volume(torch.ones(1, 2, 3))
    with pytest.raises(InvalidInput, match="NaN or infinity"):
        singular_values(torch.full((1, 2, 2), torch.nan))
    for shape in ((2, 2), (0, 2, 2)):
        with pytest.raises(InvalidInput, match="J has shape"):
            singular_values(torch.ones(shape))
