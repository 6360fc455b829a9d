"""What `network=` says: one of our networks by name, or one of the user's own.

It is a name; a name with options, as {"name": "kan", "grid": 20, "order": 2}, those of `submanifold.nn.KANLinear` and
of its basis; a module; a callable that makes a module for an input shape and an output shape; or a mapping from roles,
the names of a model's networks, to any of these. What is a name, with options or without, goes into a model's
configuration and its files. Modules are taken as they are and not copied, as by `nn.Sequential`: training the model
trains them, and models that are given the same module share it, while one that learns has one role in a model. They are
tried in the precision and on the device that they have; `model.to(...)` brings the model there.

A model keeps what it was made with in its configuration. To pickle it, as some tools do that copy models to other
processes, give modules or functions that can be pickled; lambdas and functions within functions cannot. `copy.deepcopy`
and `submanifold.save` do without.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from submanifold.checks import check_choice
from submanifold.errors import InvalidInput
from submanifold.nn.kan.network import check_options

__all__ = [
    "BegunAtZero",
    "Maker",
    "NetworkLike",
    "OneNetwork",
    "given_network",
    "is_given",
    "is_named",
    "made_network",
    "name_of",
    "named",
    "network_for",
    "of_their_kind",
    "on_trial",
    "require_shape",
    "runs_own_code",
    "word",
]

Maker = Callable[[tuple[int, ...], tuple[int, ...]], nn.Module]
"""Called with the shapes of one input and of one output, without the batch."""
OneNetwork = str | Mapping[str, Any] | nn.Module | Maker
NetworkLike = OneNetwork | Mapping[str, OneNetwork]

_OWN_CODE: ContextVar[bool] = ContextVar("own code", default=False)


def network_for(network: NetworkLike, role: str, roles: Sequence[str]) -> OneNetwork:
    """What `network` says of one of a model's networks; "auto" where a mapping says nothing of it.

    Raises:
        InvalidInput: for a mapping with other keys than `roles`, or one module for several of them.
    """
    several = len(roles) > 1
    listed = "{" + ", ".join(f'"{known}": ...' for known in roles) + "}"
    if isinstance(network, Mapping) and not is_named(network):
        for key in network:
            if key not in roles:
                raise InvalidInput(
                    f'network has the key {key!r}: give a mapping such as {listed}, or {{"name": "kan", "grid": 20}} '
                    "with the options of a network of ours"
                )
        modules = [id(value) for value in network.values() if isinstance(value, nn.Module)]
        if len(set(modules)) < len(modules):
            raise InvalidInput(f"network has one module for several roles: give each its own, {listed}")
        return network.get(role, "auto")
    if isinstance(network, nn.Module) and several:
        raise InvalidInput(
            f"network={word(network)} is one module where the model has {len(roles)} networks: give {listed}, or a "
            "callable that makes a module for an input shape and an output shape"
        )
    return network


def is_named(network: object) -> bool:
    """Whether it is one of our networks, with or without options."""
    return isinstance(network, str) or (isinstance(network, Mapping) and "name" in network)


def name_of(network: object) -> str | None:
    """The name of one of our networks; None for others."""
    found = network["name"] if isinstance(network, Mapping) and is_named(network) else network
    return found if isinstance(found, str) else None


def named(network: OneNetwork, known: Iterable[str]) -> tuple[str, dict[str, Any]]:
    """Which of our networks it is, of those that there are in its place, and its options.

    Raises:
        InvalidInput: for an unknown name, with the nearest match; an option that the network does not have; a mapping
            without a name.
    """
    if isinstance(network, Mapping) and not is_named(network):
        raise InvalidInput(
            f'network={dict(network)!r} is not accepted: give one network, by name or as {{"name": "kan", "grid": 20}}'
        )
    options = dict(network) if isinstance(network, Mapping) else {}
    name = check_choice(str(options.pop("name", network)), known, name="network")
    if name == "kan":
        check_options(options)
    elif options:
        raise InvalidInput(
            f'network={{"name": {name!r}, ...}} has the option {next(iter(options))!r}: "kan" alone has options'
        )
    return name, options


def is_given(network: object) -> bool:
    """Whether it is a module or makes one, and not a name."""
    return callable(network)


def given_network(
    network: NetworkLike,
    in_shape: Sequence[int],
    out_shape: Sequence[int],
    *,
    more: Sequence[Sequence[int]] = (),
    role: str = "network",
) -> nn.Module:
    """The module, which `is_given`, once a trial pass has shown that it maps (n, *in_shape) to (n, *out_shape).

    Args:
        network: a module, or what makes one.
        in_shape: of its first argument, without the batch.
        out_shape: of what it says.
        more: shapes of further arguments.
        role: what messages call it.

    Raises:
        InvalidInput: for other shapes, or a callable that makes no module.
    """
    module = made_network(network, in_shape, out_shape, role=role)
    require_shape(module, [in_shape, *more], out_shape, role=role)
    return module


def made_network(
    network: NetworkLike, in_shape: Sequence[int], out_shape: Sequence[int], *, role: str = "network"
) -> nn.Module:
    """The module, or what a callable makes of the shapes; it has not been tried.

    Raises:
        InvalidInput: for a callable that makes no module.
    """
    if isinstance(network, nn.Module):
        return network
    return _made(network, tuple(in_shape), tuple(out_shape), role)


class BegunAtZero(nn.Module):
    """The network times a number for each output channel that begins at zero and is learned (Bachlechner et al. 2020,
    arXiv 2003.04887)."""

    def __init__(self, network: nn.Module, out_shape: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.gate = nn.Parameter(torch.zeros(out_shape[0], *[1] * (len(out_shape) - 1)))

    def forward(self, *arguments: Tensor) -> Tensor:
        output: Tensor = self.gate * self.network(*arguments)
        return output


def runs_own_code() -> bool:
    """Whether a network of the user's own is being made or tried: what it does is not ours to count or to explain."""
    return _OWN_CODE.get()


