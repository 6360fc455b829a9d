"""`submanifold dimension`: a verdict first, the evidence after it, within 80 columns; the benchmark; the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import submanifold
from fake_report import make_dimension
from submanifold.cli import app
from submanifold.cli.curve import curve_lines


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def shown() -> str:
    result = run("dimension", "squares", "--n", "500", "--seed", "1")
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_verdict_comes_first_and_everything_fits_80_columns(shown: str) -> None:
    lines = shown.splitlines()
    assert " ".join(lines[:2]).startswith("squares: 500 points in 256 dimensions lie near a manifold of about ")
    assert max(map(len, lines)) <= 80
    order = [shown.index(word) for word in ("squares:", "Read at k = ", "would agree", "Dimension by scale", "Around")]
    assert order == sorted(order)
    assert "\x1b" not in shown  # no colour where there is no terminal


def test_what_is_printed_is_what_python_says(shown: str) -> None:
    points = submanifold.data.load("squares", n=500, seed=1)
    found = submanifold.dimension.estimate(points, seed=1)
    low, high = found.interval
    assert f"about {found.dimension:.1f} dimensions" in " ".join(shown.split())
    assert f"interval {low:.1f} to {high:.1f}" in " ".join(shown.split())
    assert f"k = {found.reading.k} neighbours" in shown
    for value in (found.reading.raw, *found.reading.by_reference.values()):
        assert f"{value:.2f}" in shown
    for name in found.by_method:
        assert f"\n{name} " in shown
    for sentence in found.warnings:
        assert sentence in " ".join(shown.split())


def test_pieces_stand_in_place_of_a_consensus() -> None:
    text = " ".join(run("dimension", "lollipop", "--n", "1200").stdout.split())
    assert "a union of manifolds of different dimension: 1.0 (" in text
    assert "piece 1" in text
    assert "consensus" not in text
    assert "┊" not in text


def test_json_is_one_document_with_every_part() -> None:
    result = run("dimension", "squares", "--n", "300", "--json")
    document = json.loads(result.stdout)
    keys = {"dimension", "interval", "rounded", "raw", "sampling_interval", "by_reference", "scale", "by_method"}
    keys |= {"by_class", "by_cluster", "pieces", "local", "scale_curve", "warnings", "n", "n_distinct", "ambient_dim"}
    assert keys <= set(document)
    assert set(document["by_reference"]) == {"ball", "cube", "gaussian", "sphere"}
    assert document["n"] == 300


def test_the_page_and_the_figure(tmp_path: Path) -> None:
    page, figure = tmp_path / "page.html", tmp_path / "figure.png"
    source = ("dimension", "squares", "--n", "300", "--method", "mle,twonn", "--seed", "2")
    assert run(*source, "--save", page, "--json").stdout.startswith("{")
    assert run(*source, "--save", figure).exit_code == 0
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert "submanifold dimension squares --method mle,twonn --n 300 --seed 2" in page.read_text("utf-8")
    document = json.loads((tmp_path / "page.json").read_text())
    assert document["schema"] == "submanifold.dimension/1"
    assert document["dimension"]["n"] == 300
    assert {p.name for p in (tmp_path / "figures").iterdir()} == {"dimension.png", "local-dimension.png"}


@pytest.mark.parametrize("ending", ["npy", "csv"])
def test_a_matrix_of_distances(tmp_path: Path, ending: str) -> None:
    x = np.random.default_rng(0).standard_normal((300, 3))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    distances = np.sqrt(np.maximum(2 - 2 * x @ x.T, 0))
    np.fill_diagonal(distances, 0)
    source, page, figure = tmp_path / f"far.{ending}", tmp_path / "page.html", tmp_path / "figure.png"
    _ = np.save(source, distances) if ending == "npy" else np.savetxt(source, distances, delimiter=",", fmt="%.17g")
    asked = ("dimension", source, "--metric", "precomputed")
    text = " ".join(run(*asked).stdout.split())
    assert text.startswith("far: 300 points with precomputed distances lie near a manifold of about 2.")
    assert "note: lpca was left out: X holds distances alone" in text
    found = submanifold.dimension.estimate(distances, metric="precomputed")
    printed = json.loads(run(*asked, "--json").stdout)
    assert printed["dimension"] == pytest.approx(found.dimension, rel=1e-12)
    assert (printed["ambient_dim"], printed["metric"]) == (None, "precomputed")
    assert json.loads(run(*asked, "--json", "--limit", "100").stdout)["n"] == 100
    assert run(*asked, "--save", page).exit_code == run(*asked, "--save", figure).exit_code == 0
    assert "How often each dimension occurs around points" in page.read_text("utf-8")
    assert "--metric precomputed" in page.read_text("utf-8")
    assert {p.name for p in (tmp_path / "figures").iterdir()} == {"dimension.png", "local-dimension.png"}


def test_another_distance_between_points() -> None:
    text = " ".join(run("dimension", "sphere", "--n", "300", "--metric", "cityblock").stdout.split())
    assert "points in 3 dimensions with cityblock distances lie near a manifold of about " in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d[:20], "X has shape (20, 30): precomputed distances of all points are square"),
        (lambda d: d + np.triu(d), "X holds distances that are not symmetric"),
        (lambda d: d - 0.1, "X holds distances that are negative"),
        (lambda d: d + np.eye(30), "X holds distances with a diagonal that is not 0"),
        (lambda d: np.where(d > d.max() / 2, np.nan, d), "NaN"),
    ],
)
def test_what_is_no_matrix_of_distances_is_refused(tmp_path: Path, change: Any, words: str) -> None:
    x = np.random.default_rng(0).standard_normal((30, 2))
    np.save(tmp_path / "far.npy", change(np.linalg.norm(x[:, None] - x, axis=2)))
    for more in ((), ("--limit", "10")):
        result = run("dimension", tmp_path / "far.npy", "--metric", "precomputed", *more)
        assert result.exit_code == 2
        assert words in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1


def test_the_benchmark_in_the_terminal_and_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    from submanifold.dimension import benchmark

    full, asked = benchmark.run_benchmark, {}

    def three(methods: Any, **options: Any) -> Any:
        asked.update(options, methods=methods)
        return full(methods, manifolds=["M5a_Helix1d", "M9_Affine", "Mbeta"], **options)

    monkeypatch.setattr(benchmark, "run_benchmark", three)
    arguments = ("dimension", "--benchmark", "--method", "mle,twonn", "--n", "300", "--seed", "3", "--noise", "0.01")
    text = run(*arguments).stdout
    assert {"methods": ["mle", "twonn"], "n": 300, "seed": 3, "noise": 0.01}.items() <= asked.items()
    assert text.startswith("On 3 manifolds of 300 points with 0.01 noise (seed 3) the consensus is wrong by ")
    for word in ("consensus", "mle", "twonn", "worst manifold", "M5a_Helix1d", "gaussian"):
        assert word in text
    assert max(map(len, text.splitlines())) <= 80
    document = json.loads(run(*arguments, "--json").stdout)
    assert document["schema"] == "submanifold.benchmark/1"
    assert set(document["methods"]) == {"mle", "twonn"}
    assert f"{document['consensus']['mape']:.1f}%" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "SOURCE is missing"),
        (("digits", "--benchmark"), "SOURCE is not accepted with --benchmark"),
        (("--benchmark", "--k", "5"), "--k is not accepted with --benchmark"),
        (("--benchmark", "--by-class"), "--by-class is not accepted with --benchmark"),
        (("--benchmark", "--limit", "500"), "--limit is not accepted with --benchmark"),
        (("--benchmark", "--save", "x.html"), "--save is not accepted with --benchmark"),
        (("--benchmark", "--method", "mel"), "'mel' is unknown"),
        (("--benchmark", "--n", "20"), "n=20"),
        (("--benchmark", "--metric", "cityblock"), "--metric is not accepted with --benchmark"),
        (("digits", "--n", "500"), "'n'"),
        (("digits", "--metric", "citiblock"), "did you mean 'cityblock'"),
        (("digits", "--metric", "precomputed"), "X of shape (1797, 1, 8, 8)"),
        (("digits", "--save", "x.pdf"), ".png or .html"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(arguments: tuple[str, ...], words: str) -> None:
    result = run("dimension", *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1
    assert words in result.stderr


def test_help_shows_examples() -> None:
    text = run("dimension", "-h").output
    assert "submanifold dimension digits --by-class" in text
    assert "submanifold dimension --benchmark" in text


@pytest.mark.parametrize("width", [60, 80, 100])
@pytest.mark.parametrize("kind", [{}, {"pieces": True}, {"noisy": True}])
def test_the_curve_marks_every_scale_within_the_width(kind: dict[str, bool], width: int) -> None:
    found = make_dimension(**kind)
    lines = curve_lines(found, width)
    rows = [line for line in lines if "●" in line and line.strip()[0].isdigit()]
    assert [int(line.split()[0]) for line in rows] == found.scale_curve.ks.tolist()
    assert max(map(len, lines)) <= width
    start, stop = found.scale_curve.start, found.scale_curve.stop
    assert all("noise" in line for line in rows[:start])
    assert all("█" in line for line in rows[start:stop])
    assert all("noise" not in line and "█" not in line for line in rows[stop:])
    assert sum("◀ read" in line for line in rows) == (0 if found.pieces else 1)


def test_marks_lie_where_their_numbers_say() -> None:
    found = make_dimension()
    lines = curve_lines(found, 80)
    axis, rows = lines[-1], [line for line in lines[2:-1] if "●" in line]
    zero, six = axis.index("0"), axis.index("6")
    for line, value, raw in zip(rows, found.scale_curve.calibrated, found.scale_curve.dimension, strict=True):
        assert line.index("●") == pytest.approx(zero + (six - zero) * value / 6, abs=1.1)
        assert line.index("○") == pytest.approx(zero + (six - zero) * raw / 6, abs=1.1)


def test_a_curve_that_starts_at_infinity_keeps_its_rest_legible() -> None:
    from dataclasses import replace

    found = make_dimension()
    curve = found.scale_curve
    huge = np.concatenate([[np.inf, 1e9], curve.calibrated[2:]])
    lines = curve_lines(replace(found, scale_curve=replace(curve, calibrated=huge, dimension=huge)))
    assert max(map(len, lines)) <= 80
    assert sum("→" in line for line in lines) == 2
