"""The page of the zoo: tables, learning curves and samples of every model, in one file that opens without a network."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import ChoiceLoader, FileSystemLoader

from benchmarks._zoo_measure import Entry, digits
from submanifold.files import atomic_write_bytes
from submanifold.plotting import DATA, new_figure, series, style
from submanifold.report.figures import Drawing, draw
from submanifold.report.template import asset, environment, policy
from submanifold.report.wording import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["render", "write_page"]

Rows = Sequence[Mapping[str, Any]]

_COLUMNS = 5

_CURVES = {
    "circle": "Distance of the samples' law along the circle from the truth (circular W1) while a model trains, by "
    "thousands of steps, on one scale for all; dotted, the distance of two samples of the truth.",
    "digits": "Training loss and, broken, the loss of held-out images, by thousands of steps; each model has a loss of "
    "its own, so that only its course can be read. Of models in several stages, the last one.",
}
_SAMPLES = {
    "circle": "Six hundred samples of each model; grey, the circle.",
    "digits": "Thirty-two samples of each model, not chosen; real images come first.",
}


def write_page(path: Path, entries: Sequence[Entry], tables: Mapping[str, Rows]) -> Path:
    """Write the page of `entries` and their `tables`, and return its path."""
    atomic_write_bytes(path, render(entries, tables).encode("utf-8"))
    return path


def render(entries: Sequence[Entry], tables: Mapping[str, Rows]) -> str:
    """The page as HTML."""
    scripts = [asset("page.js")]
    loaded = environment()
    loaded.loader = ChoiceLoader([FileSystemLoader(Path(__file__).parent), loaded.loader])
    order = {row["model"]: index for rows in tables.values() for index, row in enumerate(rows)}
    sound = [e for e in entries if "error" not in e and "skipped" not in e]
    shown = sorted((e for e in sound if e["seed"] == min(e["seed"] for e in sound)), key=lambda e: order[e["model"]])
    parts = {part: [e for e in shown if e["part"] == part] for part in _CURVES}
    context = {
        "title": "The zoo of models",
        "number": number,
        "lead": _lead(tables),
        "tables": {part: tables.get(f"zoo: {part}", ()) for part in _CURVES},
        "standings": {(e["part"], e["model"]): e["standing"] for e in shown},
        "curves": {part: _drawing("Learning curves", _CURVES[part], _curves, chosen) for part, chosen in parts.items()},
        "samples": {part: _drawing("Samples", _SAMPLES[part], _sheets, chosen) for part, chosen in parts.items()},
        "failures": [e for e in entries if "error" in e],
        "late": [e for e in shown if e["done"] < e["steps_wanted"]],
        "policy": policy(scripts),
        "style": asset("page.css"),
        "scripts": scripts,
    }
    return loaded.get_template("zoo.html.j2").render(context)


def _lead(tables: Mapping[str, Rows]) -> list[str]:
    """What the tables say, in sentences."""
    said = []
    circle = [row for row in tables.get("zoo: circle", ()) if row["w1"] != ""]
    if circle:
        collapsed = [row for row in circle if "overfitting" in row["verdict"]]
        healthy = [row for row in circle if row["verdict"].startswith("healthy")]
        said.append(
            f"Of {len(circle)} models that were trained on a circle, {len(healthy)} learned it and the distribution on "
            f"it, and {len(collapsed)} learned the circle but not the distribution: manifold overfitting."
        )
    images = [row for row in tables.get("zoo: digits", ()) if row["frechet"] != ""]
    if len(images) > 1:
        floor, *models = images
        first = sorted(models, key=lambda row: row["frechet"])[:3]
        names = ", ".join(f"{row['model']} ({row['frechet']:.3g})" for row in first)
        said.append(
            f"Of {len(models)} models of handwritten digits, the nearest to the data by Fréchet distance are {names}; "
            f"real images are {floor['frechet']:.3g} from each other."
        )
    return said


def _drawing(
    name: str, caption: str, make: Callable[[Sequence[Entry]], Figure], entries: Sequence[Entry]
) -> Drawing | None:
    return draw(name, name, caption, partial(make, entries)) if entries else None


def _panels(count: int, *, height: float, **kwargs: Any) -> tuple[Figure, list[Axes]]:
    from matplotlib.ticker import MaxNLocator

    rows = math.ceil(count / _COLUMNS)
    figure, axes = new_figure(_COLUMNS, rows, width=2.05, height=height, **kwargs)
    for axis in axes[count:]:
        axis.set_visible(False)
    for axis in axes:
        axis.tick_params(labelsize=8)
        axis.xaxis.set_major_locator(MaxNLocator(4))
    return figure, axes


def _name(axis: Axes, name: str) -> None:
    axis.set_title(name, fontsize=9.5)


@style()
def _curves(entries: Sequence[Entry]) -> Figure:
    on_circle = entries[0]["part"] == "circle"
    figure, axes = _panels(len(entries), height=1.55, sharey=on_circle)
    for axis, entry in zip(axes, entries, strict=False):
        _name(axis, entry["model"])
        (_merit if on_circle else _loss)(axis, entry)
    return figure


def _merit(axis: Axes, entry: Entry) -> None:
    if entry["merit"]:
        steps, values = np.array(entry["merit"]).T
        axis.plot(steps / 1000, values, color=series(0).color)
    else:  # a closed form
        axis.plot([0], [entry["w1"]], **series(0).line_kwargs())
        axis.set_xticks([])
    axis.axhline(entry["floor"], color=DATA.color, linestyle=":", linewidth=1.2)
    axis.set_yscale("log")
    axis.set_ylim(0.01, 3)


def _loss(axis: Axes, entry: Entry) -> None:
    records = [record for record in entry["loss"] if record[0] == entry["loss"][-1][0]]
    if not records:
        axis.text(0.5, 0.5, "closed form", ha="center", va="center", transform=axis.transAxes, fontsize=8.5)
        axis.set(xticks=[], yticks=[])
        return
    table = np.array([record[1:] for record in records], dtype=float)  # (evaluations, 3); NaN where nothing is held out
    for column, look in ((1, series(0)), (2, series(1))):
        axis.plot(table[:, 0] / 1000, table[:, column], color=look.color, linestyle=look.line, linewidth=1.5)
    seen = table[1:, 1:] if len(table) > 4 else table[:, 1:]  # the fall of the first steps would hide the rest
    low, high = float(np.nanmin(seen)), float(np.nanmax(seen))
    margin = 0.05 * (high - low) or 1.0
    axis.set_ylim(low - margin, high + margin)


@style()
def _sheets(entries: Sequence[Entry]) -> Figure:
    if entries[0]["part"] == "circle":
        return _scatters(entries)
    real = digits(entries[0]["seed"]).held_out.flat()[:32]
    figure, axes = _panels(len(entries) + 1, height=1.3)
    named = [("real images", real), *((e["model"], np.array(e["samples"])) for e in entries)]
    for axis, (name, samples) in zip(axes, named, strict=False):
        _name(axis, name)
        sheet = np.pad(samples.reshape(4, 8, 8, 8), ((0, 0), (0, 0), (1, 1), (1, 1)))  # (rows, columns, 10, 10)
        axis.imshow(
            sheet.transpose(0, 2, 1, 3).reshape(40, 80), cmap="gray_r", vmin=0, vmax=16, interpolation="nearest"
        )
        axis.axis("off")
    return figure


def _scatters(entries: Sequence[Entry]) -> Figure:
    figure, axes = _panels(len(entries), height=2.05, sharex=True, sharey=True)
    turn = np.linspace(0, 2 * np.pi, 200)
    for axis, entry in zip(axes, entries, strict=False):
        _name(axis, entry["model"])
        x, y = np.array(entry["samples"]).T
        axis.plot(np.cos(turn), np.sin(turn), color=DATA.color, linewidth=0.8)
        axis.plot(x, y, ".", color=series(0).color, markersize=2.5, alpha=0.5)
        axis.set(xlim=(-1.7, 1.7), ylim=(-1.7, 1.7), xticks=[-1, 1], yticks=[-1, 1])
        axis.set_aspect("equal")
    return figure