@contextmanager
def _own_code() -> Iterator[None]:
    token = _OWN_CODE.set(True)
    try:
        yield
    finally:
        _OWN_CODE.reset(token)


@contextmanager
def on_trial(module: nn.Module) -> Iterator[None]:
    """The module in evaluation mode without gradients; afterwards each of its parts is in the mode it was in."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        with torch.no_grad(), _own_code():
            module.eval()
            yield
    finally:
        for part, trains in modes:
            part.training = trains


def of_their_kind(module: nn.Module, shape: Sequence[int]) -> Tensor:
    """Zeros of the precision and on the device of the module's first parameter or buffer."""
    tensors = chain(module.parameters(), module.buffers())
    first = next((tensor for tensor in tensors if tensor.is_floating_point()), None)
    return torch.zeros(*shape) if first is None else torch.zeros(*shape, dtype=first.dtype, device=first.device)


def require_shape(
    module: nn.Module, in_shapes: Sequence[Sequence[int]], out_shape: Sequence[int], *, role: str, integers: int = 0
) -> None:
    """Refuse a module that does not map arguments (n, *in_shape), zeros, to (n, *out_shape); the last `integers` of
    them are of that kind."""
    n = 2
    floats = len(in_shapes) - integers
    zeros = [of_their_kind(module, (n, *shape)) for shape in in_shapes]
    arguments = [*zeros[:floats], *(labels.long() for labels in zeros[floats:])]
    shown = ", ".join(_batch(shape) for shape in in_shapes)
    wanted = f"give one that maps {shown} to {_batch(out_shape)}"
    try:
        with on_trial(module):
            said = module(*arguments)
    except Exception as error:  # whatever a module of the user's own raises
        raise InvalidInput(
            f"network gives {word(module)} as {role}, which fails ({_reason(error)}): {wanted}"
        ) from error
    if not isinstance(said, Tensor) or tuple(said.shape) != (n, *out_shape):
        what = _batch(said.shape[1:]) if isinstance(said, Tensor) and said.shape[:1] == (n,) else _of(said)
        raise InvalidInput(f"network gives {word(module)} as {role}, which maps {shown} to {what}: {wanted}")


def word(network: object) -> str:
    """What messages and files call a module, or what makes one."""
    named = network if inspect.isroutine(network) or isinstance(network, type) else type(network)
    return named.__qualname__


def _made(network: Any, in_shape: tuple[int, ...], out_shape: tuple[int, ...], role: str) -> nn.Module:
    try:
        inspect.signature(network).bind(in_shape, out_shape)
    except (TypeError, ValueError):  # ValueError: a callable of Python's own that does not say how it is called
        raise InvalidInput(
            f"network gives {word(network)} as {role}, which is not called with two shapes: give a module, or a "
            "callable of the shapes of an input and of an output"
        ) from None
    try:
        with _own_code():
            made = network(in_shape, out_shape)
    except Exception as error:  # whatever a callable of the user's own raises
        raise InvalidInput(
            f"network gives {word(network)} as {role}, which makes no module for {in_shape} and {out_shape} "
            f"({_reason(error)}): give one that does, or a module"
        ) from error
    if not isinstance(made, nn.Module):
        raise InvalidInput(f"network gives {word(network)} as {role}, which makes {_of(made)}: give one of modules")
    return made


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _batch(shape: Sequence[int]) -> str:
    return f"({', '.join(map(str, ('n', *shape)))})" if shape else "(n,)"


def _of(value: object) -> str:
    return f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
