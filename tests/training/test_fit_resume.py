"""A run that was killed, interrupted or repeated ends like one that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_toys import TOYS, NoisyCoder, TwoStages, toy_data

from submanifold.errors import InvalidInput
from submanifold.models import MODELS, load
from submanifold.training import fit

HERE = Path(__file__).parent
SETTINGS = {"steps": 60, "batch_size": 64, "evaluate_every": 10, "checkpoint_every": 10, "seed": 1}


@pytest.fixture(autouse=True)
def toys_are_registered(monkeypatch):
    for name, model in TOYS.items():
        monkeypatch.setitem(MODELS._table, name, model)


def history_of(folder: Path) -> list[dict]:
    records = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


def same_files(a: Path, b: Path) -> bool:
    return (a / "model.safetensors").read_bytes() == (b / "model.safetensors").read_bytes()


def coder(seed: int = 0, **kwargs) -> NoisyCoder:
    torch.manual_seed(seed)
    return NoisyCoder((5,), **kwargs)


@pytest.mark.parametrize("toy", ["toy-coder", "toy-two-stages", "toy-closed-form"])
def test_a_run_killed_at_random_moments_ends_bit_for_bit_like_an_undisturbed_one(toy, tmp_path):
    command = [sys.executable, str(HERE / "training_kills.py"), toy, str(tmp_path), "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= (1 if toy != "toy-closed-form" else 0), "no attempt was killed before its end"
    assert same_files(tmp_path / "whole", tmp_path / "cut")
    assert history_of(tmp_path / "whole") == history_of(tmp_path / "cut")


class Cut(Exception):
    """Stands for a crash."""


@pytest.mark.parametrize("model", [NoisyCoder, TwoStages])
@pytest.mark.parametrize("crash", [1, 4, 8])
@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_crash_between_checkpoints_costs_nothing(model, crash, ema, tmp_path):
    settings = SETTINGS | {"ema": ema, "evaluate_every": 5, "checkpoint_every": 7, "patience": 50}
    seen = 0

    def crashing(event):
        nonlocal seen
        seen += 1
        if seen == crash:
            raise Cut

    torch.manual_seed(0)
    fit(model((5,)), toy_data(), run=tmp_path / "whole", **settings)
    torch.manual_seed(0)
    with pytest.raises(Cut):
        fit(model((5,)), toy_data(), run=tmp_path / "cut", callbacks=[crashing], **settings)
    torch.manual_seed(99)  # the weights that a resumed run is given do not matter
    fit(model((5,)), toy_data(), run=tmp_path / "cut", **settings)
    assert same_files(tmp_path / "whole", tmp_path / "cut")
    assert history_of(tmp_path / "whole") == history_of(tmp_path / "cut")


@pytest.mark.parametrize("moment", ["prepare_law", "finish"])
def test_a_crash_between_the_stages_costs_nothing(moment, tmp_path, monkeypatch):
    def crashing(self, x):
        raise Cut

    torch.manual_seed(0)
    fit(TwoStages((5,)), toy_data(), run=tmp_path / "whole", **SETTINGS)
    torch.manual_seed(0)
    with monkeypatch.context() as patch:
        patch.setattr(TwoStages, moment, crashing)
        with pytest.raises(Cut):
            fit(TwoStages((5,)), toy_data(), run=tmp_path / "cut", **SETTINGS)
    fit(TwoStages((5,)), toy_data(), run=tmp_path / "cut", **SETTINGS)
    assert same_files(tmp_path / "whole", tmp_path / "cut")
    assert history_of(tmp_path / "whole") == history_of(tmp_path / "cut")


def test_a_stop_before_its_time_stays_one_after_a_crash(tmp_path):
    # the weights run away from the best ones at this rate: the held-out loss stops improving soon
    settings = SETTINGS | {"steps": 400, "learning_rate": 0.3, "clip": None, "evaluate_every": 2, "patience": 3}
    settings |= {"checkpoint_every": 1, "schedule": "constant"}
    whole = fit(coder(), toy_data(), run=tmp_path / "whole", **settings)
    assert "stopped early" in whole.stopped
    count = len(whole.records)
    seen = 0

    def crashing(event):
        nonlocal seen
        seen += 1
        if seen == count - 1:
            raise Cut

    with pytest.raises(Cut):
        fit(coder(), toy_data(), run=tmp_path / "cut", callbacks=[crashing], **settings)
    again = fit(coder(5), toy_data(), run=tmp_path / "cut", **settings)
    assert again.stopped == whole.stopped
    assert same_files(tmp_path / "whole", tmp_path / "cut")


def test_ctrl_c_keeps_the_step_under_way(tmp_path):
    handler = signal.getsignal(signal.SIGINT)
    whole = fit(coder(), toy_data(), run=tmp_path / "whole", **SETTINGS)

    def press(event):
        if event.step == 30:
            os.kill(os.getpid(), signal.SIGINT)

    model = coder()
    with pytest.raises(KeyboardInterrupt):
        fit(model, toy_data(), run=tmp_path / "cut", callbacks=[press], **SETTINGS)
    assert not model.training
    assert len(history_of(tmp_path / "cut")) == 3
    saved = load(tmp_path / "cut").state_dict()  # usable as it is
    assert all(torch.equal(saved[name], tensor) for name, tensor in model.state_dict().items())
    again = fit(coder(3), toy_data(), run=tmp_path / "cut", **SETTINGS)
    assert same_files(tmp_path / "whole", tmp_path / "cut")
    assert [r["loss"] for r in again.records] == [r["loss"] for r in whole.records]
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_finished_run_is_given_back_at_once(tmp_path):
    first = fit(coder(), toy_data(), run=tmp_path, **SETTINGS)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    model = coder(8)

    def unexpected(event):
        raise AssertionError("trained again")

    second = fit(model, toy_data(), run=tmp_path, callbacks=[unexpected], **SETTINGS)
    assert second == first
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    stored = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(stored[name], tensor) for name, tensor in model.state_dict().items())


def test_starting_over_forgets_the_first_run(tmp_path):
    fit(coder(), toy_data(), run=tmp_path, **SETTINGS)
    fit(coder(), toy_data(), run=tmp_path, resume=False, **(SETTINGS | {"steps": 20}))
    assert [record["step"] for record in history_of(tmp_path)] == [10, 20]


def test_a_run_of_something_else_is_refused(tmp_path):
    fit(coder(), toy_data(), run=tmp_path, **SETTINGS)
    changed = toy_data()
    changed[17, 2] += 1e-3
    with pytest.raises(InvalidInput, match="another data"):
        fit(coder(), changed, run=tmp_path, **SETTINGS)
    with pytest.raises(InvalidInput, match="another data"):
        fit(coder(), toy_data(), run=tmp_path, held_out=0.2, **SETTINGS)
    with pytest.raises(InvalidInput, match="another model"):
        fit(coder(latent_dim=3), toy_data(), run=tmp_path, **SETTINGS)
    with pytest.raises(InvalidInput, match=r"learning_rate=0\.001, not 0\.01"):
        fit(coder(), toy_data(), run=tmp_path, learning_rate=0.01, **SETTINGS)


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_a_damaged_state_is_refused(tmp_path, keep):
    fit(coder(), toy_data(), run=tmp_path, **SETTINGS)
    state = tmp_path / "trainer.safetensors"
    state.write_bytes(state.read_bytes()[:keep])
    with pytest.raises(InvalidInput, match="trainer"):
        fit(coder(), toy_data(), run=tmp_path, **SETTINGS)


def test_a_full_disk_leaves_the_last_checkpoint_to_go_on_from(tmp_path, monkeypatch):
    fit(coder(), toy_data(), run=tmp_path / "whole", **SETTINGS)
    real = os.fsync
    calls = 0

    def full(descriptor):
        nonlocal calls
        calls += 1
        if calls == 9:
            raise OSError(28, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            fit(coder(), toy_data(), run=tmp_path / "cut", **SETTINGS)
    assert not list((tmp_path / "cut").glob("*.part"))
    fit(coder(4), toy_data(), run=tmp_path / "cut", **SETTINGS)
    assert same_files(tmp_path / "whole", tmp_path / "cut")


def test_what_cannot_be_saved_is_refused_before_training(tmp_path, monkeypatch):
    class Unknown(NoisyCoder):
        pass

    with pytest.raises(InvalidInput, match="not a registered model"):
        fit(Unknown((5,)), toy_data(), run=tmp_path, **SETTINGS)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(InvalidInput, match="run="):
        fit(coder(), toy_data(), run=file, **SETTINGS)
    with pytest.raises(InvalidInput, match="run="):
        fit(coder(), toy_data(), run="/proc/nowhere", **SETTINGS)
