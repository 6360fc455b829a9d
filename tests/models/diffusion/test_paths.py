"""Paths from data to noise: known values, inverses, and one denoiser whatever a network was trained to say."""

import math

import numpy as np
import pytest
import torch

from submanifold.errors import InvalidInput
from submanifold.models.diffusion.levels import SPACINGS, noise_levels
from submanifold.models.diffusion.paths import (
    PATHS,
    PREDICTIONS,
    LinearPath,
    VariancePreserving,
    as_prediction,
    denoised_from,
    denoiser_of,
)

T = torch.linspace(0.01, 0.99, 9, dtype=torch.float64)
SHAPES = [(5,), (3, 4, 4), (1, 9, 9)]
N = 9  # as many points as times, and as a side of an image


def pair(shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(N, *shape, generator=generator, dtype=torch.float64) for _ in range(2)]


def spread(value, x):
    return value.reshape(-1, *[1] * (x.ndim - 1))


@pytest.mark.parametrize("name", PATHS)
def test_time_is_the_inverse_of_the_level(name):
    path = PATHS[name]()
    torch.testing.assert_close(path.time(path.level(T)), T, rtol=0, atol=1e-9)
    assert (path.level(T).diff() > 0).all()


@pytest.mark.parametrize("name", PATHS)
def test_small_levels_keep_their_digits_in_single_precision(name):
    """Times are near 0 there, and near the offset of "vp-cosine", whose cosine has no digits left."""
    sigma = torch.from_numpy(np.geomspace(1e-3, 20, 2000)).float()
    torch.testing.assert_close(PATHS[name]().level(PATHS[name]().time(sigma)), sigma, rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", PATHS)
def test_rates_are_derivatives(name):
    path, h = PATHS[name](), 1e-6
    at = path.rates(T)
    torch.testing.assert_close(at.scale_rate, (path.scale(T + h) - path.scale(T - h)) / (2 * h), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(at.noise_rate, (path.noise(T + h) - path.noise(T - h)) / (2 * h), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ["vp", "vp-cosine", "trigonometric"])
def test_variance_is_preserved(name):
    path = PATHS[name]()
    torch.testing.assert_close(path.scale(T).square() + path.noise(T).square(), torch.ones_like(T))


def test_the_linear_rate_is_that_of_the_paper():
    """The integral of the rate of noise from 0.1 to 20 is 10.05, of which half of the mean coefficient is lost."""
    one = torch.ones((), dtype=torch.float64)
    assert float(VariancePreserving().scale(one)) == pytest.approx(math.exp(-0.5 * 10.05))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", PREDICTIONS)
@pytest.mark.parametrize("name", PATHS)
def test_what_a_perfect_network_says_denoises_to_the_data(name, kind, shape):
    """The definitions of the predictions, written out, for times that differ from point to point."""
    path, (x, noise) = PATHS[name](), pair(shape)
    at = path.rates(T)
    scale, beta, scale_rate, beta_rate = (spread(v, x) for v in (at.scale, at.noise, at.scale_rate, at.noise_rate))
    x_t = scale * x + beta * noise
    said = {
        "noise": noise,
        "data": x,
        "velocity": scale_rate * x + beta_rate * noise,
        "v": scale * noise - beta * x,
        "score": -noise / beta,
    }[kind]
    torch.testing.assert_close(denoised_from(kind, said, x_t, at), x, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(as_prediction(kind, x, x_t, at), said, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("kind", PREDICTIONS)
@pytest.mark.parametrize("name", PATHS)
def test_views_of_one_denoiser_agree(name, kind):
    """A network made from the denoiser of N(0, I), D = x / (1 + sigma^2), gives it back on every path."""
    path = PATHS[name]()

    def network(x_t, t):
        at = path.rates(t)
        scale, level = spread(at.scale, x_t), spread(path.level(t), x_t)
        return as_prediction(kind, x_t / scale / (1 + level**2), x_t, at)

    denoise = denoiser_of(network, path, kind)
    x = pair((3, 9, 9))[0]
    sigma = torch.logspace(-2, 0.5, N, dtype=torch.float64)
    torch.testing.assert_close(denoise(x, sigma), x / (1 + spread(sigma, x) ** 2), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(denoise(x, 0.5), x / 1.25, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("to_zero", [False, True])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_levels_fall_from_the_largest_to_the_least(spacing, to_zero, steps):
    levels = noise_levels(steps, 0.01, 5.0, spacing=spacing, to_zero=to_zero)
    assert len(levels) == steps + 1
    assert levels[0] == 5.0
    assert (levels.diff() < 0).all()
    assert float(levels[-1]) == (0.0 if to_zero else 0.01)
    assert steps == 1 or not to_zero or levels[-2] == 0.01


def test_spacings_are_those_of_their_names():
    root = noise_levels(10, 0.002, 80.0) ** (1 / 7)
    torch.testing.assert_close(root.diff(), root.diff()[:1].expand(10))
    log = noise_levels(10, 0.002, 80.0, spacing="log").log()
    torch.testing.assert_close(log.diff(), log.diff()[:1].expand(10))
    time = LinearPath().time(noise_levels(10, 0.002, 80.0, spacing="linear"))
    torch.testing.assert_close(time.diff(), time.diff()[:1].expand(10))
    sigma = noise_levels(10, 0.01, 1.0, spacing="sigmoid")
    share, at = sigma.square() / (1 + sigma.square()), torch.linspace(3, -3, 11, dtype=torch.float64).sigmoid()
    torch.testing.assert_close((share - share[-1]) / (share[0] - share[-1]), (at - at[-1]) / (at[0] - at[-1]))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: noise_levels(0, 0.1, 1.0), "steps=0"),
        (lambda: noise_levels(5, 0.0, 1.0), "sigma_min=0"),
        (lambda: noise_levels(5, 1.0, 1.0), "sigma_max=1.0"),
        (lambda: noise_levels(5, 0.1, 1.0, spacing="karas"), "did you mean 'karras'"),
        (lambda: denoiser_of(lambda x, t: x, LinearPath(), "noize"), "did you mean 'noise'"),
        (lambda: denoiser_of(lambda x, t: x, "vp", "noise"), "path='vp'"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()
