"""Models on disk: `model.safetensors`, which carries its own configuration, and `config.json`, a copy to read.

No pickle anywhere: a file can hold numbers and plain data, never code.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor
from torch.overrides import TorchFunctionMode

from submanifold.errors import InvalidInput
from submanifold.files import atomic_write_bytes, atomic_write_json, writable_folder
from submanifold.models.base import Model
from submanifold.models.catalogue import MODELS

__all__ = ["FORMAT", "configuration", "from_configuration", "load", "save"]

FORMAT = 1
"""Version of the files; a newer one is refused."""

WEIGHTS, CONFIG = "model.safetensors", "config.json"
_KEY = "submanifold"
_PLAIN = (str, int, float, bool, type(None))


def save(model: Model, folder: str | Path) -> Path:
    """Write `model` to `folder`, made if it is missing; files that are there stay whole until the new ones are.

    Returns:
        The folder.

    Raises:
        InvalidInput: for a model of an unregistered class, an argument of it without a JSON form, or a folder that
            cannot be written to.
        OSError: the disk is full; the previous files are unchanged.
    """
    described = {"format": FORMAT, **configuration(model)}
    folder = writable_folder(folder, name="folder")
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    atomic_write_bytes(folder / WEIGHTS, to_bytes(state, metadata={_KEY: json.dumps(described)}))
    atomic_write_json(folder / CONFIG, described)
    return folder


def load(folder: str | Path) -> Model:
    """The model that `save` wrote to `folder`, equal to the bit, in evaluation mode.

    The configuration is the one inside `model.safetensors`; `config.json` is not read.

    Raises:
        InvalidInput: for a missing, truncated or foreign file, a newer format, an unknown model, or weights of another
            model than the configuration's.
    """
    path = Path(folder) / WEIGHTS
    metadata, state = _read(path)
    described = _described(metadata, path)
    try:
        with _Budget(10_000_000 + 50 * sum(tensor.numel() for tensor in state.values())):
            model = from_configuration(described)
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InvalidInput(f"{str(path)!r} holds a configuration that makes no model ({error})") from error
    try:
        missing, unexpected = model.load_state_dict(state, strict=False, assign=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise InvalidInput(f"{str(path)!r} is a checkpoint of another model: {reason}") from error
    if missing or unexpected:
        named = f"it lacks {missing[0]}" if missing else f"it has {unexpected[0]} too much"
        raise InvalidInput(f"{str(path)!r} is a checkpoint of another model: {named}")
    return model.eval()


def configuration(model: Model) -> dict[str, Any]:
    """The registered name and the constructor's arguments of `model`, as JSON-able data.

    Raises:
        InvalidInput: for an unregistered class, or an argument that has no JSON form.
    """
    name = MODELS.name_of(type(model))
    return {"model": name, "config": _encoded(model.config, name)}


def from_configuration(described: Mapping[str, Any]) -> Model:
    """A fresh model from what `configuration` returned.

    Raises:
        InvalidInput: for an unknown model, with the nearest match, or arguments that it refuses.
    """
    arguments = {
        key: from_configuration(value) if _is_model(value) else value for key, value in described["config"].items()
    }
    make: Callable[..., Model] = MODELS[described["model"]]
    return make(**arguments)


def _is_model(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) == {"model", "config"}


def _encoded(config: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """`config` with classes of models replaced by their names."""
    return {key: _encoded_value(value, f"argument {key!r} of {owner}") for key, value in config.items()}


def _encoded_value(value: Any, where: str) -> Any:
    if _is_model(value):
        name = MODELS.name_of(value["model"])
        return {"model": name, "config": _encoded(value["config"], name)}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _encoded_value(item, where) for key, item in value.items()}
    if isinstance(value, list):
        return [_encoded_value(item, where) for item in value]
    if isinstance(value, _PLAIN) and not (isinstance(value, float) and not math.isfinite(value)):
        return value
    raise InvalidInput(
        f"{where} is {value!r} and cannot be saved: give numbers, text, lists of them, or registered models"
    )


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a safetensors file."""
    if not path.is_file():
        raise InvalidInput(f"{str(path.parent)!r} holds no {WEIGHTS}: give a folder that submanifold.save wrote")
    try:
        with safe_open(path, framework="pt") as file:
            # copies are aligned as fresh tensors are, and products of matrices round by that
            return file.metadata() or {}, {name: file.get_tensor(name).clone() for name in list(file.keys())}
    except (SafetensorError, OSError) as error:
        raise InvalidInput(f"{str(path)!r} is not a whole safetensors file ({error}): save the model again") from error


def _described(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    """The configuration in a file's metadata."""
    try:
        described = json.loads(metadata[_KEY])
        version, model, config = described["format"], described["model"], dict(described["config"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(
            f"{str(path)!r} does not say which model it holds: give a folder that submanifold.save wrote"
        ) from error
    if version != FORMAT:
        raise InvalidInput(f"{str(path)!r} has format {version!r}: this version of submanifold reads format {FORMAT}")
    return {"model": model, "config": config}


class _Budget(TorchFunctionMode):
    """Refuses to make many more numbers than a file holds, before they are filled in and take up memory."""

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.left = numbers

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        try:
            result = func(*args, **(kwargs or {}))
        except (MemoryError, RuntimeError) as error:
            raise InvalidInput(f"the configuration asks for a model that does not fit in memory ({error})") from error
        if isinstance(result, Tensor):
            self.left -= result.numel()
            if self.left < 0:
                raise InvalidInput("the configuration asks for a much larger model than the file holds")
        return result
