"""Diffusion models: a training step of the U-Net against diffusers', and what samplers, couplings and divergences add.

One thread, batches of random images of 1 x 28 x 28; processor time, the least of interleaved repeats. Both U-Nets have
three sizes of feature maps, attention at the least, and as many parameters up to a few per cent; both steps have the
same loss, AdamW in its fused form, and the memory format that is faster for each (diffusers' is tried in both).
Sampler overhead is what a step takes when the network costs nothing, over what the network takes. The divergence is
that of a dense network's score in 64 coordinates, against a loop of backward passes over them.

    pip install -c constraints.txt -e ".[peers]"
    python -m benchmarks diffusion
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from submanifold.geometry import divergence
from submanifold.models import Diffusion
from submanifold.models.diffusion.couplings import optimal_pairs

__all__ = ["run"]

SHAPE, HIDDEN, BATCH, LARGE, REPEATS = (1, 28, 28), (36, 72, 72), 32, 256, 7


def run() -> list[dict[str, Any]]:
    """One row for each question: milliseconds, those of what it is compared with, and the ratio."""
    with threadpool_limits(1):
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return [*_step_rows(), *_sampler_rows(), _coupling_row(), _divergence_row()]
        finally:
            torch.set_num_threads(threads)


def _least(*tasks: Callable[[], Any], repeats: int = REPEATS) -> list[float]:
    """Processor seconds of each task, the least of interleaved repeats."""
    least = [float("inf")] * len(tasks)
    for task in tasks:
        task()
    for _ in range(repeats):
        for i, task in enumerate(tasks):
            start = time.process_time()
            task()
            least[i] = min(least[i], time.process_time() - start)
    return least


def _row(task: str, seconds: float, peer: str, peer_seconds: float, note: str = "") -> dict[str, Any]:
    return {
        "task": task,
        "ms": 1e3 * seconds,
        "compared with": peer,
        "its ms": 1e3 * peer_seconds,
        "ratio": seconds / peer_seconds,
        "note": note,
    }


def _model() -> Diffusion:
    torch.manual_seed(0)
    model = Diffusion(SHAPE, hidden=HIDDEN)
    model.prepare(torch.randn(LARGE, *SHAPE))
    return model


def _training(loss: Callable[[], Tensor], network: nn.Module) -> Callable[[], None]:
    parameters = list(network.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=1e-3, fused=True)

    def step() -> None:
        optimiser.zero_grad()
        torch.autograd.backward(loss())
        torch.nn.utils.clip_grad_norm_(parameters, 10.0)
        optimiser.step()

    return step


def _parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def _step_rows() -> list[dict[str, Any]]:
    if importlib.util.find_spec("diffusers") is None:
        return []
    model, x = _model(), torch.randn(BATCH, *SHAPE)
    last: Any = _peer()
    peers: dict[str, nn.Module] = {"contiguous": _peer(), "channels-last": last.to(memory_format=torch.channels_last)}
    steps = [_training(lambda: model.loss(x), model.network)]
    for name, peer in peers.items():
        seen = x if name == "contiguous" else x.to(memory_format=torch.channels_last)
        steps.append(_training(_peer_loss(peer, seen), peer))
    ours, *theirs = _least(*steps)
    return [
        _row(
            f"training step of a U-Net, batch {BATCH}",
            ours,
            f"diffusers' UNet2DModel, {name}",
            seconds,
            f"{_parameters(model.network):,} and {_parameters(peers[name]):,} parameters",
        )
        for name, seconds in zip(peers, theirs, strict=True)
    ]


def _peer() -> nn.Module:
    from diffusers import UNet2DModel  # type: ignore[import-not-found, unused-ignore]

    network: nn.Module = UNet2DModel(
        sample_size=28,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(36, 60, 60),
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        norm_num_groups=12,
        attention_head_dim=12,
    )
    return network


def _peer_loss(network: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    """The error of v at random levels, as one would write it."""

    def loss() -> Tensor:
        error: Tensor
        sigma, noise = torch.randn(len(x)).exp(), torch.randn_like(x)
        scale = (1 + sigma.square()).rsqrt()[:, None, None, None]
        level = sigma[:, None, None, None]
        said = network(scale * (x + level * noise), 250 * sigma.log()).sample
        error = (said - scale * (noise - level * x)).square().mean()
        return error

    return loss


class _Free(nn.Module):
    """A network that costs nothing."""

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        return torch.zeros_like(x)


def _sampler_rows() -> list[dict[str, Any]]:
    model, rows = _model().eval(), []
    network, steps = model.network, 20
    x, level = torch.randn(BATCH, *SHAPE), torch.zeros(BATCH)
    with torch.no_grad():
        (forward,) = _least(lambda: network(x, level))
        for sampler, passes in (("euler", 1), ("heun", 2), ("dpm-solver++", 1), ("ancestral", 1)):
            model.network = _Free()
            (free,) = _least(partial(model.sample, BATCH, sampler=sampler, steps=steps))
            model.network = network
            rows.append(_row(f"a step of {sampler} without the network", free / steps, "the network", passes * forward))
    return rows


def _coupling_row() -> dict[str, Any]:
    model, x = _model(), torch.randn(LARGE, *SHAPE)
    flat, noise = x.flatten(1), torch.randn(LARGE, model.ambient_dim)
    step, coupling = _least(
        _training(lambda: model.loss(x), model.network), lambda: optimal_pairs(flat, noise), repeats=3
    )
    return _row(f"optimal pairs, batch {LARGE}", coupling, "a training step of the U-Net", step)


def _divergence_row() -> dict[str, Any]:
    torch.manual_seed(0)
    D = 64
    model = Diffusion((D,))
    model.prepare(torch.randn(LARGE, D))
    y, sigma = torch.randn(LARGE, D), torch.full((LARGE,), 0.5)

    def field(y: Tensor) -> Tensor:
        s: Tensor = model._score(y, sigma)
        return s

    def loop() -> Tensor:
        seen = y.clone().requires_grad_()
        s = field(seen)
        parts = [torch.autograd.grad(s[:, j].sum(), seen, retain_graph=True)[0][:, j] for j in range(D)]
        return torch.stack(parts).sum(dim=0)

    ours, looped = _least(lambda: divergence(field, y), loop, repeats=3)
    return _row(f"exact divergence, D = {D}, {LARGE} points", ours, "a loop of backward passes", looped)
