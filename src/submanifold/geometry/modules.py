"""What kinds of modules certificates know."""

from __future__ import annotations

from torch import nn

__all__ = ["CONVOLUTIONS", "RESHAPING", "computes", "is_overridden"]

CONVOLUTIONS: tuple[type[nn.Module], ...] = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
RESHAPING = (nn.Identity, nn.Flatten, nn.Unflatten)


def is_overridden(module: nn.Module) -> bool:
    """Whether more or other than its class's forward pass is done when the module is called."""
    return bool(module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))


def computes(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Whether the module's forward pass is that of one of `kinds`, not an override of it."""
    return any(type(module).forward is kind.forward for kind in kinds)
