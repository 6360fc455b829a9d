"""Latents that keep their place: shapes, and what a place sees."""

import pytest
import torch

from submanifold.errors import InvalidInput
from submanifold.nn import decoder, encoder, spatial_shape


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (2, 13, 30)])
def test_shapes(shape):
    _, height, width = spatial_shape(shape, 0)
    features = 3 * height * width
    assert spatial_shape(shape, features) == (3, height, width)
    x = torch.randn(5, *shape)
    z = encoder("spatial", shape, features, (4, 8))(x)
    assert z.shape == (5, features)
    assert decoder("spatial", features, shape, (4, 8))(z).shape == x.shape


def test_a_pixel_is_seen_at_its_place_alone():
    shape = (1, 64, 64)
    network = encoder("spatial", shape, 2 * 16 * 16, (4, 4, 4))
    x = torch.zeros(1, *shape)
    moved = x.clone()
    moved[0, 0, 8, 48] = 1.0
    change = (network(moved) - network(x)).detach().reshape(2, 16, 16).abs().sum(dim=0)
    rows, columns = change.nonzero().T
    assert 0 <= int(rows.min()) <= 2 <= int(rows.max()) <= 5
    assert 9 <= int(columns.min()) <= 12 <= int(columns.max()) <= 15


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: encoder("spatial", (1, 28, 28), 50), "multiple of 49, the 7 x 7 places"),
        (lambda: decoder("spatial", 50, (1, 28, 28)), "multiple of 49"),
        (lambda: encoder("spatial", (28,), 49), 'network="spatial" with data_shape'),
    ],
)
def test_refusals(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()
