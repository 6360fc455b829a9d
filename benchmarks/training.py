"""What the trainer costs: time per step against a bare PyTorch loop on a small network.

The network is 64-128-128-64 on batches of 256; both loops use AdamW in its fused form, a new permutation per epoch, and
one thread. The trainer clips, checks that everything is finite, and evaluates forty times besides.

    python -m benchmarks training
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from submanifold.models.base import Model, Objective
from submanifold.training import fit

__all__ = ["run"]

N, D, WIDTH, BATCH, STEPS, REPEATS = 5000, 64, 128, 256, 1000, 5


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(D, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, D))


class _Copier(Model):
    """Reproduces its input."""

    def __init__(self, data_shape: tuple[int, ...]) -> None:
        super().__init__(data_shape)
        self.network = _network()

    def loss(self, x: Tensor) -> Tensor:
        return (self.network(x) - x).square().mean()

    def objectives(self) -> list[Objective]:
        return [Objective("copy", list(self.parameters()), self.loss)]


def _bare(x: Tensor, fused: bool) -> None:
    network = _network()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.0, fused=fused)
    per_epoch = len(x) // BATCH
    for step in range(STEPS):
        if step % per_epoch == 0:
            order = torch.randperm(len(x))
        batch = step % per_epoch
        y = x[order[batch * BATCH : (batch + 1) * BATCH]]
        loss = (network(y) - y).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def run() -> list[dict[str, Any]]:
    """Microseconds per step of each loop, the least of interleaved repeats, and their ratio to the bare loop."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    x = torch.randn(N, D, generator=torch.Generator().manual_seed(0))
    loops: dict[str, Callable[[], Any]] = {
        "bare loop, fused AdamW": lambda: _bare(x, True),
        "bare loop, default AdamW": lambda: _bare(x, False),
        "submanifold.fit": lambda: fit(_Copier((D,)), x, steps=STEPS, batch_size=BATCH, progress=False),
    }
    fit(_Copier((D,)), x, steps=1, progress=False)  # imports
    times = {name: _seconds(loop) for name, loop in loops.items()}
    for _ in range(REPEATS - 1):
        times = {name: min(times[name], _seconds(loop)) for name, loop in loops.items()}
    torch.set_num_threads(threads)
    base = times["bare loop, fused AdamW"]
    return [{"loop": name, "microseconds_per_step": 1e6 * t / STEPS, "ratio": t / base} for name, t in times.items()]
