"""What the library raises: one sentence each, with the argument, what was given and what is accepted."""

from __future__ import annotations

__all__ = [
    "IncomparableMeasures",
    "InvalidInput",
    "ManifoldOverfittingWarning",
    "NonFiniteScore",
    "OffManifold",
    "TrainingDiverged",
    "UnfittedModel",
]


class InvalidInput(ValueError):
    """An argument that the library cannot use; nothing was computed."""


class OffManifold(InvalidInput):
    """A point was given to an on-manifold density, and the point does not lie on the manifold."""


class IncomparableMeasures(TypeError):
    """Two likelihoods with respect to different measures were asked to be compared."""


class UnfittedModel(RuntimeError):
    """A method that needs a fitted model was called before the model was fitted."""


class NonFiniteScore(RuntimeError):
    """A sampler or a likelihood met a score that is not a number; the message names the step and the noise level."""


class TrainingDiverged(RuntimeError):
    """Training stopped because its loss or its gradients are no longer finite."""


class ManifoldOverfittingWarning(UserWarning):
    """A likelihood grows without bound while the density collapses onto a lower-dimensional set."""
