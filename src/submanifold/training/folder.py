"""The folder of a run: the model, its history, and the state of the trainer.

config.json            the model's configuration
model.safetensors      its weights, written when training ends
history.jsonl          one record per evaluation
trainer.safetensors    everything it takes to go on
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from submanifold.errors import InvalidInput
from submanifold.files import atomic_write_bytes, writable_folder
from submanifold.models.base import Model
from submanifold.training import checkpoint
from submanifold.training.checkpoint import Checkpoint, Stateful
from submanifold.training.history import Record

__all__ = ["RunFolder"]


class RunFolder:
    """Reads and writes a run; without a `path`, or in a process other than the main one, it writes nothing."""

    def __init__(self, path: str | os.PathLike[str] | None, *, main: bool = True) -> None:
        self.path = None if path is None else writable_folder(path, name="run")
        self.writes = self.path is not None and main

    @property
    def _history(self) -> Path:
        assert self.path is not None
        return self.path / "history.jsonl"

    @property
    def _state(self) -> Path:
        assert self.path is not None
        return self.path / "trainer.safetensors"

    def clear(self) -> None:
        """Forget an earlier run."""
        if self.writes:
            self._state.unlink(missing_ok=True)
            self._history.unlink(missing_ok=True)

    def read(self, identity: Mapping[str, Any]) -> Checkpoint | None:
        """The checkpoint of a run to go on with, or None where there is none.

        Raises:
            InvalidInput: the run was started with other data, another model or other settings.
        """
        if self.path is None or not self._state.exists():
            return None
        found = checkpoint.read(self._state)
        for kind, given in identity.items():
            self._require_same(kind, found.facts["identity"].get(kind), given)
        return found

    def _require_same(self, kind: str, stored: Any, given: Any) -> None:
        if stored == given:
            return
        advice = "give another folder, or resume=False to start over"
        if kind != "settings":
            raise InvalidInput(f"run={str(self.path)!r} was started with another {kind}: {advice}")
        name = next(key for key in given if stored.get(key) != given[key])
        raise InvalidInput(
            f"run={str(self.path)!r} was started with {name}={stored.get(name)!r}, not {given[name]!r}: {advice}"
        )

    def write_state(self, parts: Mapping[str, Stateful], facts: Mapping[str, Any]) -> None:
        """Write a checkpoint; the records it counts are on the disk before it is."""
        if self.writes:
            if self._history.exists():
                with self._history.open("rb") as file:
                    os.fsync(file.fileno())
            checkpoint.write(self._state, parts, facts)

    def restore_history(self, count: int) -> list[Record]:
        """The first `count` records; what a run that was cut off wrote after them is dropped."""
        if self.path is None or not self._history.exists():
            return []
        lines = self._history.read_bytes().splitlines(keepends=True)[:count]
        if self.writes:
            atomic_write_bytes(self._history, b"".join(lines))
        records = [json.loads(line) for line in lines]
        return [{k: math.nan if v is None else v for k, v in r.items()} for r in records]

    def append(self, record: Record) -> None:
        """Add a record to the history; what is not finite becomes null, since JSON has no word for it."""
        if self.writes:
            plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
            with self._history.open("ab") as file:
                file.write((json.dumps(plain) + "\n").encode())

    def write_model(self, model: Model) -> None:
        """Write the model so that `submanifold.load` gives it back."""
        if self.writes:
            from submanifold.models import save

            assert self.path is not None
            save(model, self.path)
