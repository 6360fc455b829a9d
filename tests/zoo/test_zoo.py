"""The zoo: what is measured and how, what is kept of an interrupted run, and the page."""

import json
import re

import numpy as np
import pytest
from benchmarks import _zoo_measure, zoo
from benchmarks.__main__ import main
from benchmarks._zoo_page import render

from submanifold.errors import InvalidInput
from submanifold.models.catalogue import describe, names

ABLE = [entry.name for entry in describe() if "sample" in entry.capabilities]


def entry(part="circle", model="vae", seed=0, **facts):
    rng = np.random.default_rng(seed)
    figures = dict.fromkeys(zoo.COLUMNS[part], 0.5)
    samples = rng.standard_normal((600, 2)) if part == "circle" else rng.uniform(0, 16, (32, 64))
    return {
        "part": part,
        "model": model,
        "seed": seed,
        "minutes": 3.0,
        "verdict": "healthy",
        "standing": "good",
        **figures,
        "floor": 0.05,
        "seconds": 1.0,
        "done": 10,
        "steps_wanted": 10,
        "loss": [["fit", step, 1.0 / step, 2.0 / step] for step in range(1, 11)],
        "merit": [[step, 1.0 / step] for step in range(1, 11)],
        "samples": samples.tolist(),
    } | facts


def measured(monkeypatch, fail_at=None):
    """A `measure` that takes no time, the list of what it was asked for, and where it is interrupted."""
    asked = []

    def measure(part, name, *, seed, minutes):
        if len(asked) == fail_at:
            raise KeyboardInterrupt
        asked.append((part, name, seed))
        return entry(part, name, seed, minutes=minutes)

    monkeypatch.setattr(zoo, "measure", measure)
    monkeypatch.setattr(zoo, "write_page", lambda path, entries, found: path)
    return asked


def test_an_interrupted_run_goes_on_and_a_finished_one_begins_anew(monkeypatch, tmp_path):
    wanted = {"models": ["vae", "flow"], "seeds": 2, "part": "circle", "out": tmp_path}
    first = measured(monkeypatch, fail_at=3)
    with pytest.raises(KeyboardInterrupt):
        zoo.run(**wanted)
    second = measured(monkeypatch)
    tables = zoo.run(**wanted)
    assert first == [("circle", "vae", 0), ("circle", "vae", 1), ("circle", "flow", 0)]
    assert second == [("circle", "flow", 1)]
    assert {row["model"] for row in tables["zoo: circle"]} == {"vae", "flow"}
    third = measured(monkeypatch)
    zoo.run(**wanted)
    assert len(third) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["entries", "pending.json"]


def test_what_was_interrupted_is_not_forgotten_over_another_run(monkeypatch, tmp_path):
    wanted = {"models": ["vae", "flow"], "part": "circle", "out": tmp_path}
    measured(monkeypatch, fail_at=1)
    with pytest.raises(KeyboardInterrupt):
        zoo.run(**wanted)
    other = measured(monkeypatch)
    zoo.run(models=["made"], part="circle", out=tmp_path)
    left = measured(monkeypatch)
    zoo.run(**wanted)
    assert other == [("circle", "made", 0)]
    assert left == [("circle", "flow", 0)]


def test_an_entry_measured_for_another_length_of_training_is_not_taken_for_it(monkeypatch, tmp_path):
    measured(monkeypatch, fail_at=1)
    with pytest.raises(KeyboardInterrupt):
        zoo.run(models=["vae", "flow"], part="circle", minutes=1.0, out=tmp_path)
    again = measured(monkeypatch)
    zoo.run(models=["vae", "flow"], part="circle", minutes=2.0, out=tmp_path)
    assert len(again) == 2


def test_tables_are_means_over_seeds_and_say_what_failed():
    failed = {"part": "circle", "model": "vae", "seed": 2, "minutes": 3.0, "error": "ValueError: no"}
    skipped = {"part": "circle", "model": "flow", "seed": 0, "minutes": 3.0, "skipped": "not such data"}
    several = [entry(w1=0.1), entry(seed=1, w1=0.3, verdict="overfitting", codimension=None), failed, skipped]
    (row,) = zoo.tables(several)["zoo: circle"]
    assert row["w1"] == pytest.approx(0.2)
    assert row["codimension"] == 0.5
    assert row["verdict"] == "healthy 1, overfitting 1, failed 1"
    assert zoo.tables([entry()])["zoo: circle"][0]["verdict"] == "healthy"


def test_unknown_models_and_options_are_refused():
    with pytest.raises(InvalidInput, match="flow"):
        zoo.run(models=["flwo"])
    with pytest.raises(InvalidInput, match="model"):
        zoo.run(models=["autoencoder"])  # it cannot sample
    with pytest.raises(InvalidInput, match="--seeds"):
        main(["training", "--seeds", "3"])


def test_real_images_are_as_close_to_each_other_as_images_get():
    view = _zoo_measure.digits(0)
    assert len(view.held_out) == len(view.spare) == 359
    rows = [row for part in (view.train, view.held_out, view.spare) for row in map(tuple, part.flat())]
    assert len(rows) == 1797
    real = view.real()
    assert min(real["precision"], real["recall"], real["coverage"]) > 0.9
    assert real["density"] == pytest.approx(1, abs=0.15)
    rng = np.random.default_rng(0)
    pixels = rng.permuted(view.train.flat()[:359], axis=0)  # each pixel has its law, and nothing hangs together
    for worse in (pixels, np.tile(view.train.flat().mean(axis=0), (359, 1)) + 0.01 * rng.standard_normal((359, 64))):
        found = view.compare(worse.astype(float))
        assert found["frechet"] > 10 * real["frechet"]
        assert found["coverage"] < 0.5 * real["coverage"]


@pytest.mark.parametrize("part", ["circle", "digits"])
@pytest.mark.parametrize("name", ["gaussian-mixture", "vae"])
def test_a_model_is_measured_in_the_time_it_is_given(part, name):
    found = _zoo_measure.measure(part, name, seed=0, minutes=0.02)
    assert "error" not in found
    assert "skipped" not in found
    assert all(0 <= found[column] < 1000 for column in zoo.COLUMNS[part])
    assert 1 <= found["done"] <= found["steps_wanted"]
    assert found["seconds"] < 20
    json.dumps(found, allow_nan=False)


def test_what_goes_wrong_is_an_entry_and_not_the_end(monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("no luck\nat all")

    monkeypatch.setitem(_zoo_measure.PARTS, "circle", broken)
    found = _zoo_measure.measure("circle", "vae", seed=0, minutes=1.0)
    assert found["error"] == "RuntimeError: no luck"


def test_the_page_holds_every_model_and_fetches_nothing():
    failed = {"part": "circle", "model": "flow", "seed": 0, "minutes": 3.0, "error": "ValueError: <b>no</b>"}
    entries = [
        *(entry("circle", name, floor=0.05) for name in ABLE[:7]),
        entry("circle", "kernel-density", merit=[], loss=[]),
        *(entry("digits", name, done=3) for name in ABLE[:3]),
        failed,
    ]
    page = render(entries, zoo.tables(entries))
    for name in ABLE[:7]:
        assert f'<th scope="row">{name}<' in page
    assert "&lt;b&gt;no&lt;/b&gt;" in page
    assert page.count("data:image/png") == 4
    assert f"{ABLE[0]} on the digits took 3 of 10" in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)


def test_nothing_measured_is_a_page_as_well():
    assert "Not measured" in render([], zoo.tables([]))


def test_names_of_all_models_can_be_asked_for():
    assert set(ABLE) <= set(names())
    assert "autoencoder" not in ABLE
