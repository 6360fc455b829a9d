"""Models on disk: `model.safetensors`, which carries its own configuration, and `config.json`, a copy to read.

No pickle anywhere: a file can hold numbers and plain data, never code. Of a network of the user's own it holds the
weights and a word for what it was; whoever loads the model hands the module again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from submanifold.errors import InvalidInput
from submanifold.files import atomic_write_bytes, atomic_write_json, writable_folder
from submanifold.models.base import Model
from submanifold.models.catalogue import MODELS
from submanifold.nn.given import Maker, is_given, runs_own_code, word
from submanifold.nn.kan.network import KAN
from submanifold.nn.kan.symbolic_network import symbolic_like

__all__ = ["FORMAT", "configuration", "from_configuration", "load", "save"]

FORMAT = 1
"""Version of the files; a newer one is refused."""

WEIGHTS, CONFIG = "model.safetensors", "config.json"
_KEY = "submanifold"
_MODULE = "module"
"""The key under which a configuration says what a network of the user's own was."""
_PLAIN = (str, int, float, bool, type(None))


def save(model: Model, folder: str | Path) -> Path:
    """Write `model` to `folder`, made if it is missing; files that are there stay whole until the new ones are.

    Returns:
        The folder.

    Raises:
        InvalidInput: for a model of an unregistered class, an argument of it without a JSON form, a module in it with a
            state that is no tensors, or a folder that cannot be written to.
        OSError: the disk is full; the previous files are unchanged.
    """
    described = {"format": FORMAT, **configuration(model)}
    folder = writable_folder(folder, name="folder")
    state = {name: _numbers(value, name) for name, value in model.state_dict().items()}
    atomic_write_bytes(folder / WEIGHTS, to_bytes(state, metadata={_KEY: json.dumps(described)}))
    atomic_write_json(folder / CONFIG, described)
    return folder


def load(folder: str | Path, modules: Mapping[str, nn.Module | Maker] | None = None) -> Model:
    """The model that `save` wrote to `folder`, equal to the bit, in evaluation mode, as are `modules` then.

    The configuration is the one inside `model.safetensors`; `config.json` is not read.

    Args:
        folder: where it is.
        modules: networks of the user's own that the model was made with, built as they were then, by the argument that
            they were, such as "network", "network.encoder", or "autoencoder.network.encoder" of a two-step model. They
            get the weights in the file, in place, and its precision; the model is on the device that they are on. A
            model without any needs none.

    Raises:
        InvalidInput: for a missing, truncated or foreign file, a newer format, an unknown model, weights of another
            model than the configuration's, or other `modules` than it was made with; their weights are then what they
            were.
    """
    path = Path(folder) / WEIGHTS
    metadata, state = _read(path)
    described = _described(metadata, path)
    try:
        _check_modules(described, modules or {}, folder)
        with _Budget(10_000_000 + 50 * sum(tensor.numel() for tensor in state.values())):
            model = from_configuration(described, modules)
            _take_functions(model, state)
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InvalidInput(f"{str(path)!r} holds a configuration that makes no model ({error})") from error
    wrong = _difference(model.state_dict(), state) or _fill(model, state, put_back=bool(modules))
    if wrong:
        raise InvalidInput(f"{str(path)!r} is a checkpoint of another model: {wrong}")
    elsewhere = [tensor.device for tensor in model.state_dict().values() if tensor.device.type != "cpu"]
    if elsewhere:
        model.to(elsewhere[0])
    return model.eval()


def configuration(model: Model) -> dict[str, Any]:
    """The registered name and the constructor's arguments of `model`, as JSON-able data.

    Raises:
        InvalidInput: for an unregistered class, or an argument that has no JSON form.
    """
    name = MODELS.name_of(type(model))
    return {"model": name, "config": _encoded(model.config, name)}


def from_configuration(
    described: Mapping[str, Any], modules: Mapping[str, nn.Module | Maker] | None = None, *, within: str = ""
) -> Model:
    """A fresh model from what `configuration` returned, with `modules` as in `load`.

    Raises:
        InvalidInput: for an unknown model, with the nearest match, or arguments that it refuses.
    """
    known = modules or {}

    def decoded(value: Any, where: str) -> Any:
        if _is_model(value):
            return from_configuration(value, known, within=f"{where}.")
        if _is_module(value):
            return known[where]
        if isinstance(value, Mapping):
            return {key: decoded(item, f"{where}.{key}") for key, item in value.items()}
        return value

    make: Callable[..., Model] = MODELS[described["model"]]
    return make(**{key: decoded(value, within + key) for key, value in described["config"].items()})


