"""What the trainer costs: a step against loops of PyTorch written for the purpose, and memory over many steps.

All loops have one thread, the same networks and the same loss, AdamW in its fused form and gradients clipped by their
norm; they take batches from one tensor by a new permutation per epoch, and log nothing. Times are processor time. A
step is the median time from one call of the loss to the next, over interleaved runs, so that what is done once (opening
the data, fitting the preprocessing, the evaluation at the end) does not count; what forty evaluations add is a row of
its own. An epoch is told from two runs that differ in one, each the least of interleaved repeats.

The peers of the epoch are the trainer of pythae, where it is installed, with its own VAE of the same networks (its
epochs end with a copy of the best model), and a loop over a `DataLoader` whose points come one by one in a mapping and
are collated, as that trainer's do, without anything else. That pythae is also compared with the bare loop tells how
much there is to gain on the processor.

    pip install -c constraints.txt -e ".[peers]"
    python -m benchmarks training
"""

from __future__ import annotations

import importlib.util
import io
import itertools
import logging
import math
import resource
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from contextlib import redirect_stderr
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from submanifold.models import VAE, Flow
from submanifold.models.base import Model, Objective
from submanifold.training import fit

__all__ = ["run"]

BATCH, CLIP, RATE, REPEATS = 256, 10.0, 1e-3, 5
LOG_2PI = math.log(2 * math.pi)

WARM = 5
"""Steps at the start of a run that do not count."""

LONG = 1000
"""Steps of a fit whose evaluations count."""

Loss = Callable[[Tensor], Tensor]


class _Copier(Model):
    """Reproduces its input."""

    def __init__(self, data_shape: tuple[int, ...], width: int = 128) -> None:
        super().__init__(data_shape)
        D = self.ambient_dim
        self.network = nn.Sequential(
            nn.Linear(D, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, D)
        )

    def loss(self, x: Tensor) -> Tensor:
        return (self.network(x) - x).square().mean()

    def objectives(self) -> list[Objective]:
        return [Objective("copy", list(self.parameters()), self.loss)]


class _QuietVAE(VAE):
    """Without widths that an evaluation would measure: what it costs is no part of a step."""

    local_scales = None  # type: ignore[assignment]


class _QuietFlow(Flow):
    """Without widths as well."""

    local_scales = None  # type: ignore[assignment]


def _elbo(model: VAE, x: Tensor) -> Loss:
    """The loss of a VAE with a learned scale, on whitened data, as one would write it."""
    mean, scale = x.mean(0), x.std()

    def loss(batch: Tensor) -> Tensor:
        y = (batch - mean) / scale
        mu, log_s = model.encoder(y).chunk(2, dim=1)
        s = log_s.clamp(-15, 5).exp()
        error = (y - model.decoder(mu + s * torch.randn_like(mu))) / model.log_scale.exp()
        fit_of = 0.5 * error.square().sum(1) + y.shape[1] * (model.log_scale + scale.log() + 0.5 * LOG_2PI)
        return (fit_of + (0.5 * (mu.square() + s.square() - 1) - s.log()).sum(1)).mean()

    return loss


def _zuko(model: Flow, x: Tensor) -> Loss:
    """Minus the log-likelihood by zuko's own flow, made of the same maps."""
    from zuko.distributions import DiagNormal
    from zuko.flows import Flow as ZukoFlow
    from zuko.lazy import UnconditionalDistribution

    D = x.shape[1]
    flow = ZukoFlow(model.transform, UnconditionalDistribution(DiagNormal, torch.zeros(D), torch.ones(D), buffer=True))
    mean, scale = x.mean(0), x.std()
    return lambda batch: D * scale.log() - flow().log_prob((batch - mean) / scale).mean()


def _loop(
    make: Callable[[], Any],
    x: Tensor,
    loss_of: Callable[[Any, Tensor], Loss],
    steps: int,
    calls: list[float] | None = None,
) -> None:
    model = make()
    loss = loss_of(model, x) if calls is None else _timed(loss_of(model, x), calls)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.0, fused=True)
    per_epoch = len(x) // BATCH
    for step in range(steps):
        if step % per_epoch == 0:
            order = torch.randperm(len(x))
        batch = step % per_epoch
        _step(loss(x[order[batch * BATCH : (batch + 1) * BATCH]]), parameters, optimiser)


