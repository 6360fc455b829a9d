r"""Lipschitz constants of networks: an upper bound that is proved, a lower bound that is seen.

For a composition, Lip(f_L \circ \dots \circ f_1) \le \prod_l Lip(f_l). The constant of an affine map
is the largest singular value of its matrix, that of an activation the supremum of its slope, and so
the product bounds the network over the whole space (Szegedy et al. 2014, arXiv 1312.6199, section
4.3), usually loosely. The largest singular value of a Jacobian at any point is a lower bound; no
number of points turns it into an upper one.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor, nn

from submanifold.geometry.jacobians import jacobian
from submanifold.geometry.modules import CONVOLUTIONS, RESHAPING, computes, is_overridden
from submanifold.geometry.operator_norms import convolution_norm, round_up, spectral_norm
from submanifold.geometry.spectrum import singular_values
from submanifold.nn.activations import activation_lipschitz
from submanifold.nn.kan.channels import ChannelKAN
from submanifold.nn.kan.linear import KANLinear
from submanifold.nn.kan.monotone import MonotoneKAN

__all__ = ["lipschitz_lower_bound", "lipschitz_upper_bound"]


def lipschitz_upper_bound(module: nn.Module) -> float:
    r"""A certified L with \|f(x) - f(y)\|_2 \le L \|x - y\|_2 for all x, y, in exact arithmetic.

    Known are affine and convolutional layers, those of KANs, monotone KANs, the activations of `submanifold.nn`,
    changes of shape, and `nn.Sequential` of known modules. A module of another kind may offer its own bound as a
    method `lipschitz_bound() -> float`, which is trusted.

    Returns:
        The bound, or `math.inf` where the module contains something unknown, hooks included.
    """
    offered = getattr(module, "lipschitz_bound", None)
    if callable(offered):
        return float(offered())
    if is_overridden(module):
        return math.inf
    if isinstance(module, nn.Sequential) and computes(module, nn.Sequential):
        bounds = [lipschitz_upper_bound(child) for child in module]
        return math.inf if math.inf in bounds else round_up(math.prod(bounds), len(bounds))
    if isinstance(module, nn.Linear) and computes(module, nn.Linear):
        return spectral_norm(module.weight.detach().cpu().double().numpy())
    if isinstance(module, nn.modules.conv._ConvNd) and computes(module, *CONVOLUTIONS):
        return convolution_norm(module)
    if isinstance(module, nn.Dropout) and not module.training:
        return 1.0
    if isinstance(module, KANLinear) and computes(module, KANLinear):  # |J| is below the slopes' bounds entry by entry
        return round_up(spectral_norm(module.slope_bounds().cpu().numpy()), module.in_features)
    if type(module) is ChannelKAN:  # each pixel on its own
        return lipschitz_upper_bound(module.kan)
    if isinstance(module, MonotoneKAN) and computes(module, MonotoneKAN):  # coordinate by coordinate
        return module.slope_bound()
    steepest = activation_lipschitz(module)
    if steepest is not None:
        return steepest
    return 1.0 if type(module) in RESHAPING else math.inf


def lipschitz_lower_bound(f: Callable[[Tensor], Tensor], z: Tensor, *, chunk_size: int | None = None) -> float:
    r"""The largest stretch seen, \max_i \sigma_{\max}(J_f(z_i)) \le Lip(f), at points z (n, *in_shape).

    Never a certificate: it approaches, from below, the constant on the region that z covers.

    Raises:
        InvalidInput: for what `jacobian` refuses, or where f is not differentiable.
    """
    return float(singular_values(jacobian(f, z, chunk_size=chunk_size))[:, 0].max())
