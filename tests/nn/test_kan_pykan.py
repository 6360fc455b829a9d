"""Agreement with pykan on the same weights."""

import pytest
import torch

from submanifold.nn.kan import KANLinear
from submanifold.nn.kan.bases import BSplines

pytestmark = pytest.mark.peer
pykan = pytest.importorskip("kan.KANLayer")


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("grid", [3, 10])
def test_a_layer_says_what_that_of_pykan_says(grid, order):
    """With its weights, inside the grid, and its derivatives in x."""
    torch.manual_seed(0)
    theirs = pykan.KANLayer(4, 3, num=grid, k=order, scale_base_mu=0.3, scale_base_sigma=1.0).double()
    ours = KANLinear(4, 3, grid=grid, order=order).double()
    assert isinstance(ours.basis, BSplines)
    with torch.no_grad():
        ours.basis.set_breakpoints(theirs.grid[:, order : -order or None])
        ours.coefficients.copy_(theirs.coef.movedim(0, 1))
        ours.spline_scale.copy_(theirs.scale_sp.mT)
        ours.base_scale.copy_(theirs.scale_base.mT)
    x = 2 * torch.rand(50, 4, dtype=torch.float64) - 1
    torch.testing.assert_close(ours(x), theirs(x)[0], rtol=0, atol=1e-7)  # it has knots in single precision
    torch.testing.assert_close(ours.edges(x), theirs(x)[2], rtol=0, atol=1e-7)
    slopes, expected = (torch.func.jacrev(lambda x, f=f: f(x)[0].sum(0))(x) for f in (lambda x: ours(x)[None], theirs))
    torch.testing.assert_close(slopes, expected, rtol=0, atol=1e-6)
