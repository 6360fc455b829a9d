r"""A network that is asked about points under noise of any level, with labels or without, in the words of a path.

y is a point under noise of level \sigma, x_t = \alpha y what the network sees of it, and D what it is without noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from submanifold.checks import check_real
from submanifold.errors import InvalidInput
from submanifold.models.base import Model
from submanifold.models.diffusion.paths import Path, denoised_from, noise_from

__all__ = ["AskedNetwork"]


class AskedNetwork(Model):
    r"""What follows from what the network says, whatever of `PREDICTIONS` that is.

    Attributes:
        classes: number of classes that points may be labelled with.
        path: where x_t is between data and noise.
        prediction: what the network says.
        network: called with x_t, \log \sigma / 4, and labels if there are classes.
    """

    classes: int
    path: Path
    prediction: str
    network: torch.nn.Module

    def receive_labels(self, labels: Tensor | int | None, n: int) -> Tensor | None:
        """Labels from outside as (n,) int64 on the model's device; None stays None.

        Raises:
            InvalidInput: for labels of a model without classes, of another shape or type, or out of range.
        """
        if labels is None:
            return None
        if not self.classes:
            raise InvalidInput("labels are given to a model without classes: give none, or build it with classes=")
        try:
            found = torch.as_tensor(labels, device=self.device)
        except (TypeError, ValueError, RuntimeError):  # text, say, or lists of several lengths
            found = torch.tensor(math.nan)
        whole = not (found.is_floating_point() or found.is_complex() or found.dtype == torch.bool)
        if not whole or found.shape not in ((), (n,)) or bool(((found < 0) | (found >= self.classes)).any()):
            raise InvalidInput(
                f"labels={labels!r} are not accepted: give whole numbers from 0 to {self.classes - 1}, one or {n}"
            )
        return found.long().expand(n)

    def _denoiser(
        self, labels: Tensor | None, guidance: float, network: torch.nn.Module | None = None
    ) -> Callable[[Tensor, Tensor], Tensor]:
        r"""D as a function of points (n, D) and one level, (), by the model's network or another."""
        w = check_real(guidance, name="guidance")
        if w and labels is None:
            raise InvalidInput(f"guidance={guidance} needs labels: give labels=, or guidance=0")

        def denoise(y: Tensor, sigma: Tensor) -> Tensor:
            each = sigma.expand(len(y))
            D = self._denoised(y, each, labels, network)
            return D if w == 0 else D + w * (D - self._denoised(y, each, None, network))

        return denoise

    def _denoised(
        self, y: Tensor, sigma: Tensor, labels: Tensor | None, network: torch.nn.Module | None = None
    ) -> Tensor:
        """D at points (n, D) under noise (n,), (n, D)."""
        at = self.path.rates(self.path.time(sigma))
        x_t = at.scale[:, None] * y
        return denoised_from(self.prediction, self._ask(x_t, sigma, labels, network), x_t, at)

    def _noise(self, y: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        r"""(y - D) / \sigma at points (n, D) under noise (n,), (n, D), without the loss of digits of a difference."""
        at = self.path.rates(self.path.time(sigma))
        x_t = at.scale[:, None] * y
        return noise_from(self.prediction, self._ask(x_t, sigma, labels), x_t, at)

    def _ask(self, x_t: Tensor, sigma: Tensor, labels: Tensor | None, network: torch.nn.Module | None = None) -> Tensor:
        """What the network says of points (n, D) under noise (n,), (n, D)."""
        told = [x_t.reshape(-1, *self.data_shape), 0.25 * sigma.log()]
        if self.classes:
            unlabelled = torch.full((len(x_t),), self.classes, device=x_t.device)
            told.append(unlabelled if labels is None else labels)
        said: Tensor = (network or self.network)(*told)
        return said.flatten(1)
