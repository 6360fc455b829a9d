r"""Vectors that tell a network how noisy its input is, and of which class."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from submanifold.checks import check_int
from submanifold.errors import InvalidInput
from submanifold.nn.mlp import MLP

__all__ = ["Embedding", "FourierFeatures"]


class FourierFeatures(nn.Module):
    r"""\phi(c) = (\cos \omega_1 c, ..., \cos \omega_k c, \sin \omega_1 c, ..., \sin \omega_k c) of a number c, with
    fixed geometric frequencies (Vaswani et al. 2017, arXiv 1706.03762, section 3.5).

    |\phi(c) - \phi(c')|^2 = 2 \sum_i (1 - \cos \omega_i (c - c')), which grows with |c - c'| up to \pi / \omega_k. The
    frequencies are for numbers of order one, such as \log \sigma / 4: the fastest tells apart levels that differ by a
    few per cent, the slowest does not come round within [-3, 3].

    Args:
        features: 2k, even.
        lowest: \omega_1.
        highest: \omega_k.

    Raises:
        InvalidInput: for an odd number of features.
    """

    frequencies: Tensor

    def __init__(self, features: int, lowest: float = 0.5, highest: float = 16.0) -> None:
        super().__init__()
        if check_int(features, name="features", low=2) % 2:
            raise InvalidInput(f"features={features} is not accepted: give an even number")
        self.register_buffer("frequencies", lowest * (highest / lowest) ** torch.linspace(0, 1, features // 2))

    def forward(self, c: Tensor) -> Tensor:
        """(n,) to (n, features)."""
        angles = c[:, None].to(self.frequencies) * self.frequencies  # (n, features / 2)
        return torch.cat([angles.cos(), angles.sin()], dim=1)  # (n, features)


class Embedding(nn.Module):
    """Maps noise levels, and labels if there are classes, to vectors: a dense network of Fourier features, to which the
    class's own vector is added.

    There is one more vector, of index `classes`, for "no label", so that one network is conditional and unconditional
    (Ho & Salimans 2022, arXiv 2207.12598, algorithm 1).

    Args:
        width: of the vectors.
        classes: number of classes, or 0 for none.
        features: of the noise level.
    """

    def __init__(self, width: int, classes: int = 0, features: int = 64) -> None:
        super().__init__()
        self.classes = check_int(classes, name="classes", low=0)
        self.level = nn.Sequential(FourierFeatures(features), MLP([features, width, width]))
        self.label = nn.Embedding(classes + 1, width) if classes else None
        self.last = nn.SiLU()

    def forward(self, level: Tensor, label: Tensor | None = None) -> Tensor:
        """The vectors, (n, width).

        Args:
            level: of the noise, (n,).
            label: integers in [0, classes), or `classes` for no label, (n,); all have none by default.

        Raises:
            InvalidInput: for labels where there are no classes, of another shape or type, or out of range. In a
                compiled function the range is not looked at.
        """
        e = self.level(level)
        if label is not None:
            self._check(label, len(level))
        if self.label is not None:
            e = e + self.label(torch.full_like(level, self.classes, dtype=torch.int64) if label is None else label)
        vectors: Tensor = self.last(e)
        return vectors

    def _check(self, label: Tensor, n: int) -> None:
        if not self.classes:
            raise InvalidInput("label is given to a network without classes: give none, or build it with classes=")
        if label.shape != (n,) or label.dtype != torch.int64:
            raise InvalidInput(f"label has shape {tuple(label.shape)} and {label.dtype}: give shape ({n},) and int64")
        if torch.compiler.is_compiling():
            return
        values = torch.func.debug_unwrap(label, recurse=True)  # a question vmap would not answer
        if ((values < 0) | (values > self.classes)).any():
            raise InvalidInput(
                f"label has values outside [0, {self.classes}): give classes, or {self.classes} for none"
            )
