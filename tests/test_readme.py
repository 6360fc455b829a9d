"""The examples of the README run as they stand, with shorter training."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.slow
def test_the_python_examples_run(tmp_path, monkeypatch):
    code = "\n".join(re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.S))
    monkeypatch.chdir(tmp_path)
    short = re.sub(r"steps=\d+", "steps=50", code)
    short = re.sub(r"(sm\.fit\((?![^\n]*steps=)[^\n]*)\)", r"\1, steps=50)", short)
    exec(short.replace('"two-step"])', '"two-step"], steps=50)'), {})
    assert (tmp_path / "report.html").stat().st_size > 100_000
    assert (tmp_path / "runs" / "vae" / "model.safetensors").exists()


def test_every_figure_is_there():
    for image in re.findall(r"!\[.*?\]\((.*?)\)", README.read_text("utf-8")):
        assert (README.parent / image).exists(), image