def _step(value: Tensor, parameters: list[nn.Parameter], optimiser: torch.optim.Optimizer) -> None:
    optimiser.zero_grad()
    value.backward()
    nn.utils.clip_grad_norm_(parameters, CLIP)
    optimiser.step()


class _Items(Dataset[dict[str, Tensor]]):
    """Points one by one, in a mapping."""

    def __init__(self, x: Tensor) -> None:
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"data": self.x[index], "labels": torch.tensor(1.0)}


def _loader_epoch(make: Callable[[], Any], x: Tensor) -> None:
    model = make()
    loss = _elbo(model, x)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(parameters, lr=RATE)
    for batch in DataLoader(_Items(x), batch_size=BATCH, shuffle=True, drop_last=True):
        _step(loss(batch["data"]), parameters, optimiser)


def _fit(make: Callable[[], Model], x: Tensor, steps: int, **options: Any) -> None:
    settings = {"held_out": 0.0, "evaluate_every": steps} | options
    fit(make(), x, steps=steps, batch_size=BATCH, learning_rate=RATE, clip=CLIP, progress=False, **settings)


def _seeded(make: Callable[[], Any]) -> Callable[[], Any]:
    def made() -> Any:
        torch.manual_seed(0)
        return make()

    return made


def _seconds(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _timed(loss: Loss, calls: list[float]) -> Loss:
    """The loss, which notes when it is called."""

    def timed(batch: Tensor) -> Any:
        calls.append(time.process_time())
        return loss(batch)

    return timed


def _telling(model: Any, calls: list[float]) -> Any:
    """The model, whose loss notes when it is called."""
    model.loss = _timed(model.loss, calls)
    return model


def _least(works: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Seconds of each work, the least of interleaved repeats."""
    for work in works.values():
        work()  # loads and allocates what is needed on first use
    rounds = [{name: _seconds(work) for name, work in works.items()} for _ in range(REPEATS)]
    return {name: min(one[name] for one in rounds) for name in works}


def _steps(
    task: str,
    make: Callable[[], Any],
    x: Tensor,
    loss_of: Callable[[Any, Tensor], Loss],
    steps: int,
    whole: Callable[[], Any] | None = None,
    goal: float | None = 1.05,
) -> list[dict[str, Any]]:
    """A step of `fit` and of the bare loop, and the whole of a fit with forty evaluations on held-out data."""
    runs: dict[str, list[list[float]]] = {"bare": [], "fit": []}
    for _ in range(REPEATS):
        for calls in runs.values():
            calls.append([])
        _loop(make, x, loss_of, steps, runs["bare"][-1])
        _fit(lambda: _telling(make(), runs["fit"][-1]), x, steps)
    bare, ours = (
        statistics.median(after - before for calls in one for before, after in itertools.pairwise(calls[WARM:steps]))
        for one in runs.values()
    )
    evaluated = _seconds(lambda: _fit(whole or make, x, LONG, held_out=0.1, evaluate_every=None))
    return [
        _row(task, "a step", 1e3 * ours, 1e3 * bare, goal, "ms"),
        _row(task, f"{LONG} steps with evaluations", evaluated, LONG * bare, None, "s"),
    ]


def _row(task: str, what: str, ours: float, peer: float, goal: float | None, unit: str) -> dict[str, Any]:
    return {"task": task, "what": what, "submanifold": ours, "peer": peer, "unit": unit, "ratio": ours / peer} | {
        "goal": "" if goal is None else f"<= {goal}"
    }


def _pythae(make: Callable[[], Any], x: Tensor, epochs: int) -> None:
    """A VAE of pythae with the networks of ours, in pythae's trainer."""
    from pythae import models
    from pythae.data.datasets import BaseDataset
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    ours = make()

    class Encoder(BaseEncoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = ours.encoder

        def forward(self, y: Tensor) -> Any:
            mean, log_variance = self.network(y).chunk(2, dim=1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = ours.decoder

        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=self.network(z))

    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as folder, redirect_stderr(io.StringIO()):  # of its bars
        config = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=epochs,
            per_device_train_batch_size=BATCH,
            learning_rate=RATE,
            keep_best_on_train=True,
            no_cuda=True,
        )
        model = models.VAE(models.VAEConfig(input_dim=(x.shape[1],), latent_dim=ours.latent_dim), Encoder(), Decoder())
        BaseTrainer(model, BaseDataset(x, torch.ones(len(x))), training_config=config).train()
    logging.disable(logging.NOTSET)


def _epoch(make: Callable[[], Any], x: Tensor) -> list[dict[str, Any]]:
    steps = len(x) // BATCH
    x = x[: steps * BATCH]  # pythae keeps a last batch that is smaller
    works: dict[str, Callable[[], Any]] = {
        "loader": lambda: _loader_epoch(make, x),
        "once": lambda: _fit(make, x, 1),
        "fit": lambda: _fit(make, x, 1 + steps),
    }
    peer = importlib.util.find_spec("pythae") is not None
    if peer:
        works |= {f"bare {n}": lambda n=n: _loop(make, x, _elbo, n) for n in (1, 1 + steps)}
        works |= {f"pythae {epochs}": lambda epochs=epochs: _pythae(make, x, epochs) for epochs in (1, 2)}
    task, took = "VAE 784-400-400-16", _least(works)
    ours = took["fit"] - took["once"]
    rows = [_row(task, "an epoch, to a DataLoader", ours, took["loader"], None, "s")]
    if peer:
        pythae, bare = took["pythae 2"] - took["pythae 1"], took[f"bare {1 + steps}"] - took["bare 1"]
        rows.append(_row(task, "an epoch, to pythae", ours, pythae, 0.8, "s"))
        rows.append(_row(task, "an epoch of the bare loop, to pythae", bare, pythae, None, "s"))
    return rows


def _memory(make: Callable[[], Model], x: Tensor, steps: int = 2000) -> dict[str, Any]:
    """What the second half of a fit leaves behind, in MiB: of Python's objects, and of the process at its highest."""
    marks: list[tuple[int, int]] = []

    def mark(event: Any) -> None:
        if event.step >= steps // 2:
            marks.append((tracemalloc.get_traced_memory()[0], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))

    tracemalloc.start()
    fit(make(), x, steps=steps, batch_size=BATCH, progress=False, callbacks=[mark], evaluate_every=steps // 2)
    tracemalloc.stop()
    (before, high_before), (after, high_after) = marks[0], marks[-1]
    row = _row(
        "copier 64-128-128-64",
        f"memory gained over {steps // 2} steps",
        (after - before) / 2**20,
        math.nan,
        None,
        "MiB",
    )
    return row | {"peer": "", "ratio": "", "goal": f"< 1, and the process by {(high_after - high_before) / 2**10:.1f}"}


def run() -> list[dict[str, Any]]:
    """A row for each task: ours, the peer's, their ratio and what it should be."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    images, points = torch.rand(10_000, 784, generator=generator), torch.randn(5000, 64, generator=generator)
    vae, quiet_vae = (
        _seeded(lambda kind=kind: kind((784,), latent_dim=16, hidden=(400, 400))) for kind in (VAE, _QuietVAE)
    )
    flow, quiet_flow = (_seeded(lambda kind=kind: kind((64,))) for kind in (Flow, _QuietFlow))
    copier = _seeded(lambda: _Copier((64,)))
    try:
        with threadpool_limits(1):
            return [
                *_steps("VAE 784-400-400-16", quiet_vae, images, _elbo, 100, vae),
                *_epoch(quiet_vae, images),
                *_steps("flow, 3 spline couplings, D = 64, to zuko", quiet_flow, points, _zuko, 100, flow),
                *_steps("copier 64-128-128-64", copier, points, lambda model, x: model.loss, 1000, goal=None),
                _memory(copier, points),
            ]
    finally:
        torch.set_num_threads(threads)
