"""Progress of a search on the terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

__all__ = ["Report"]


class Report:
    """Counts work done, and shows it as a bar on standard error if asked to.

    Args:
        total: the work in all, in any unit.
        show: whether to show a bar.
    """

    def __init__(self, total: float, show: bool) -> None:
        self.total, self.show, self.done = total, show, 0.0
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if self.show:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
            from rich.progress import TimeRemainingColumn as Left

            columns = (BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("left"), Left())
            self._bar = Progress(TextColumn("searching neighbours"), *columns, console=Console(stderr=True))
            self._bar.start()
            self._task = self._bar.add_task("", total=self.total)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            if kind is None:
                self._bar.update(self._task, completed=self.total)
            self._bar.stop()

    def __call__(self, work: float) -> None:
        """So much more is done."""
        self.done += work
        if self._bar is not None:
            self._bar.update(self._task, completed=min(self.done, self.total))
