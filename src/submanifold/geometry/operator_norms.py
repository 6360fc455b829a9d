r"""Norms of the linear maps in networks, \sup_x \|A x\|_2 / \|x\|_2, rounded up so that they certify.

On Z^r, a convolution with stride s acts on the s^r phases of its input as a multiplication by its
symbol K(\omega) = \sum_t K_t e^{-i \omega \cdot t}, one matrix for each frequency, so that its norm is
\sup_\omega \|K(\omega)\|_2 (Sedghi, Gupta and Long 2019, arXiv 1805.10408, treat the periodic case,
s = 1). Zero padding and cropping compress that operator and a transposed convolution is its adjoint:
neither raises the norm, whatever the size of the input.

Between the frequencies of a grid: with T taps along an axis, the real part of
u^* K(\omega) v e^{i \omega (T - 1) / 2} has its frequencies in [-(T - 1)/2, (T - 1)/2], hence stays
above M \cos(\tfrac{T-1}{2} |\omega - \omega_0|) around a maximum M at \omega_0 (M. Riesz 1914). The
nearest of N frequencies is at most \pi / N away, and the largest norm on the grid, divided by
\cos(\tfrac{T-1}{2} \tfrac{\pi}{N}) for each axis, bounds the supremum.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

__all__ = ["convolution_norm", "round_up", "spectral_norm"]

_Convolution = nn.modules.conv._ConvNd

_GRID = 16
"""Frequencies for each axis; with 3 taps and stride 2, the bound exceeds the supremum by < 1%."""


def round_up(value: float, operations: int) -> float:
    """A number not below the exact result, `value` being that after so many rounded operations."""
    return value * (1 + 2 * (operations + 1) * float(np.finfo(np.float64).eps))


def spectral_norm(matrices: NDArray[Any]) -> float:
    """The largest singular value of `matrices` (..., m, n), rounded up; infinite if they are not finite."""
    if not np.isfinite(matrices).all():
        return math.inf
    sigma = np.linalg.svd(matrices, compute_uv=False)  # (..., min(m, n))
    return round_up(float(sigma.max(initial=0.0)), 8 * max(matrices.shape[-2:]))


def convolution_norm(module: _Convolution) -> float:
    """A bound on the norm of a (transposed) convolution over inputs of every size.

    Infinite for padding with anything but zeros, which repeats parts of the input.
    """
    if module.padding_mode != "zeros":
        return math.inf
    kernel = _phases(_dense_kernel(module), module.stride)  # (out, phases * in, *taps)
    taps = kernel.shape[2:]
    grid = [max(_GRID, 4 * T) for T in taps]
    symbol = np.fft.rfftn(kernel, s=grid, axes=range(2, kernel.ndim))  # (out, phases * in, *grid)
    slack = math.prod(math.cos((T - 1) / 2 * math.pi / N) for T, N in zip(taps, grid, strict=True))
    return spectral_norm(np.moveaxis(symbol, (0, 1), (-2, -1))) / slack


def _dense_kernel(module: _Convolution) -> NDArray[np.float64]:
    """The kernel with groups and dilation written out as zeros, (out, in, *size)."""
    weight: NDArray[np.float64] = module.weight.detach().cpu().double().numpy()
    rows, columns = weight.shape[0] // module.groups, weight.shape[1]  # of one group
    size = [(k - 1) * step + 1 for k, step in zip(weight.shape[2:], module.dilation, strict=True)]
    dense = np.zeros((weight.shape[0], columns * module.groups, *size))
    spread = [slice(None, None, step) for step in module.dilation]
    for g in range(module.groups):
        block = slice(g * rows, (g + 1) * rows)
        dense[(block, slice(g * columns, (g + 1) * columns), *spread)] = weight[block]
    return dense


def _phases(kernel: NDArray[np.float64], stride: tuple[int, ...]) -> NDArray[np.float64]:
    """A kernel of stride s, (out, in, *size), as one of stride 1, (out, s^r * in, *taps)."""
    r = len(stride)
    taps = [math.ceil(k / s) for k, s in zip(kernel.shape[2:], stride, strict=True)]
    missing = [T * s - k for T, s, k in zip(taps, stride, kernel.shape[2:], strict=True)]
    kernel = np.pad(kernel, [(0, 0), (0, 0), *((0, n) for n in missing)])
    split = [n for pair in zip(taps, stride, strict=True) for n in pair]
    kernel = kernel.reshape(*kernel.shape[:2], *split)  # (out, in, T_1, s_1, ..., T_r, s_r)
    kernel = kernel.transpose(0, *range(3, 3 + 2 * r, 2), 1, *range(2, 2 + 2 * r, 2))
    return kernel.reshape(len(kernel), -1, *taps)  # (out, *s, in, *T) -> (out, s^r * in, *T)
