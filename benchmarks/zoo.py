"""Every model of the registry that can sample, by one measure: on a circle, and on handwritten digits.

Each is trained as the main job trains it (`submanifold.lens.recipes`), in at most three minutes. On the circle, a
von Mises law in the plane, the question is that of manifold overfitting: where samples are, and how they are spread
along it. On the digits it is that of the quality of images: Fréchet distance, precision, recall, density and coverage
in the features of a classifier, beside what real images reach that nothing was trained on.

    python -m benchmarks zoo --models vae,flow --seeds 5 --part circle

Each figure is on the disk as soon as it is known, and a run that was interrupted goes on where it was. The page
`zoo-report/index.html` has the tables with learning curves and samples.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks._zoo_measure import PARTS, Entry, digits, measure
from benchmarks._zoo_page import write_page
from submanifold.checks import check_choice, check_int, check_real
from submanifold.files import atomic_write_json, writable_folder
from submanifold.models.catalogue import describe
from submanifold.report.document import plain

__all__ = ["Store", "run", "tables"]

Row = dict[str, Any]

COLUMNS = {
    "circle": ("off", "inside", "w1", "floor", "codimension"),
    "digits": ("frechet", "precision", "recall", "density", "coverage", "copies"),
}
"""Figures of the tables; means over the seeds."""


def run(
    models: Sequence[str] | None = None,
    seeds: int = 1,
    part: str | None = None,
    minutes: float = 3.0,
    out: str | Path = "zoo-report",
) -> dict[str, list[Row]]:
    """Measure what is asked for and not yet known, write the page, and return its tables."""
    able = [entry.name for entry in describe() if "sample" in entry.capabilities]
    names = able if models is None else [check_choice(name, able, name="model") for name in models]
    parts = list(PARTS) if part is None else [check_choice(part, PARTS, name="part")]
    check_int(seeds, name="seeds")
    check_real(minutes, name="minutes", open_low=True)
    store = Store(writable_folder(out, name="out"))
    asked = [(p, name, seed) for p in parts for name in names for seed in range(seeds)]
    console = Console(stderr=True)
    left = store.begin(asked, minutes)
    for index, (p, name, seed) in enumerate(left):
        console.print(f"[dim]{index + 1} of {len(left)}[/dim]  {p}  {name}  seed {seed}", highlight=False)
        entry = measure(p, name, seed=seed, minutes=minutes)
        if "error" in entry:
            console.print(f"  {entry['error']}", style="red", markup=False)
        store.keep(entry)
    entries = store.entries(able)
    found = tables(entries)
    page = write_page(store.folder / "index.html", entries, found)
    console.print(f"wrote {page}", highlight=False)
    return found


class Store:
    """Entries as files of a folder, one for each model, kind of data and seed; `pending.json` lists what is still due.

    What is listed there was asked for by a run that did not end. A run that asks for some of it goes on with it, and
    any other measures anew all that it asks for.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._entries = writable_folder(folder / "entries", name="out")
        self._pending = folder / "pending.json"

    def begin(self, asked: Iterable[tuple[str, str, int]], minutes: float) -> list[tuple[str, str, int]]:
        """What of `asked` has to be measured."""
        asked = list(asked)
        due = self._due(minutes)
        left = [key for key in asked if key in due] or asked
        self._write_due([*due, *(key for key in left if key not in due)], minutes)
        return left

    def keep(self, entry: Entry) -> None:
        """Write an entry, and that it is no longer due."""
        key = (entry["part"], entry["model"], entry["seed"])
        atomic_write_json(self._path(*key), plain(entry))
        self._write_due([other for other in self._due(entry["minutes"]) if other != key], entry["minutes"])

    def entries(self, names: Iterable[str]) -> list[Entry]:
        """All entries of these models, in their order, whenever they were measured."""
        known = [json.loads(path.read_text()) for path in sorted(self._entries.glob("*.json"))]
        order = list(names)
        kept = [entry for entry in known if entry["model"] in order]
        return sorted(kept, key=lambda e: (e["part"], order.index(e["model"]), e["seed"]))

    def _path(self, part: str, name: str, seed: int) -> Path:
        return self._entries / f"{part}-{name}-{seed}.json"

    def _due(self, minutes: float) -> list[tuple[str, str, int]]:
        if not self._pending.exists():
            return []
        written = json.loads(self._pending.read_text())
        return [tuple(key) for key in written["due"]] if written["minutes"] == minutes else []

    def _write_due(self, due: Sequence[tuple[str, str, int]], minutes: float) -> None:
        atomic_write_json(self._pending, {"minutes": minutes, "due": list(due)})


def tables(entries: Sequence[Entry]) -> dict[str, list[Row]]:
    """A row for each model, means over its seeds, by kind of data; that of the digits begins with real images."""
    known = {entry.name: entry for entry in describe()}
    found: dict[str, list[Row]] = {}
    for part, columns in COLUMNS.items():
        here = [entry for entry in entries if entry["part"] == part and "skipped" not in entry]
        rows = [
            _row(name, known[name], [entry for entry in here if entry["model"] == name], columns)
            for name in dict.fromkeys(entry["model"] for entry in here)
        ]
        rows.sort(key=lambda row: (row["family"], row["model"]))
        if part == "digits" and rows:
            rows.insert(0, _real(sorted({entry["seed"] for entry in here}), columns))
        found[f"zoo: {part}"] = rows
    return found


def _row(name: str, about: Any, entries: Sequence[Entry], columns: Sequence[str]) -> Row:
    sound = [entry for entry in entries if "error" not in entry]
    verdicts = Counter(entry["verdict"] for entry in sound)
    verdict = ", ".join(word if len(sound) == 1 else f"{word} {count}" for word, count in verdicts.most_common())
    failed = len(entries) - len(sound)
    row: Row = {
        "model": name,
        "family": about.family,
        "aware": about.awareness,
        "verdict": ", ".join(filter(None, [verdict, f"failed {failed}" if failed else ""])),
    }
    for column in (*columns, "seconds"):
        values = [entry[column] for entry in sound if entry[column] is not None]
        row[column] = float(np.mean(values)) if values else ""
    return row


def _real(seeds: Sequence[int], columns: Sequence[str]) -> Row:
    real = [digits(seed).real() for seed in seeds]
    row: Row = {"model": "real images", "family": "", "aware": "", "verdict": "floor"}
    means = {column: float(np.mean([r[column] for r in real])) if column in real[0] else "" for column in columns}
    return row | means | {"seconds": ""}
