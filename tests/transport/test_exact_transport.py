"""Exact transport: closed forms, other solvers, the axioms of a metric, and digits that survive."""

import numpy as np
import ot
import pytest
import torch
from numpy.typing import NDArray
from scipy.linalg import sqrtm
from scipy.optimize import linear_sum_assignment, linprog
from scipy.spatial.distance import cdist
from scipy.stats import ortho_group, wasserstein_distance

from submanifold.errors import InvalidInput
from submanifold.transport import Plan, optimal_plan, wasserstein, wasserstein_floor

Array = NDArray[np.float64]


def cloud(seed: int, n: int = 60, D: int = 3) -> Array:
    return np.random.default_rng(seed).normal(size=(n, D))


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
@pytest.mark.parametrize("D", [1, 2, 30])
def test_a_shift_costs_its_length(p: float, D: int) -> None:
    x, t = cloud(0, D=D), cloud(1, n=1, D=D)
    assert wasserstein(x, x + t, p) == pytest.approx(np.linalg.norm(t), rel=1e-12)


@pytest.mark.parametrize("t", [1e-6, 0.1, 3.0])
def test_parallel_segments_are_their_distance_apart(t: float) -> None:
    u = np.linspace(0, 1, 100)
    x, y = np.stack([u, 0 * u], 1), np.stack([u, 0 * u + t], 1)
    assert wasserstein(x, y) == pytest.approx(t, rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_gaussians_have_the_distance_of_bures(seed: int) -> None:
    """An affine map with a positive matrix is the gradient of a convex function, hence optimal.

    W_2 between a sample and its image is then that of Gaussians with the same first two moments.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(80, 3)) @ rng.normal(size=(3, 3))
    root = rng.normal(size=(3, 3))
    y = x @ (root @ root.T + 0.1 * np.eye(3)) + rng.normal(size=3)
    A, B = (np.cov(s.T, bias=True) for s in (x, y))
    half = np.real(sqrtm(A))
    bures = np.trace(A + B - 2 * np.real(sqrtm(half @ B @ half)))
    expected = np.sqrt(((x.mean(0) - y.mean(0)) ** 2).sum() + bures)
    assert wasserstein(x, y[rng.permutation(80)], p=2) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("p", [1, 2])
def test_agrees_with_a_linear_programme_and_with_assignment(seed: int, p: int) -> None:
    rng = np.random.default_rng(seed)
    x, y, a, b = cloud(seed, 12), cloud(seed + 50, 9), rng.random(12), rng.random(9)
    a, b = a / a.sum(), b / b.sum()
    C = cdist(x, y) ** p
    marginals = np.concatenate([np.kron(np.eye(12), np.ones(9)), np.kron(np.ones(12), np.eye(9))])
    programme = linprog(C.ravel(), A_eq=marginals, b_eq=np.concatenate([a, b]))
    plan = optimal_plan(x, y, p, 5 * a, 7 * b)
    assert plan.value == pytest.approx(programme.fun ** (1 / p), rel=1e-9)
    np.testing.assert_allclose(plan.coupling.sum(1), a, atol=1e-12)
    np.testing.assert_allclose(plan.coupling.sum(0), b, atol=1e-12)
    assert (plan.coupling * C).sum() == pytest.approx(plan.value**p, rel=1e-12)
    z = cloud(seed + 99, 12)
    C = cdist(x, z) ** p
    assigned = C[linear_sum_assignment(C)].mean() ** (1 / p)
    assert wasserstein(x, z, p) == pytest.approx(assigned, rel=1e-12)


@pytest.mark.parametrize("p", [1, 2])
def test_agrees_with_pot_in_many_dimensions(p: int) -> None:
    x, y = cloud(0, 150, 100), 1.1 * cloud(1, 130, 100)
    value = ot.emd2(ot.unif(150), ot.unif(130), cdist(x, y) ** p)
    assert wasserstein(x, y, p) == pytest.approx(value ** (1 / p), rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_the_line_is_solved_by_sorting(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y, a, b = rng.normal(size=40), rng.normal(size=31), rng.random(40), rng.random(31)
    a[:3] = 0
    plan = optimal_plan(x, y, 1, a, b)
    assert plan.value == pytest.approx(wasserstein_distance(x, y, a, b), rel=1e-12)
    np.testing.assert_allclose(plan.coupling.sum(1), a / a.sum(), atol=1e-14)
    np.testing.assert_allclose(plan.coupling.sum(0), b / b.sum(), atol=1e-14)
    assert len(plan.mass) <= 40 + 31 - 1
    on_a_plane = np.stack([x, 0 * x], 1), np.stack([y, 0 * y], 1)
    for p in (1, 2, 3):
        assert wasserstein(x, y, p) == pytest.approx(wasserstein(*on_a_plane, p), rel=1e-9)


def test_the_line_has_no_limit_of_size() -> None:
    x = np.random.default_rng(0).random(200_000)
    assert wasserstein(x, x**2) == pytest.approx(np.mean(x - x**2), rel=1e-9)


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("D", [1, 3])
def test_the_axioms_of_a_metric(p: int, D: int) -> None:
    x, y, z = cloud(0, 40, D), 1 + cloud(1, 30, D), 2 * cloud(2, 35, D)
    assert wasserstein(x, x[::-1], p) == 0
    assert wasserstein(x, y, p) == pytest.approx(wasserstein(y, x, p), rel=1e-12)
    assert wasserstein(x, z, p) <= wasserstein(x, y, p) + wasserstein(y, z, p) + 1e-12


def test_the_distance_grows_with_its_order() -> None:
    x, y = cloud(0), 1.5 * cloud(1, 50)
    values = [wasserstein(x, y, p) for p in (1, 1.5, 2, 4, 8)]
    assert values == sorted(values)
    assert values[-1] <= cdist(x, y).max()


@pytest.mark.parametrize("D", [2, 60])
def test_rigid_motions_offsets_and_units(D: int) -> None:
    x, y = cloud(0, D=D), 0.5 + cloud(1, 50, D)
    value = wasserstein(x, y)
    Q = ortho_group.rvs(D, random_state=0)
    assert wasserstein(x @ Q, y @ Q) == pytest.approx(value, rel=1e-12)
    assert wasserstein(x[::-1], np.roll(y, 3, axis=0)) == pytest.approx(value, rel=1e-12)
    assert wasserstein(1e-30 * x, 1e-30 * y) == pytest.approx(1e-30 * value, rel=1e-12)
    assert wasserstein(1e100 * x, 1e100 * y, 2) == pytest.approx(1e100 * wasserstein(x, y, 2))
    # 1e6 + x is itself rounded to 1e-10
    assert wasserstein(x + 1e6, y + 1e6) == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("D", [2, 60])
def test_points_that_nearly_coincide_lose_no_digits(D: int) -> None:
    """|x|^2 - 2 x.y + |y|^2 would leave nothing of a distance of 1e-9."""
    x = cloud(0, D=D)
    step = 1e-9 * np.eye(D)[0]
    assert wasserstein(x + 10, x + 10 + step) == pytest.approx(1e-9, rel=1e-5)


def test_a_coupling_bounds_the_distance_between_images() -> None:
    x, y = cloud(0), 1 + cloud(1, 50)
    plan = optimal_plan(x, y)
    assert plan.cost(x, y) == pytest.approx(plan.value, rel=1e-12)
    for seed in range(5):
        A = np.random.default_rng(seed).normal(size=(3, 8))
        fx, fy = np.tanh(x @ A), np.tanh(y @ A)
        lipschitz = np.linalg.norm(A, 2)
        assert wasserstein(fx, fy) <= plan.cost(fx, fy) * (1 + 1e-12) <= lipschitz * plan.value
    with pytest.raises(InvalidInput, match="this plan couples 60 with 50"):
        plan.cost(y, x)


def test_tensors_images_and_integers_are_points_too() -> None:
    x, y = cloud(0, 20, 16), cloud(1, 20, 16)
    value = wasserstein(x, y)
    assert wasserstein(torch.from_numpy(x).reshape(20, 1, 4, 4), torch.from_numpy(y)) == value
    assert wasserstein([[0, 0], [1, 0]], [[0, 2], [1, 2]]) == 2.0
    assert wasserstein([0.0], [3.0]) == 3.0
    assert isinstance(optimal_plan(x, y), Plan)


def test_the_floor_is_what_two_samples_of_one_law_show() -> None:
    rng = np.random.default_rng(0)
    floor = wasserstein_floor(rng.random((4000, 2)), n=100, repeats=20)
    fresh = [wasserstein(rng.random((100, 2)), rng.random((100, 2))) for _ in range(20)]
    error = np.hypot(floor.sd, np.std(fresh, ddof=1)) / np.sqrt(20)
    assert abs(floor.mean - np.mean(fresh)) < 4 * error
    assert floor.sd > 0
    assert wasserstein_floor(rng.random((4000, 2)), n=400).mean < 0.75 * floor.mean
    with pytest.raises(InvalidInput, match="2 n of them"):
        wasserstein_floor(rng.random((10, 2)), n=6)


def test_bad_input_is_refused_in_one_sentence() -> None:
    x = cloud(0)
    for bad, message in [
        (np.full((3, 3), np.nan), "NaN or infinity"),
        (np.zeros((0, 3)), "y holds 0 points"),
        (np.zeros((4, 2)), "y has 2 coordinates and x has 3"),
        (np.array([["a"]]), "dtype"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            wasserstein(x, bad)
    with pytest.raises(InvalidInput, match=r"p=0\.5"):
        wasserstein(x, x, p=0.5)
    with pytest.raises(InvalidInput, match="sliced_wasserstein"):
        wasserstein(np.zeros((6000, 2)), np.ones((6000, 2)))
    for weights in ([1.0], -np.ones(60), np.zeros(60), np.full(60, np.inf)):
        with pytest.raises(InvalidInput, match="weights_x is not accepted"):
            optimal_plan(x, x, weights_x=weights)


def test_a_solver_that_gives_up_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("submanifold.transport.exact._MAX_PIVOTS", 3)
    with pytest.raises(RuntimeError, match="did not converge"):
        wasserstein(cloud(0), cloud(1))


def test_the_arguments_are_left_alone() -> None:
    x, y = cloud(0), cloud(1)
    kept = x.copy(), y.copy()
    wasserstein(x, y)
    np.testing.assert_array_equal((x, y), kept)
