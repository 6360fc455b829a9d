"""What is imported when: nothing heavy before it is needed."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

HEAVY = ("torch", "sklearn", "matplotlib", "plotly", "scipy", "jinja2", "faiss", "zuko", "accelerate", "ot", "numpy")


def _loaded(code: str) -> set[str]:
    """Heavy packages that are loaded after `code` ran in a fresh interpreter."""
    report = f"import sys; print('LOADED', [m for m in {HEAVY!r} if m in sys.modules])"
    shown = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True, timeout=60
    )
    last = shown.stdout.splitlines()[-1]
    assert last.startswith("LOADED")
    return set(last.removeprefix("LOADED").strip(" []").replace("'", "").split(", ")) - {""}


@pytest.mark.parametrize(
    "code",
    [
        "import submanifold",
        "import submanifold; dir(submanifold)",
        "import submanifold.cli",
        "from typer.testing import CliRunner; from submanifold.cli import app; "
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0",
        "from typer.testing import CliRunner; from submanifold.cli import app; "
        "assert CliRunner().invoke(app, ['lens', '--help']).exit_code == 0",
        "from typer.testing import CliRunner; from submanifold.cli import app; "
        "assert CliRunner().invoke(app, ['--version']).exit_code == 0",
        "from typer.testing import CliRunner; from submanifold.cli import app; "
        "assert CliRunner().invoke(app, ['list', 'findings']).exit_code == 0",
    ],
)
def test_nothing_heavy_is_imported(code: str) -> None:
    assert _loaded(code) == set()


@pytest.mark.parametrize("package", ["data", "dimension", "geometry", "lens", "models", "nn", "report", "training"])
def test_packages_are_lazy(package: str) -> None:
    assert _loaded(f"import submanifold; submanifold.{package}") <= {"numpy"}


def test_plotting_draws_nothing_on_import() -> None:
    assert _loaded("import submanifold.plotting") <= {"numpy"}


def test_every_public_name_resolves() -> None:
    code = (
        "import importlib, pkgutil, submanifold\n"
        "found = pkgutil.iter_modules(submanifold.__path__, 'submanifold.')\n"
        "for name in ['submanifold', *(module.name for module in found)]:\n"
        "    module = importlib.import_module(name)\n"
        "    missing = [n for n in getattr(module, '__all__', ()) if not hasattr(module, n)]\n"
        "    assert not missing, (name, missing)\n"
    )
    subprocess.run([sys.executable, "-W", "error::DeprecationWarning:submanifold", "-c", code], check=True, timeout=120)


def test_help_answers_at_once() -> None:
    command = [sys.executable, "-c", "from submanifold.cli import main; main()", "--help"]
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True, timeout=30)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.8  # 0.15 s on an idle machine
