"""Samplers over exact denoisers: laws, orders of convergence, identities between them, and what they refuse."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from submanifold.errors import InvalidInput, NonFiniteScore
from submanifold.models.diffusion.levels import noise_levels
from submanifold.models.diffusion.paths import VariancePreserving
from submanifold.models.diffusion.samplers import SAMPLERS, ddim, dpm_solver, euler, heun

VARIANCE = 2.0


def shrunk(x, sigma):
    """D of N(0, VARIANCE I)."""
    return x * VARIANCE / (VARIANCE + sigma**2)


def flowed(x, first, last):
    """Where the probability flow of N(0, VARIANCE I) leads from one level to another: the ratio of the deviations."""
    return x * math.sqrt((VARIANCE + last**2) / (VARIANCE + first**2))


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("sampler", "order"), [(euler, 1), (heun, 2), (dpm_solver, 2)])
def test_orders_of_convergence(sampler, order):
    """Log-error against log-steps has the slope of the order, within 0.3."""
    x, counts = 10.0 * noise(100, 3), [20, 40, 80, 160]
    errors = []
    for steps in counts:
        levels = noise_levels(steps, 0.1, 10.0, spacing="log")
        errors.append(float((sampler(shrunk, x, levels) - flowed(x, 10.0, 0.1)).abs().max()))
    slope = np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert slope == pytest.approx(-order, abs=0.3)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("seed", range(3))
def test_a_gaussian_stays_a_gaussian_of_the_right_variance(name, seed):
    """From exact noised data to data; the variance of 40000 numbers scatters by 0.7%, the rest is of first order."""
    levels = noise_levels(200, 0.02, 20.0)
    x = math.sqrt(VARIANCE + 20.0**2) * noise(20_000, 2, seed=seed)
    y = SAMPLERS[name](shrunk, x, levels, generator=torch.Generator().manual_seed(seed))
    assert float(y.var()) == pytest.approx(VARIANCE, rel=0.06)
    assert float(y.mean()) == pytest.approx(0.0, abs=0.04)


def test_ddim_is_its_own_formula_in_the_coordinates_of_the_paper():
    r"""x_{t-1} = \sqrt{a'} x_0 + \sqrt{1 - a' - s^2} \epsilon + s z with a = \alpha^2 (Song et al. 2021, eq. 12)."""
    path, eta = VariancePreserving(), 0.7
    t = torch.linspace(0.9, 0.05, 30, dtype=torch.float64)
    a, levels = path.scale(t).square(), path.level(t)
    x_t = noise(6, 4)
    ours = ddim(shrunk, x_t / a[0].sqrt(), levels, eta=eta, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(1)
    for i in range(len(t) - 1):
        now, after = a[i], a[i + 1]
        x_0 = shrunk(x_t / now.sqrt(), levels[i])
        eps = (x_t - now.sqrt() * x_0) / (1 - now).sqrt()
        s = eta * ((1 - after) / (1 - now)).sqrt() * (1 - now / after).sqrt()
        z = torch.randn(6, 4, generator=generator, dtype=torch.float64)
        x_t = after.sqrt() * x_0 + (1 - after - s**2).sqrt() * eps + s * z
    torch.testing.assert_close(ours, x_t / a[-1].sqrt(), rtol=1e-9, atol=1e-9)


def test_ancestral_steps_are_those_of_ddpm():
    r"""Mean and variance of q(x_{t-1} | x_t, x_0) with x_0 its mean (Ho et al. 2020, eq. 7)."""
    path = VariancePreserving()
    t = torch.tensor([0.5, 0.4], dtype=torch.float64)
    bar, levels = path.scale(t).square(), path.level(t)
    beta = 1 - bar[0] / bar[1]
    x_t = noise(5, 3)
    x_0 = shrunk(x_t / bar[0].sqrt(), levels[0])
    mean = bar[1].sqrt() * beta / (1 - bar[0]) * x_0 + (1 - beta).sqrt() * (1 - bar[1]) / (1 - bar[0]) * x_t
    variance = (1 - bar[1]) / (1 - bar[0]) * beta
    drawn = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ours = SAMPLERS["ancestral"](shrunk, x_t / bar[0].sqrt(), levels, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours * bar[1].sqrt(), mean + variance.sqrt() * drawn, rtol=1e-9, atol=1e-9)


def test_ddim_without_noise_is_euler_along_the_flow():
    x, levels = 5.0 * noise(20, 3), noise_levels(12, 0.01, 5.0)
    y = x
    for sigma, after in pairwise(levels):
        y = y + (after - sigma) * (y - shrunk(y, sigma)) / sigma
    for sampler in (euler, ddim):
        torch.testing.assert_close(sampler(shrunk, x, levels), y, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_last_step_to_zero_ends_at_the_denoised_point(name):
    x, levels = 0.3 * noise(20, 3), torch.tensor([0.3, 0.0])
    y = SAMPLERS[name](shrunk, x, levels, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(y, shrunk(x, 0.3), rtol=1e-6, atol=1e-8)


def test_churn_raises_levels_as_far_as_the_first_and_no_farther():
    levels, asked = noise_levels(20, 0.1, 5.0, spacing="log"), []

    def watched(x, sigma):
        asked.append(float(sigma))
        return shrunk(x, sigma)

    heun(watched, noise(3, 2), levels, churn=40.0, generator=torch.Generator().manual_seed(0))
    raised, then = np.array(asked[::2]), np.array(asked[1::2])  # each step asks where it starts and where it leads
    np.testing.assert_allclose(raised, np.minimum(math.sqrt(2) * levels[:-1].numpy(), 5.0))
    np.testing.assert_allclose(then, levels[1:])


@pytest.mark.parametrize("seed", range(3))
def test_points_raised_to_the_first_level_have_its_variance(seed):
    """Of two steps the second is raised from 4.5 back to 5; the variance of 40000 numbers scatters by 0.7%."""
    seen, x = {}, math.sqrt(VARIANCE + 5.0**2) * noise(20_000, 2, seed=seed)

    def watched(x, sigma):
        seen.setdefault(len(seen), (float(sigma), float(x.var())))
        return shrunk(x, sigma)

    generator = torch.Generator().manual_seed(100 + seed)  # x has the seeds themselves
    heun(watched, x, torch.tensor([5.0, 4.5, 1.0]), churn=40.0, generator=generator)
    level, variance = seen[2]
    assert level == 5.0
    assert variance == pytest.approx(VARIANCE + 5.0**2, rel=0.03)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_is_a_function_of_its_arguments(name):
    """The same noise gives the same points, the input is not touched, and rows do not see each other."""
    x, levels = 5.0 * noise(8, 2), noise_levels(6, 0.1, 5.0)
    kept, before = x.clone(), torch.get_rng_state()
    runs = [SAMPLERS[name](shrunk, x, levels, generator=torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*runs)
    assert torch.equal(x, kept)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", SAMPLERS)
def test_progress_is_told_after_each_step(name):
    told, levels = [], noise_levels(4, 0.1, 5.0, to_zero=True)
    y = SAMPLERS[name](shrunk, noise(3, 2), levels, generator=torch.Generator(), callback=told.append)
    assert [p.step for p in told] == [1, 2, 3, 4]
    assert [p.sigma for p in told] == levels[1:].tolist()
    assert torch.equal(told[-1].x, y)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_score_that_is_no_number_stops_with_step_and_level(name):
    def broken(x, sigma):
        return x * torch.nan if sigma < 1 else x

    with pytest.raises(NonFiniteScore, match=r"at step \d of 5, at noise level 0\.\d"):
        SAMPLERS[name](broken, noise(3, 2), noise_levels(5, 0.1, 5.0), generator=torch.Generator())


@pytest.mark.parametrize(
    "levels", [[1.0], [1.0, 1.0], [1.0, 2.0], [1.0, 0.0, -1.0], [1.0, math.nan], [0.0, 0.0], [[1.0]]]
)
def test_levels_that_do_not_fall_are_refused(levels):
    with pytest.raises(InvalidInput, match="sigmas="):
        euler(shrunk, noise(3, 2), torch.tensor(levels))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x, s: ddim(shrunk, x, s, eta=1.5), "eta=1.5"),
        (lambda x, s: heun(shrunk, x, s, churn=-1.0), "churn=-1.0"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(InvalidInput, match=words):
        call(noise(2, 2), noise_levels(3, 0.1, 1.0))