def _take_functions(model: Model, state: Mapping[str, Tensor]) -> None:
    """Known functions in place of edges of KANs, where the file has some."""
    for name, part in [*model.named_modules()]:
        if isinstance(part, KAN) and (known := symbolic_like(part, state, f"{name}.")) is not None:
            model.set_submodule(name, known)


def _difference(here: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str | None:
    """What a file lacks of a model's state, or has besides; None if nothing."""
    for name, tensor in here.items():
        if name not in state:
            return f"it lacks {name}"
        if tensor.is_floating_point() != state[name].is_floating_point():
            return f"{name} is {state[name].dtype} in it and should be {tensor.dtype}"
    return next((f"it has {name} too much" for name in state if name not in here), None)


def _fill(model: Model, state: Mapping[str, Tensor], *, put_back: bool) -> str | None:
    """Give a model the numbers of a file, in place, so that what is tied stays so and optimisers know their parameters.

    Returns:
        Why it does not take them, or None; shapes are known to its parts alone, of which some can grow. It is then as
        it was if that is to be `put_back`.
    """
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()} if put_back else {}
    try:
        _set(model, state)
    except (RuntimeError, ValueError) as error:
        if put_back:
            _set(model, before)
        return str(error).splitlines()[-1].strip()
    return None


def _set(model: Model, state: Mapping[str, Tensor]) -> None:
    """Precision and numbers of a state with a model's names."""
    kinds = {tensor.dtype for tensor in state.values() if tensor.is_floating_point()}
    here = model.state_dict(keep_vars=True)
    if len(kinds) == 1 and any(tensor.dtype != state[name].dtype for name, tensor in here.items()):
        model.to(dtype=kinds.pop())  # and what is not in files
    for name, tensor in model.state_dict(keep_vars=True).items():
        tensor.data = tensor.data.to(state[name].dtype)
    model.load_state_dict(state)


def _numbers(value: Any, name: str) -> Tensor:
    """A tensor of a model's state as it is written."""
    if not isinstance(value, Tensor):
        raise InvalidInput(f"{name} is a {type(value).__name__} and cannot be saved: files hold tensors alone")
    return value.detach().cpu().contiguous().clone()


def _check_modules(described: Mapping[str, Any], modules: Mapping[str, Any], folder: str | Path) -> None:
    """Refuse `modules` that are not those which the model was made with."""
    needed = dict(_modules_in(described["config"], ""))
    if set(needed) == set(modules) and all(is_given(module) for module in modules.values()):
        return
    was = ", ".join(f'"{where}": {what}' for where, what in needed.items())
    if needed:
        raise InvalidInput(
            f"{str(folder)!r} holds a model with networks of your own, of which files hold weights and no code: give "
            f"modules={{{was}}}, with modules built as they were"
        )
    raise InvalidInput(f"{str(folder)!r} holds a model without networks of your own: leave out modules")


def _modules_in(config: Mapping[str, Any], within: str) -> Iterator[tuple[str, str]]:
    """Where in a configuration there were modules, and what they were."""
    for key, value in config.items():
        if _is_module(value):
            yield within + key, str(value[_MODULE])
        elif isinstance(value, Mapping):
            inner = value["config"] if _is_model(value) and isinstance(value["config"], Mapping) else value
            yield from _modules_in(inner, f"{within}{key}.")


def _is_model(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) == {"model", "config"}


def _is_module(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) == {_MODULE}


def _encoded(config: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """`config` with classes of models, and modules, replaced by their names."""
    return {
        key: _encoded_value(value, f"argument {key!r} of {owner}", is_network=key == "network")
        for key, value in config.items()
    }


def _encoded_value(value: Any, where: str, *, is_network: bool) -> Any:
    if _is_model(value):
        name = MODELS.name_of(value["model"])
        return {"model": name, "config": _encoded(value["config"], name)}
    if is_network and is_given(value):
        return {_MODULE: word(value)}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _encoded_value(item, where, is_network=is_network) for key, item in value.items()}
    if isinstance(value, list):
        return [_encoded_value(item, where, is_network=is_network) for item in value]
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
            return file.metadata() or {}, {name: file.get_tensor(name) for name in list(file.keys())}
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
    """Refuses to make many more numbers than a file holds, before they are filled in and take up memory.

    What networks of the user's own do is not counted, since the file does not say it.
    """

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.left = numbers

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if runs_own_code():
            return func(*args, **(kwargs or {}))
        try:
            result = func(*args, **(kwargs or {}))
        except (MemoryError, RuntimeError) as error:
            raise InvalidInput(f"the configuration asks for a model that does not fit in memory ({error})") from error
        if isinstance(result, Tensor):
            self.left -= result.numel()
            if self.left < 0:
                raise InvalidInput("the configuration asks for a much larger model than the file holds")
        return result
