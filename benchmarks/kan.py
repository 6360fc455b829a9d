"""What a KAN costs: a forward and backward pass against an MLP of as many parameters, and against other KANs.

Float32, gradients of weights and inputs, the median of interleaved repeats: processor time of one thread, or on a
graphics card the time between two events in its queue. With glibc the process keeps memory that is freed, since to be
given it again takes time that depends on what ran before. Saved is what the forward pass keeps for the backward one.
The peers: pykan in its quick mode, where it is installed; and "dense recursion", which is how efficient-kan does it (it
is in no package index): all splines of all inputs by the recursion of Cox and de Boor, then one product of matrices.
The compiled network is compiled first, which takes seconds. Grids are uniform, but for the networks called adapted, of
which they follow the data.

    pip install -c constraints.txt -e ".[peers]"
    python -m benchmarks kan
    python -m benchmarks kan --device cuda
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn import functional

from submanifold.checks import check_choice
from submanifold.errors import InvalidInput
from submanifold.nn import KAN
from submanifold.nn.kan import update_grid

__all__ = ["run"]

REPEATS = 25
SHAPES = ((1024, (64, 64, 64)), (256, (784, 64, 784)))
FINE = 200


class _Dense(nn.Module):
    """A layer whose splines are all computed, zero or not."""

    def __init__(self, fan_in: int, fan_out: int, grid: int = 5, order: int = 3) -> None:
        super().__init__()
        self.order = order
        step = 2 / grid
        knots = torch.arange(-order, grid + order + 1) * step - 1
        self.register_buffer("knots", knots.expand(fan_in, -1).contiguous())
        self.base = nn.Parameter(torch.randn(fan_out, fan_in) / fan_in**0.5)
        self.coefficients = nn.Parameter(0.1 * torch.randn(fan_out, fan_in, grid + order))
        self.scale = nn.Parameter(torch.ones(fan_out, fan_in))

    def forward(self, x: Tensor) -> Tensor:
        t, x_ = self.knots, x[..., None]
        B = ((x_ >= t[:, :-1]) & (x_ < t[:, 1:])).to(x.dtype)
        for k in range(1, self.order + 1):
            rising = (x_ - t[:, : -k - 1]) / (t[:, k:-1] - t[:, : -k - 1]) * B[..., :-1]
            falling = (t[:, k + 1 :] - x_) / (t[:, k + 1 :] - t[:, 1:-k]) * B[..., 1:]
            B = rising + falling
        weights = self.coefficients * self.scale[..., None]
        splines = functional.linear(B.flatten(-2), weights.flatten(1))
        return functional.linear(functional.silu(x), self.base) + splines


def _pykan(widths: tuple[int, ...]) -> nn.Module:
    """The layers of pykan without its symbolic branch, which is its quick mode."""
    from kan.KANLayer import KANLayer

    class Layer(nn.Module):
        def __init__(self, fan_in: int, fan_out: int) -> None:
            super().__init__()
            self.layer = KANLayer(fan_in, fan_out, num=5, k=3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.layer(x)[0]
            return y

    return nn.Sequential(*(Layer(a, b) for a, b in pairwise(widths)))


def _mlp(widths: tuple[int, ...], parameters: int) -> nn.Module:
    """One hidden layer, so wide that it has as many parameters."""
    hidden = round((parameters - widths[-1]) / (widths[0] + widths[-1] + 1))
    return nn.Sequential(nn.Linear(widths[0], hidden), nn.SiLU(), nn.Linear(hidden, widths[-1]))


def _count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def _pass(network: nn.Module, x: Tensor) -> Callable[[], None]:
    def both() -> None:
        network(x).square().mean().backward()
        for tensor in (x, *network.parameters()):
            tensor.grad = None

    return both


def _saved(network: nn.Module, x: Tensor) -> float:
    """MiB kept for the backward pass, weights and inputs not counted."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (x, *network.parameters())}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = network(x).square().mean()
    del loss
    return sum(kept.values()) / 2**20


