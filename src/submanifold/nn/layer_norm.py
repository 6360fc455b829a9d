"""Normalisation of each point over its own features, with right derivatives of all orders."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["LayerNorm"]


class LayerNorm(nn.Module):
    r"""(h - m) / \sqrt{v + \epsilon}, with m and v the mean and the variance of the features, the last dimension (Ba et
    al. 2016, arXiv 1607.06450, eq. 4, without gain and bias).

    It is written out since torch's own takes m and v for constants where a forward derivative is differentiated again.
    """

    def __init__(self, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, h: Tensor) -> Tensor:
        """(..., features) to the same."""
        centred = h - h.mean(dim=-1, keepdim=True)
        return centred * (centred.square().mean(dim=-1, keepdim=True) + self.epsilon).rsqrt()
