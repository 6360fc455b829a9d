"""Grids that change in the middle of fitting each model that takes a KAN by name."""

import pytest
import torch
from model_cases import IMAGES, low_rank_data, make

import submanifold as sm
from submanifold.models.catalogue import parameters_of
from submanifold.nn.kan import GridSchedule
from submanifold.nn.kan.grids import spline_layers

REFUSED = ("sn-wgan",)  # by their spectral normalisation
ON_LEVELS = ("categorical-vae", "logistic-vae", "pixelcnn")
NAMES = [name for name in sm.models.names() if "network" in parameters_of(name) and name not in REFUSED]
QUICK = ("denoising-flow", "autoencoder", "pixelcnn")
"""One that holds its last loss while grids change, and two that do not."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in NAMES]
)
def test_grids_change_while_it_is_fitted(name):
    torch.manual_seed(0)
    shape = (1, 4, 4) if name in IMAGES else (3,)
    model = make(name, shape, network="kan", hidden=(6,))
    x = low_rank_data(shape, 64)
    schedule = GridSchedule(update_until=1, refine={2: 12, 3: 14})
    history = sm.fit(
        model,
        x.round() if name in ON_LEVELS else x,
        steps=5,
        batch_size=16,
        evaluate_every=1,
        callbacks=[schedule],
        progress=False,
    )
    assert any(record.get("outside_grid", 0.0) > 0 for record in history.records)
    layers = spline_layers(model)
    assert layers
    assert all(layer.basis.intervals == 14 for layer in layers)
    assert all(parameter.isfinite().all() for parameter in model.parameters())