def _milliseconds(works: dict[str, Callable[[], None]], device: str) -> dict[str, float]:
    clock = _card_time if device == "cuda" else _processor_time
    taken: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        for _ in range(3):
            work()  # loads, allocates and compiles
    for _ in range(REPEATS):
        for name, work in works.items():
            taken[name].append(clock(work))
    return {name: statistics.median(times) for name, times in taken.items()}


def _processor_time(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return 1e3 * (time.process_time() - start)


def _card_time(work: Callable[[], None]) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    work()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end))


def _rows(
    task: str, networks: dict[str, nn.Module], x: Tensor, goals: dict[str, str], device: str
) -> list[dict[str, Any]]:
    x = x.to(device).requires_grad_()
    for network in networks.values():
        network.to(device)
    took = _milliseconds({name: _pass(network, x) for name, network in networks.items()}, device)
    return [
        {
            "task": task,
            "network": name,
            "parameters": _count(network),
            "ms": took[name],
            "of the MLP": took[name] / took["MLP"],
            "saved MiB": _saved(network, x),
            "goal": goals.get(name, ""),
        }
        for name, network in networks.items()
    ]


def run(device: str = "cpu") -> dict[str, list[dict[str, Any]]]:
    """Rows of two shapes with G = 5, and of one with a fine grid, on the processor ("cpu") or a card ("cuda").

    They are measured in a process of their own, which programs on standard input cannot start.
    """
    if check_choice(device, ("cpu", "cuda"), name="device") == "cuda" and not torch.cuda.is_available():
        raise InvalidInput("device='cuda' is not accepted: torch finds no graphics card here, give 'cpu'")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_keep_freed_memory) as process:
        return process.submit(_tables, device).result()


def _tables(device: str) -> dict[str, list[dict[str, Any]]]:
    torch.set_num_threads(1)
    with threadpool_limits(1):
        rows = [row for batch, widths in SHAPES for row in _coarse(batch, widths, device)]
        rows += _fine(*SHAPES[0], device)
    return {"kan" if device == "cpu" else f"kan, {torch.cuda.get_device_name()}": rows}


def _keep_freed_memory() -> None:
    """From here on, until the process ends."""
    trim_threshold, mmap_max = -1, -4  # their numbers in malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_max, 0)


def _coarse(batch: int, widths: tuple[int, ...], device: str) -> list[dict[str, Any]]:
    torch.manual_seed(0)
    x, kan = torch.randn(batch, widths[0]), KAN(widths)
    networks: dict[str, nn.Module] = {
        "MLP": _mlp(widths, _count(kan)),
        "KAN": kan,
        "KAN, adapted": _adapted(x, widths),
        "KAN, recompute": KAN(widths, recompute=True),
        "KAN, compiled": KAN(widths, compiled=True),
        "dense recursion": nn.Sequential(*(_Dense(a, b) for a, b in pairwise(widths))),
    }
    if importlib.util.find_spec("kan") is not None:
        networks["pykan"] = _pykan(widths)
    goals = {"KAN": "<= 2.0", "KAN, adapted": "<= 2.0", "KAN, compiled": "<= 1.15"}
    return _rows(f"{batch} points, {'-'.join(map(str, widths))}", networks, x, goals, device)


def _fine(batch: int, widths: tuple[int, ...], device: str) -> list[dict[str, Any]]:
    x, fine = torch.randn(batch, widths[0]), KAN(widths, grid=FINE)
    networks = {
        "MLP": _mlp(widths, _count(fine)),
        "KAN": fine,
        "KAN, local": KAN(widths, grid=FINE, local=True),
        "KAN, adapted, local": _adapted(x, widths, grid=FINE, local=True),
    }
    task = f"{batch} points, {'-'.join(map(str, widths))}, G = {FINE}"
    return _rows(task, networks, x, {"KAN, local": "< 1", "KAN, adapted, local": "< 1"}, device)


def _adapted(x: Tensor, widths: tuple[int, ...], **options: Any) -> KAN:
    kan = KAN(widths, **options)
    update_grid(kan, x)
    return kan
