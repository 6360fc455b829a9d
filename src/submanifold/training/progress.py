"""Progress on the terminal: what is trained, how far, how fast, how long still."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

__all__ = ["Progress"]

PATIENCE = 2.0
"""Seconds after which progress shows by itself."""

REFRESH = 0.1


class Progress:
    """A bar per stage on standard error.

    With `show=None` it appears after two seconds, on a terminal only; `True` and `False` are what they say.
    """

    def __init__(self, show: bool | None) -> None:
        self.show = show
        self._start = self._drawn = time.perf_counter()
        self._bar: Any = None
        self._task: Any = None
        self._name = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, stage: str) -> None:
        """A new stage."""
        self._name = stage
        self._task = None

    def update(self, done: int, total: int, loss: float | None) -> None:
        """`done` of `total` steps of the stage are over; costs next to nothing between refreshes."""
        now = time.perf_counter()
        if self.show is False or (now - self._drawn < REFRESH and done < total):
            return
        if self._bar is None and not self._appears(now):
            return
        self._drawn = now
        loss = float("nan") if loss is None else loss
        if self._task is None:
            self._task = self._bar.add_task(self._name, total=total, completed=done, loss=loss)
        self._bar.update(self._task, completed=done, loss=loss)

    def _appears(self, now: float) -> bool:
        """Open the display if it is time to."""
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            ProgressColumn,
            Task,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Display
        from rich.text import Text

        if self.show is None and now - self._start < PATIENCE:
            return False
        console = Console(stderr=True)
        if self.show is None and not console.is_terminal:
            self.show = False
            return False

        class Rate(ProgressColumn):
            def render(self, task: Task) -> Text:
                speed = task.finished_speed or task.speed
                return Text("" if speed is None else f"{speed:,.0f} steps/s")

        self._bar = Display(
            TextColumn("training {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            Rate(),
            TextColumn("loss {task.fields[loss]:.4g}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        )
        self._bar.start()
        return True
