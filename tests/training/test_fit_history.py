"""What is recorded, shown and sent elsewhere."""

from __future__ import annotations

import builtins
import json
import math

import numpy as np
import pytest
import torch
from training_toys import TOYS, NoisyCoder, TwoStages, toy_data

from submanifold.data.preprocess import Preprocess
from submanifold.errors import InvalidInput
from submanifold.models import MODELS, create
from submanifold.training import History, fit
from submanifold.training.progress import Progress


@pytest.fixture(autouse=True)
def toys_are_registered(monkeypatch):
    for name, model in TOYS.items():
        monkeypatch.setitem(MODELS._table, name, model)


def test_records_by_stage_with_the_terms_of_the_loss():
    seen = []

    def note(event):
        assert not event.model.training
        event.record["twice"] = torch.tensor(2.0 * event.step)
        seen.append((event.stage, event.step))

    history = fit(TwoStages((5,)), toy_data(), steps={"code": 25, "law": 20}, evaluate_every=10, callbacks=[note])
    assert seen == [("code", 10), ("code", 20), ("code", 25), ("law", 10), ("law", 20)]
    assert [(r["stage"], r["step"]) for r in history.records] == seen
    assert history.stages == ["code", "law"]
    assert history.stopped == "finished"
    first = {
        "loss",
        "latent_size",
        "held_out_loss",
        "held_out_latent_size",
        "learning_rate",
        "gradient_norm",
        "seconds",
    }
    assert first <= set(history.records[0])
    assert np.array_equal(history.column("twice", stage="law"), [20, 40])
    assert np.isnan(history.column("latent_size")[3:]).all()
    assert (np.diff(history.column("seconds")) > 0).all()
    with pytest.raises(InvalidInput, match="did you mean 'loss'"):
        history.column("los")
    with pytest.raises(InvalidInput, match="stage="):
        history.column("loss", stage="none")


def test_the_held_out_loss_is_the_mean_over_the_held_out_points():
    torch.manual_seed(0)
    held = toy_data(700)[600:]

    class Plain(NoisyCoder):
        def loss(self, x):
            y = self.preprocess(x)
            return (y - self.decoder(self.encoder(y))).square().mean()

    model = Plain((5,))
    history = fit(model, toy_data(), steps=30, batch_size=32, held_out=held)
    with torch.no_grad():
        assert history.records[-1]["held_out_loss"] == pytest.approx(float(model.loss(held)), rel=1e-5)


def test_held_out_points_on_a_lattice_are_dequantised_as_in_training():
    """A density with spikes at the levels alone looks good at the levels, and no good where it is trained."""
    levels = torch.randint(0, 2, (700, 5), generator=torch.Generator().manual_seed(0)).float()
    seen = []

    class Watched(NoisyCoder):
        def __init__(self, data_shape):
            super().__init__(data_shape)
            self.preprocess = Preprocess(("dequantise",), data_shape)

        def loss(self, x):
            y = self.preprocess(x)
            if not self.training:
                seen.append(y.clone())
            return (y - self.decoder(self.encoder(y))).square().mean()

    model = Watched((5,))
    fit(model, levels[:600], steps=20, evaluate_every=10, batch_size=32, held_out=levels[600:])
    first, last = torch.cat(seen[: len(seen) // 2]), torch.cat(seen[len(seen) // 2 :])
    noise = first - levels[600:]
    assert torch.equal(first, last)  # the same noise every time
    assert noise.abs().max() <= 0.5
    assert noise.var() == pytest.approx(1 / 12, rel=0.15)


def test_held_out_points_on_levels_that_training_has_not_seen_are_left_out():
    rare = torch.randint(0, 5, (200, 1, 4, 4), generator=torch.Generator().manual_seed(0)).float()
    rare[7, 0, 0, 0] = 9.0
    model = create("pixelcnn", (1, 4, 4), hidden=(8,))
    with pytest.warns(UserWarning, match="1 of 100 held-out points have levels"):
        history = fit(model, rare[100:], steps=4, held_out=rare[:100])
    assert np.isfinite(history.column("held_out_loss")).all()


def test_the_figure_draws_each_stage_with_its_two_losses():
    history = fit(TwoStages((5,)), toy_data(), steps=30, evaluate_every=10)
    figure = history.figure()
    assert len(figure.axes) == 2
    for axis, stage in zip(figure.axes, history.stages, strict=True):
        training, held = axis.get_lines()
        assert np.array_equal(training.get_ydata(), history.column("loss", stage=stage))
        assert np.array_equal(held.get_ydata(), history.column("held_out_loss", stage=stage))
    assert History([]).figure().axes  # nothing to draw is no error


def test_numbers_that_are_not_finite_are_null_in_the_file(tmp_path):
    def spoil(event):
        event.record["odd"] = math.inf

    fit(NoisyCoder((5,)), toy_data(), steps=20, run=tmp_path, callbacks=[spoil])
    for line in (tmp_path / "history.jsonl").read_text().splitlines():
        assert json.loads(line, parse_constant=lambda word: pytest.fail(word))["odd"] is None


def test_tensorboard_reads_what_was_tracked(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    history = fit(NoisyCoder((5,)), toy_data(), steps=40, evaluate_every=10, run=tmp_path, tracker="tensorboard")
    events = reader.EventAccumulator(str(tmp_path / "logs")).Reload().Scalars("fit/loss")
    assert [event.step for event in events] == [10, 20, 30, 40]
    assert np.allclose([event.value for event in events], history.column("loss"))


def test_a_tracker_of_ones_own_and_a_missing_package(tmp_path, monkeypatch):
    class Mine:
        def __init__(self):
            self.rows = []

        def log(self, values, step):
            self.rows.append((step, values))

    mine = Mine()
    history = fit(NoisyCoder((5,)), toy_data(), steps=20, evaluate_every=10, tracker=mine)
    assert [(s, v["fit/loss"]) for s, v in mine.rows] == [(r["step"], r["loss"]) for r in history.records]

    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith(("tensorboard", "torch.utils.tensorboard")):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InvalidInput, match=r"submanifold\[tracking\]"):
        fit(NoisyCoder((5,)), toy_data(), steps=20, run=tmp_path, tracker="tensorboard")


def test_progress_shows_rate_and_time_left_when_asked(capsys):
    fit(NoisyCoder((5,)), toy_data(), steps=60, progress=True)
    shown = capsys.readouterr().err
    assert "training fit" in shown
    assert "60/60" in shown
    fit(NoisyCoder((5,)), toy_data(), steps=60)  # no terminal here
    assert capsys.readouterr().err == ""


def test_progress_waits_two_seconds_on_a_terminal(monkeypatch):
    bar = Progress(None)
    bar.update(1, 10, 1.0)
    assert bar._bar is None
    bar._start -= 3
    bar._drawn -= 3
    monkeypatch.setenv("FORCE_COLOR", "1")
    with bar:
        bar.update(2, 10, 1.0)
        assert bar._bar is not None
