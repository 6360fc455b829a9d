"""Everything that a fit needs to go on, in one safetensors file: tensors by part, plain facts as JSON beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from submanifold.errors import InvalidInput
from submanifold.files import atomic_write_bytes

__all__ = ["Checkpoint", "ModuleState", "ScalerState", "Stateful", "read", "write"]

FORMAT = 1


class Stateful(Protocol):
    """A part of training with a state that is written to checkpoints."""

    def tensors(self) -> Mapping[str, Tensor]:
        """The state's tensors."""
        ...

    def facts(self) -> Mapping[str, Any]:
        """The rest of the state, JSON-able."""
        ...

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Take over a state that was written."""
        ...


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read: `facts` about the run as a whole, and the state of each part."""

    facts: dict[str, Any]
    part_tensors: dict[str, dict[str, Tensor]]
    part_facts: dict[str, dict[str, Any]]

    def restore(self, parts: Mapping[str, Stateful]) -> None:
        """Give each part its state back; parts that had none are left alone."""
        for name, part in parts.items():
            if name in self.part_facts:
                part.restore(self.part_tensors.get(name, {}), self.part_facts[name])


def write(path: Path, parts: Mapping[str, Stateful], facts: Mapping[str, Any]) -> None:
    """Write the state of all parts to `path`, all or nothing."""
    from safetensors.torch import save

    tensors = {
        f"{part}/{name}": tensor.detach().to("cpu", copy=True).contiguous()
        for part, state in parts.items()
        for name, tensor in state.tensors().items()
    }
    plain = {
        "format": FORMAT,
        "facts": facts,
        "parts": {part: state.facts() for part, state in parts.items()},
    }
    atomic_write_bytes(path, save(tensors, metadata={"trainer": json.dumps(plain)}))


def read(path: Path) -> Checkpoint:
    """The checkpoint at `path`.

    Raises:
        InvalidInput: the file is not a checkpoint of this version of the trainer, or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            plain = json.loads((file.metadata() or {})["trainer"])
            stored = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise InvalidInput(f"{path} is not a trainer state, or is damaged: {error}") from error
    if plain["format"] != FORMAT:
        raise InvalidInput(f"{path} has format {plain['format']}: this version reads {FORMAT}")
    tensors: dict[str, dict[str, Tensor]] = {}
    for key, tensor in stored.items():
        part, name = key.split("/", 1)
        tensors.setdefault(part, {})[name] = tensor
    return Checkpoint(plain["facts"], tensors, plain["parts"])


class ModuleState:
    """The state of a module: parameters, buffers, and extra state where it is JSON-able."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers."""
        return {k: v for k, v in self.module.state_dict().items() if isinstance(v, Tensor)}

    def facts(self) -> dict[str, Any]:
        """Extra state that is not a tensor."""
        return {k: v for k, v in self.module.state_dict().items() if not isinstance(v, Tensor)}

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Load the state; buffers whose size depends on the data take the size they had."""
        for name, value in tensors.items():
            owner, _, leaf = name.rpartition(".")
            buffers = self.module.get_submodule(owner)._buffers
            if leaf in buffers and getattr(buffers[leaf], "shape", None) != value.shape:
                buffers[leaf] = torch.empty_like(value, device=_device_of(self.module))
        self.module.load_state_dict({**tensors, **facts})


class ScalerState:
    """The state of half precision's gradient scaler, which other precisions do without."""

    def __init__(self, scaler: Any) -> None:
        self.scaler = scaler

    def tensors(self) -> dict[str, Tensor]:
        """None: the scale is a number."""
        return {}

    def facts(self) -> dict[str, Any]:
        """Scale and growth counter."""
        return {} if self.scaler is None else dict(self.scaler.state_dict())

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Go on with a stored scale."""
        if self.scaler is not None:
            self.scaler.load_state_dict(dict(facts))


def _device_of(module: nn.Module) -> torch.device:
    tensors = [*module.parameters(), *module.buffers()]
    return tensors[0].device if tensors else torch.device("cpu")
