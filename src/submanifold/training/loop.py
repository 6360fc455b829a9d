"""The loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from submanifold.training.ema import Average
from submanifold.training.minimiser import Minimiser
from submanifold.training.sampler import Batches
from submanifold.training.source import Points

__all__ = ["descend"]


def descend(
    minimisers: Sequence[Minimiser],
    points: Points,
    batches: Batches,
    average: Average,
    *,
    learning_rate: Callable[[int], float],
    seed_noise: Callable[[int], None],
    start: int,
    steps: int,
) -> Iterator[tuple[int, dict[str, float]]]:
    """Minimise by stochastic gradients from step `start` on; yields the steps done and the terms of the last one.

    Every objective sees the same batch, in the order in which the model names them; an objective with `every=k`
    moves its parameters on each k-th step only. The caller evaluates, writes and stops.
    """
    for step in range(start, steps):
        rows = batches(step)
        x, labels = points.batch(rows), points.labels_at(rows)
        seed_noise(step)
        terms: dict[str, float] = {}
        for index, minimiser in enumerate(minimisers):
            if step % minimiser.objective.every == 0:
                prefix = f"{minimiser.objective.name}_" if index else ""
                moved = minimiser(x, labels, learning_rate(step))
                terms |= {prefix + name: value for name, value in moved.items()}
        average.update(step + 1)
        yield step + 1, terms
