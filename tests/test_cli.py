"""The command line: the same words as in Python, one sentence for what goes wrong."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import submanifold
from fake_report import make_report
from submanifold.cli import app
from submanifold.cli.arguments import settings
from submanifold.data import Dataset
from submanifold.errors import InvalidInput

COMMAND = [sys.executable, "-c", "from submanifold.cli import main; main()"]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def refused(result: Result) -> str:
    """The one sentence that an error is told in."""
    assert result.exit_code == 2, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("submanifold: ")
    return lines[0]


@pytest.fixture
def points(tmp_path: Path) -> Path:
    """A disc in R^3."""
    rng = np.random.default_rng(0)
    radius, angle = np.sqrt(rng.uniform(size=400)), rng.uniform(0, 2 * np.pi, 400)
    x = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.zeros(400)], axis=1) @ np.array(
        [[1.0, 2.0, 2.0], [2.0, 1.0, -2.0], [2.0, -2.0, 1.0]]
    )
    np.save(tmp_path / "disc.npy", x / 3)
    return tmp_path / "disc.npy"


def test_help_names_every_command() -> None:
    shown = run("--help").output
    for command in ("lens", "dimension", "train", "sample", "audit", "list"):
        assert command in shown
        assert run(command, "--help").exit_code == 0


def test_version() -> None:
    assert run("--version").output.strip() == f"submanifold {submanifold.__version__}"


@pytest.mark.parametrize("kind", ["models", "manifolds", "estimators", "findings", "experiments"])
def test_list_says_the_names_that_python_knows(kind: str) -> None:
    from submanifold import data, dimension, lens, models, reproduce

    names = {
        "models": models.names,
        "manifolds": lambda: [*data.manifold_names(), *data.benchmark_names(), *data.image_manifold_names()],
        "estimators": dimension.names,
        "findings": lens.names,
        "experiments": reproduce.names,
    }
    result = run("list", kind)
    assert result.exit_code == 0
    first_words = {line.split()[0] for line in result.output.splitlines() if line and not line.startswith(" ")}
    assert first_words == set(names[kind]())
    assert not set("$\\`") & set(result.output)  # formulas are for documents


@pytest.mark.parametrize("command", ["dimension", "lens"])
def test_a_negative_seed_is_refused(command: str) -> None:
    result = run(command, "digits", "--seed", "-1")
    assert result.exit_code == 2
    assert "--seed" in result.output
    assert "Traceback" not in result.output


def test_list_of_something_else() -> None:
    assert run("list", "nonsense").exit_code == 2


def test_dimension_as_json_is_what_python_says(points: Path) -> None:
    result = run("dimension", points, "--json", "--method", "mle", "--k", "15", "--seed", "3")
    assert result.exit_code == 0, result.output
    expected = submanifold.dimension.estimate(np.load(points), methods=["mle"], k=15, seed=3)
    assert json.loads(result.stdout) == json.loads(json.dumps(expected.to_json()))
    assert 1.6 < expected.dimension < 2.4


def test_dimension_in_words(points: Path, tmp_path: Path) -> None:
    result = run("dimension", points, "--save", tmp_path / "d.png")
    assert result.exit_code == 0, result.output
    for word in ("consensus", "mle", "twonn", "lpca", "95% interval", "400 points in 3 dimensions"):
        assert word in result.stdout
    assert (tmp_path / "d.png").read_bytes().startswith(b"\x89PNG")


def test_dimension_by_class() -> None:
    shown = run("dimension", "digits", "--method", "mle", "--by-class", "--limit", "900").stdout
    assert [f"class {label}" in shown for label in range(10)] == [True] * 10
    assert "\nclass " not in run("dimension", "digits", "--method", "mle", "--limit", "900").stdout


def test_dimension_by_class_without_classes(points: Path) -> None:
    assert "has no labels" in refused(run("dimension", points, "--by-class"))


BAD = {
    "nan": (np.array([[0.0, 1.0], [np.nan, 2.0], [1.0, 3.0]]), "NaN"),
    "infinity": (np.array([[0.0, 1.0], [np.inf, 2.0], [1.0, 3.0]]), "infinity"),
    "empty": (np.zeros((0, 3)), "0 points"),
    "one": (np.ones((1, 3)), "1 point"),
    "copies": (np.ones((50, 3)), "copies of one point"),
    "complex": (np.ones((50, 3), complex), "complex"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("command", ["dimension", "lens"])
def test_bad_data_are_refused_in_one_sentence(command: str, case: str, tmp_path: Path) -> None:
    array, word = BAD[case]
    np.save(tmp_path / "bad.npy", array)
    out = ["--out", tmp_path / "out"] if command == "lens" else []
    assert word in refused(run(command, tmp_path / "bad.npy", *out))


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "object.npy", np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    refused(run("dimension", tmp_path / "object.npy"))


def test_a_truncated_file_is_refused(points: Path) -> None:
    points.write_bytes(points.read_bytes()[:500])
    assert points.name in refused(run("dimension", points))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("dimension", "digitz"), ["source='digitz'"]),
        (("dimension", "digits", "--method", "mel"), ["'mel'", "mle"]),
        (("train", "vea", "digits", "--run", "{tmp}"), ["'vea'", "did you mean 'vae'?"]),
        (("train", "vae", "digits", "--run", "{tmp}", "--latent-dim", "64"), ["latent_dim"]),
        (("train", "vae", "digits", "--run", "{tmp}", "--set", "latent_dim"), ["--set", "key=value"]),
        (("train", "vae", "digits", "--run", "{tmp}", "--latent-dim", "2", "--set", "lr=1"), ["'lr'"]),
        (("sample", "{tmp}/nothing"), ["nothing"]),
        (("sample", "{tmp}/nothing", "--out", "x.jpg"), ["--out", ".npy or .png"]),
        (("audit", "{tmp}/nothing", "digits"), ["nothing"]),
        (("lens", "digits", "--models", "vea", "--out", "{tmp}/out", "--limit", "200"), ["vea", "vae"]),
        (("lens", "digits", "--models", "", "--out", "{tmp}/out"), ["--models"]),
    ],
)
def test_bad_arguments_are_refused_in_one_sentence(
    arguments: tuple[str, ...], words: list[str], tmp_path: Path
) -> None:
    sentence = refused(run(*(a.replace("{tmp}", str(tmp_path)) for a in arguments)))
    for word in words:
        assert word in sentence


@pytest.mark.parametrize("arguments", [("lens",), ("dimension", "digits", "--k", "x"), ("nonsense",), ("lens", "--no")])
def test_usage_errors(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2


def test_debug_shows_where_an_error_came_from() -> None:
    result = run("dimension", "digitz", "--debug")
    assert isinstance(result.exception, InvalidInput)


def test_an_output_that_cannot_be_written(points: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("here already")
    assert "--out" in refused(run("lens", points, "--out", blocked))
    assert str(blocked) in refused(run("dimension", points, "--method", "mle", "--save", blocked / "d.png"))
    assert blocked.read_text() == "here already"


def test_settings_are_typed() -> None:
    given = settings(["a=1", "b=0.5", "c=[64, 64]", "d=true", "e=kan", "f=null", 'g="7"', "h=x=y"])
    assert given == {"a": 1, "b": 0.5, "c": [64, 64], "d": True, "e": "kan", "f": None, "g": "7", "h": "x=y"}


def test_train_gives_a_model_as_many_latents_as_the_data_have_dimensions(points: Path, tmp_path: Path) -> None:
    done = run("train", "autoencoder", points, "--run", tmp_path / "run", "--steps", "2")
    assert done.exit_code == 0, done.output
    assert "latent_dim=2, since the data have intrinsic dimension " in done.stderr
    assert json.loads((tmp_path / "run" / "config.json").read_text())["config"]["latent_dim"] == 2


def test_train_sample_and_train_again(points: Path, tmp_path: Path) -> None:
    train = ("train", "vae", points, "--run", tmp_path / "run", "--latent-dim", "2", "--steps", "20")
    result = run(*train, "--set", "hidden=[16]")
    assert result.exit_code == 0, result.output
    model = submanifold.load(tmp_path / "run")
    assert list(model.config["hidden"]) == [16]
    weights = (tmp_path / "run" / "model.safetensors").read_bytes()
    assert run(*train, "--set", "hidden=[16]").exit_code == 0
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == weights
    assert "another" in refused(run(*train, "--set", "hidden=[8]"))

    outs = [tmp_path / f"{name}.npy" for name in "abc"]
    for out, seed in zip(outs, (1, 1, 2), strict=True):
        assert run("sample", tmp_path / "run", "-n", "7", "--out", out, "--seed", str(seed)).exit_code == 0
    a, b, c = map(np.load, outs)
    assert a.shape == (7, 3)
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    assert run("sample", tmp_path / "run", "--out", tmp_path / "s.png").exit_code == 0
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")


def test_samples_are_drawn_as_asked(tmp_path: Path) -> None:
    labels = np.repeat([0, 1], 100)
    x = (10.0 * labels[:, None] + np.random.default_rng(0).standard_normal((200, 2))).astype(np.float32)
    model = submanifold.models.create("diffusion", (2,), hidden=(32,), classes=2)
    submanifold.fit(model, Dataset(x, labels=labels), run=tmp_path / "run", steps=200, progress=False)
    sample = ("sample", tmp_path / "run", "-n", "20", "--out", tmp_path / "s.npy")
    means = []
    for label in (0, 1):
        assert run(*sample, "--set", f"labels={label}", "--set", "steps=10").exit_code == 0
        means.append(np.load(tmp_path / "s.npy").mean())
    assert means[1] - means[0] > 5
    assert run(*sample, "--set", "labels=[" + ", ".join(["0", "1"] * 10) + "]").exit_code == 0
    assert "did you mean 'labels'" in refused(run(*sample, "--set", "label=0"))
    assert "labels=5" in refused(run(*sample, "--set", "labels=5"))


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `submanifold.lens.examine` was called with, in its place."""
    calls: dict[str, Any] = {}

    def examine(X: Any, models: Any = (), **arguments: Any) -> Any:
        calls.update(X=X, models=models, **arguments)
        return make_report(space=None)

    monkeypatch.setattr(submanifold.lens, "examine", examine)
    return calls


