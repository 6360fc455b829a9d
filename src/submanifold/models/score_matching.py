r"""Score matching: an energy whose gradient is that of the data's log-density, without a normalising constant.

s = \nabla \log p is the score of the model. The Fisher divergence \tfrac12 E |s - \nabla \log p_data|^2 is, up to a
constant, E [ \tfrac12 |s|^2 + tr \nabla s ] by parts (Hyvarinen 2005), of which the data's density has gone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from submanifold.checks import check_choice
from submanifold.errors import InvalidInput
from submanifold.geometry import divergence, divergence_along
from submanifold.models.base import Objective
from submanifold.models.energy import EnergyBased
from submanifold.models.latents import normal
from submanifold.models.registry import preset, register
from submanifold.nn.given import NetworkLike

__all__ = ["OBJECTIVES", "ScoreMatching", "denoising_objective", "implicit_objective", "sliced_objective"]

ScoreField = Callable[[Tensor], Tensor]
"""Maps points (n, D) to scores (n, D), row by row."""

_MOST_COORDINATES = 128
"""Coordinates up to which the trace is taken one after the other."""


def implicit_objective(score: ScoreField, y: Tensor) -> Tensor:
    r"""\tfrac12 |s(y)|^2 + tr \nabla s(y) with the trace exact, (n,) (Hyvarinen 2005, eq. 4).

    Its time is D times that of the score, and its memory too.
    """
    s, trace = divergence(score, y)
    total: Tensor = 0.5 * s.square().sum(dim=1) + trace
    return total


def sliced_objective(score: ScoreField, y: Tensor) -> Tensor:
    r"""\tfrac12 |s(y)|^2 + v^\top \nabla s(y) v, v \sim N(0, I), (n,) (Song et al. 2019, arXiv 1905.07088, eq. 8).

    Its mean over v is that of `implicit_objective`; the first term is exact, which is what takes the variance down.
    """
    s, along = divergence_along(score, y, normal((1, *y.shape), y))
    total: Tensor = 0.5 * s.square().sum(dim=1) + along[0]
    return total


def denoising_objective(score: ScoreField, y: Tensor, sigma: Tensor | float) -> Tensor:
    r"""\tfrac12 |s(y + \sigma \epsilon) + \epsilon / \sigma|^2, (n,) (Vincent 2011, eq. 11); `sigma` a number or (n,).

    Its mean is least, over all s, for the score of noised data. It is averaged over \epsilon and -\epsilon, which takes
    away the part of its gradients that would grow as 1 / \sigma; what still grows, |\epsilon|^2 / 2 \sigma^2, does not
    depend on s. `score` sees the two in turn.
    """
    sigma = torch.as_tensor(sigma, device=y.device, dtype=y.dtype)[..., None]  # (1,) or (n, 1)
    eps = normal(y.shape, y)
    errors = [(score(y + sign * sigma * eps) + sign * eps / sigma).square().sum(dim=1) for sign in (1, -1)]
    return 0.25 * (errors[0] + errors[1])


OBJECTIVES: dict[str, Callable[[ScoreField, Tensor], Tensor]] = {
    "implicit": implicit_objective,
    "sliced": sliced_objective,
}
"""What scores of data without noise are matched by."""


@register("sliced-score-matching")
class ScoreMatching(EnergyBased):
    r"""Minimises E [ \tfrac12 |s|^2 + tr \nabla s ], s = -\nabla E, with the trace exact or by random directions.

    On data that lie on a manifold the objective has no minimum: a score that points to the manifold ever more steeply
    costs nothing on it, where it is zero, and its divergence goes to minus infinity, whatever the score along the
    manifold is.

    `log_prob` is unnormalised, see `log_normaliser`; between modes that hardly overlap the score does not see how much
    of the data each has, and so neither does the density.

    Args:
        data_shape: (D,) or (channels, height, width).
        objective: "sliced", or for at most 128 coordinates "implicit".
        hidden: widths of the hidden layers of the network.
        network: a name of `submanifold.nn`, of which "auto" is convolutional for images from 16 x 16 on, or networks of
            your own in place of `networks`, see `submanifold.nn.given`.
        sample_steps: steps of Langevin dynamics from the Gaussian of the data to a sample.
        preprocess: names of the invertible maps applied first.
    """

    family = "score matching without noise"
    awareness = "unaware"
    why = "it compares scores of densities on R^D; on a manifold the divergence of the score falls without bound"

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        objective: str = "sliced",
        hidden: Sequence[int] = (128, 128),
        network: NetworkLike = "auto",
        sample_steps: int = 200,
        preprocess: Sequence[str] = ("scale",),
    ) -> None:
        super().__init__(data_shape, hidden=hidden, network=network, preprocess=preprocess, sample_steps=sample_steps)
        self.objective = check_choice(objective, OBJECTIVES, name="objective")
        if objective == "implicit" and self.ambient_dim > _MOST_COORDINATES:
            raise InvalidInput(
                f"data_shape={self.data_shape} has {self.ambient_dim} coordinates, too many for an exact trace: give "
                f'at most {_MOST_COORDINATES}, or objective="sliced"'
            )

    def objectives(self) -> list[Objective]:
        return [Objective("score matching", list(self.parameters()), self.loss)]

    def loss(self, x: Tensor) -> Tensor:
        """The objective per coordinate, in preprocessed units, ()."""
        y = self.preprocess.forward(x).flatten(1)
        return OBJECTIVES[self.objective](self._score, y).mean() / self.ambient_dim

    def _score(self, y: Tensor) -> Tensor:
        """The score of preprocessed points (n, D), (n, D)."""
        score: Tensor = torch.func.grad(lambda y: self._log_density(y.reshape(-1, *self.data_shape)).sum())(y)
        return score


preset("implicit-score-matching", ScoreMatching, family="implicit score matching", objective="implicit")
