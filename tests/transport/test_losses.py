"""Losses against the library's own distances, written formulas, POT and closed forms; gradients by differences."""

import math

import numpy as np
import ot
import pytest
import torch
from scipy.spatial.distance import cdist

from submanifold.errors import InvalidInput
from submanifold.transport import (
    DISCREPANCIES,
    mmd,
    mmd_loss,
    sinkhorn_loss,
    sliced_wasserstein_loss,
    wasserstein,
)

SIZES = [(17, 17, 3), (23, 11, 2), (9, 40, 1), (30, 20, 50)]
every_size = pytest.mark.parametrize(("n", "m", "D"), SIZES)
every_loss = pytest.mark.parametrize("name", DISCREPANCIES)


def pair(n, m, D, seed=0, shift=0.5):
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(size, D, dtype=torch.float64, generator=generator) for size in (n, m))
    return x, shift + 1.3 * y


def converged(x, y, blur=None):
    return sinkhorn_loss(x, y, blur, n_iterations=1000)


@every_size
@pytest.mark.parametrize("h", [0.3, 2.0])
def test_mmd_with_one_gaussian_kernel_is_the_librarys(n, m, D, h):
    x, y = pair(n, m, D)
    expected = mmd(x.numpy(), y.numpy(), bandwidth=h, n_permutations=1).statistic
    assert float(mmd_loss(x, y, "gaussian", [h])) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@every_size
def test_mmd_with_multiquadrics_is_the_written_sum(n, m, D):
    """In the form of the Wasserstein autoencoder: k = \\sum_s C_s / (C_s + |x - y|^2), C_s = 2 D s."""
    x, y = pair(n, m, D)
    scales = (0.01, 0.04, 0.25, 1.0, 4.0)

    def k(a, b):
        squares = cdist(a, b, "sqeuclidean")
        return sum(2 * D * s / (2 * D * s + squares) for s in scales)

    kxx, kyy, kxy = k(x, x), k(y, y), k(x, y)
    within = [(K.sum() - np.trace(K)) / (len(K) * (len(K) - 1)) for K in (kxx, kyy)]
    assert float(mmd_loss(x, y)) == pytest.approx(sum(within) - 2 * kxy.mean(), rel=1e-9)


@pytest.mark.parametrize("kernel", ["imq", "gaussian"])
def test_mmd_is_unbiased(kernel):
    """Between two samples of one law its mean is zero, even of five points each."""
    values = [float(mmd_loss(*(torch.randn(5, 2) for _ in range(2)), kernel)) for _ in range(1000)]
    assert abs(np.mean(values)) < 4 * np.std(values) / math.sqrt(len(values))
    assert np.std(values) < 2


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
@every_size
def test_sliced_is_that_of_pot_along_the_same_directions(n, m, D, p):
    x, y = pair(n, m, D)
    state = torch.random.get_rng_state()
    value = float(sliced_wasserstein_loss(x, y, 30, p))
    torch.random.set_rng_state(state)
    U = torch.randn(D, 30, dtype=torch.float64) if D > 1 else torch.ones(1, 1, dtype=torch.float64)
    U = (U / U.norm(dim=0)).numpy()
    expected = ot.sliced_wasserstein_distance(x.numpy(), y.numpy(), p=p, projections=U) ** p
    assert value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_sliced_of_gaussians_has_its_closed_form(shift):
    r"""Between N(0, I) and N(v, s^2 I): SW_2^2 = |v|^2 / D + (1 - s)^2."""
    D, s = 5, 1.5
    x = torch.randn(5000, D)
    y = shift + s * torch.randn(5000, D)
    expected = shift**2 + (1 - s) ** 2
    assert float(sliced_wasserstein_loss(x, y, 500)) == pytest.approx(expected, abs=0.03 + 0.2 * shift)


@every_size
@pytest.mark.parametrize("blur", [0.5, 1.5])
def test_sinkhorn_is_made_of_entropic_transports(n, m, D, blur):
    x, y = pair(n, m, D)
    blur *= math.sqrt(D)

    def entropic(a, b):
        plan = ot.solve(cdist(a, b, "sqeuclidean") / 2, reg=blur**2, reg_type="KL", max_iter=20_000, tol=1e-12)
        return float(plan.value)

    expected = entropic(x, y) - (entropic(x, x) + entropic(y, y)) / 2
    assert float(converged(x, y, blur)) == pytest.approx(expected, rel=1e-6, abs=1e-8)


def test_sinkhorn_of_gaussians_in_the_limits():
    """W_2^2 / 2 without blur, half the squared distance of the means with much of it."""
    x, y = pair(60, 60, 2)
    exact = wasserstein(x.numpy(), y.numpy(), p=2.0) ** 2 / 2
    assert float(converged(x, y, 0.02)) == pytest.approx(exact, rel=0.02)
    means = float((x.mean(dim=0) - y.mean(dim=0)).square().sum()) / 2
    assert float(sinkhorn_loss(x, y, 1000.0)) == pytest.approx(means, rel=1e-4)


@every_size
def test_sinkhorns_default_is_near_the_limit_of_its_iterations(n, m, D):
    x, y = pair(n, m, D)
    assert float(sinkhorn_loss(x, y)) == pytest.approx(float(converged(x, y)), rel=0.06)


