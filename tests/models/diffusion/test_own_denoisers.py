"""Denoisers of the user's own that are told classes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import submanifold as sm
from submanifold.data import Dataset
from submanifold.errors import InvalidInput

CLASSES = 2


class OfClass(nn.Module):
    """As one writes it, with room for some labels; it keeps those that it is told."""

    def __init__(self, labels):
        super().__init__()
        self.embedding = nn.Embedding(labels, 4)
        self.layers = nn.Sequential(nn.Linear(7, 16), nn.SiLU(), nn.Linear(16, 2))
        self.told = []

    def forward(self, x_t, level, labels):
        self.told.append(labels)
        return self.layers(torch.cat([x_t, level[:, None], self.embedding(labels)], dim=1))


def points(n=60):
    x = np.random.default_rng(0).standard_normal((n, 2)).astype(np.float32)
    return Dataset(x, labels=np.arange(n) % CLASSES)


@pytest.fixture(scope="module")
def fitted():
    torch.manual_seed(0)
    model = sm.models.create("flow-matching", (2,), network=OfClass(CLASSES + 1), classes=CLASSES, unlabelled=0.5)
    sm.fit(model, points(), steps=4, batch_size=32, evaluate_every=4, progress=False)
    return model


def test_hidden_labels_are_the_last(fitted):
    told = torch.cat(fitted.network.told)
    assert told.unique().tolist() == [0, 1, CLASSES]


@pytest.mark.parametrize(
    "ask",
    [
        lambda model, x: model.sample(4, steps=2),
        lambda model, x: model.score(x, 0.5),
        lambda model, x: model.denoise(x, 0.5),
        lambda model, x: model.log_prob(x),
    ],
    ids=["sample", "score", "denoise", "log_prob"],
)
def test_points_without_a_label_have_the_last(fitted, ask):
    """Also where derivatives are taken."""
    fitted.network.told.clear()
    assert ask(fitted, torch.as_tensor(points(4).x)).isfinite().all()
    assert fitted.network.told
    assert all((labels == CLASSES).all() for labels in fitted.network.told)
    assert all(labels.dtype == torch.int64 for labels in fitted.network.told)


def test_guidance_asks_with_a_label_and_without(fitted):
    fitted.network.told.clear()
    assert fitted.sample(4, labels=1, guidance=1.0, steps=2).isfinite().all()
    assert {tuple(labels.tolist()) for labels in fitted.network.told} == {(1,) * 4, (CLASSES,) * 4}


def test_a_network_without_room_for_no_label_is_refused():
    with pytest.raises(InvalidInput, match=r"OfClass as denoiser, which fails for the label 2.*room for 3 labels"):
        sm.models.create("flow-matching", (2,), network=OfClass(CLASSES), classes=CLASSES)
    model = sm.models.create("flow-matching", (2,), network=OfClass(CLASSES + 1).train(), classes=CLASSES)
    assert all(module.training for module in model.modules())  # trying it leaves it as it was


def test_a_network_that_takes_no_labels_is_refused_as_such():
    with pytest.raises(InvalidInput, match=r"give one that maps \(n, 2\), \(n,\), \(n,\) to \(n, 2\)"):
        sm.models.create("ddpm", (2,), network=nn.Linear(2, 2), classes=CLASSES)


class AsOfDiffusers(nn.Module):
    """Called as the networks of diffusers are, and answers as they do."""

    def __init__(self, labels):
        super().__init__()
        self.class_embedding = nn.Embedding(labels, 4)
        self.network = nn.Linear(2, 2)
        self.told = []

    def forward(self, sample, timestep, class_labels=None):
        self.told.append(class_labels)
        scale = 1 + self.class_embedding(class_labels).mean(dim=1, keepdim=True)
        return SimpleNamespace(sample=scale * self.network(sample))


def test_networks_that_are_called_as_those_of_diffusers_are_told_the_same():
    with pytest.raises(InvalidInput, match="num_class_embeds=3"):
        sm.models.create("ddpm", (2,), network=AsOfDiffusers(CLASSES), classes=CLASSES)
    network = AsOfDiffusers(CLASSES + 1)
    model = sm.models.create("ddpm", (2,), network=network, classes=CLASSES)
    sm.fit(model, points(), steps=3, batch_size=32, evaluate_every=3, progress=False)
    network.told.clear()
    assert model.sample(4, labels=1, guidance=1.0, steps=2).isfinite().all()
    assert {tuple(labels.tolist()) for labels in network.told} == {(1,) * 4, (CLASSES,) * 4}
