"""The Fréchet distance against closed forms for Gaussians, the formula with matrix roots, and its invariances."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from submanifold.errors import InvalidInput
from submanifold.transport import frechet, frechet_floor, wasserstein


def by_matrix_roots(x: np.ndarray, y: np.ndarray) -> float:
    """As Heusel et al. 2017 write it."""
    C_x, C_y = np.cov(x.T).reshape(x.shape[1], -1), np.cov(y.T).reshape(x.shape[1], -1)
    means = ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum()
    return float(means + np.trace(C_x + C_y - 2 * sqrtm(C_x @ C_y).real))


def whitened(n: int, D: int, seed: int) -> np.ndarray:
    """Points with mean 0 and covariance I exactly."""
    x = np.random.default_rng(seed).standard_normal((n, D))
    x -= x.mean(axis=0)
    return x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T).reshape(D, D))).T


@pytest.mark.parametrize(("D", "n", "m"), [(1, 5, 9), (3, 40, 25), (20, 100, 60)])
def test_agrees_with_the_formula_of_matrix_roots(D: int, n: int, m: int) -> None:
    rng = np.random.default_rng(D)
    x, y = rng.standard_normal((n, D)) @ rng.standard_normal((D, D)), 2 * rng.standard_normal((m, D)) + 1
    assert frechet(x, y) == pytest.approx(by_matrix_roots(x, y), rel=1e-6)


@pytest.mark.parametrize("D", [1, 2, 7])
def test_is_the_closed_form_for_scales_along_axes_and_a_shift(D: int) -> None:
    """Between N(0, diag s^2) and N(b, diag t^2) it is |b|^2 + |s - t|^2."""
    rng = np.random.default_rng(D)
    s, t, b = rng.uniform(0.1, 3, (3, D))
    assert frechet(whitened(50, D, 0) * s, whitened(80, D, 1) * t + b) == pytest.approx(
        (b**2).sum() + ((s - t) ** 2).sum(), rel=1e-9
    )


def test_points_on_two_lines_at_an_angle() -> None:
    """Laws of unit variance on lines at an angle a are 2 (1 - cos a) apart: covariances without full rank."""
    r = whitened(100, 1, 0)[:, 0]
    for a in (0.0, 0.3, np.pi / 2):
        x, y = np.outer(r, [1.0, 0.0, 0.0]), np.outer(r, [np.cos(a), np.sin(a), 0.0])
        assert frechet(x, y) == pytest.approx(2 * (1 - np.cos(a)), abs=1e-12)


def test_fewer_points_than_coordinates_and_a_single_place() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((6, 50)), rng.standard_normal((9, 50))
    assert frechet(x, y) == pytest.approx(by_matrix_roots(x, y), rel=1e-4)
    spread = float(x.var(axis=0, ddof=1).sum())
    assert frechet(x, np.tile(x.mean(axis=0), (4, 1))) == pytest.approx(spread, rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_is_at_most_the_squared_wasserstein_distance_and_a_metric(seed: int) -> None:
    """Gelbrich's bound: among laws of given means and covariances Gaussians are closest."""
    rng = np.random.default_rng(seed)
    x, y, z = rng.exponential(size=(60, 2)), rng.uniform(-2, 1, (60, 2)), rng.standard_normal((60, 2))
    bound = wasserstein(x, y, 2.0) ** 2 * 60 / 59  # covariances have the denominator n - 1
    assert 0 < frechet(x, y) <= bound
    assert frechet(x, y) == pytest.approx(frechet(y, x), rel=1e-12)
    assert frechet(x, x) == pytest.approx(0, abs=1e-12)
    assert np.sqrt(frechet(x, z)) <= np.sqrt(frechet(x, y)) + np.sqrt(frechet(y, z))
    turn = np.linalg.qr(rng.standard_normal((2, 2)))[0]
    assert frechet(3 * x @ turn + 1e6, 3 * y @ turn + 1e6) == pytest.approx(9 * frechet(x, y), rel=1e-6)


def test_the_floor_falls_like_one_over_n_and_is_what_two_samples_have() -> None:
    x = np.random.default_rng(0).standard_normal((4000, 5))
    few, many = (frechet_floor(x, n, repeats=200) for n in (100, 400))
    assert few.mean / many.mean == pytest.approx(4, rel=0.25)
    assert few.n == 100
    assert few.repeats == 200
    own = [frechet(*np.random.default_rng(s).standard_normal((2, 100, 5))) for s in range(200)]
    assert few.mean == pytest.approx(np.mean(own), rel=0.12)


def test_what_is_refused() -> None:
    with pytest.raises(InvalidInput, match="at least 2"):
        frechet(np.zeros((1, 2)), np.ones((5, 2)))
    with pytest.raises(InvalidInput, match="one space"):
        frechet(np.eye(3), np.eye(2))
    with pytest.raises(InvalidInput, match="2 n of them"):
        frechet_floor(np.eye(5), 3)
