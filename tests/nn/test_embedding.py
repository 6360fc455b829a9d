"""What tells a network the noise level and the class: distances between levels, and which labels there are."""

import math

import pytest
import torch

from submanifold.errors import InvalidInput
from submanifold.nn.embedding import Embedding, FourierFeatures


def test_the_distance_of_two_levels_is_a_function_of_their_difference() -> None:
    fourier = FourierFeatures(32).double()
    frequencies = 0.5 * 32 ** (torch.arange(16, dtype=torch.float64) / 15)
    c, d = torch.linspace(-3, 3, 61, dtype=torch.float64), torch.linspace(-2, 4, 61, dtype=torch.float64).flip(0)
    expected = 2 * (1 - torch.cos((c - d)[:, None] * frequencies)).sum(dim=1)
    torch.testing.assert_close((fourier(c) - fourier(d)).square().sum(dim=1), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("level", [-3.0, -0.4, 0.0, 2.5])
def test_near_levels_are_the_farther_apart_the_more_they_differ(level: float) -> None:
    fourier = FourierFeatures(64).double()
    c = level + torch.linspace(0, math.pi / 16, 50, dtype=torch.float64)
    distances = (fourier(c) - fourier(c[:1])).norm(dim=1)
    assert (distances.diff() > 0).all()


def test_no_two_levels_in_use_are_taken_for_one_another() -> None:
    """Levels 1% of the noise apart differ, and none of a fine grid on [-3, 3] comes closer than its neighbours."""
    c = torch.arange(-3, 3, math.log(1.01) / 4, dtype=torch.float64)
    features = FourierFeatures(64).double()(c)
    distances = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    steps = distances.diagonal(1)
    torch.testing.assert_close(steps, steps[:1].expand_as(steps), rtol=1e-6, atol=0)
    assert steps.min() > 0.05
    distances.fill_diagonal_(math.inf)
    assert distances.min() >= steps.min() - 1e-9


def test_frequencies_are_saved_and_restored() -> None:
    saved = FourierFeatures(8, lowest=0.1, highest=3.0)
    other = FourierFeatures(8)
    other.load_state_dict(saved.state_dict())
    c = torch.randn(5)
    assert torch.equal(other(c), saved(c))


def test_features_are_even_in_number() -> None:
    with pytest.raises(InvalidInput, match="features=7 is not accepted: give an even number"):
        FourierFeatures(7)


def test_no_label_is_a_class_of_its_own() -> None:
    torch.manual_seed(0)
    embedding = Embedding(16, classes=3)
    level = torch.full((4,), 0.3)
    vectors = embedding(level, torch.arange(4))
    assert torch.equal(embedding(level), vectors[3:].expand(4, -1))
    assert torch.pdist(vectors).min() > 0.1


def test_labels_that_there_are_not_are_refused_in_one_sentence() -> None:
    level = torch.zeros(2)
    with pytest.raises(InvalidInput, match="label is given to a network without classes"):
        Embedding(4)(level, torch.tensor([0, 0]))
    embedding = Embedding(4, classes=3)
    for label in ([0, 4], [-1, 0]):
        with pytest.raises(InvalidInput, match=r"label has values outside \[0, 3\)"):
            embedding(level, torch.tensor(label))
        with pytest.raises(InvalidInput, match="label has values"):
            torch.func.vmap(lambda c, y: embedding(c[None], y[None]))(level, torch.tensor(label))
    for bad in (torch.tensor([0.0, 1.0]), torch.tensor([0]), torch.tensor([[0], [1]])):
        with pytest.raises(InvalidInput, match="label has shape"):
            embedding(level, bad)
