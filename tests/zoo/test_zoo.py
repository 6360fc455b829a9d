"""The zoo: what is measured and how, what is kept of an interrupted run, and the page."""

import html
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from benchmarks import _zoo_measure, _zoo_page, _zoo_training, zoo
from benchmarks.__main__ import main
from benchmarks._zoo_page import Spread, commands, render

from submanifold.data import Dataset
from submanifold.data.manifolds import manifold
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
        "steps": 10,
        "steps_wanted": 10,
        "parameters": 1000,
        "sampling": 0.01,
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
    monkeypatch.setattr(zoo, "write_page", lambda path, *others: path)
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
    (kept,) = tmp_path.iterdir()
    assert json.loads((kept / "pending.json").read_text()) == []


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


def test_other_minutes_are_another_table_and_leave_what_is_due_alone(monkeypatch, tmp_path):
    wanted = {"models": ["vae", "flow"], "part": "circle", "minutes": 3, "out": tmp_path}
    measured(monkeypatch, fail_at=1)
    with pytest.raises(KeyboardInterrupt):
        zoo.run(**wanted)
    smoke = measured(monkeypatch)
    (row,) = zoo.run(**wanted | {"models": ["vae"], "minutes": 0.02})["zoo: circle"]
    left = measured(monkeypatch)
    rows = zoo.run(**wanted)["zoo: circle"]
    assert smoke == [("circle", "vae", 0)]
    assert row["minutes"] == 0.02
    assert left == [("circle", "flow", 0)]
    assert [(row["model"], row["minutes"]) for row in rows] == [("vae", 3), ("flow", 3)]


def test_tables_are_means_over_seeds_and_say_what_failed():
    skipped = {"part": "circle", "model": "flow", "seed": 0, "minutes": 3.0, "skipped": "not such data"}
    several = [entry(w1=0.1), entry(seed=1, w1=0.3, verdict="overfitting", codimension=None), failed(seed=2), skipped]
    (row,) = zoo.tables(several)["zoo: circle"]
    assert row["w1"] == {"mean": pytest.approx(0.2), "sd": pytest.approx(np.sqrt(0.02))}
    assert row["codimension"] == {"mean": 0.5, "sd": None}
    assert row["seeds"] == 2
    assert row["verdict"] == "healthy 1, overfitting 1, failed 1"
    assert json.loads(json.dumps(row))["w1"] == row["w1"]
    (row,) = zoo.tables([entry()])["zoo: circle"]
    assert (row["verdict"], row["seeds"], str(row["w1"])) == ("healthy", 1, "0.500")


@pytest.mark.parametrize(
    ("mean", "sd", "words"),
    [
        (0.0612, 0.0041, "0.061 ± 0.004"),
        (0.0612, 0.0149, "0.061 ± 0.015"),
        (123.4, 25.0, "123 ± 25"),
        (0.5, 0.0, "0.500 ± 0"),
        (0.5, None, "0.500"),
    ],
)
def test_a_mean_has_the_digits_that_its_scatter_leaves(mean, sd, words):
    assert str(Spread([mean], sd)) == words


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


@pytest.mark.parametrize(
    ("part", "name"),
    [("digits", "gaussian-mixture"), ("circle", "vae"), ("digits", "two-step")],
)
def test_a_model_is_measured_in_the_time_it_is_given(part, name):
    found = _zoo_measure.measure(part, name, seed=0, minutes=0.03)
    assert "error" not in found
    assert "skipped" not in found
    assert all(0 <= found[column] < 1000 for column in zoo.COLUMNS[part] if found[column] is not None)
    assert 1 <= found["steps"] <= found["steps_wanted"]
    assert found["sampling"] > 0
    assert name == "gaussian-mixture" or found["seconds"] < 2 * 60 * 0.03
    json.dumps(found, allow_nan=False)


def trained(name="two-step", minutes=1.0, merit=None):
    truth = manifold("circle")
    data = Dataset(truth.sample(500, seed=0).astype(np.float32), "circle", manifold=truth)
    return _zoo_training.train(name, data, 1, seed=0, minutes=minutes, merit=merit)


@pytest.mark.slow  # of the clock, so that other work on the machine disturbs it
@pytest.mark.parametrize("name", ["two-step", "vq-vae"])
def test_a_model_that_was_late_is_trained_anew_to_its_end(monkeypatch, name):
    told, fit, calls = _zoo_training._pace, _zoo_training.fit, []

    def counted(model, *args, **kwargs):
        calls.append((model, kwargs["steps"]))
        return fit(model, *args, **kwargs)

    monkeypatch.setattr(_zoo_training, "_pace", lambda *given: told(*given).slower(1 / 30))
    monkeypatch.setattr(_zoo_training, "fit", counted)
    found = trained(name, minutes=0.04)
    trainings = calls[3:]  # after the trial
    steps = [steps for _, steps in trainings]
    assert len(trainings) > 1
    assert len({id(model) for model, _ in trainings}) == len(trainings)
    assert steps == sorted(steps, reverse=True)
    assert found.model is trainings[-1][0]
    assert found.facts["steps"] == steps[-1] == found.facts["loss"][-1][1]  # the last stage came to its end
    assert len({stage for stage, *_ in found.facts["loss"]}) == 2
    assert found.model.sample(10).isfinite().all()  # by its law of latents


