"""Sending the records of a fit elsewhere: TensorBoard, or anything with a `log` method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

from submanifold.errors import InvalidInput

__all__ = ["Tracker", "open_tracker"]


@runtime_checkable
class Tracker(Protocol):
    """Takes in numbers by name."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Take in `values`, named "stage/quantity", after `step` steps of the stage."""
        ...


class TensorBoard:
    """Writes event files that TensorBoard, and what reads its format, can show."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise InvalidInput(
                'tracker="tensorboard" needs the package tensorboard: pip install "submanifold[tracking]"'
            ) from error
        self.writer = SummaryWriter(str(folder))

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Write one scalar per value."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()


@contextmanager
def open_tracker(tracker: str | Tracker | None, folder: Path | None) -> Iterator[Tracker | None]:
    """The tracker of a name or object; "tensorboard" writes to `logs` in the run's folder until the block ends.

    Raises:
        InvalidInput: the name is unknown, has no folder to write to, or its package is not installed.
    """
    if tracker is None or (not isinstance(tracker, str) and isinstance(tracker, Tracker)):
        yield tracker
        return
    if tracker != "tensorboard":
        raise InvalidInput(
            f'tracker={tracker!r} is not accepted: give "tensorboard", or an object with log(values, step)'
        )
    if folder is None:
        raise InvalidInput('tracker="tensorboard" writes to the folder of the run: give run="folder"')
    board = TensorBoard(folder / "logs")
    try:
        yield board
    finally:
        board.writer.close()
