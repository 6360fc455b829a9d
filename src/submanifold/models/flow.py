r"""Normalizing flows: x = T(u), u \sim N(0, I_D), with T a composition of invertible maps whose Jacobian is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from submanifold.checks import check_choice, check_int, check_ints
from submanifold.models import _zuko
from submanifold.models.base import Awareness
from submanifold.models.latents import normal
from submanifold.models.likelihood import ExactLikelihood
from submanifold.models.registry import preset, register
from submanifold.nn.given import NetworkLike

__all__ = ["Flow"]


@register("flow")
class Flow(ExactLikelihood):
    r"""Maximises the exact log-likelihood by change of variables,

    .. math:: \log p(x) = \log N(T^{-1}(x); 0, I) + \log |\det \partial T^{-1} / \partial x|

    (Rezende & Mohamed 2015, arXiv 1505.05770). Its maps are zuko's. On data that lie on a manifold of lower dimension
    the likelihood has no maximum, and T's smallest singular values go to zero.

    Args:
        data_shape: (D,) or (channels, height, width), flattened; D = 1 is accepted.
        kind: "spline-coupling", "spline-autoregressive" (both Durkan et al. 2019, arXiv 1906.04032) or "maf"
            (Papamakarios et al. 2017, arXiv 1705.07057), or "monotone-kan", autoregressive too, of which coordinates
            move by the splines of a `MonotoneKAN`. Autoregressive flows sample D times slower than they score.
        network: "mlp" or "kan", what says how coordinates move given others; with KANs the flow starts near the
            identity. With "spline-coupling" also a callable that makes such a network, of vectors, for the shapes of an
            input and of an output: the flow starts as the identity. Other kinds mask their networks, so that they take
            none but ours.
        transforms: number of maps composed.
        hidden: widths of the hidden layers of the networks in each map.
        bins: pieces of each spline on [-5, 5] in preprocessed units; outside it is the identity, or straight.
        preprocess: names of the invertible maps applied first.
    """

    family = "normalizing flow"
    awareness: Awareness = "unaware"
    why = "an invertible map gives a density on all of R^D, whose likelihood grows without bound on a manifold"

    context: ClassVar[int] = 0
    """How many numbers besides x the maps depend on, in subclasses that say them."""

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        kind: str = "spline-coupling",
        network: NetworkLike = "mlp",
        transforms: int = 3,
        hidden: Sequence[int] = (64, 64),
        bins: int = 8,
        preprocess: Sequence[str] = ("scale",),
    ) -> None:
        super().__init__(data_shape, preprocess)
        self.transform = _zuko.transforms(
            check_choice(kind, _zuko.KINDS, name="kind"),
            self.ambient_dim,
            layers=check_int(transforms, name="transforms"),
            hidden=check_ints(hidden, name="hidden"),
            bins=check_int(bins, name="bins", low=2),
            context=self.context,
            network=network,
        )

    @torch.no_grad()
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` samples, (n, *data_shape)."""
        like = torch.empty(0, device=self.device, dtype=self.dtype)
        return self._generate(normal((check_int(n, name="n"), self.ambient_dim), like, generator))

    def _normalise(self, x: Tensor) -> Tensor:
        """u = T^{-1}(x), (n, D)."""
        u: Tensor = self.transform()(self.preprocess(x).flatten(1))
        return u

    def _generate(self, u: Tensor, context: Tensor | None = None) -> Tensor:
        """x = T(u), (n, *data_shape), of u (n, D)."""
        y = self.transform(context).inv(u).reshape(len(u), *self.data_shape)  # (n, *data_shape)
        return self.preprocess.inverse(y)

    def _log_prob(self, x: Tensor) -> Tensor:
        y, log_det = self.preprocess.forward_and_log_det(x)
        return self._log_density(y.flatten(1)) + log_det

    def _log_density(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density of preprocessed points (n, D), (n,)."""
        y = y.contiguous()  # products of matrices round by strides
        u, log_det = self.transform(context).call_and_ladj(y)  # (n, D), (n,)
        log_base = -0.5 * (u.square() + math.log(2 * math.pi)).sum(dim=1)
        total: Tensor = log_base + log_det
        return total


preset("kan-flow", Flow, family="normalizing flow, KAN conditioners", network="kan", hidden=(16, 16))
preset("maf", Flow, family="normalizing flow, masked autoregressive", kind="maf")
preset("nsf", Flow, family="normalizing flow, autoregressive splines", kind="spline-autoregressive")
