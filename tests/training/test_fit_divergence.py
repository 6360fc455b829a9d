"""Training that cannot go on says so, and a density that collapses is named."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from training_toys import Breaks, Gaussian, toy_data

from submanifold.errors import ManifoldOverfittingWarning, TrainingDiverged
from submanifold.training import fit
from submanifold.training.overfitting import find_rise


def line(seed: int, n: int = 500) -> torch.Tensor:
    """Points on a line through the origin of R^3."""
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(3, generator=generator)
    return torch.randn(n, 1, generator=generator) * direction / direction.norm() * 3**0.5


def test_the_model_keeps_the_weights_from_before_a_loss_that_is_not_finite():
    weights = []
    model = Breaks((5,), at=20)
    with pytest.raises(TrainingDiverged, match=r"stage 'fit' at step 21: the loss is nan; the last finite loss was \d"):
        fit(
            model,
            toy_data(),
            steps=100,
            evaluate_every=20,
            callbacks=[lambda e: weights.append(e.model.weight.clone())],
        )
    assert torch.equal(model.weight, weights[-1])
    assert not model.training


def test_a_first_loss_that_is_not_finite():
    with pytest.raises(TrainingDiverged, match="no finite loss before; lower learning_rate"):
        fit(Breaks((5,), at=0), toy_data(), steps=100)


@pytest.mark.parametrize("seed", range(5))
def test_a_gaussian_on_a_line_is_named(seed):
    with pytest.warns(ManifoldOverfittingWarning, match="manifold overfitting") as caught:
        history = fit(
            Gaussian((3,)), line(seed), steps=600, learning_rate=0.02, schedule="constant", seed=seed, batch_size=128
        )
    assert len([w for w in caught if w.category is ManifoldOverfittingWarning]) == 1
    assert caught[0].filename == __file__
    assert history.column("smallest_scale")[-1] < 0.1
    assert np.ptp(history.column("log_likelihood")) > 2


@pytest.mark.parametrize("seed", range(8))
def test_a_gaussian_in_all_dimensions_is_not(seed):
    generator = torch.Generator().manual_seed(seed)
    # standard deviations down to a fifth of the largest, in a random frame
    frame = torch.linalg.qr(torch.randn(3, 3, generator=generator)).Q
    x = torch.randn(500, 3, generator=generator) @ torch.diag(torch.tensor([1.0, 0.5, 0.2])) @ frame
    with warnings.catch_warnings():
        warnings.simplefilter("error", ManifoldOverfittingWarning)
        history = fit(Gaussian((3,)), x, steps=600, learning_rate=0.02, seed=seed, batch_size=128)
    assert history.column("log_likelihood")[-1] > history.column("log_likelihood")[0]


class Fragile(Gaussian):
    """Cannot be computed once it is thinner than a hundredth."""

    def log_prob(self, x):
        if self.log_diagonal.min() < math.log(1e-2):
            raise torch.linalg.LinAlgError("the factor is singular")
        return super().log_prob(x)


def test_divergence_after_a_collapse_is_called_by_its_name():
    with (
        pytest.warns(ManifoldOverfittingWarning),
        pytest.raises(TrainingDiverged, match=r"the factor is singular.*manifold overfitting"),
    ):
        fit(Fragile((3,)), line(0), steps=4000, learning_rate=0.02, schedule="constant", batch_size=128)


def records(scales, likelihoods):
    return [{"smallest_scale": s, "log_likelihood": v} for s, v in zip(scales, likelihoods, strict=True)]


def test_the_rise_is_the_slope_of_the_law_of_codimension():
    scales = np.geomspace(1, 1e-3, 20)
    for codimension in (1, 2, 17):
        rise = find_rise(records(scales, 3 - codimension * np.log(scales)))
        assert rise is not None
        assert rise.slope == pytest.approx(codimension)
        assert rise.scale == pytest.approx(1e-3)
    assert find_rise(records(scales, 3 - 0.3 * np.log(scales))) is None  # follows too little
    assert find_rise(records(scales, np.log(scales))) is None  # falls
    assert find_rise(records(np.geomspace(1, 0.2, 20), -np.log(np.geomspace(1, 0.2, 20)))) is None  # still wide
    assert find_rise(records(np.full(20, 0.01), np.linspace(0, 9, 20))) is None  # was always thin
    assert find_rise([]) is None
    assert find_rise(records([1.0, 1e-3], [0.0, 9.0])) is None  # too few to tell


def test_the_rise_survives_numbers_that_are_not_finite():
    scales = np.geomspace(1, 1e-3, 20)
    broken = records(scales, 3 - np.log(scales)) + records([0.0, 1e-3, math.nan], [math.inf, math.nan, 1.0])
    rise = find_rise(broken)
    assert rise is not None
    assert rise.slope == pytest.approx(1)
