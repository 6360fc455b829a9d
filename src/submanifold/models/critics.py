r"""What adversarial training is made of: divergences seen by a critic, and ways to keep the critic smooth.

A critic h gives scores h(x) to real points and h(y) to made ones, (n, 1) each. It is trained by `critic_loss`, the
maker of y by `generator_loss`, in turns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.nn.utils import parametrizations

from submanifold.checks import check_real
from submanifold.errors import InvalidInput
from submanifold.geometry import lipschitz_upper_bound
from submanifold.nn import KANLinear, encoder
from submanifold.nn.given import OneNetwork, is_given, name_of

__all__ = [
    "ADVERSARIAL_BETAS",
    "DIVERGENCES",
    "Divergence",
    "critic_loss",
    "critic_network",
    "gradient_penalty",
    "normalise_spectrum",
]

ADVERSARIAL_BETAS = (0.5, 0.999)
"""Decay rates of Adam for games: what a player did some steps ago is of little use (Radford et al. 2016)."""


@dataclass(frozen=True)
class Divergence:
    """An adversarial game; both losses map scores, (n, 1) each, to scalars that are minimised.

    Attributes:
        critic_loss: of the scores of real and of made points.
        generator_loss: of the scores of made points.
        estimates: what the best critic tells, in a word.
        estimate: that quantity from the critic's loss; from below, since no critic is the best one.
        level: whether it matters to the game what constant is added to all scores.
        steep: whether a critic does the better the steeper it is, so that something has to hold its slope.
    """

    critic_loss: Callable[[Tensor, Tensor], Tensor]
    generator_loss: Callable[[Tensor], Tensor]
    estimates: str
    estimate: Callable[[Tensor], Tensor]
    level: bool = True
    steep: bool = False

    def penalty(self, weight: float | None) -> float:
        """The weight of a `gradient_penalty`; where none is given 10 (Gulrajani et al. 2017) if one is needed, or 0.

        Raises:
            InvalidInput: for a negative weight, or 0 where a penalty is needed.
        """
        if weight is None:
            return 10.0 if self.steep else 0.0
        if self.steep and weight == 0:
            raise InvalidInput(
                f'penalty={weight!r} with divergence="wasserstein" is not accepted: a critic whose slope nothing holds '
                "tells no distance, give a number above 0"
            )
        return check_real(weight, name="penalty")


DIVERGENCES: dict[str, Divergence] = {
    "hinge": Divergence(
        critic_loss=lambda real, fake: (1 - real).relu().mean() + (1 + fake).relu().mean(),
        generator_loss=lambda fake: -fake.mean(),
        estimates="total_variation",
        estimate=lambda loss: 1 - loss / 2,
    ),
    "non-saturating": Divergence(
        critic_loss=lambda real, fake: softplus(-real).mean() + softplus(fake).mean(),
        generator_loss=lambda fake: softplus(-fake).mean(),
        estimates="jensen_shannon",
        estimate=lambda loss: math.log(2) - loss / 2,
    ),
    "wasserstein": Divergence(
        critic_loss=lambda real, fake: fake.mean() - real.mean(),
        generator_loss=lambda fake: -fake.mean(),
        estimates="wasserstein",
        estimate=lambda loss: -loss,
        level=False,
        steep=True,
    ),
}
r"""Games by name.

