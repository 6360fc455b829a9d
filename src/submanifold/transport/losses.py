r"""Discrepancies between two samples as losses: scalars that torch differentiates with respect to the points.

Each compares x (n, D), drawn from P, with y (m, D), drawn from Q, with equal weights within a sample, and is zero in
expectation, or up to its floor, where P = Q. All see how far points are apart, so that they stay finite and have
gradients between laws on different manifolds. Their defaults suit coordinates of unit variance: whitened data, and
latents of N(0, I_d), where two points are about \sqrt{2 D} apart.

For numbers to report, with floors and tests, see `mmd`, `sliced_wasserstein` and `wasserstein` instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from submanifold.checks import check_choice, check_int, check_real
from submanifold.errors import InvalidInput
from submanifold.transport.line import quantile_coupling, uniform

__all__ = ["DISCREPANCIES", "KERNELS", "kernel_matrix", "mmd_loss", "sinkhorn_loss", "sliced_wasserstein_loss"]

_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0)
r"""Bandwidths in units of \sqrt{D}: of the distance of two points, from a fourteenth to more than all."""

KERNELS: dict[str, Callable[[Tensor], Tensor]] = {
    "gaussian": lambda t: (-t).exp(),
    "imq": lambda t: 1 / (1 + t),
}
r"""Kernels of t = \|x - y\|^2 / 2 h^2; the tail of the inverse multiquadric reaches points that are far away."""


def mmd_loss(x: Tensor, y: Tensor, kernel: str = "imq", bandwidths: Sequence[float] | None = None) -> Tensor:
    r"""The unbiased estimate of MMD^2 between x (n, D) and y (m, D), (), for a sum of kernels of several bandwidths h,

    .. math:: \frac{1}{n(n-1)} \sum_{i \ne j} k(x_i, x_j) + \frac{1}{m(m-1)} \sum_{i \ne j} k(y_i, y_j)
        - \frac{2}{nm} \sum_{ij} k(x_i, y_j)

    (Gretton et al. 2012, JMLR 13, eq. 3). It may be negative. The biased estimate, with i = j in the sums and 1/n^2
    before them, has points of x repel each other less, by (n - 1)/n, for the same attraction by y: in expectation its
    minimum is a law that is too narrow, and the more so the smaller the batch.

    Args:
        x: points (n, D), n >= 2.
        y: points (m, D), m >= 2.
        kernel: "imq", 1 / (1 + t), whose scales are those of Tolstikhin et al. 2018 (arXiv 1711.01558, section 4), or
            "gaussian", \exp(-t), for t = \|x - y\|^2 / 2 h^2.
        bandwidths: lengths h; by default \sqrt{D} times 0.1, 0.2, 0.5, 1 and 2.

    Raises:
        InvalidInput: for points of different spaces, fewer than 2 points, or a kernel or bandwidths that are not
            accepted.
    """
    _check(x, y, least=2)

    def between_distinct(points: Tensor) -> Tensor:
        K = kernel_matrix(points, points, kernel, bandwidths)
        return (K.sum() - K.diagonal().sum()) / (len(K) * (len(K) - 1))

    return between_distinct(x) + between_distinct(y) - 2 * kernel_matrix(x, y, kernel, bandwidths).mean()


def kernel_matrix(x: Tensor, y: Tensor, kernel: str = "imq", bandwidths: Sequence[float] | None = None) -> Tensor:
    r"""The kernel of `mmd_loss` between points x (n, D) and y (m, D), summed over bandwidths, (n, m).

    Raises:
        InvalidInput: for points of different spaces, or a kernel or bandwidths that are not accepted.
    """
    _check(x, y, least=1)
    k = KERNELS[check_choice(kernel, KERNELS, name="kernel")]
    if bandwidths is None:
        bandwidths = [scale * math.sqrt(x.shape[1]) for scale in _SCALES]
    lengths = [check_real(h, name="bandwidths", open_low=True) for h in bandwidths]
    if not lengths:
        raise InvalidInput("bandwidths=[] is not accepted: give one positive length or more")
    squares = _squared_distances(x, y)
    return torch.stack([k(squares / (2 * h**2)) for h in lengths]).sum(dim=0)


def sliced_wasserstein_loss(x: Tensor, y: Tensor, n_projections: int = 128, p: float = 2.0) -> Tensor:
    r"""SW_p^p between x (n, D) and y (m, D), (), over random directions u on the unit sphere,

    .. math:: \mathrm{E}_u \int_0^1 |F_u^{-1}(q) - G_u^{-1}(q)|^p \, dq,

    where F_u and G_u are the laws of u^\top x and u^\top y (Bonneel et al. 2015; as a loss of a generator, Deshpande,
    Zhang and Schwing 2018, arXiv 1803.11188, eq. 5). The power, not the distance, has gradients at zero. The directions
    come from torch's global generator; on the line there is but one.

    Args:
        x: points (n, D).
        y: points (m, D).
        n_projections: number of directions.
        p: the order, at least 1.

    Raises:
        InvalidInput: for points of different spaces, no points, p < 1, or fewer than one projection.
    """
    _check(x, y, least=1)
    p = check_real(p, name="p", low=1.0)
    D = x.shape[1]
    U = torch.randn(D, check_int(n_projections, name="n_projections"), device=x.device, dtype=x.dtype)
    U = torch.nn.functional.normalize(U if D > 1 else torch.ones_like(U[:, :1]), dim=0)  # (D, L)
    quantiles = [(points @ U).sort(dim=0).values for points in (x, y)]  # (n, L), (m, L)
    if len(x) == len(y):
        return (quantiles[0] - quantiles[1]).abs().pow(p).mean()
    rows, columns, mass = (
        torch.from_numpy(a).to(x.device) for a in quantile_coupling(uniform(len(x)), uniform(len(y)))
    )
    gaps = quantiles[0][rows] - quantiles[1][columns]  # (k, L)
    return mass.to(x.dtype) @ gaps.abs().pow(p).mean(dim=1)


def sinkhorn_loss(x: Tensor, y: Tensor, blur: float | None = None, n_iterations: int = 20) -> Tensor:
    r"""The debiased Sinkhorn divergence between x (n, D) and y (m, D), (), for the cost \|x - y\|^2 / 2,

    .. math:: S_\varepsilon = \mathrm{OT}_\varepsilon(x, y) - \tfrac12 \mathrm{OT}_\varepsilon(x, x)
        - \tfrac12 \mathrm{OT}_\varepsilon(y, y), \qquad \varepsilon = \mathrm{blur}^2

    (Feydy et al. 2019, arXiv 1810.08278, eq. 3; Genevay, Peyré and Cuturi 2018, arXiv 1706.00292). It tends to
    W_2^2 / 2 as the blur goes to 0. The dual potentials are iterated in the log domain, \varepsilon falling
    geometrically from the squared diameter of the points over the first half of the iterations. The gradient is that
    at fixed potentials (the envelope theorem), exact where they have converged, which takes more iterations the smaller
    the blur; the usual ones leave a relative error of a few tenths in the gradient by a single point, and one that is
    far smaller in the loss. There are no second derivatives.

    Args:
        x: points (n, D).
        y: points (m, D).
        blur: \sqrt\varepsilon, a length; by default \sqrt{D} / 10.
        n_iterations: of the potentials.

    Raises:
        InvalidInput: for points of different spaces, no points, or a blur or a number of iterations that is not
            positive.
    """
    _check(x, y, least=1)
    if blur is None:
        blur = math.sqrt(x.shape[1]) / 10
    epsilon = check_real(blur, name="blur", open_low=True) ** 2
    n_iterations = check_int(n_iterations, name="n_iterations")
    with torch.no_grad():
        both = torch.cat([x, y])
        diameter = float((both.amax(dim=0) - both.amin(dim=0)).square().sum())
        start = max(diameter, epsilon)
        warm = n_iterations // 2
        C_xy, C_xx, C_yy = (_squared_distances(a, b) / 2 for a, b in ((x, y), (x, x), (y, y)))
        C_yx = C_xy.T.contiguous()
        f = f_own = C_xy.new_zeros(len(x))
        g = g_own = C_xy.new_zeros(len(y))
        for i in range(n_iterations):
            e = start * (epsilon / start) ** (i / warm) if i < warm else epsilon
            if i < warm:  # the mean of old and new carries potentials from one blur to the next
                f, g = (f + _soft_minimum(C_xy, g, e)) / 2, (g + _soft_minimum(C_yx, f, e)) / 2
            else:  # in turns they converge faster
                f = _soft_minimum(C_xy, g, e)
                g = _soft_minimum(C_yx, f, e)
            f_own = (f_own + _soft_minimum(C_xx, f_own, e)) / 2
            g_own = (g_own + _soft_minimum(C_yy, g_own, e)) / 2

    def potential(a: Tensor, b: Tensor, dual: Tensor) -> Tensor:
        """The potential on a, whose mean has the gradient of OT with respect to a."""
        return _soft_minimum(_squared_distances(a, b.detach()) / 2, dual, epsilon)

    on_x = potential(x, y, g) - potential(x, x, f_own)
    on_y = potential(y, x, f) - potential(y, y, g_own)
    return on_x.mean() + on_y.mean()


DISCREPANCIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mmd": mmd_loss,
    "sinkhorn": sinkhorn_loss,
    "sliced": sliced_wasserstein_loss,
}
"""The losses by name, with their defaults."""


def _soft_minimum(cost: Tensor, dual: Tensor, epsilon: float) -> Tensor:
    r"""-\varepsilon \log \mathrm{mean}_j \exp((h_j - C_{ij}) / \varepsilon) for C (n, m) and h (m,), (n,)."""
    scores = torch.add(dual / epsilon, cost, alpha=-1 / epsilon)  # (n, m)
    top = scores.detach().amax(dim=1, keepdim=True)  # (n, 1)
    # Of what is next to nothing beside the largest, processors take a tenfold time to find the exponential.
    total = (scores - top).clamp(min=-80).exp().sum(dim=1)
    return -epsilon * (total.log() + top[:, 0] - math.log(cost.shape[1]))


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    r"""\|x_i - y_j\|^2, (n, m), by a matrix product of centred points: twice differentiable, and fast."""
    centre = y.detach().mean(dim=0)
    x, y = x - centre, y - centre
    squares = x.square().sum(dim=1)[:, None] + y.square().sum(dim=1) - 2 * x @ y.T
    return squares.clamp(min=0)


def _check(x: Tensor, y: Tensor, *, least: int) -> None:
    for points, name in ((x, "x"), (y, "y")):
        if points.ndim != 2:
            raise InvalidInput(f"{name} has shape {tuple(points.shape)}: give points (n, D)")
        if len(points) < least:
            raise InvalidInput(f"{name} holds {len(points)} points: this discrepancy needs at least {least}")
    if x.shape[1] != y.shape[1]:
        raise InvalidInput(f"y has {y.shape[1]} coordinates and x has {x.shape[1]}: give points of one space")
