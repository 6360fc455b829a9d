"""Directional laws: SciPy's densities, stable normalisers, and the closed form of the noised circle."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import gammaln, ive, logsumexp
from scipy.stats import kstest, vonmises, vonmises_fisher

from submanifold.data import manifold
from submanifold.data.manifolds import Circle
from submanifold.data.manifolds.sphere import log_bessel_ie
from submanifold.errors import InvalidInput


@pytest.mark.parametrize("kappa", [0.1, 1.0, 30.0])
def test_circle_agrees_with_scipy(kappa: float) -> None:
    M = Circle(kappa, mu=0.5, radius=2.0, ambient_dim=4)
    x = M.sample(4000, seed=3)
    angle = M.angle(x)
    np.testing.assert_allclose(M.log_prob(x), vonmises(kappa, 0.5).logpdf(angle) - np.log(2), atol=1e-9)
    np.testing.assert_allclose(M.at(angle), x, atol=1e-12)
    for seed in range(5):
        shifted = (M.angle(M.sample(4000, seed=seed)) - 0.5 + np.pi) % (2 * np.pi) - np.pi
        assert kstest(shifted, vonmises(kappa).cdf).pvalue > 1e-4


def test_circle_is_the_sphere_of_dimension_one() -> None:
    for kappa in (0.0, 0.7, 1e3, 1e6, 1e10):
        x = Circle(kappa).sample(50)
        expected = manifold("sphere", dim=1, kappa=kappa).log_prob(x)
        np.testing.assert_allclose(Circle(kappa).log_prob(x), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dim", [2, 5, 19])
@pytest.mark.parametrize("kappa", [0.5, 20.0, 500.0])
def test_sphere_agrees_with_scipy(dim: int, kappa: float) -> None:
    M = manifold("sphere", dim=dim, kappa=kappa)
    x = M.sample(100, seed=1)
    np.testing.assert_allclose(M.log_prob(x), vonmises_fisher(np.eye(dim + 1)[0], kappa).logpdf(x), rtol=1e-9)


@pytest.mark.parametrize("dim", [3, 50, 800, 3000])
@pytest.mark.parametrize("kappa", [0.0, 1e-3, 1.0, 300.0, 1e5])
def test_sphere_is_normalised_in_any_dimension(dim: int, kappa: float) -> None:
    """The integral over S^d by slices <e_1, y> = cos a: |S^{d-1}| int C e^{kappa cos a} sin^{d-1} a da = 1."""
    M = manifold("sphere", dim=dim, kappa=kappa)
    log_area = np.log(2) + dim / 2 * np.log(np.pi) - gammaln(dim / 2)
    a = np.pi * (np.arange(400_000) + 0.5) / 400_000
    at_equator = float(M.log_prob(np.eye(dim + 1)[1:2])[0])  # log C, since there the exponent is 0
    total = logsumexp(kappa * np.cos(a) + (dim - 1) * np.log(np.sin(a))) + np.log(np.pi / 400_000)
    assert log_area + at_equator + total == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("nu", [60.0, 150.0])
@pytest.mark.parametrize("ratio", [0.01, 0.5, 1.0, 4.0])
def test_bessel_expansion_meets_the_function(nu: float, ratio: float) -> None:
    """Where both are available, I_nu computed from its power series in logarithms agrees."""
    x = ratio * nu
    k = np.arange(4000)
    series = logsumexp((2 * k + nu) * np.log(x / 2) - gammaln(k + 1) - gammaln(k + nu + 1))
    assert log_bessel_ie(nu, x) == pytest.approx(series - x, abs=1e-8)
    if ive(nu, x) > 1e-250:
        assert log_bessel_ie(nu, x) == pytest.approx(np.log(ive(nu, x)), abs=1e-12)


@pytest.mark.parametrize("ambient_dim", [2, 5, 20])
@pytest.mark.parametrize("sigma", [0.02, 0.3, 2.0])
@pytest.mark.parametrize("kappa", [0.0, 1.0, 40.0])
def test_noised_circle_is_the_convolution(ambient_dim: int, sigma: float, kappa: float) -> None:
    """The closed form equals int p(theta) N(x; c(theta), sigma^2 I) dtheta; the trapezium rule is spectral."""
    M = Circle(kappa, mu=2.0, radius=1.5, ambient_dim=ambient_dim)
    x = M.sample(30, seed=0) + sigma * np.random.default_rng(1).standard_normal((30, ambient_dim))
    theta = 2 * np.pi * np.arange(20_000) / 20_000
    square = ((x[:, None] - M.at(theta)[None]) ** 2).sum(2)  # (30, 20000)
    gauss = -square / (2 * sigma**2) - ambient_dim / 2 * np.log(2 * np.pi * sigma**2)
    expected = logsumexp(gauss + vonmises.logpdf(theta, max(kappa, 1e-12), 2.0), axis=1) + np.log(2 * np.pi / 20_000)
    np.testing.assert_allclose(M.log_prob_smoothed(x, sigma), expected, rtol=1e-9, atol=1e-9)


def test_noised_circle_is_normalised() -> None:
    M, t = Circle(3.0), 2 * np.pi * np.arange(400) / 400
    around = np.stack([np.cos(t), np.sin(t)], axis=1)

    def ring(rho: float) -> float:
        return float(2 * np.pi * rho * np.exp(M.log_prob_smoothed(rho * around, 0.2)).mean())

    assert quad(ring, 0, 4)[0] == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize("ambient_dim", [2, 5, 20])
def test_slope_of_the_noised_likelihood_is_the_codimension(ambient_dim: int) -> None:
    r"""E log p_sigma(X) = (D-d) log 1/sigma - (D-d)/2 log 2 pi + E log q + O(sigma^2), X on the manifold."""
    M = Circle(1.0, ambient_dim=ambient_dim)
    x = M.sample(2000, seed=1)
    codim = ambient_dim - 1
    for sigma in (1e-2, 1e-4, 1e-8):
        expected = -codim * np.log(sigma) - codim / 2 * np.log(2 * np.pi) + M.log_prob(x)
        gap = M.log_prob_smoothed(x, sigma) - expected
        # sampling puts points on M up to 1e-16, which sigma = 1e-8 still does not see
        np.testing.assert_allclose(gap, 0, atol=2 * sigma**2 + 1e-6)


def test_noised_circle_is_stable_far_away_and_at_the_centre() -> None:
    M = Circle(1.0, ambient_dim=3)
    far = M.log_prob_smoothed([[1e3, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]], 1e-3)
    assert np.isfinite(far).all()
    with pytest.raises(InvalidInput, match="sigma"):
        M.log_prob_smoothed([[0.0, 0.0, 0.0]], 0.0)
