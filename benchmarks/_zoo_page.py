"""The page of the zoo: tables, learning curves and samples of every model, in one file that opens without a network."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import ChoiceLoader, FileSystemLoader, FunctionLoader

from benchmarks._zoo_measure import Entry, digits, samplers
from submanifold.files import atomic_write_bytes
from submanifold.plotting import DATA, new_figure, series, style
from submanifold.report.figures import Drawing, draw
from submanifold.report.template import asset, environment, policy
from submanifold.report.wording import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Spread", "commands", "render", "write_page"]

Rows = Sequence[Mapping[str, Any]]

_COLUMNS = 5

_CURVES = {
    "circle": "Distance of the samples' law along the circle from the truth (circular W1) while a model trains, by "
    "thousands of steps, on one scale for all; dotted, the distance of two samples of the truth. Of each model, the "
    "first seed that was measured.",
    "digits": "Training loss and, broken, the loss of held-out images, by thousands of steps; each model has a loss of "
    "its own, so that only its course can be read. Of models in several stages, the last one.",
}
_SAMPLES = {
    "circle": "Six hundred samples of each model, from the first seed that was measured; grey, the circle.",
    "digits": "Thirty-two samples of each model, not chosen, from the first seed that was measured; real images come "
    "first.",
}


_GROUPS = {
    "unaware": "manifold-unaware models",
    "aware": "manifold-aware models",
    "n/a": "models of discrete data or latents",
}


class Spread(dict[str, Any]):
    """A mean over seeds with their standard deviation, if they are several: numbers to programs, words to readers."""

    def __init__(self, values: Sequence[float], sd: float | None = None) -> None:
        if sd is None and len(values) > 1:
            sd = float(np.std(values, ddof=1))
        super().__init__(mean=float(np.mean(values)), sd=sd)

    def words(self) -> list[str]:
        """The mean with the digits that its standard deviation leaves, and this: "0.061", "0.004"."""
        mean, sd = self["mean"], self["sd"]
        if not sd:
            return [number(mean)] if sd is None else [number(mean), number(sd)]
        exponent = math.floor(math.log10(sd))
        decimals = min(max((sd < 2 * 10**exponent) - exponent, 0), 6)  # 0.0149 is nearer to 0.015 than to 0.01
        return [number(mean, decimals), number(sd, decimals)]

    def __str__(self) -> str:
        return " ± ".join(self.words())


def write_page(path: Path, entries: Sequence[Entry], tables: Mapping[str, Rows], minutes: float) -> Path:
    """Write the page of `entries`, all of which had so many minutes, and their `tables`; return its path."""
    atomic_write_bytes(path, render(entries, tables, minutes).encode("utf-8"))
    return path


def render(entries: Sequence[Entry], tables: Mapping[str, Rows], minutes: float) -> str:
    """The page as HTML."""
    scripts = [asset("page.js")]
    loaded = environment()
    loaded.loader = ChoiceLoader([FileSystemLoader(Path(__file__).parent), FunctionLoader(asset)])
    rows = {part: tables.get(f"zoo: {part}", ()) for part in _CURVES}
    runs = {part: {row["model"]: _of(entries, part, row["model"]) for row in rows[part]} for part in _CURVES}
    sound = {part: {name: [e for e in of if "error" not in e] for name, of in runs[part].items()} for part in _CURVES}
    shown = {part: [min(of, key=lambda e: e["seed"]) for of in sound[part].values() if of] for part in _CURVES}
    floors = list({e["seed"]: e["floor"] for of in sound["circle"].values() for e in of}.values())
    context = {
        "title": "The zoo of models",
        "number": number,
        "lead": _lead(runs["circle"], rows),
        "tables": rows,
        "standings": {(part, name): _standing(of) for part in _CURVES for name, of in runs[part].items()},
        "curves": {part: _drawing("Learning curves", _CURVES[part], _curves, chosen) for part, chosen in shown.items()},
        "samples": {part: _drawing("Samples", _SAMPLES[part], _sheets, chosen) for part, chosen in shown.items()},
        "failures": [e for e in entries if "error" in e],
        "late": [late for part in _CURVES for of in sound[part].values() if (late := _late(of))],
        "floor": _bound(Spread(floors)) if floors else "",
        "minutes": minutes,
        "commands": commands(entries, minutes),
        "policy": policy(scripts),
        "style": asset("page.css"),
        "scripts": scripts,
    }
    return loaded.get_template("zoo.html.j2").render(context)


def _of(entries: Sequence[Entry], part: str, name: str) -> list[Entry]:
    return [e for e in entries if e["part"] == part and e["model"] == name and "skipped" not in e]


def commands(entries: Sequence[Entry], minutes: float) -> list[str]:
    """What measures all of `entries` anew: a command for each number of seeds and kind of data, or one for both."""
    seeds = {(e["part"], e["model"]): e["seed"] + 1 for e in sorted(entries, key=lambda e: e["seed"])}
    groups: dict[tuple[int, tuple[str, ...]], list[str]] = {}
    for part in _CURVES:
        for count in sorted({n for (where, _), n in seeds.items() if where == part}, reverse=True):
            names = tuple(name for name in samplers() if seeds.get((part, name)) == count)
            groups.setdefault((count, names), []).append(part)
    found = []
    for (count, names), parts in groups.items():
        options = [] if list(names) == samplers() else [f"--models {','.join(names)}"]
        options += [f"--part {parts[0]}"] if len(parts) == 1 else []
        found.append(" ".join(["python -m benchmarks zoo", *options, f"--seeds {count} --minutes {minutes:.12g}"]))
    return found


def _majority(runs: Sequence[Entry]) -> str | None:
    """The verdict of more than half of the runs of a model, if there is one; those that failed count as well."""
    ((verdict, count),) = Counter(e.get("verdict") for e in runs).most_common(1)
    return verdict if 2 * count > len(runs) else None


def _standing(runs: Sequence[Entry]) -> str:
    if all("error" in e for e in runs):
        return "neutral"
    verdict = _majority(runs)
    return next((e["standing"] for e in runs if verdict and e.get("verdict") == verdict), "unsure")


def _late(sound: Sequence[Entry]) -> Mapping[str, Any] | None:
    """Steps that were taken for want of time, from the fewest to the most of all seeds."""
    late = [e["steps"] for e in sound if e["steps"] < e["steps_wanted"]]
    steps = dict.fromkeys([min(late), max(late)]) if late else ()
    return {**sound[0], "taken": " to ".join(map(number, steps))} if late else None


def _lead(runs: Mapping[str, Sequence[Entry]], tables: Mapping[str, Rows]) -> list[str]:
    """What the `runs` of each model on the circle and the tables say, in sentences."""
    said = []
    aware = {row["model"]: row["aware"] for row in tables["circle"]}
    judged = {name: of for name, of in runs.items() if any("error" not in e for e in of)}
    if judged:
        found = Counter(_majority(of) for of in judged.values())
        healthy, collapsed = found["healthy"], found["overfitting"]
        several = any(len(of) > 1 for of in judged.values())
        left = len(judged) - healthy - collapsed
        said.append(
            f"Of {_count(len(judged), 'model')} trained on a circle, {healthy or 'none'} learned it and the "
            f"distribution on it, and {collapsed or 'none'} learned the circle but not the distribution: manifold "
            f"overfitting.{f' {left} did neither.' if left else ''}"
            f"{' What counts is what most seeds of a model did.' if several else ''}"
        )
        flagged = []
        for group, name in _GROUPS.items():
            verdicts = [e["verdict"] for m, of in judged.items() if aware[m] == group for e in of if "error" not in e]
            if verdicts:
                flagged.append(f"{verdicts.count('overfitting')} of {_count(len(verdicts), 'run')} of {name}")
        said.append(f"Manifold overfitting on the circle was flagged in {_listed(flagged)}.")
    images = [row for row in tables["digits"] if row["frechet"] != ""]
    if len(images) > 1:
        floor, *models = images
        own = [row for row in models if "copies" not in row["verdict"]] or models  # who copies is near without merit
        first = sorted(own, key=lambda row: row["frechet"]["mean"])[:3]
        nearest = _listed([f"{row['model']} ({_bound(row['frechet'])})" for row in first])
        copiers = " that do not copy them" if len(own) < len(models) else ""
        said.append(
            f"Of {_count(len(own), 'model')} of handwritten digits{copiers}, the nearest to the data by Fréchet "
            f"distance {'is' if len(first) == 1 else 'are'} {nearest}; real images are "
            f"{_bound(floor['frechet'])} from each other."
        )
    return said


def _bound(figure: Spread) -> str:
    """The figure in words that no line break divides."""
    return str(figure).replace(" ", "\N{NO-BREAK SPACE}")


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _listed(items: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(items[:-1]), items[-1]]))


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


def _title(entry: Entry) -> str:
    return f"{entry['model']}, seed {entry['seed']}" if entry["seed"] else str(entry["model"])


def _name(axis: Axes, name: str) -> None:
    axis.set_title(name, fontsize=min(9.5, 230 / len(name)))  # long names would run into the next


@style()
def _curves(entries: Sequence[Entry]) -> Figure:
    on_circle = entries[0]["part"] == "circle"
    figure, axes = _panels(len(entries), height=1.55, sharey=on_circle)
    for axis, entry in zip(axes, entries, strict=False):
        _name(axis, _title(entry))
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
    named = [("real images", real), *((_title(e), np.array(e["samples"])) for e in entries)]
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
        _name(axis, _title(entry))
        x, y = np.array(entry["samples"]).T
        axis.plot(np.cos(turn), np.sin(turn), color=DATA.color, linewidth=0.8)
        axis.plot(x, y, ".", color=series(0).color, markersize=2.5, alpha=0.5)
        axis.set(xlim=(-1.7, 1.7), ylim=(-1.7, 1.7), xticks=[-1, 1], yticks=[-1, 1])
        axis.set_aspect("equal")
    return figure
