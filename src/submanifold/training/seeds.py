"""Randomness without state: each draw's seed is a function of where in training it happens.

Noise of step s comes from a generator seeded by (seed, stage, s), the order of epoch e from one seeded by
(seed, stage, e). Nothing has to be stored to go on exactly where training stopped, evaluations cannot disturb
training, and each of several processes has its own stream.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["derive_seed", "own_randomness", "seed_noise"]


def derive_seed(*place: int | str) -> int:
    """A 63-bit seed that depends on every part of `place`; different places give unrelated seeds."""
    digest = hashlib.blake2b(repr(place).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def seed_noise(device: torch.device, *place: int | str) -> None:
    """Seed torch's global generators, of the CPU and of `device`, for what happens at `place`."""
    seed = derive_seed(*place)
    torch.default_generator.manual_seed(seed)  # `torch.manual_seed` visits every back end: 100 us
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


@contextmanager
def own_randomness(device: torch.device) -> Iterator[None]:
    """Whatever is drawn inside leaves the caller's global generators as they were."""
    if device.type == "cpu":
        with torch.random.fork_rng(devices=[]):
            yield
    else:
        index = device.index or 0
        with torch.random.fork_rng(devices=[index], device_type=device.type):
            yield
