"""What a network was at one time."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

__all__ = ["Snapshot"]


class Snapshot(nn.Module):
    """The parameters and buffers of a network as they were when they were last kept, all as buffers: they are in
    checkpoints, and no optimiser moves them.

    Their shapes may be others the next time, as are those of splines whose grids were refined.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.keep(network)

    def keep(self, network: nn.Module) -> None:
        """Keep the network as it is now."""
        for name, value in network.state_dict().items():
            if isinstance(value, Tensor):
                self.register_buffer(_buffer(name), value.clone())

    def of(self, network: nn.Module) -> nn.Module:
        """A copy of the network, as it was when it was kept."""
        then = copy.deepcopy(network)
        kept = self.state_dict()
        then.load_state_dict({name: kept.get(_buffer(name), value) for name, value in then.state_dict().items()})
        return then

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        for name, here in self.named_buffers():
            given = state_dict.get(prefix + name)
            if isinstance(given, Tensor) and given.shape != here.shape:
                setattr(self, name, here.new_empty(given.shape))
        super()._load_from_state_dict(state_dict, prefix, *args)


def _buffer(name: str) -> str:
    """Of an entry in the network's state: buffers have no dots in their names."""
    return f"network/{name.replace('.', '/')}"
