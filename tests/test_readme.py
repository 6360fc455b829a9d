"""The example of the README runs as it stands, with shorter training."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.slow
def test_the_python_example_runs(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.S)
    monkeypatch.chdir(tmp_path)
    short = code.replace("steps=2000", "steps=50").replace("sm.fit(two_step, X)", "sm.fit(two_step, X, steps=50)")
    exec(short.replace('"two-step"])', '"two-step"], steps=50)'), {})
    assert (tmp_path / "report.html").stat().st_size > 100_000
    assert (tmp_path / "runs" / "vae" / "model.safetensors").exists()


def test_every_figure_is_there():
    for image in re.findall(r"!\[.*?\]\((.*?)\)", README.read_text("utf-8")):
        assert (README.parent / image).exists(), image
