"""`submanifold dimension SOURCE`: the intrinsic dimension of data; `--benchmark`: how far it can be trusted."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from submanifold.cli.arguments import Limit, Seed, split_names, told
from submanifold.cli.console import note

if TYPE_CHECKING:
    from submanifold.data import Dataset
    from submanifold.dimension import DimensionEstimate

__all__ = ["EXAMPLES", "dimension"]

EXAMPLES = "\n\n".join(
    (
        "Examples:",
        "submanifold dimension digits --by-class",
        "submanifold dimension points.npy --save report.html",
        "submanifold dimension M8_Nonlinear --n 2500 --noise 0.02 --k 10",
        "submanifold dimension distances.npy --metric precomputed",
        "submanifold dimension --benchmark --method mle,twonn",
    )
)

_N = 2500  # points of each benchmark manifold


def dimension(
    source: Annotated[
        str | None,
        typer.Argument(
            help="What to look at: digits, the name of an analytic, benchmark or image manifold (see: submanifold list "
            "manifolds), a .npy/.npz/.csv/.parquet file, a folder of images, or an IDX file.",
            show_default=False,
        ),
    ] = None,
    k: Annotated[
        int | None, typer.Option(min=3, help="Neighbours that fix the scale; by default it is chosen.", metavar="K")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="Estimators to take the mean of, or to score, separated by commas; see: submanifold list estimators.",
            metavar="NAME,NAME",
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="Distance between points: euclidean by default, cityblock, chebyshev, cosine or another that "
            "scikit-learn knows; precomputed, where SOURCE is the square matrix of distances itself.",
            metavar="NAME",
            show_default=False,
        ),
    ] = None,
    by_class: Annotated[bool, typer.Option("--by-class", help="Also show each class by itself.")] = False,
    limit: Limit = None,
    seed: Seed = 0,
    n: Annotated[
        int | None, typer.Option(min=2, help=f"Points drawn from a manifold; {_N} of each with --benchmark.")
    ] = None,
    noise: Annotated[
        float | None, typer.Option(min=0.0, help="Noise added to a manifold, as a part of its size.", metavar="PART")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
    save: Annotated[
        Path | None, typer.Option(help="Also write a page (.html, numbers and figures beside it) or a figure (.png).")
    ] = None,
    benchmark: Annotated[
        bool, typer.Option("--benchmark", help="Score the consensus and single methods on 24 manifolds instead.")
    ] = False,
) -> None:
    """Estimate the intrinsic dimension of data, with its interval, scale by scale and method by method."""
    from submanifold.errors import InvalidInput
    from submanifold.files import writable_folder

    methods = None if method is None else split_names(method)
    if benchmark:
        refused: dict[str, Any] = {"SOURCE": source, "--k": k, "--metric": metric, "--by-class": by_class or None}
        refused |= {"--limit": limit, "--save": save}
        for option, value in refused.items():
            if value is not None:
                raise InvalidInput(f"{option} is not accepted with --benchmark: give --method, --n, --noise or --seed")
        _benchmark(methods, n=_N if n is None else n, seed=seed, noise=noise or 0.0, json=json)
        return
    if source is None:
        raise InvalidInput("SOURCE is missing: give the name of data, a file or a folder, or --benchmark")
    if save is not None and save.suffix.lower() not in (".png", ".html", ".htm"):
        raise InvalidInput(f"--save {str(save)!r} is not accepted: give a name ending in .png or .html")
    points = _points(source, limit, {"n": n, "noise": noise}, seed, square=metric == "precomputed")
    if by_class and points.labels is None:
        raise InvalidInput(f"--by-class: {points.name} has no labels")
    if save is not None:
        writable_folder(save.parent, name="--save")  # before the work, not after it
    asked = {"source": told(source), "limit": limit, "n": n, "noise": noise}
    _estimate(points, methods, k, metric, seed, by_class=by_class, json=json, save=save, asked=asked)


def _estimate(
    points: Dataset,
    methods: list[str] | None,
    k: int | None,
    metric: str | None,
    seed: int,
    *,
    by_class: bool,
    json: bool,
    save: Path | None,
    asked: Mapping[str, Any],
) -> None:
    from submanifold.dimension import estimate

    found = estimate(points, methods=methods, k=k, metric=metric, seed=seed, progress=sys.stderr.isatty())
    if json:
        from submanifold.report.document import plain

        print(dumps(plain(found.to_json()), indent=2))
    else:
        from submanifold.cli.estimate import show_estimate

        show_estimate(found, points.name, by_class=by_class)
    if save is not None:
        settings = {**asked, "methods": methods, "k": k, "metric": metric, "seed": seed}
        _save(found, points, save, {name: value for name, value in settings.items() if value is not None})


def _points(source: str, limit: int | None, options: Mapping[str, Any], seed: int, *, square: bool) -> Dataset:
    """The data; a manifold is drawn from with the same seed as everything else. Of a square matrix columns go too."""
    from dataclasses import replace

    from submanifold import data
    from submanifold.data.door import chosen
    from submanifold.neighbors.metrics import check_distances

    given = {name: value for name, value in options.items() if value is not None}
    given = given | {"seed": seed} if given else {}
    if not square:
        return data.load(source, limit=limit, **given)
    whole = data.load(source, **given)
    check_distances(whole.x, None)
    index = chosen(len(whole), limit)
    return whole if limit is None else replace(whole.take(index), x=whole.x[index][:, index])


def _save(found: DimensionEstimate, points: Dataset, path: Path, settings: Mapping[str, Any]) -> None:
    if path.suffix.lower() == ".png":
        from submanifold.plotting import save_png

        note(f"Figure: {save_png(found.figure(), path)}")
        return
    from submanifold.report import write_dimension

    note(f"Report: {write_dimension(found, points, path, name=points.name, settings=settings)}")


def _benchmark(methods: list[str] | None, *, n: int, seed: int, noise: float, json: bool) -> None:
    from submanifold.dimension.benchmark import run_benchmark

    scores = run_benchmark(methods, n=n, seed=seed, noise=noise, progress=sys.stderr.isatty())
    if json:
        print(dumps(scores.to_json(), indent=2))
        return
    from submanifold.cli.scores import show_scores

    show_scores(scores)
