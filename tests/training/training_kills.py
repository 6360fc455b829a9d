"""Run as a program: fits a toy once undisturbed, and once killed at random moments until it gets through.

    python training_kills.py TOY FOLDER SEED

Each attempt is a process of its own (a fork, so that torch is loaded once), killed by SIGKILL.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import accelerate  # noqa: F401  (before the forks)
import torch
from training_toys import TOYS, toy_data

from submanifold.models import MODELS
from submanifold.training import fit

KILLS = 5


def attempt(toy: str, folder: Path) -> None:
    torch.manual_seed(0)
    model = TOYS[toy]((5,))
    settings = {"steps": 120, "ema": 0.9, "patience": 8, "batch_size": 64, "evaluate_every": 7}
    fit(model, toy_data(), run=folder, checkpoint_every=5, progress=False, seed=1, **settings)


def fork(toy: str, folder: Path) -> int:
    child = os.fork()
    if child == 0:
        try:
            attempt(toy, folder)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return child


def main(toy: str, root: Path, seed: int) -> None:
    for name, model in TOYS.items():
        MODELS.register(name)(model)
    start = time.perf_counter()
    assert os.waitpid(fork(toy, root / "whole"), 0)[1] == 0
    length = time.perf_counter() - start
    moments = random.Random(seed)
    killed = 0
    for _ in range(KILLS):
        child = fork(toy, root / "cut")
        time.sleep(moments.uniform(0, 0.5 * length))
        os.kill(child, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    assert os.waitpid(fork(toy, root / "cut"), 0)[1] == 0
    print(killed)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
