r"""Singular spectra of Jacobians, and the change of volume that they make.

J is (n, D, d) with D >= d, and \sigma_1 \ge \dots \ge \sigma_d are the singular values of one of
them. A map g: R^d -> R^D multiplies d-dimensional volume by \sqrt{\det J^\top J} = \prod_i \sigma_i.
All of it is computed in float64 from J itself: J^\top J squares the condition number, and holds no
digit of \sigma_d once \sigma_1 / \sigma_d > 10^8.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from submanifold.errors import InvalidInput

__all__ = ["VolumeElement", "log_volume", "singular_values"]


@dataclass(frozen=True, eq=False)
class VolumeElement:
    r"""How a map changes volume around each of n points; every field is a float64 tensor (n,).

    Attributes:
        log_volume: \tfrac12 \log\det J^\top J, in nats; -inf where J has lost rank.
        sigma_min: smallest singular value: 0 where the map folds or forgets a direction.
        sigma_max: largest singular value: how far the map stretches.
        condition: sigma_max / sigma_min; infinite where J has lost rank.
    """

    log_volume: Tensor
    sigma_min: Tensor
    sigma_max: Tensor
    condition: Tensor


def singular_values(J: Tensor) -> Tensor:
    """The singular values (n, min(D, d)) of Jacobians (n, D, d), descending, in float64.

    Raises:
        InvalidInput: if J is not (n, D, d) or not finite.
    """
    if J.ndim != 3 or J.numel() == 0:
        raise InvalidInput(f"J has shape {tuple(J.shape)}: give at least one Jacobian, (n, D, d)")
    if not torch.isfinite(J).all():
        raise InvalidInput("J has NaN or infinity: the map is not differentiable at some points")
    values: Tensor = torch.linalg.svdvals(J.detach().double())
    return values


def log_volume(J: Tensor) -> VolumeElement:
    r"""The volume elements \tfrac12 \log\det J^\top J = \sum_i \log \sigma_i of Jacobians (n, D, d).

    They turn a latent density into one on the manifold, with respect to its d-dimensional volume:
    \log p_X(g(z)) = \log p_Z(z) - \tfrac12 \log\det J_g(z)^\top J_g(z) (Loaiza-Ganem et al. 2024,
    arXiv 2404.02954, section 3.3).

    Raises:
        InvalidInput: if J is not (n, D, d) with D >= d, or not finite.
    """
    if J.ndim == 3 and J.shape[1] < J.shape[2]:
        raise InvalidInput(
            f"J has shape {tuple(J.shape)}: a map to fewer coordinates crushes every volume; give D >= d"
        )
    sigma = singular_values(J)  # (n, d)
    sigma_max, sigma_min = sigma[:, 0], sigma[:, -1]
    return VolumeElement(
        log_volume=sigma.log().sum(dim=1),
        sigma_min=sigma_min,
        sigma_max=sigma_max,
        condition=torch.where(sigma_min > 0, sigma_max / sigma_min, torch.inf),
    )
