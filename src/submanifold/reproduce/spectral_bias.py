r"""Which frequencies of a sum of waves networks learn, and when: KANs nearly all at once, MLPs of their size the low.

.. math:: f(z) = \sum_{i=1}^{10} A_i \sin(2 \pi k_i z + \varphi_i), \qquad k_i = 5, 10, \dots, 50,

at 200 evenly spaced z in [0, 1], with random phases and amplitudes that are all 1 or go from 0.1 to 1 (Rahaman et al.
2019, arXiv 1806.08734, section 3), learned by Adam on all points at once. KANs of small grids are said to have far less
of a bias to low frequencies than MLPs, and to overfit for it (Wang et al. 2024, arXiv 2410.01803, section 5).

What a network knows of a frequency is the part of its output along \sin(2 \pi k_i z + \varphi_i), by least squares on
all these waves, their cosines and a constant, over A_i: 0 for nothing, 1 for all. MLPs are compared at no fewer
parameters than the KAN and at a learning rate that suits them better than the KAN's: of 0.001, 0.005 and 0.015 the
second, for at the third some learn nothing. The large one has 180 times as many parameters. The networks for all waves
and seeds are trained side by side, as one whose parameters are stacked: each goes as it would alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from submanifold.nn.kan.network import KAN
from submanifold.plotting import DATA, new_figure, series, style
from submanifold.reproduce.outcome import Claim, Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Contender", "Wave", "figure", "kan", "mlp", "mlps_of_size", "run", "train"]

Rows = Sequence[Mapping[str, Any]]

FREQUENCIES = tuple(range(5, 51, 5))
AMPLITUDES = {"equal": (1.0, 1.0), "increasing": (0.1, 1.0)}
"""Of the lowest frequency and the highest."""
N, RECORDS = 200, 40
GRIDS = (10, 20, 50, 100)
DEPTHS = (2, 3, 4, 5, 6)
ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {"ReLU": nn.ReLU, "SiLU": nn.SiLU}
KAN_RATE, MLP_RATE, LARGE_RATE = 3e-4, 5e-3, 1e-3


@dataclass(frozen=True)
class Wave:
    """A sum of waves: `kind` of AMPLITUDES, with phases of `seed`."""

    kind: str
    seed: int

    @property
    def amplitudes(self) -> Tensor:
        """(10,)."""
        return torch.linspace(*AMPLITUDES[self.kind], len(FREQUENCIES), dtype=torch.float64)

    def __call__(self, z: Tensor) -> Tensor:
        """f(z), (n,)."""
        waves: Tensor = self._angles(z).sin() @ self.amplitudes
        return waves

    def shares(self, y: Tensor) -> Tensor:
        """How much of each wave is in y (n,), values at N evenly spaced places, (10,)."""
        angles = self._angles(_places())
        functions = torch.cat([angles.sin(), angles.cos(), torch.ones(N, 1, dtype=torch.float64)], dim=1)
        parts = torch.linalg.lstsq(functions, y.double()[:, None]).solution[:, 0]
        known: Tensor = parts[: len(FREQUENCIES)] / self.amplitudes
        return known

    def _angles(self, z: Tensor) -> Tensor:
        """(n, 10)."""
        generator = torch.Generator().manual_seed(self.seed)
        phases = 2 * math.pi * torch.rand(len(FREQUENCIES), generator=generator, dtype=torch.float64)
        return 2 * math.pi * z[:, None] * torch.tensor(FREQUENCIES, dtype=torch.float64) + phases


@dataclass(frozen=True)
class Contender:
    """A network from numbers to numbers, how fast it learns, and what tells it from others."""

    name: str
    make: Callable[[], nn.Module]
    rate: float
    traits: Mapping[str, Any]

    @property
    def parameters(self) -> int:
        """How many."""
        return sum(p.numel() for p in self.make().parameters())


def kan(grid: int) -> Contender:
    """Three layers, 10 wide."""
    return Contender(
        f"KAN, G = {grid}", lambda: KAN([1, 10, 10, 1], grid=grid), KAN_RATE, {"kind": "KAN", "grid": grid}
    )


def mlp(depth: int, width: int, activation: str, *, rate: float = MLP_RATE, kind: str = "MLP") -> Contender:
    """So many hidden layers of so many nodes."""

    def make() -> nn.Module:
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise([1, *(depth * [width]), 1]):
            layers += [nn.Linear(fan_in, fan_out), ACTIVATIONS[activation]()]
        return nn.Sequential(*layers[:-1])

    traits = {"kind": kind, "depth": depth, "activation": activation}
    return Contender(f"MLP {depth} x {width}, {activation}", make, rate, traits)


def mlps_of_size(parameters: int) -> list[Contender]:
    """MLPs of several depths, of the least widths that give them no fewer parameters."""
    widths = {d: next(w for w in count(1) if (d - 1) * w * (w + 1) + 3 * w + 1 >= parameters) for d in DEPTHS}
    return [mlp(depth, width, activation) for activation in ACTIVATIONS for depth, width in widths.items()]


def train(contender: Contender, waves: Sequence[Wave], *, steps: int) -> list[dict[str, Any]]:
    """Train one network for each wave: what each knows of the frequencies while it learns, and its errors at last."""
    networks = []
    for wave in waves:
        with torch.random.fork_rng():
            torch.manual_seed(wave.seed)
            networks.append(contender.make())
    parameters = {
        name: torch.stack([network.get_parameter(name).detach() for network in networks]).requires_grad_()
        for name, _ in networks[0].named_parameters()
    }
    optimiser = torch.optim.Adam(parameters.values(), lr=contender.rate)
    z = _places()
    between = 0.5 * (z[1:] + z[:-1])
    y = torch.stack([wave(z) for wave in waves])  # (waves, n)

    def outputs(z: Tensor) -> Tensor:
        """(waves, n)."""
        x = (2 * z - 1).float()[:, None]  # fills the grids
        return vmap(lambda own: functional_call(networks[0], own, (x,))[:, 0])(parameters)  # type: ignore[no-any-return]

    recorded, ratios = [], []
    for step in range(steps + 1):
        told = outputs(z)
        if step % max(1, steps // RECORDS) == 0:
            recorded.append(step)
            ratios.append([wave.shares(own).tolist() for wave, own in zip(waves, told.detach(), strict=True)])
        if step < steps:
            optimiser.zero_grad()
            loss = (told - y.float()).square().mean(dim=1).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    with torch.no_grad():
        missed = (outputs(z) - y).square().mean(dim=1)
        missed_between = (outputs(between) - torch.stack([wave(between) for wave in waves])).square().mean(dim=1)
    told_of_all = {
        "network": contender.name,
        **contender.traits,
        "parameters": contender.parameters,
        "rate": contender.rate,
        "steps": recorded,
    }
    return [
        {
            **told_of_all,
            "amplitudes": wave.kind,
            "seed": wave.seed,
            "train MSE": float(missed[i]),
            "between MSE": float(missed_between[i]),
            "ratios": [known[i] for known in ratios],
        }
        for i, wave in enumerate(waves)
    ]


def run(seeds: int = 3, *, steps: int = 8000, large_steps: int = 8000) -> Outcome:
    """Train a KAN, MLPs of its size and a large one on both kinds of waves, and finer KANs on waves of equal size."""
    start = time.perf_counter()
    waves = [Wave(kind, seed) for kind in AMPLITUDES for seed in range(seeds)]
    kans = train(kan(GRIDS[0]), waves, steps=steps)
    for grid in GRIDS[1:]:
        kans += train(kan(grid), waves[:seeds], steps=steps)
    mlps = [row for each in mlps_of_size(kans[0]["parameters"]) for row in train(each, waves, steps=steps)]
    large = train(mlp(6, 256, "ReLU", rate=LARGE_RATE, kind="large MLP"), waves, steps=large_steps)
    claims = [*_on_frequencies(kans, mlps, large), _on_overfitting(kans)]
    return Outcome("spectral-bias", claims, [*kans, *mlps, *large], time.perf_counter() - start)


@style()
def figure(outcome: Outcome) -> Figure:
    """What is known of each frequency step by step, how much of the highest in the end, and errors against grids."""
    best = [max(_such(outcome.rows, kind="MLP", activation=a), key=_last) for a in ACTIVATIONS]
    shown = [_such(outcome.rows, grid=GRIDS[0])[0], *best, _such(outcome.rows, kind="large MLP")[0]]
    names = [row["network"] for row in shown]
    drawn, axes = new_figure(len(names) + 1, len(AMPLITUDES), width=3.3, height=2.9)
    panels = iter(axes)
    for kind, last in zip(AMPLITUDES, (_draw_errors, _draw_depths), strict=True):
        for name in names:
            panel, own = next(panels), _such(outcome.rows, network=name, amplitudes=kind)
            known = np.median([row["ratios"] for row in own], axis=0)  # (records, frequencies)
            mesh = panel.pcolormesh(own[0]["steps"], FREQUENCIES, known.T, vmin=0, vmax=1, shading="nearest")
            panel.grid(visible=False)
            panel.set(xlabel="step", ylabel="frequency", title=f"{name}\namplitudes {kind}")
        drawn.colorbar(mesh, ax=panel, label="part that is known")
        last(next(panels), outcome.rows)
    return drawn


def _draw_errors(axes: Axes, rows: Rows) -> None:
    for index, (key, label) in enumerate({"train MSE": "at the points", "between MSE": "between them"}.items()):
        errors = [[row[key] for row in _such(rows, grid=grid, amplitudes="equal")] for grid in GRIDS]
        axes.semilogy(GRIDS, np.median(errors, axis=1), label=label, **series(index).line_kwargs())
    axes.set(xlabel="G of the KAN", ylabel="mean square error", title="Overfitting")
    axes.legend()


def _draw_depths(axes: Axes, rows: Rows) -> None:
    for index, activation in enumerate(ACTIVATIONS):
        known = [[_last(row) for row in _such(rows, kind="MLP", activation=activation, depth=d)] for d in DEPTHS]
        axes.plot(DEPTHS, np.median(known, axis=1), label=f"MLP, {activation}", **series(index).line_kwargs())
    own = np.median([_last(row) for row in _such(rows, grid=GRIDS[0])])
    axes.axhline(own, color=DATA.color, linestyle="--", label="KAN")
    axes.set(xlabel="hidden layers", ylabel="part that is known", title=f"k = {FREQUENCIES[-1]}", ylim=(0, 1.05))
    axes.legend()


def _on_frequencies(kans: Rows, mlps: Rows, large: Rows) -> list[Claim]:
    own, highest = _such(kans, grid=GRIDS[0]), f"k = {FREQUENCIES[-1]}"
    least = min(map(_last, own))
    medians = {
        (row["network"], kind): float(
            np.median([_last(r) for r in _such(mlps, network=row["network"], amplitudes=kind)])
        )
        for row in mlps
        for kind in AMPLITUDES
    }
    (best, kind), most = max(medians.items(), key=lambda item: item[1])
    alike = _such(own, amplitudes="equal")
    first, last = (float(np.median([_half_known(row, index) for row in alike])) for index in (0, -1))
    by_kind = {kind: float(np.median([_last(row) for row in _such(large, amplitudes=kind)])) for kind in AMPLITUDES}
    return [
        Claim(
            f"a KAN of {own[0]['parameters']:,} parameters learns {highest}",
            f"at least {least:.3f} of it after {own[0]['steps'][-1]:,} steps, over all seeds and both amplitudes",
            "0.95",
            least > 0.95,
        ),
        Claim(
            "MLPs of equal size do not, at any depth",
            f"at most {most:.2f} of it, a median of seeds, by {best} of amplitudes {kind}; "
            f"at most {max(map(_last, mlps)):.2f} of any seed",
            "0.5",
            most < 0.5,
        ),
        Claim(
            "the KAN too learns low frequencies first",
            f"half of k = {FREQUENCIES[0]} by step {first:.0f}, half of {highest} by step {last:.0f}, medians of seeds "
            "for equal amplitudes",
            "later",
            last > first,
        ),
        Claim(
            f"what a larger MLP learns of {highest} ({large[0]['network']}, {large[0]['parameters']:,} parameters)",
            f"{', '.join(f'{known:.2f} ({kind})' for kind, known in by_kind.items())} of it after "
            f"{large[0]['steps'][-1]:,} steps",
            "told, not asked",
            True,
        ),
    ]


def _on_overfitting(kans: Rows) -> Claim:
    errors = [float(np.median([row["between MSE"] for row in _such(kans, grid=g, amplitudes="equal")])) for g in GRIDS]
    trained = max(row["train MSE"] for row in kans)
    return Claim(
        "finer grids of the KAN are worse between the points that it learned",
        f"mean square errors {', '.join(f'{e:.1e}' for e in errors)} at G = {', '.join(map(str, GRIDS))}, medians of "
        f"seeds; at the points at most {trained:.1e}",
        "each larger than the one before",
        all(a < b for a, b in pairwise(errors)),
    )


def _such(rows: Rows, **traits: Any) -> list[Mapping[str, Any]]:
    """Rows that have all these."""
    return [row for row in rows if all(row.get(key) == value for key, value in traits.items())]


def _last(row: Mapping[str, Any]) -> float:
    """How much of the highest frequency is known in the end."""
    return float(row["ratios"][-1][-1])


def _half_known(row: Mapping[str, Any], index: int) -> float:
    """The first recorded step at which half of a frequency is known; infinity for none."""
    return next((s for s, known in zip(row["steps"], row["ratios"], strict=True) if known[index] >= 0.5), math.inf)


def _places() -> Tensor:
    return torch.linspace(0, 1, N, dtype=torch.float64)