@pytest.mark.parametrize("loss", [mmd_loss, sliced_wasserstein_loss, lambda x, y: sinkhorn_loss(x, y, 2.0, 200)])
@pytest.mark.parametrize(("n", "m", "D"), [(6, 6, 2), (5, 7, 1), (3, 4, 7)])
def test_gradients_are_those_of_differences(loss, n, m, D):
    x, y = (points.requires_grad_() for points in pair(n, m, D))

    def same_directions(x, y):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return loss(x, y)

    assert torch.autograd.gradcheck(same_directions, (x, y), eps=1e-6, atol=1e-6, rtol=1e-5)


def test_mmd_can_be_differentiated_twice():
    x, y = (points.requires_grad_() for points in pair(4, 3, 2))
    assert torch.autograd.gradgradcheck(mmd_loss, (x, y), atol=1e-6)


@every_loss
@pytest.mark.parametrize("D", [1, 2, 64])
def test_the_same_points_are_at_no_distance_and_do_not_move(name, D):
    x = pair(20, 1, D)[0].requires_grad_()
    y = x.detach()[torch.randperm(20)]
    value = DISCREPANCIES[name](x, y)
    value.backward()
    # the unbiased estimate is below zero here: equal samples are closer than independent ones
    assert float(value.detach()) < 1e-9
    tolerance = 1e-9 if name == "sliced" else 0.2 if name == "mmd" else 1e-2
    assert float(x.grad.abs().max()) < tolerance


@pytest.mark.slow
@every_loss
@pytest.mark.parametrize("seed", range(3))
def test_descent_carries_points_to_the_others(name, seed):
    """From far away, with Adam on the points: W_1 comes down to a tenth; along MMD, whose flow gets stuck (Arbel et al.
    2019, arXiv 1906.04370), to a third."""
    torch.manual_seed(seed)
    x, y = torch.randn(100, 2) * 0.2 + 3, torch.randn(100, 2)
    before = wasserstein(x, y)
    x.requires_grad_()
    adam = torch.optim.Adam([x], 0.1)
    for _ in range(200):
        adam.zero_grad()
        DISCREPANCIES[name](x, y).backward()
        adam.step()
    assert wasserstein(x.detach(), y) < (0.34 if name == "mmd" else 0.1) * before


@every_loss
def test_disjoint_supports_have_gradients_at_every_distance(name):
    """Between segments a distance t apart the loss falls as they come closer, where Jensen-Shannon is constant."""
    s = torch.linspace(0, 1, 64, dtype=torch.float64)
    y = torch.stack([torch.zeros_like(s), s], dim=1)
    previous = math.inf
    for t in (4.0, 2.0, 1.0, 0.5, 0.1):
        x = torch.stack([torch.full_like(s, t), s], dim=1).requires_grad_()
        value = DISCREPANCIES[name](x, y)
        value.backward()
        assert float(value.detach()) < previous
        assert (x.grad[:, 0] > 0).all()
        previous = float(value.detach())


@every_loss
def test_single_precision_and_degenerate_points(name):
    x, y = pair(50, 40, 20)
    fine, coarse = (float(seeded(name, a, b)) for a, b in ((x, y), (x.float(), y.float())))
    assert seeded(name, x.float(), y.float()).dtype == torch.float32
    if name != "sliced":  # whose directions depend on the type
        assert coarse == pytest.approx(fine, rel=1e-3)
    for points in (torch.zeros(6, 3), 1e4 + torch.zeros(6, 3)):
        z = points.clone().requires_grad_()
        value = DISCREPANCIES[name](z, points)
        value.backward()
        assert float(value.detach()) == pytest.approx(0, abs=1e-6)
        assert z.grad.isfinite().all()


def seeded(name, x, y):
    torch.manual_seed(0)
    return DISCREPANCIES[name](x, y)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mmd_loss(torch.zeros(1, 2), torch.zeros(5, 2)), "x holds 1 points.* at least 2"),
        (lambda: mmd_loss(torch.zeros(5, 2), torch.zeros(5, 3)), "y has 3 coordinates"),
        (lambda: mmd_loss(torch.zeros(5, 2), torch.zeros(5, 2), "rbf"), "kernel='rbf'"),
        (lambda: mmd_loss(torch.zeros(5, 2), torch.zeros(5, 2), bandwidths=[]), "bandwidths"),
        (lambda: mmd_loss(torch.zeros(5, 2), torch.zeros(5, 2), bandwidths=[-1.0]), "bandwidths=-1.0"),
        (lambda: sliced_wasserstein_loss(torch.zeros(0, 2), torch.zeros(5, 2)), "x holds 0 points"),
        (lambda: sliced_wasserstein_loss(torch.zeros(4, 2), torch.zeros(5, 2), p=0.5), "p=0.5"),
        (lambda: sliced_wasserstein_loss(torch.zeros(4, 2), torch.zeros(5, 2), 0), "n_projections=0"),
        (lambda: sinkhorn_loss(torch.zeros(4, 1, 8, 8), torch.zeros(5, 64)), "x has shape"),
        (lambda: sinkhorn_loss(torch.zeros(4, 2), torch.zeros(5, 2), blur=0.0), "blur=0.0"),
        (lambda: sinkhorn_loss(torch.zeros(4, 2), torch.zeros(5, 2), n_iterations=0), "n_iterations=0"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()
