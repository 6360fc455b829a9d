"""Generators trained without a critic: a discrepancy between a batch of data and one of samples is the loss."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from submanifold.checks import check_choice
from submanifold.models.base import Objective, check_batch
from submanifold.models.gan import PushForward
from submanifold.models.registry import MODELS, preset
from submanifold.nn.given import NetworkLike
from submanifold.transport import DISCREPANCIES

__all__ = ["DiscrepancyGenerator"]


@MODELS.register("discrepancy-generator")
class DiscrepancyGenerator(PushForward):
    r"""Minimises a discrepancy between the laws of data and of g(z), z \sim N(0, I_d), estimated batch against batch,

    .. math:: \min_g \; \mathbb{E} \, \mathcal{D}(y_1, \dots, y_n; g(z_1), \dots, g(z_n)) .

    With the maximum mean discrepancy it is a generative moment matching network (Li, Swersky and Zemel 2015, arXiv
    1502.02761; Dziugaite, Roy and Ghahramani 2015, arXiv 1505.03906); else it has the sliced Wasserstein distance
    (Deshpande, Zhang and Schwing 2018, arXiv 1803.11188) or the Sinkhorn divergence (Genevay, Peyré and Cuturi 2018,
    arXiv 1706.00292). The last two are biased: their best law for batches of n points varies less than the data, by a
    floor that falls with n, so that large batches pay. Images are compared pixel by pixel.

    Args:
        data_shape: (D,) or (channels, height, width).
        latent_dim: number of latents d; by default D, or for D > 8 the larger of 8 and 2 \lfloor \sqrt{D} \rfloor.
        discrepancy: "mmd", "sliced" or "sinkhorn", see `submanifold.transport`.
        hidden: widths of the hidden layers of the generator, last to first.
        network: a name of `submanifold.nn`, of which "auto" is convolutional for images from 16 x 16 on, or networks of
            your own in place of `networks`, see `submanifold.nn.given`.
        preprocess: names of the invertible maps applied first.
    """

    family = "generator trained on a discrepancy"
    awareness = "aware"
    why = "its discrepancy is finite, and has a slope, between laws on different manifolds"

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        latent_dim: int | None = None,
        discrepancy: str = "mmd",
        hidden: Sequence[int] = (128, 128),
        network: NetworkLike = "auto",
        preprocess: Sequence[str] = ("scale",),
    ) -> None:
        super().__init__(data_shape, latent_dim, hidden=hidden, network=network, preprocess=preprocess)
        self.discrepancy = DISCREPANCIES[check_choice(discrepancy, DISCREPANCIES, name="discrepancy")]

    def objectives(self) -> list[Objective]:
        return [Objective("generator", list(self.parameters()), self.loss)]

    def loss(self, x: Tensor) -> Tensor:
        """The discrepancy of as many samples as there are points, in preprocessed units, ().

        Raises:
            InvalidInput: for a single point.
        """
        check_batch(x)
        y = self.preprocess(x)
        value: Tensor = self.discrepancy(self._made(y).flatten(1), y.flatten(1))
        return value


preset("gmmn", DiscrepancyGenerator, family="generative moment matching network", discrepancy="mmd")
preset(
    "sliced-wasserstein-generator",
    DiscrepancyGenerator,
    family="generator trained on the sliced Wasserstein distance",
    discrepancy="sliced",
)
preset(
    "sinkhorn-generator",
    DiscrepancyGenerator,
    family="generator trained on the Sinkhorn divergence",
    discrepancy="sinkhorn",
)
