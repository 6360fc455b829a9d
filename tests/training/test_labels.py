"""Classes of points on their way from the data to a loss or a transform that asks for them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from submanifold.data import Dataset
from submanifold.errors import InvalidInput
from submanifold.models import Autoencoder, Model, Objective, TwoStep
from submanifold.models.diffusion.diffusion import Diffusion
from submanifold.training import fit, source


class Witness(Model):
    """Its points tell their class in their first coordinate; it keeps what it is given beside them."""

    def __init__(self, data_shape):
        super().__init__(data_shape)
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.seen = []

    def loss(self, x, labels):
        self.seen.append((x.detach().clone(), labels))
        return (self.weight * x).square().mean()

    def objectives(self):
        return [Objective("squares", [self.weight], self.loss, labelled=True)]


def labelled(n=60, classes=5):
    labels = np.arange(n) % classes
    return Dataset(np.column_stack([labels, np.linspace(-1, 1, n)]).astype(np.float32), labels=labels)


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("held_out", [0.3, "given"])
def test_labels_stay_with_their_points(mapped, held_out, tmp_path, monkeypatch):
    data = labelled()
    if mapped:
        monkeypatch.setattr(source, "_spare_memory", lambda: 0)
        np.save(tmp_path / "x.npy", data.x)
        data = Dataset(np.load(tmp_path / "x.npy", mmap_mode="r"), labels=data.labels)
    model = Witness((2,))
    given = labelled(20) if held_out == "given" else held_out
    fit(model, data, steps=9, batch_size=8, held_out=given, evaluate_every=3, progress=False)
    assert len(model.seen) > 9  # steps and evaluations
    for x, labels in model.seen:
        assert torch.equal(x[:, 0].long(), labels)


@pytest.mark.parametrize("mapped", [False, True])
def test_a_labelled_transform_sees_the_classes_of_its_points(mapped, tmp_path, monkeypatch):
    """Each point is scaled by a number of its class, and is still with its class in the loss."""

    class Scaled(Witness):
        def stages(self):
            (stage,) = super().stages()
            return [replace(stage, transform=lambda x, labels: x * 10.0 ** labels[:, None], labelled=True)]

    data = labelled(2100)  # several blocks
    if mapped:
        monkeypatch.setattr(source, "_spare_memory", lambda: 0)
        np.save(tmp_path / "x.npy", data.x)
        data = Dataset(np.load(tmp_path / "x.npy", mmap_mode="r"), labels=data.labels)
    model = Scaled((2,))
    fit(model, data, steps=9, batch_size=8, evaluate_every=3, progress=False)
    assert len(model.seen) > 9
    for x, labels in model.seen:
        torch.testing.assert_close(x[:, 0], labels * 10.0**labels)


@pytest.mark.parametrize("which", ["X", "held_out"])
def test_data_without_labels_are_refused(which):
    bare = labelled().x
    X, held_out = (bare, 0.2) if which == "X" else (labelled(), bare)
    with pytest.raises(InvalidInput, match=f"{which} has no labels and the model has classes"):
        fit(Witness((2,)), X, steps=2, held_out=held_out, progress=False)


def test_a_table_with_a_column_of_that_name_is_data():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"labels": [0.0, 1.0, 2.0], "size": [1.0, 2.0, 3.0]})
    assert source.open_points(table, (2,), torch.device("cpu"), torch.float32).labels is None


def test_another_labelling_is_another_run(tmp_path):
    data = labelled()
    other = Dataset(data.x, labels=(data.labels + 1) % 5)

    def train(data):
        fit(Diffusion((2,), hidden=(8,), classes=5), data, steps=2, run=tmp_path / "run", progress=False)

    train(data)
    with pytest.raises(InvalidInput, match="other data"):
        train(other)


def test_the_law_of_a_two_step_model_gets_the_labels_of_the_points_that_were_encoded():
    law = Diffusion((1,), hidden=(8,), classes=5)
    model = TwoStep(Autoencoder((2,), latent_dim=1, hidden=(8,)), law)
    seen = []
    loss = law.loss
    law.loss = lambda z, labels: (seen.append((z, labels)), loss(z, labels))[1]
    data = labelled()
    fit(model, data, steps=3, batch_size=16, held_out=0.2, progress=False)
    z = model.encode(torch.as_tensor(data.x))
    assert seen
    for latents, labels in seen:
        same = labels[:, None] == torch.as_tensor(data.labels)
        assert torch.cdist(latents, z).masked_fill(~same, torch.inf).amin(dim=1).max() < 1e-5