class Clock:
    """Time that only training takes: seconds of a step of each stage, and how many times as many from a step on."""

    def __init__(self, monkeypatch, costs, slow=1.0, after=0, prompt=3):
        self.now, self.costs, self.slow, self.after = 0.0, costs, slow, after
        self.prompt = prompt  # so many calls of fit are as quick as they are thought to be: those of the trial
        self.calls = []
        monkeypatch.setattr(_zoo_training, "time", SimpleNamespace(perf_counter=lambda: self.now))
        monkeypatch.setattr(_zoo_training, "fit", self.fit)

    def fit(self, model, data, *, steps, callbacks, evaluate_every, **settings):
        self.calls.append((model, steps))
        done = 0
        stages = [stage.name for stage in model.stages() if stage.objectives]
        for stage, cost in zip(stages, self.costs, strict=True):
            for step in range(1, steps + 1):
                late = len(self.calls) > self.prompt and done >= self.after
                self.now += cost * (self.slow if late else 1.0)
                done += 1
                if step % evaluate_every == 0 or step == steps:
                    for callback in callbacks:
                        callback(SimpleNamespace(model=model, stage=stage, step=step))
        return SimpleNamespace(records=[])


COSTS = (0.09, 0.01)
"""Of the stages of two-step: the first one looks late to who takes all steps to cost the same."""


def test_stages_of_unlike_cost_are_on_time(monkeypatch):
    clock = Clock(monkeypatch, COSTS)
    found = trained()
    assert len(clock.calls) == 3 + 1
    assert 0.8 * 60 < found.facts["seconds"] <= 60
    assert found.facts["steps"] == clock.calls[-1][1]


@pytest.mark.parametrize(("slow", "after"), [(1.4, 0), (2, 0), (4, 300), (10, 0), (20, 200)])
def test_whatever_happens_training_ends_by_twice_its_time(monkeypatch, slow, after):
    clock = Clock(monkeypatch, COSTS, slow, after)
    try:
        found = trained().facts
    except _zoo_training.OutOfTimeError:
        found = None
    trial = sum(steps for _, steps in clock.calls[:3]) * sum(COSTS)
    assert len({id(model) for model, _ in clock.calls}) == len(clock.calls)
    assert len(clock.calls) <= 3 + 3
    assert clock.now - trial <= 2 * 60
    assert found is None or found["seconds"] <= clock.now - trial
    if after == 0:  # a slowness that lasts is made up for
        assert found is not None
        assert found["steps"] == pytest.approx(60 / (0.1 * slow), rel=0.5)


def test_what_is_late_again_and_again_is_not_measured(monkeypatch):
    clock = Clock(monkeypatch, COSTS)
    clock.slow, grow = 3.0, clock.fit

    def slower(model, data, **kwargs):
        clock.slow *= 3
        return grow(model, data, **kwargs)

    monkeypatch.setattr(_zoo_training, "fit", slower)
    found = _zoo_measure.measure("circle", "two-step", seed=0, minutes=1.0)
    assert found["error"].startswith("out of time")
    assert "verdict" not in found


def test_a_curve_takes_its_share_of_the_time_and_no_more(monkeypatch):
    clock = Clock(monkeypatch, COSTS)

    def merit(model):
        clock.now += 10.0
        return 1.0

    found = trained(merit=merit)
    spent = 10.0 * len(found.facts["merit"])
    assert 0 < spent <= 0.25 * (found.facts["seconds"] + spent) + 10.0


def test_what_goes_wrong_is_an_entry_and_not_the_end(monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("no luck\nat all")

    monkeypatch.setitem(_zoo_measure.PARTS, "circle", broken)
    found = _zoo_measure.measure("circle", "vae", seed=0, minutes=1.0)
    assert found["error"] == "RuntimeError: no luck"


def failed(model="vae", seed=0, part="circle"):
    return {"part": part, "model": model, "seed": seed, "minutes": 3.0, "error": "ValueError: <b>no</b>"}


def page_of(entries, minutes=3.0):
    return render(entries, zoo.tables(entries), minutes)


def sentences(entries):
    """What the page says first of all."""
    page = page_of(entries)
    found = re.findall(r'<p class="(?:lead|follow)">(.*?)</p>', page)
    return [html.unescape(sentence).replace("\N{NO-BREAK SPACE}", " ") for sentence in found]


def test_the_page_holds_every_model_and_fetches_nothing():
    entries = [
        *(entry("circle", name, floor=0.05) for name in ABLE[:7]),
        entry("circle", "kernel-density", merit=[], loss=[]),
        *(entry("digits", name, steps=3) for name in ABLE[:3]),
        failed("flow"),
    ]
    page = page_of(entries)
    for name in [*ABLE[:7], "flow"]:
        assert re.search(f'<th scope="row"[^>]*>{name}<', page)
    assert "&lt;b&gt;no&lt;/b&gt;" in page
    assert page.count("data:image/png") == 4
    assert f"{ABLE[0]} on the digits took 3 of 10" in page
    assert "given 3 minutes" in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)


