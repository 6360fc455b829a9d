"""Jacobians and bounds against torch and NumPy: same network, same answer, time as a ratio."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap

from submanifold.geometry import jacobian, lipschitz_upper_bound, log_volume
from submanifold.nn import MLP, decoder, encoder

__all__ = ["run"]


def run() -> list[dict[str, Any]]:
    """One row for each task: seconds, the peer's, their ratio, and how far the answers differ."""
    torch.manual_seed(0)
    cases: list[tuple[str, nn.Module, Tensor]] = [
        ("MLP 2 -> 64 -> 64 -> 2", MLP([2, 64, 64, 2]), torch.randn(1000, 2)),
        ("MLP 9 -> 128 -> 128 -> 64", MLP([9, 128, 128, 64]), torch.randn(500, 9)),
        ("decoder 8 -> 1x28x28", decoder("conv", 8, (1, 28, 28)), torch.randn(64, 8)),
        ("encoder 1x28x28 -> 8", encoder("conv", (1, 28, 28), 8), torch.randn(64, 1, 28, 28)),
    ]
    rows = [
        _row(
            f"Jacobian, {name}, n = {len(z)}",
            "torch.func, vmap of jacrev",
            lambda f=f, z=z: jacobian(f, z).flatten(),
            lambda f=f, z=z: _reverse_mode(f, z).flatten(),
        )
        for name, f, z in cases
    ]
    J = torch.randn(1000, 784, 16, dtype=torch.float64)
    rows.append(
        _row(
            "log-volume, (1000, 784, 16)",
            "logdet of the Gram matrix",
            lambda: log_volume(J).log_volume,
            lambda: _gram(J),
        )
    )
    layer = nn.Conv2d(4, 8, 3, stride=2, padding=1)
    rows.append(
        _row(
            "norm of a convolution, 4x24x24",
            "SVD of its matrix",
            lambda: torch.tensor(lipschitz_upper_bound(layer)),
            lambda: _dense_norm(layer, (4, 24, 24)),
        )
    )
    return rows


def _row(task: str, peer: str, ours: Callable[[], Tensor], theirs: Callable[[], Tensor]) -> dict[str, Any]:
    seconds, value = _timed(ours)
    peer_seconds, peer_value = _timed(theirs)
    difference = float((value - peer_value).abs().max() / peer_value.abs().max())
    return {
        "task": task,
        "peer": peer,
        "seconds": seconds,
        "peer seconds": peer_seconds,
        "peer / ours": peer_seconds / seconds,
        "relative difference": difference,
    }


def _timed(f: Callable[[], Tensor], repeats: int = 3) -> tuple[float, Tensor]:
    """The least of `repeats` durations after a first call, and the value."""
    value, times = f(), []
    for _ in range(repeats):
        start = time.perf_counter()
        value = f()
        times.append(time.perf_counter() - start)
    return min(times), value


def _reverse_mode(f: nn.Module, z: Tensor) -> Tensor:
    with torch.no_grad():
        return vmap(jacrev(lambda row: f(row[None])[0]))(z)


def _gram(J: Tensor) -> Tensor:
    return 0.5 * torch.logdet(J.mT @ J)


def _dense_norm(layer: nn.Module, in_shape: tuple[int, ...]) -> Tensor:
    size = math.prod(in_shape)
    with torch.no_grad():
        basis = torch.eye(size).reshape(size, *in_shape)
        matrix = (layer(basis) - layer(torch.zeros(1, *in_shape))).flatten(1).T
    return torch.linalg.matrix_norm(matrix.double(), 2)
