"""Which points make up the batch of a step: a function of the step alone."""

from __future__ import annotations

import torch
from torch import Tensor

from submanifold.training.seeds import derive_seed

__all__ = ["Batches"]


class Batches:
    """The rows of each step's batch: epochs are permutations of the n points, cut into batches.

    The permutation of epoch e is seeded by (*place, e); the n mod batch_size points left over at its end
    come first or last in another epoch. With several processes each takes its share of the batch.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        *,
        place: tuple[int | str, ...],
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.n = n
        self.size = min(batch_size, n)
        self.place = place
        self.rank = rank
        self.world = world
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)

    def __call__(self, step: int) -> Tensor:
        """Rows of the batch of `step`, (batch_size,) or this process's share of them."""
        epoch, batch = divmod(step, self.n // self.size)
        if epoch != self._epoch:
            self._order = self._permutation(epoch)
            self._epoch = epoch
        rows = self._order[batch * self.size : (batch + 1) * self.size]
        return rows[self.rank :: self.world] if self.world > 1 else rows

    def _permutation(self, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(derive_seed(*self.place, "order", epoch))
        return torch.randperm(self.n, generator=generator)
