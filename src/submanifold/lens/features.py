"""What a small classifier looks at: coordinates in which distances between images mean something.

The usual features come from a network trained on a million photographs; those here come from one trained on the data's
own classes, in seconds, so that images of eight by eight digits have them too.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from submanifold.checks import check_int, check_matrix
from submanifold.data.dataset import Dataset
from submanifold.errors import InvalidInput

__all__ = ["ClassifierFeatures", "classifier_features"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ClassifierFeatures:
    r"""The last hidden layer of a classifier: h_0 = (x - c) / s, h_{l+1} = \max(0, W_l^T h_l + b_l).

    Attributes:
        centre: c, the mean of the points it was trained on, (D,).
        scale: s, their standard deviation over all coordinates.
        weights: W_l of the hidden layers, each (in, out).
        biases: b_l, each (out,).
        accuracy: fraction of the points it was trained on that the classifier names rightly.
    """

    centre: Array = field(repr=False)
    scale: float
    weights: tuple[Array, ...] = field(repr=False)
    biases: tuple[Array, ...] = field(repr=False)
    accuracy: float

    def __call__(self, X: Any) -> Array:
        """The features (n, width) of points (n, *data_shape).

        Raises:
            InvalidInput: for points that are not accepted, or have another number of coordinates.
        """
        h = check_matrix(X, min_rows=1)  # (n, D)
        if h.shape[1] != len(self.centre):
            raise InvalidInput(f"X has {h.shape[1]} coordinates: these features are of points with {len(self.centre)}")
        h = (h - self.centre) / self.scale
        for W, b in zip(self.weights, self.biases, strict=True):
            h = np.maximum(0.0, h @ W + b)  # (n, width)
        return h


def classifier_features(data: Dataset, *, width: int = 32, seed: int = 0) -> ClassifierFeatures:
    """Train a classifier on the classes of `data`, and keep what its last hidden layer sees.

    The same data and seed give the same features. Measure with points that neither the classifier nor a model was
    trained on: on its own training data it is surer of itself.

    Args:
        data: points with `labels`.
        width: of the hidden layers, of which there are two.
        seed: of the initial weights and the batches.

    Raises:
        InvalidInput: for data without labels, or of one class.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    if data.labels is None or len(np.unique(data.labels)) < 2:
        raise InvalidInput(f"{data.name} has no two classes to tell apart: give data with labels")
    check_int(width, name="width")
    x = check_matrix(data)
    centre = x.mean(axis=0)
    scale = float(x.std()) or 1.0
    classifier = MLPClassifier(
        (2 * width, width),
        alpha=1e-3,
        learning_rate_init=3e-3,
        max_iter=60,
        random_state=check_int(seed, name="seed", low=0),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # sixty epochs are what is wanted
        classifier.fit((x - centre) / scale, data.labels)
    accuracy = float(classifier.score((x - centre) / scale, data.labels))
    hidden = slice(0, -1)
    return ClassifierFeatures(
        centre, scale, tuple(classifier.coefs_[hidden]), tuple(classifier.intercepts_[hidden]), accuracy
    )
