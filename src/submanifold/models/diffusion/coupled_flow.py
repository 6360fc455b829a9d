r"""Flow matching with noise that is chosen for the points: by optimal transport in a batch, or by an earlier flow."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from submanifold.checks import check_choice, check_int
from submanifold.geometry import jacobian
from submanifold.models.base import Objective, Stage
from submanifold.models.diffusion.couplings import optimal_pairs
from submanifold.models.diffusion.levels import noise_levels
from submanifold.models.diffusion.probability_flow import ProbabilityFlow
from submanifold.models.diffusion.samplers import FLOW_SAMPLERS
from submanifold.models.diffusion.score_model import require_similarity
from submanifold.models.diffusion.snapshot import Snapshot
from submanifold.models.latents import normal
from submanifold.models.registry import preset, register
from submanifold.nn.given import NetworkLike

__all__ = ["COUPLINGS", "CoupledFlow"]

COUPLINGS = ("independent", "optimal-transport")
"""Which noise goes with which point of a batch."""

_STEPS = 25
"""Of the flow whose Jacobian tells widths."""


@register("coupled-flow")
class CoupledFlow(ProbabilityFlow):
    r"""Minimises E |F(x_t, \tfrac14 \log \sigma) - (\epsilon - y)|^2 on straight lines x_t = (1 - t) y + t \epsilon, as
    flow matching does, for pairs of points and noise that are not independent.

    The noise is standard normal as ever, so that the flow still ends at the data, on paths that are straighter: fewer
    steps do. But F is no longer a score, and samplers that add noise are not right for it. Its `log_prob` is that of
    its own flow. Points with labels are coupled within their class: otherwise the noise would tell the class, and there
    would be noise that no point of a class has been seen with.

    With `reflows` the flow that was learned makes pairs of its own noise and its own samples, and training goes on with
    these (Liu et al. 2023, arXiv 2209.03003, algorithm 1): each time paths are straighter, and errors add up. Where
    there are classes, each pair is made by the flow of its point's class, without guidance, and keeps the label, which
    is hidden in training as often as before. So it is the flows of classes that get straighter: without a label the
    network says the mean over classes of what it says with one, which is right for guidance and has the law of all
    classes, but on paths that have to bend where pairs of several classes cross.

    Args:
        coupling: one of `COUPLINGS`.
        reflows: how many times training goes on with the flow's own pairs.
        data_shape, hidden, network, classes, unlabelled, training_levels, sigma_min, sigma_max, sampler, sample_steps,
            spacing, final_denoise, exact_dims, preprocess: see `ProbabilityFlow`.
    """

    family = "flow matching, coupled"
    awareness = "aware"
    why = "it learns a flow from noise to the data, stopped at a level near zero; its velocity is no score"

    samplers = FLOW_SAMPLERS

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        coupling: str = "optimal-transport",
        reflows: int = 0,
        hidden: Sequence[int] | None = None,
        network: NetworkLike = "auto",
        classes: int = 0,
        unlabelled: float = 0.1,
        training_levels: str = "logit-normal",
        sigma_min: float = 0.005,
        sigma_max: float = 20.0,
        sampler: str = "heun",
        sample_steps: int = 25,
        spacing: str = "karras",
        final_denoise: bool = True,
        exact_dims: int = 8,
        preprocess: Sequence[str] = ("scale",),
    ) -> None:
        super().__init__(
            data_shape,
            hidden=hidden,
            network=network,
            classes=classes,
            unlabelled=unlabelled,
            path="linear",
            prediction="velocity",
            training_levels=training_levels,
            weighting="even",
            sigma_min=sigma_min,
            sigma_max=sigma_max,
            sampler=sampler,
            sample_steps=sample_steps,
            spacing=spacing,
            final_denoise=final_denoise,
            exact_dims=exact_dims,
            preprocess=preprocess,
        )
        require_similarity(self)
        self.coupling = check_choice(coupling, COUPLINGS, name="coupling")
        self.reflows = check_int(reflows, name="reflows", low=0)
        if self.reflows:
            self.teacher = Snapshot(self.network)

    def stages(self) -> list[Stage]:
        stages = super().stages()
        parameters = list(self.network.parameters())
        for k in range(1, self.reflows + 1):
            stages += [
                Stage(f"teacher {k}", prepare=self._teach),
                Stage(
                    f"reflow {k}",
                    [Objective("denoising", parameters, self._reflow_loss, labelled=self.classes > 0)],
                    transform=self._own_pairs,
                    labelled=self.classes > 0,
                ),
            ]
        return stages

    def _pairs(self, x: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        y = self.preprocess.forward(x).flatten(1)
        noise = normal(y.shape, y)
        if self.coupling == "optimal-transport":
            parts = [slice(None)] if labels is None else [labels == c for c in torch.unique(labels)]
            for part in parts:
                noise[part] = optimal_pairs(y[part], noise[part])
        return y, noise

    def _teach(self, x: Tensor) -> None:
        """Keep the network as it is now, which is to make the pairs."""
        self.teacher.keep(self.network)

    @torch.no_grad()
    def _own_pairs(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        r"""As many pairs of the kept flow, of these classes, (n, 2, D): a sample y and
        (y_{\sigma_max} - y) / \sigma_max."""
        levels = noise_levels(self.sample_steps, self.sigma_min, self.sigma_max, spacing=self.spacing, to_zero=True)
        start = self.reference.sample(len(x))
        start = start + self.sigma_max * normal(start.shape, start)
        y = self.samplers[self.sampler](self._denoiser(labels, 0.0, self.teacher.of(self.network)), start, levels)
        return torch.stack([y, (start - y) / self.sigma_max], dim=1)

    def _reflow_loss(self, pairs: Tensor, labels: Tensor | None = None) -> Tensor:
        """The error on pairs of the kept flow, (n, 2, D), of these classes, a mean over coordinates, ()."""
        y, noise = pairs.unbind(dim=1)
        return self._error_in_training(y, noise, labels)

    def local_scales(self, x: Tensor) -> Tensor:
        r"""Widths (n, D), descending, in data units: singular values of the flow from \sigma_max to x, times
        \sqrt{1 + \sigma_max^2}, which is the width of what it begins with up to a part in \sigma_max^2.

        The flow's Jacobian is the product of those of 25 steps of Heun's method, even in \log \sigma.
        """
        ends = self.log_prob_at(x).ends
        sigmas = noise_levels(_STEPS, self.sigma_min, self.sigma_max, spacing="log").tolist()
        start = (1 + self.sigma_max**2) ** 0.5
        J = start * torch.eye(self.ambient_dim, device=ends.device, dtype=ends.dtype).expand(len(ends), -1, -1)
        y = ends
        for sigma, after in pairwise(sigmas):
            step = partial(self._heun_step, sigma=sigma, after=after)
            J, y = jacobian(step, y) @ J, step(y).detach()
        scales: Tensor = self.preprocess.inverse_lipschitz() * torch.linalg.svdvals(J)
        return scales

    def _heun_step(self, y: Tensor, sigma: float, after: float) -> Tensor:
        slope = self._noise(y, y.new_full((len(y),), sigma))
        ahead = self._noise(y + (after - sigma) * slope, y.new_full((len(y),), after))
        return y + (after - sigma) * 0.5 * (slope + ahead)


preset("ot-flow-matching", CoupledFlow, family="flow matching, optimal transport in batches")
preset("rectified-flow", CoupledFlow, family="rectified flow", coupling="independent", reflows=1)