def test_lens_passes_its_arguments_on_and_tells_the_verdict(examined: dict[str, Any], tmp_path: Path) -> None:
    result = run(
        *("lens", "digits", "--models", "vae, two-step", "--latent-dim", "9", "--steps", "10"),
        *("--seed", "4", "--limit", "500", "--out", tmp_path / "out"),
    )
    assert result.exit_code == 0, result.output
    assert examined.pop("progress") is True
    assert examined.pop("run") == tmp_path / "out" / "runs"
    expected = {"models": ["vae", "two-step"], "latent_dim": 9, "steps": 10, "seed": 4, "limit": 500}
    assert examined == {"X": "digits", **expected}
    shown = " ".join(result.stdout.split())
    assert make_report().headline[0] in shown
    assert "✓ yes" in shown
    assert "✗ no" in shown
    assert "? unclear" in shown
    assert str(tmp_path / "out" / "report.html") in result.stdout
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "submanifold lens digits" in page


def test_audit_examines_the_model_without_training(
    examined: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = object()
    monkeypatch.setattr(submanifold.models, "load", lambda run: model)
    result = run("audit", tmp_path / "my-run", "digits", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert examined["models"] == {"my-run": model}
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "submanifold audit my-run digits" in page
    assert str(tmp_path) not in page, "a page may be sent to others"


def test_lens_opens_the_page_only_when_asked(
    examined: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import webbrowser

    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url))
    assert run("lens", "digits", "--out", tmp_path).exit_code == 0
    assert opened == []
    assert run("lens", "digits", "--out", tmp_path, "--open").exit_code == 0
    assert opened == [(tmp_path / "report.html").resolve().as_uri()]


def test_ctrl_c_leaves_a_sentence_and_a_run_to_go_on_with(points: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train = [*COMMAND, "train", "vae", str(points), "--run", str(folder), "--latent-dim", "2", "--steps", "40000"]
    process = subprocess.Popen(
        train, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    try:
        until = time.monotonic() + 60
        while not (folder / "history.jsonl").exists() and time.monotonic() < until:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, told
    last = told.strip().splitlines()[-1]
    assert last.startswith("submanifold: interrupted; ")
    assert str(folder) in last
    assert "Traceback" not in told
    assert (folder / "trainer.safetensors").exists()


def test_no_traceback_in_the_shell(tmp_path: Path) -> None:
    shown = subprocess.run(
        [*COMMAND, "dimension", str(tmp_path / "nothing.npy")], capture_output=True, text=True, timeout=60
    )
    assert shown.returncode == 2
    assert shown.stdout == ""
    assert shown.stderr.startswith("submanifold: ")
    assert "Traceback" not in shown.stderr


def test_a_reader_that_stops_reading_is_no_error() -> None:
    shown = subprocess.run(
        f"{shlex.join(COMMAND)} dimension digits --json --method mle | head -c 5",
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in shown.stderr
    assert "Exception ignored" not in shown.stderr


def test_reproduce_prints_claims_and_refuses_unknown_experiments() -> None:
    result = run("reproduce", "codimension-slope", "--seeds", "1")
    assert result.exit_code == 0, result.output
    assert "D - d" in result.stdout
    assert "✓ yes" in result.stdout
    wrong = run("reproduce", "codimension-slop")
    assert wrong.exit_code == 2
    assert "did you mean 'codimension-slope'?" in " ".join(wrong.stderr.split())


def test_reproduce_saves_the_figure_of_an_experiment_that_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from submanifold.reproduce import kan_scaling

    monkeypatch.setattr(kan_scaling, "STEPS", 4)
    result = run("reproduce", "kan-scaling", "--seeds", "1", "--save", tmp_path / "scaling.png")
    assert result.exit_code == 1, result.output  # nothing is learned in so few steps
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
    assert "scaling.png" in result.stderr
    assert "'codimension-slope' has no figure" in refused(run("reproduce", "codimension-slope", "--save", "a.png"))
    assert ".png" in refused(run("reproduce", "kan-scaling", "--save", "a.pdf"))


def test_reproduce_refuses_data_of_experiments_that_have_their_own() -> None:
    assert "codimension-slope has seeds" in refused(run("reproduce", "codimension-slope", "--data", "digits"))
