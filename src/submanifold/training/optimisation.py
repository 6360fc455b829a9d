"""A stage under optimisation: its parts, one step after the other, and how it stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from submanifold.data.preprocess import dequantised
from submanifold.models.base import Model, Stage
from submanifold.training.arithmetic import NotFinite, is_arithmetic
from submanifold.training.checkpoint import ModuleState, ScalerState, Stateful
from submanifold.training.ema import Average
from submanifold.training.events import Alteration, Event
from submanifold.training.loop import descend
from submanifold.training.meter import Meter
from submanifold.training.minimiser import Minimiser, evaluate_loss
from submanifold.training.sampler import Batches
from submanifold.training.seeds import seed_noise
from submanifold.training.settings import Settings
from submanifold.training.source import Points, row_chunks
from submanifold.training.stopping import Best

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["Optimisation"]

ALTERATION_POINTS = 1024
"""What alterations of the model look at: the first training points."""

HELD_OUT_BATCHES = 16
"""The held-out loss is measured on at most so many batches."""


class Optimisation:
    """The minimisers of a stage with what accompanies them; `place` is where in training its randomness comes from."""

    def __init__(
        self,
        model: Model,
        stage: Stage,
        train: Points,
        held: Points | None,
        *,
        total: int,
        settings: Settings,
        accelerator: Accelerator,
        place: tuple[int | str, ...],
    ) -> None:
        self.model = model
        self.stage = stage
        self.train = train
        self.held = held
        self.total = total
        self.settings = settings
        self.accelerator = accelerator
        self.place = place
        self.interval = settings.evaluation_interval(total)
        self.minimisers = [Minimiser(o, settings, accelerator) for o in stage.objectives]
        weights = {id(p): p for minimiser in self.minimisers for p in minimiser.parameters}
        self.average = Average(list(weights.values()), settings.ema)
        self.meter = Meter()
        self.best = Best(model, settings.patience)

    def parts(self) -> dict[str, Stateful]:
        """All that a checkpoint has to hold to go on with this stage."""
        optimisers = {f"optimiser {m.objective.name}": m for m in self.minimisers}
        return {
            "model": ModuleState(self.model),
            "scaler": ScalerState(self.accelerator.scaler),
            "average": self.average,
            "best": self.best,
            "meter": self.meter,
            **optimisers,
        }

    def steps_from(self, start: int) -> Iterator[tuple[int, dict[str, float]]]:
        """Optimise from step `start` to the end, see `descend`; nothing is left to do after an early stop."""
        rank, device = self.accelerator.process_index, self.accelerator.device
        return descend(
            self.minimisers,
            self.train,
            Batches(
                len(self.train),
                self.settings.batch_size,
                place=self.place,
                rank=rank,
                world=self.accelerator.num_processes,
            ),
            self.average,
            learning_rate=lambda step: self.settings.learning_rate_at(step, self.total),
            seed_noise=lambda step: seed_noise(device, *self.place, "step", step, rank),
            start=start,
            steps=start if self.best.exhausted else self.total,
        )

    def held_out_terms(self) -> dict[str, float]:
        """The terms of the first objective's loss on held-out points, with the same noise every time.

        Points on a lattice are dequantised as in training: a density may have any value at the levels themselves.
        """
        if self.held is None:
            return {}
        seed_noise(self.accelerator.device, *self.place, "evaluate")
        sums: dict[str, float] = {}
        n = 0
        size = self.settings.batch_size
        for rows in row_chunks(len(self.held), size, most=HELD_OUT_BATCHES * size):
            x, labels = self.held.batch(rows), self.held.labels_at(rows)
            try:
                with self.accelerator.autocast():
                    terms = evaluate_loss(self.stage.objectives[0], dequantised(self.model, x), labels)
            except Exception as error:
                if not is_arithmetic(error):
                    raise
                raise NotFinite(f"the held-out loss cannot be computed ({error})") from error
            for name, term in terms.items():
                sums[name] = sums.get(name, 0.0) + float(term.detach()) * len(x)
            n += len(x)
        # running statistics differ between processes, and all have to agree on when to stop
        return self._mean_over_processes({f"held_out_{name}": total / n for name, total in sums.items()})

    def alter(self, alterations: Sequence[Alteration], event: Event) -> None:
        """Let the model be changed; moments and averages of other shapes than its weights have now begin anew."""
        rows = next(row_chunks(len(self.train), ALTERATION_POINTS, most=ALTERATION_POINTS))
        x, labels = self.train.batch(rows), self.train.labels_at(rows)

        def run() -> None:
            seed_noise(self.accelerator.device, *self.place, "alter")
            with torch.no_grad():
                evaluate_loss(self.stage.objectives[0], x, labels)

        self.model.zero_grad(set_to_none=True)
        changed = [alteration.alter(event, run) for alteration in alterations]
        if any(changed):
            for minimiser in self.minimisers:
                minimiser.forget()
            self.average.restart()

    def training_terms(self) -> dict[str, float]:
        """Means of the steps' terms since the last call, over all processes."""
        return self._mean_over_processes(self.meter.flush())

    def _mean_over_processes(self, terms: Mapping[str, float]) -> dict[str, float]:
        if self.accelerator.num_processes == 1:
            return dict(terms)
        own = torch.tensor(list(terms.values()), device=self.accelerator.device)
        mean = self.accelerator.reduce(own, reduction="mean")
        return dict(zip(terms, mean.tolist(), strict=True))

    def settle(self) -> None:
        """Leave in the model the weights to keep: the best, the averaged or the last ones."""
        if not self.best.settle():
            self.average.settle()