@pytest.fixture
def bare(monkeypatch):
    """Pages without figures, which take time."""
    monkeypatch.setattr(_zoo_page, "_drawing", lambda *drawn: None)


@pytest.mark.usefixtures("bare")
def test_a_model_counts_once_by_what_most_of_its_seeds_did():
    two = [entry(seed=0), entry(seed=1, verdict="overfitting", standing="bad")]  # a tie
    lead, flagged = sentences([*two, *(entry(model="flow", seed=seed) for seed in range(2))])
    assert lead.startswith("Of 2 models trained on a circle, 1 learned it and the distribution on it, and none learned")
    assert "1 did neither" in lead
    assert flagged == "Manifold overfitting on the circle was flagged in 1 of 4 runs of manifold-unaware models."
    lead, _ = sentences([*two, entry(seed=2, verdict="overfitting", standing="bad")])
    assert lead.startswith("Of 1 model trained on a circle, none learned it and the distribution on it, and 1 learned")
    lead, _ = sentences([entry(seed=0), failed(seed=1), failed(seed=2)])  # one of three
    assert lead.startswith("Of 1 model trained on a circle, none learned it and the distribution on it, and none")
    assert sentences([failed()]) == []


@pytest.mark.usefixtures("bare")
def test_runs_that_were_flagged_are_counted_by_kind_of_model():
    bad = {"verdict": "overfitting", "standing": "bad"}
    _, flagged = sentences(
        [
            *(entry(model="vae", seed=seed, **bad) for seed in range(4)),
            entry(model="vae", seed=4),
            *(entry(model="wgan-gp", seed=seed) for seed in range(3)),
            failed("wgan-gp", seed=3),
            entry(model="vq-vae", **bad),
        ]
    )
    assert flagged == (
        "Manifold overfitting on the circle was flagged in 4 of 5 runs of manifold-unaware models, 0 of 3 runs of "
        "manifold-aware models and 1 of 1 run of models of discrete data or latents."
    )


def test_a_model_that_failed_at_the_first_seed_is_shown_by_the_next(monkeypatch):
    shown = {}
    for kind in ("_curves", "_sheets"):
        real = getattr(_zoo_page, kind)
        monkeypatch.setattr(
            _zoo_page, kind, lambda chosen, kind=kind, real=real: shown.update({kind: chosen}) or real(chosen)
        )
    page_of([failed("flow"), entry(model="flow", seed=1), entry(model="flow", seed=2), entry("circle", "vae")])
    for kind in ("_curves", "_sheets"):
        assert [(e["model"], e["seed"]) for e in shown[kind]] == [("vae", 0), ("flow", 1)]


def test_panels_follow_the_table_of_their_part(monkeypatch):
    """A model that has no row on the digits is between others on the circle all the same."""
    shown = {}
    monkeypatch.setattr(
        _zoo_page, "_curves", lambda chosen: shown.update({chosen[0]["part"]: chosen}) or _zoo_page._sheets(chosen)
    )
    entries = [*(entry("circle", name) for name in ABLE[:8]), *(entry("digits", name) for name in ABLE[2:4])]
    found = zoo.tables(entries)
    render(entries, found, 3.0)
    for part in ("circle", "digits"):
        rows = [row["model"] for row in found[f"zoo: {part}"] if row["model"] != "real images"]
        assert [e["model"] for e in shown[part]] == rows


@pytest.mark.usefixtures("bare")
def test_a_model_that_copies_is_not_the_nearest():
    entries = [
        entry("digits", "ideal-denoiser", frechet=0.1, verdict="copies", standing="bad"),
        entry("digits", "vae", frechet=5.0),
    ]
    text = " ".join(sentences(entries))
    assert (
        "Of 1 model of handwritten digits that do not copy them, the nearest to the data by Fréchet distance is vae"
        in text
    )


def test_the_page_names_the_commands_that_measure_it_anew():
    both = [entry(part, name) for part in ("circle", "digits") for name in ABLE]
    assert commands(both, 3.0) == ["python -m benchmarks zoo --seeds 1 --minutes 3"]
    others = ",".join(name for name in ABLE if name != "vae")
    assert commands([*both, entry("circle", "vae", 1)], 0.5) == [
        "python -m benchmarks zoo --models vae --part circle --seeds 2 --minutes 0.5",
        f"python -m benchmarks zoo --models {others} --part circle --seeds 1 --minutes 0.5",
        "python -m benchmarks zoo --part digits --seeds 1 --minutes 0.5",
    ]
    for command in commands([entry("circle", "flow", 1), failed("vae")], 0.02):
        assert command in html.unescape(page_of([entry("circle", "flow", 1), failed("vae")], 0.02))


def test_nothing_measured_is_a_page_as_well():
    assert "Not measured" in page_of([])


def test_names_of_all_models_can_be_asked_for():
    assert set(ABLE) <= set(names())
    assert "autoencoder" not in ABLE