The best critic's loss is 2 \log 2 - 2 \mathrm{JS} in "non-saturating" (Goodfellow et al. 2014, arXiv 1406.2661, theorem
1; its generator has the second loss of section 3), 2 - 2 \mathrm{TV} in "hinge" (Lim and Ye 2017, arXiv 1705.02894),
and -W_1 in "wasserstein" among critics of Lipschitz constant 1 (Arjovsky, Chintala and Bottou 2017, arXiv 1701.07875,
eq. 2), to which a `gradient_penalty` or `normalise_spectrum` has to hold it.
"""


def critic_network(
    network: OneNetwork,
    data_shape: Sequence[int],
    hidden: Sequence[int],
    *,
    level: bool = True,
    features: int = 1,
    role: str = "critic",
) -> nn.Module:
    """A critic of data (n, *data_shape) with scores (n, features); without `level`, no constant is added to them.

    A score has no place, so that "spatial" networks have "conv" critics. A module keeps its constant, which does not
    matter where there need be none.

    Raises:
        InvalidInput: as `submanifold.nn.encoder`.
    """
    critic: nn.Module = encoder(
        "conv" if name_of(network) == "spatial" else network, data_shape, features, hidden, role=role
    )
    if not level and not is_given(network):
        affine = [module for module in critic.modules() if isinstance(module, nn.Linear)]
        if affine:  # the constants of a KAN are no parameters of their own
            affine[-1].register_parameter("bias", None)
    return critic


def gradient_penalty(
    critic: Callable[..., Tensor],
    real: Tensor | Sequence[Tensor],
    fake: Tensor | Sequence[Tensor],
    *,
    one_sided: bool = False,
) -> Tensor:
    r"""E (\|\nabla h(\hat x)\| - 1)^2, () (Gulrajani et al. 2017, arXiv 1704.00028, eq. 3).

    \hat x = t x + (1 - t) y with t uniform on [0, 1], one t for each pair of a real and a made point, from torch's
    global generator. A critic of several arguments gets a sequence for each of `real` and `fake`; the gradient is that
    with respect to all of them at once. The gradient of the penalty reaches the critic alone.

    Args:
        critic: maps n points to scores, (n,) or (n, 1), each that of its own point.
        real: points, or the critic's arguments, n of each.
        fake: as many made points.
        one_sided: let slopes below 1 pass (section 4 there).
    """
    real, fake = ([points] if isinstance(points, Tensor) else list(points) for points in (real, fake))
    n = len(real[0])
    t = torch.rand(n, device=real[0].device, dtype=real[0].dtype)
    between = []
    for x, y in zip(real, fake, strict=True):
        s = t.reshape(n, *[1] * (x.ndim - 1))  # one for each point
        between.append((s * x.detach() + (1 - s) * y.detach()).requires_grad_())
    with torch.enable_grad():  # a held-out loss has a penalty too
        slopes = torch.autograd.grad(critic(*between).sum(), between, create_graph=True)
    together = torch.cat([slope.flatten(1) for slope in slopes], dim=1)
    excess: Tensor = torch.linalg.vector_norm(together, dim=1) - 1
    return (excess.relu() if one_sided else excess).square().mean()


def critic_loss(
    divergence: Divergence,
    critic: Callable[..., Tensor],
    real: Tensor | Sequence[Tensor],
    fake: Tensor | Sequence[Tensor],
    *,
    penalty: float,
) -> dict[str, Tensor]:
    """What a critic minimises, with its `gradient_penalty` if that has a weight, which is told too, each ().

    Args:
        divergence: the game.
        critic: maps n points to scores, (n, 1).
        real: points, or the critic's arguments, n of each.
        fake: as many made points.
        penalty: the weight, see `Divergence.penalty`.
    """
    scores = (critic(points) if isinstance(points, Tensor) else critic(*points) for points in (real, fake))
    loss = divergence.critic_loss(*scores)
    if not penalty:
        return {"loss": loss}
    excess = gradient_penalty(critic, real, fake)
    return {"loss": loss + penalty * excess, "penalty": excess.detach()}


class _Sharpened(nn.Module):
    r"""x \mapsto f(s x) / s: as steep as f, and with kinks of width 1/s where f has them of width 1."""

    def __init__(self, network: nn.Module, sharpness: float) -> None:
        super().__init__()
        self.network = network
        self.sharpness = sharpness

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.network(self.sharpness * x) / self.sharpness
        return scores

    def lipschitz_bound(self) -> float:
        return float(lipschitz_upper_bound(self.network))


def normalise_spectrum(network: nn.Module, sharpness: float = 10.0) -> nn.Module:
    r"""`network` with its weight matrices divided by their largest singular values (Miyato et al. 2018, arXiv
    1802.05957, eq. 8), in place, and its input and output rescaled.

    The singular vectors are buffers, moved by one step of the power method at each forward pass in training mode, and
    by none in evaluation mode; where they start comes from torch's global generator. A convolution's matrix is its
    kernel, one row for each feature map, whose norm is within a factor of the convolution's.

    Matrices of norm one leave the units of a smooth activation near zero, where it is affine. The network therefore
    sees s x, and its scores are divided by s, the `sharpness`: it is as steep as before, but its activations are s
    times as curved, nearly those of a piecewise linear network.

    Raises:
        InvalidInput: for a KAN, whose steepness is that of its edges and not of a matrix.
    """
    if any(isinstance(module, KANLinear) for module in network.modules()):
        raise InvalidInput(
            'network="kan" is not accepted for a critic with spectral normalisation: give network="mlp", or '
            'regulariser="gradient-penalty"'
        )
    for module in list(network.modules()):
        weight = getattr(module, "weight", None)
        if isinstance(weight, nn.Parameter) and weight.ndim > 1:
            parametrizations.spectral_norm(module)
    return _Sharpened(network, sharpness)
