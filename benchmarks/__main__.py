"""Run every benchmark and print its tables: `make bench`, or `python -m benchmarks NAME ...` for some of them."""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import benchmarks
from submanifold.checks import check_choice
from submanifold.errors import InvalidInput
from submanifold.files import atomic_write_json

Rows = list[dict[str, Any]]


def main(arguments: list[str]) -> None:
    """Run the benchmarks that are named, or all of them, and update benchmarks/results.json."""
    found = sorted(m.name for m in pkgutil.iter_modules(benchmarks.__path__) if not m.name.startswith("_"))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(found))
    parser.add_argument("--models", type=lambda text: text.split(","), help="names of models, with commas (zoo)")
    parser.add_argument("--seeds", type=int, help="how many seeds (zoo)")
    parser.add_argument("--part", help="circle or digits (zoo)")
    parser.add_argument("--data", help="images with labels, as `submanifold` reads them (images)")
    parser.add_argument("--minutes", type=float, help="longest training of one model (zoo, images)")
    parser.add_argument("--out", help="folder of the page (zoo, images)")
    parser.add_argument("--jobs", type=int, help="models that are trained at a time, each on one core (zoo)")
    parser.add_argument("--device", help="cpu or cuda (images, kan)")
    parser.add_argument("--only", help="pixels or latents (images)")
    parser.add_argument(
        "--fast", action="store_const", const=True, help="mixed precision, compiled, not on the CPU (images)"
    )
    options = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    wanted = [check_choice(name, found, name="benchmark") for name in options.pop("names")]
    path = Path(__file__).with_name("results.json")
    results = json.loads(path.read_text()) if wanted and path.exists() else {}
    for name in wanted or found:
        run = importlib.import_module(f"benchmarks.{name}").run
        _require(run, options, name)
        tables: Rows | dict[str, Rows] = run(**options)
        for title, rows in ({name: tables} if isinstance(tables, list) else tables).items():
            results[title] = rows
            _show(title, rows)
        atomic_write_json(path, results)


def _require(run: Callable[..., Any], options: dict[str, Any], name: str) -> None:
    """Refuse options that the benchmark does not have."""
    for option in options:
        if option not in inspect.signature(run).parameters:
            raise InvalidInput(f"benchmark {name!r} has no option --{option}: name a benchmark that has, such as zoo")


def _show(title: str, rows: Rows) -> None:
    """A table, or one for each task where most rows share theirs; not on a terminal, as wide as it takes."""
    tasks = list(dict.fromkeys(row.get("task") for row in rows))
    if 1 < len(tasks) <= len(rows) / 2:
        for task in tasks:
            own = [{k: v for k, v in row.items() if k != "task"} for row in rows if row.get("task") == task]
            _show(f"{title}: {task}", own)
        return
    table = Table(title=title)
    for column in rows[0] if rows else ():
        table.add_column(column)
    for row in rows:
        table.add_row(*(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()))
    console = Console()
    if not console.is_terminal:
        widest = console.options.update(max_width=1000)
        console.width = max(console.width, console.measure(table, options=widest).maximum)
    console.print(table)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InvalidInput as error:
        sys.exit(f"error: {error}")
