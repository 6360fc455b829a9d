"""Every model of the registry that can sample, by one measure: on a circle, and on handwritten digits.

Each is trained as the main job trains it (`submanifold.lens.recipes`), in about three minutes at most, and never in
more than twice as many (`benchmarks._zoo_training`). On the circle, a von Mises law in the plane, the question is that
of manifold overfitting: where samples are, and how they are spread along it. On the digits it is that of the quality of
images: Fréchet distance, precision, recall, density and coverage in the features of a classifier, beside what real
images reach that nothing was trained on.

    python -m benchmarks zoo --models vae,flow --seeds 5 --part circle

Each model has one thread, so that as many jobs as there are cores do not disturb each other. Each figure is on the
disk as soon as it is known, and a run that was interrupted goes on where it was. The page
`zoo-report/index.html` has the tables with learning curves and samples: of all that was measured so far with the
minutes that were asked for, and of nothing that had other minutes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from rich.console import Console

from benchmarks._zoo_measure import PARTS, Entry, digits, measure, samplers
from benchmarks._zoo_page import Spread, write_page
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
"""Spreads of the tables, over the seeds."""

COSTS = ("parameters", "sampling", "seconds")
"""Columns with means alone: parameters, seconds that a thousand samples take, and seconds of training."""


def run(
    models: Sequence[str] | None = None,
    seeds: int = 1,
    part: str | None = None,
    minutes: float = 3.0,
    out: str | Path = "zoo-report",
    jobs: int = 1,
) -> dict[str, list[Row]]:
    """Measure what is asked for and not yet known, `jobs` models at a time, write the page, and return its tables."""
    able = samplers()
    names = able if models is None else [check_choice(name, able, name="model") for name in models]
    parts = list(PARTS) if part is None else [check_choice(part, PARTS, name="part")]
    check_int(seeds, name="seeds")
    minutes = check_real(minutes, name="minutes", open_low=True)
    folder = writable_folder(out, name="out")
    store = Store(folder, minutes)
    asked = [(p, name, seed) for p in parts for name in names for seed in range(seeds)]
    console = Console(stderr=True)
    left = store.begin(asked)
    workers = Parallel(n_jobs=check_int(jobs, name="jobs"), return_as="generator_unordered", pre_dispatch=jobs)
    done = workers(delayed(measure)(p, name, seed=seed, minutes=minutes) for p, name, seed in left)
    for index, entry in enumerate(done):
        told = "{part}  {model}  seed {seed}".format_map(entry)
        console.print(f"[dim]{index + 1} of {len(left)}[/dim]  {told}", highlight=False)
        if "error" in entry:
            console.print(f"  {entry['error']}", style="red", markup=False)
        store.keep(entry)
    entries = store.entries(able)
    found = tables(entries)
    page = write_page(folder / "index.html", entries, found, minutes)
    console.print(f"wrote {page}", highlight=False)
    return found


class Store:
    """Entries as files, one for each model, kind of data and seed, in a folder for all that had so many minutes.

    `pending.json` lists what is still due: what was asked for by a run that did not end. A run that asks for some of
    it goes on with it, and any other measures anew all that it asks for.
    """

    def __init__(self, folder: Path, minutes: float) -> None:
        kept = folder / f"minutes-{minutes!r}"
        self._entries = writable_folder(kept / "entries", name="out")
        self._pending = kept / "pending.json"

    def begin(self, asked: Iterable[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
        """What of `asked` has to be measured."""
        asked = list(asked)
        due = self._due()
        left = [key for key in asked if key in due] or asked
        self._write_due([*due, *(key for key in left if key not in due)])
        return left

    def keep(self, entry: Entry) -> None:
        """Write an entry, and that it is no longer due."""
        key = (entry["part"], entry["model"], entry["seed"])
        atomic_write_json(self._path(*key), plain(entry))
        self._write_due([other for other in self._due() if other != key])

    def entries(self, names: Iterable[str]) -> list[Entry]:
        """All entries of these models, in their order, whenever they were measured."""
        known = [json.loads(path.read_text()) for path in sorted(self._entries.glob("*.json"))]
        order = list(names)
        kept = [entry for entry in known if entry["model"] in order]
        return sorted(kept, key=lambda e: (e["part"], order.index(e["model"]), e["seed"]))

    def _path(self, part: str, name: str, seed: int) -> Path:
        return self._entries / f"{part}-{name}-{seed}.json"

    def _due(self) -> list[tuple[str, str, int]]:
        return [tuple(key) for key in json.loads(self._pending.read_text())] if self._pending.exists() else []

    def _write_due(self, due: Sequence[tuple[str, str, int]]) -> None:
        atomic_write_json(self._pending, list(due))


def tables(entries: Sequence[Entry]) -> dict[str, list[Row]]:
    """A row for each model by kind of data; that of the digits begins with real images."""
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
    verdicts = [*Counter(e["verdict"] for e in sound).most_common(), ("failed", len(entries) - len(sound))]
    return {
        "model": name,
        "family": about.family,
        "aware": about.awareness,
        "minutes": entries[0]["minutes"],
        "seeds": len(sound),
        "verdict": ", ".join(word if len(entries) == 1 else f"{word} {n}" for word, n in verdicts if n),
        **_figures(sound, columns),
        **{column: _mean([entry[column] for entry in sound]) for column in COSTS},
    }


def _real(seeds: Sequence[int], columns: Sequence[str]) -> Row:
    real = [digits(seed).real() for seed in seeds]
    return {
        "model": "real images",
        "family": "",
        "aware": "",
        "minutes": "",
        "seeds": len(seeds),
        "verdict": "floor",
        **_figures([{"copies": None, **figures} for figures in real], columns),
        "frechet": Spread(
            [figures["frechet"] for figures in real], sd=float(np.mean([figures["frechet_sd"] for figures in real]))
        ),
        **dict.fromkeys(COSTS, ""),
    }


def _figures(measured: Sequence[Entry], columns: Sequence[str]) -> Row:
    """What is known of each column, an empty string where nothing is."""
    known = {column: [entry[column] for entry in measured if entry[column] is not None] for column in columns}
    return {column: Spread(values) if values else "" for column, values in known.items()}


def _mean(values: Sequence[float]) -> Any:
    return float(np.mean(values)) if values else ""
