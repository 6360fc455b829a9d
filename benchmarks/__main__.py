"""Run every benchmark and print its table: `make bench`, or `python -m benchmarks NAME ...` for some of them."""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

import benchmarks
from submanifold.checks import check_choice


def main(wanted: list[str]) -> None:
    """Run the benchmarks named in `wanted`, or all of them, and update benchmarks/results.json."""
    found = sorted(m.name for m in pkgutil.iter_modules(benchmarks.__path__) if not m.name.startswith("_"))
    path = Path(__file__).with_name("results.json")
    results = json.loads(path.read_text()) if wanted and path.exists() else {}
    console = Console()
    for name in [check_choice(name, found, name="benchmark") for name in wanted] or found:
        rows = importlib.import_module(f"benchmarks.{name}").run()
        results[name] = rows
        table = Table(title=name)
        for column in rows[0]:
            table.add_column(column)
        for row in rows:
            table.add_row(*(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()))
        console.print(table)
    path.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
