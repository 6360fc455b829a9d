"""Parts of experiments, done side by side and kept."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from submanifold.errors import InvalidInput
from submanifold.reproduce import jobs, run

SETTINGS = {"seeds": 2, "sizes": (110,), "dimensions": (2, 5)}


def kept(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_a_kept_part_is_not_made_again_and_a_missing_or_broken_one_is(tmp_path):
    def outcome(folder=None):
        return run("dimension-intervals", folder=folder, **SETTINGS)

    bare, first = outcome(), outcome(tmp_path)
    made = kept(tmp_path)
    assert len(made) == 8  # three laws of two dimensions each, two of bits in five
    missing, broken, *others = sorted(made)
    (tmp_path / missing).unlink()
    (tmp_path / broken).write_text("[1, ")
    again = outcome(tmp_path)
    assert bare.rows == first.rows == again.rows
    assert set(kept(tmp_path)) == set(made)
    assert all(kept(tmp_path)[name] == made[name] for name in others)
    json.loads((tmp_path / broken).read_text())


def test_a_killed_experiment_goes_on(tmp_path):
    told = f"from submanifold.reproduce import run; run('dimension-intervals', folder={str(tmp_path)!r}, **{SETTINGS})"
    child = subprocess.Popen([sys.executable, "-c", told], start_new_session=True)
    end = time.monotonic() + 120
    while not any(tmp_path.glob("*.json")) and child.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    made = {name: at for name, at in kept(tmp_path).items() if name.endswith(".json")}
    assert made
    assert run("dimension-intervals", folder=tmp_path, **SETTINGS).rows == run("dimension-intervals", **SETTINGS).rows
    assert all(kept(tmp_path)[name] == at for name, at in made.items())


def test_a_part_is_another_by_other_arguments_data_or_code(tmp_path, monkeypatch):
    data = tmp_path / "x.csv"
    data.write_text("1")
    digests = [jobs._digest(len, (range(3), "a")), jobs._digest(len, (range(4), "a")), jobs._digest(max, (range(3),))]
    digests.append(jobs._digest(len, (str(data),)))
    data.write_text("2")
    digests.append(jobs._digest(len, (str(data),)))
    monkeypatch.setattr(jobs, "_code", lambda: "other")
    digests.append(jobs._digest(len, (range(3), "a")))
    assert len(set(digests)) == len(digests)


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match="folder"):
        run("dimension-intervals", folder=tmp_path / "file", **SETTINGS)
    with pytest.raises(InvalidInput, match="folder="):
        run("parallel-segments", folder=tmp_path)
