"""Features of a classifier: those of its layers, the same every time, and closer within a class than between."""

import numpy as np
import pytest
from toys import Sampler

from submanifold.data import Dataset, load
from submanifold.errors import InvalidInput
from submanifold.lens import sample_quality
from submanifold.lens.features import classifier_features
from submanifold.transport import frechet


@pytest.fixture(scope="module")
def digits():
    return load("digits").split(0.4, seed=0)


@pytest.fixture(scope="module")
def features(digits):
    return classifier_features(digits[0])


def test_features_tell_classes_apart_on_new_images(digits, features):
    train, new = digits
    assert features.accuracy > 0.98
    seen, unseen = features(train), features(new)
    assert unseen.shape == (len(new), 32)
    centres = np.stack([seen[train.labels == c].mean(axis=0) for c in range(10)])
    nearest = np.linalg.norm(unseen[:, None] - centres, axis=2).argmin(axis=1)
    assert (nearest == new.labels).mean() > 0.93


def test_features_are_the_layers_written_out(digits, features):
    for image, found in zip(digits[1].flat()[:5], features(digits[1])[:5], strict=True):
        h = [(float(p) - m) / features.scale for p, m in zip(image, features.centre, strict=True)]
        for W, b in zip(features.weights, features.biases, strict=True):
            h = [max(0.0, b[j] + sum(h[i] * W[i, j] for i in range(len(h)))) for j in range(len(b))]
        np.testing.assert_allclose(found, h, rtol=1e-9, atol=1e-9)


def test_the_seed_decides_them(digits, features):
    again, other = classifier_features(digits[0]), classifier_features(digits[0], seed=1)
    np.testing.assert_array_equal(features(digits[1]), again(digits[1]))
    assert not np.allclose(features(digits[1]), other(digits[1]))


def test_what_has_no_classes_or_other_coordinates_is_refused(digits, features):
    with pytest.raises(InvalidInput, match="labels"):
        classifier_features(Dataset(np.random.default_rng(0).standard_normal((50, 3))))
    with pytest.raises(InvalidInput, match="labels"):
        classifier_features(Dataset(np.random.default_rng(0).standard_normal((50, 3)), labels=np.zeros(50, dtype=int)))
    with pytest.raises(InvalidInput, match="3 coordinates"):
        features(np.zeros((4, 3)))
    with pytest.raises(InvalidInput, match="width"):
        classifier_features(digits[0], width=0)


def test_quality_is_measured_in_features_where_they_are_given(digits, features):
    train, new = digits
    first, second = new.split(0.5, seed=1)
    model = Sampler(lambda n, rng: second.flat()[rng.permutation(len(second))[:n]], (64,))
    x = Dataset(first.flat()), Dataset(train.flat())
    plain = sample_quality(model, x[0], reference=x[1], dim=10.0)
    found = sample_quality(model, x[0], reference=x[1], dim=10.0, features=features)
    assert "frechet" not in plain.numbers
    assert found.numbers["precision"].value != plain.numbers["precision"].value
    assert 0 < found.numbers["frechet"].value < 8
    assert found.numbers["frechet"].value == pytest.approx(frechet(features(second), features(first)), rel=0.2)
