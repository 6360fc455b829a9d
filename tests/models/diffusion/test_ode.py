"""The solver of flows: against closed forms and SciPy, the same in any batch and about any origin."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from submanifold.errors import InvalidInput
from submanifold.models.diffusion.ode import integrate


def rows(n=5, m=3, seed=0):
    return torch.randn(n, m, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_linear_equation_is_solved_forwards_and_back():
    """dy/dt = A y has y(1) = e^A y(0)."""
    A, start = rows(3, 3, seed=1), rows()
    end = integrate(lambda t, y: y @ A.mT, start, 0.0, 1.0, tolerance=1e-10, absolute=1e-10)
    torch.testing.assert_close(end, start @ torch.linalg.matrix_exp(A).mT, rtol=1e-8, atol=1e-8)
    again = integrate(lambda t, y: y @ A.mT, end, 1.0, 0.0, tolerance=1e-10, absolute=1e-10)
    torch.testing.assert_close(again, start, rtol=1e-8, atol=1e-8)


def test_it_agrees_with_scipy_on_an_equation_of_time_and_state():
    start = rows(4, 2)
    end = integrate(lambda t, y: torch.sin(3 * t * y) - y, start, -1.0, 2.0, tolerance=1e-9, absolute=1e-9)
    for row, found in zip(start.numpy(), end.numpy(), strict=True):
        solved = solve_ivp(lambda t, y: np.sin(3 * t * y) - y, (-1.0, 2.0), row, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(found, solved.y[:, -1], atol=1e-6)


def test_errors_fall_as_fast_as_the_order_says():
    """A tolerance 2^-10 as large takes four times as many steps: errors per step are of order 5."""
    counts, errors = [], []
    for tolerance in (1e-5, 1e-5 / 2**10):
        asked = []
        end = integrate(
            lambda t, y, asked=asked: (asked.append(t), math.cos(t) * y)[1],
            torch.ones(1, 1, dtype=torch.float64),
            0.0,
            20.0,
            tolerance=tolerance,
            absolute=tolerance,
        )
        counts.append(len(asked))
        errors.append(abs(float(end) - math.exp(math.sin(20.0))))
    assert counts[1] / counts[0] == pytest.approx(4.0, rel=0.3)
    assert errors[1] < errors[0] / 100


@pytest.mark.parametrize("others", [0, 1000])
def test_a_hard_row_is_as_exact_among_easy_ones(others):
    """dy/dt = cos(k t) y, with k = 1 for the others, which stay at 0."""
    start = torch.zeros(1 + others, 1, dtype=torch.float64)
    start[0] = 1.0
    k = torch.ones_like(start)
    k[0] = 20.0
    end = integrate(lambda t, y: torch.cos(k * t) * y, start, 0.0, 3.0, tolerance=1e-5, absolute=1e-5)
    assert float(end[0]) == pytest.approx(math.exp(math.sin(60.0) / 20), abs=3e-4)


def test_parts_of_a_row_are_as_exact_with_many_columns_of_others():
    start = torch.zeros(2, 401, dtype=torch.float64)
    start[:, -1] = 1.0
    end = integrate(
        lambda t, y: math.cos(20 * t) * y, start, 0.0, 3.0, tolerance=1e-5, absolute=[1e-5, 1e-5], parts=[400, 1]
    )
    torch.testing.assert_close(end[:, -1], torch.full((2,), math.exp(math.sin(60.0) / 20)).double(), rtol=0, atol=3e-4)


def test_steps_do_not_depend_on_the_origin():
    asked = []
    for origin in (0.0, 1e6):
        asked.append([])
        start = origin + rows()

        def slope(t, y, origin=origin, times=asked[-1]):
            times.append(t)
            return -3 * (y - origin)

        end = integrate(slope, start, 0.0, 2.0, tolerance=1e-5, absolute=1e-6)
        torch.testing.assert_close(end - origin, math.exp(-6) * (start - origin), rtol=0, atol=1e-5)
    np.testing.assert_allclose(asked[0], asked[1], atol=1e-3)


def test_a_state_in_single_precision_stays_one():
    asked = []
    end = integrate(
        lambda t, y: (asked.append(y.dtype), -y)[1], rows().float(), 0.0, 1.0, tolerance=1e-5, absolute=1e-5
    )
    assert end.dtype == torch.float32
    assert set(asked) == {torch.float32}
    torch.testing.assert_close(end, math.exp(-1) * rows().float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "slope",
    [
        lambda t, y: torch.full_like(y, math.nan if t > 0.7 else 1.0),
        lambda t, y: torch.full_like(y, math.inf if t > 0.7 else 1.0),
    ],
)
def test_a_flow_that_cannot_be_followed_says_where(slope):
    with pytest.raises(
        InvalidInput, match=r"tolerance=1e-05 cannot be held beyond noise level 2\.01\d?.* from 1 to 2\.7"
    ):
        integrate(slope, rows(), 0.0, 1.0, tolerance=1e-5, absolute=1e-5)


@pytest.mark.parametrize("tolerance", [0.0, 0.2, math.nan])
def test_tolerances_are_checked(tolerance):
    with pytest.raises(InvalidInput, match="tolerance="):
        integrate(lambda t, y: -y, rows(), 0.0, 1.0, tolerance=tolerance, absolute=1e-5)
