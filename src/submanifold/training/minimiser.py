"""One objective and the optimiser that minimises it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from submanifold.errors import InvalidInput
from submanifold.models.base import Objective
from submanifold.training.arithmetic import NotFinite, is_arithmetic
from submanifold.training.settings import Settings

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["Minimiser", "evaluate_loss"]


def evaluate_loss(objective: Objective, x: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
    """The terms of the objective's loss on a batch; "loss" is the one that is minimised."""
    result = objective.loss(x, labels) if objective.labelled else objective.loss(x)
    terms = dict(result) if isinstance(result, Mapping) else {"loss": result}
    return {name: term if name == "loss" else torch.as_tensor(term).detach() for name, term in terms.items()}


class _Loss(nn.Module):
    """The loss as a module of the parameters it trains: what accelerate can cast and distribute."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.weights = nn.ParameterList(objective.parameters)
        self.objective = objective

    def forward(self, x: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        return evaluate_loss(self.objective, x, labels)


class Minimiser:
    """AdamW (Loshchilov, Hutter 2019, arXiv 1711.05101) on one objective, with gradients clipped by norm."""

    def __init__(self, objective: Objective, settings: Settings, accelerator: Accelerator) -> None:
        self.objective = objective
        self.parameters = [p for p in objective.parameters if p.requires_grad]
        if not self.parameters:
            raise InvalidInput(f"objective {objective.name!r} has no parameters that require gradients")
        self.clip = settings.clip
        self.accelerator = accelerator
        adamw = torch.optim.AdamW(
            self.parameters,
            lr=settings.learning_rate * objective.learning_rate,
            betas=objective.betas,
            weight_decay=settings.weight_decay,
            fused=accelerator.device.type in ("cpu", "cuda"),
        )
        self.module = accelerator.prepare(_Loss(objective))
        # accelerate's optimiser does nothing but skip overflowing steps of half precision, and looks for packages on
        # the disk each time
        self.optimiser = adamw if accelerator.scaler is None else accelerator.prepare(adamw)

    def __call__(self, x: Tensor, labels: Tensor | None, learning_rate: float) -> dict[str, float]:
        """Take one step on a batch; the terms of the loss before it, and the norm of its gradient.

        Raises:
            NotFinite: the loss or its gradient is not; nothing was updated.
        """
        for parameter in self.parameters:
            parameter.grad = None
        terms = self._backward(x, labels)
        norm = self._clipped_gradient_norm()
        values = {name: float(term.detach()) for name, term in terms.items()}
        self._require_finite(values["loss"], norm)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate * self.objective.learning_rate
        self.optimiser.step()
        return values | {"gradient_norm": norm}

    def _backward(self, x: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        """The terms of the loss; its gradient is in the parameters."""
        try:
            terms: dict[str, Tensor] = self.module(x, labels)
            self.accelerator.backward(terms["loss"])
        except Exception as error:
            if not is_arithmetic(error) or not self.optimiser.state:  # before the first step: a mistake in the model
                raise
            raise NotFinite(f"the loss cannot be computed ({str(error).splitlines()[0]})") from error
        return terms

    def _clipped_gradient_norm(self) -> float:
        """The norm of the gradient, which is afterwards at most `clip` long."""
        self.accelerator.unscale_gradients(self.optimiser)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))))
        if self.clip is not None and self.clip < norm < math.inf:
            torch._foreach_mul_(gradients, self.clip / norm)
        return norm

    def _require_finite(self, loss: float, norm: float) -> None:
        if not math.isfinite(loss):
            raise NotFinite(f"the loss is {loss}")
        # in half precision a gradient overflows now and then; the scaler skips the step and scales down
        if not math.isfinite(norm) and self.accelerator.scaler is None:
            raise NotFinite(f"the gradient has norm {norm}, at a loss of {loss:.4g}")

    def forget(self) -> None:
        """Drop the moments of parameters that have another shape now."""
        for parameter in self.parameters:
            moment = self.optimiser.state.get(parameter, {}).get("exp_avg")
            if moment is not None and moment.shape != parameter.shape:
                del self.optimiser.state[parameter]

    def tensors(self) -> dict[str, Tensor]:
        """The moments of the gradient, by parameter."""
        state = self.optimiser.state
        return {
            f"{index}.{key}": value
            for index, parameter in enumerate(self.parameters)
            for key, value in state.get(parameter, {}).items()
        }

    def facts(self) -> dict[str, Any]:
        """Nothing but tensors has to be kept."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Go on with stored moments."""
        for name, value in tensors.items():
            index, key = name.split(".", 1)
            parameter = self.parameters[int(index)]
            self.optimiser.state[parameter][key] = value.to(parameter.device)
