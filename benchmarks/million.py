"""The dimension of a million points in 784 coordinates, 3.1 GB of single precision that are never in memory whole.

A Gaussian of 10 dimensions, rotated, with a thousandth of noise, is written to a file; `submanifold dimension FILE
--json` is then run as from a shell, on all processors. Its peak memory counts pages of the file that the system keeps
for it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["run"]

N, D, DIMENSION, BLOCK = 1_000_000, 784, 10, 50_000


def run() -> list[dict[str, Any]]:
    """One row: seconds, processor seconds, peak memory, how neighbours were found, and the dimension."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "points.npy"
        _write(path)
        start = time.perf_counter()
        command = [sys.executable, "-c", "from submanifold.cli import main; main()", "dimension", str(path), "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            answer = child.stdout.read()
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise subprocess.CalledProcessError(child.returncode, command)
        seconds = time.perf_counter() - start
    found = json.loads(answer)
    return [
        {
            "task": f"n = {N}, D = {D}, d = {DIMENSION}",
            "seconds": seconds,
            "CPU-s": usage.ru_utime + usage.ru_stime,
            "peak MB": usage.ru_maxrss / 1024,
            "search": found["search"],
            "recall": found["recall"],
            "dimension": found["dimension"],
            "95% interval": "[{:.3g}, {:.3g}]".format(*found["interval"]),
        }
    ]


def _write(path: Path) -> None:
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.standard_normal((D, DIMENSION)))[0].T
    points = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(N, D))
    for start in range(0, N, BLOCK):
        Z = rng.standard_normal((BLOCK, DIMENSION)) @ directions
        points[start : start + BLOCK] = Z + 0.001 * rng.standard_normal(Z.shape)
    points.flush()
