"""The accelerator that a fit runs on, without a trace in the settings of the process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from submanifold.errors import InvalidInput

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["acceleration"]


@contextmanager
def acceleration(precision: str, device: str | torch.device | None) -> Iterator[Accelerator]:
    """An `accelerate.Accelerator` of the given precision, on `device` or on the best there is.

    accelerate keeps device and precision per process; both are put back at the end, so that the next fit, or the
    caller's own use of accelerate, may choose differently. In a process started by `accelerate launch` or `torchrun`
    the device is the launcher's choice.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, GradientState, PartialState

    chosen = None if device is None else _check_device(device)
    launched = int(os.environ.get("WORLD_SIZE", "1")) > 1
    kinds = (AcceleratorState, GradientState) if launched else (AcceleratorState, GradientState, PartialState)
    before = [dict(kind._shared_state) for kind in kinds]
    environment = os.environ.get("ACCELERATE_TORCH_DEVICE")
    for kind in kinds:
        kind._shared_state.clear()
    if chosen is not None and chosen.type != "cpu" and not launched:
        os.environ["ACCELERATE_TORCH_DEVICE"] = str(chosen)
    try:
        cpu = chosen is not None and chosen.type == "cpu"
        if precision == "fp16" and (cpu or not torch.accelerator.is_available()):
            raise InvalidInput('precision="fp16" needs a GPU: give "bf16" or "no" on the CPU')
        yield Accelerator(mixed_precision=precision, cpu=cpu, kwargs_handlers=_handlers())
    finally:
        if environment is None:
            os.environ.pop("ACCELERATE_TORCH_DEVICE", None)
        else:
            os.environ["ACCELERATE_TORCH_DEVICE"] = environment
        for kind, state in zip(kinds, before, strict=True):
            kind._shared_state.clear()
            kind._shared_state.update(state)


def _handlers() -> list[Any]:
    from accelerate import DistributedDataParallelKwargs

    # A loss may leave some of its parameters untouched in a step (a mixture component, a frozen branch).
    return [DistributedDataParallelKwargs(find_unused_parameters=True)]


def _check_device(device: str | torch.device) -> torch.device:
    """`device` as a torch device that a tensor can be put on."""
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidInput(f"device={str(device)!r} cannot be used: {reason}") from error
    return chosen
