"""What the terminal shows of the benchmark: a verdict, single methods, and the consensus manifold by manifold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from submanifold.cli.console import console

if TYPE_CHECKING:
    from rich.table import Table

    from submanifold.dimension.benchmark_scores import Benchmark

__all__ = ["show_scores"]


def show_scores(scores: Benchmark) -> None:
    """Print `scores`."""
    from rich.text import Text

    out = console()
    worst, count = scores.worst, len(scores.manifolds)
    noise = f" with {scores.noise:.3g} noise" if scores.noise else ""
    out.print(
        Text(
            f"On {count} manifolds of {scores.n:,} points{noise} (seed {scores.seed}) the consensus is wrong by "
            f"{scores.mape:.1f}% on average, {scores.mape_rounded:.1f}% rounded to whole numbers.",
            style="bold",
        )
    )
    inside = sum(one.covered for one in scores.manifolds)
    out.print(
        f"The worst is {worst.name}, by {_percent(worst.error)}; the 95% interval holds the dimension of {inside} of "
        f"{count}. All took {scores.consensus_seconds:.1f} s of processor time."
    )
    out.print()
    out.print(_methods(scores))
    if scores.methods:
        out.print(
            f"Errors are averages of |estimate - d| / d. Methods share a search of {scores.search_seconds:.1f} s; the "
            "consensus searches by itself.",
            style="dim",
        )
    for one in scores.methods:
        if one.refused:
            out.print(f"note: {one.name} has no estimate on {len(one.refused)}: {', '.join(one.refused)}", markup=False)
    for name, why in scores.skipped.items():
        out.print(f"note: {name} was left out: {why}", markup=False)
    out.print()
    out.print(_manifolds(scores))


def _methods(scores: Benchmark) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("method")
    for heading in ("error", "rounded"):
        table.add_column(heading, justify="right")
    table.add_column("worst manifold")
    for heading in ("its error", "processor s"):
        table.add_column(heading, justify="right")
    rows = [("consensus", scores.mape, scores.mape_rounded, scores.worst.name, scores.worst.error)]
    rows += [(one.name, one.mape, one.mape_rounded, one.worst, one.worst_error) for one in scores.methods]
    seconds = [scores.consensus_seconds, *(one.seconds for one in scores.methods)]
    for (name, error, rounded, worst, by), took in zip(rows, seconds, strict=True):
        style = "bold" if name == "consensus" else ""
        table.add_row(name, f"{error:.1f}%", f"{rounded:.1f}%", worst, _percent(by), f"{took:.2f}", style=style)
    return table


def _manifolds(scores: Benchmark) -> Table:
    from rich.table import Table

    laws = [law for law in scores.manifolds[0].by_reference if law != "ball"]  # that of the consensus
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim", collapse_padding=True)
    table.add_column("manifold", no_wrap=True)
    for heading in ("d", "D", "found"):
        table.add_column(heading, justify="right")
    table.add_column("95% interval")
    for heading in ("error", "raw", *laws):
        table.add_column(heading, justify="right")
    for one in scores.manifolds:
        low, high = one.interval
        outside = "" if one.covered else " *"
        table.add_row(
            *(
                one.name,
                f"{one.dim}",
                f"{one.ambient_dim}",
                f"{one.dimension:.1f}",
                f"{low:.1f} to {high:.1f}{outside}",
            ),
            *(_percent(one.error), f"{one.raw:.1f}", *(f"{one.by_reference[law]:.1f}" for law in laws)),
        )
    table.caption = "* d lies outside the interval. Right: the estimate as it is read, and with each reference law."
    table.caption_justify = "left"
    return table


def _percent(error: float) -> str:
    return f"{error:+.1f}%".replace("-", "\N{MINUS SIGN}")
