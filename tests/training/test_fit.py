"""What `fit` computes, against loops written out by hand, and what it leaves alone."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from training_toys import Adversaries, ClosedForm, NoisyCoder, TwoStages, toy_data

from submanifold.data import Dataset
from submanifold.errors import InvalidInput
from submanifold.models import Autoencoder, GaussianMixture, Model, Objective, Stage, create
from submanifold.training import fit, source
from submanifold.training.sampler import Batches


class Linear(Model):
    """Least squares without noise: what a hand-written loop can follow exactly."""

    def __init__(self, data_shape):
        super().__init__(data_shape)
        self.weight = torch.nn.Parameter(torch.full((self.ambient_dim,), 2.0))
        self.bias = torch.nn.Parameter(torch.ones(()))

    def loss(self, x):
        return ((x * self.weight).sum(1) + self.bias - x.sum(1)).square().mean()

    def objectives(self):
        return [Objective("squares", list(self.parameters()), self.loss)]


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
@pytest.mark.parametrize("ema", [None, 0.95])
def test_the_weights_are_those_of_a_bare_loop(schedule, ema):
    x, steps, batch = toy_data(200), 70, 32
    settings = {"learning_rate": 0.02, "weight_decay": 0.1, "clip": 1.5}
    model = Linear((5,))
    fit(model, x, steps=steps, batch_size=batch, schedule=schedule, ema=ema, held_out=0, seed=4, **settings)

    bare = Linear((5,))
    optimiser = torch.optim.AdamW(bare.parameters(), lr=0.02, weight_decay=0.1)
    batches = Batches(200, batch, place=(4, 0, "fit"))
    average = [p.detach().clone() for p in bare.parameters()]
    for step in range(steps):
        rate = 0.02 * (0.5 * (1 + math.cos(math.pi * step / steps)) if schedule == "cosine" else 1)
        optimiser.param_groups[0]["lr"] = rate
        optimiser.zero_grad()
        bare.loss(x[batches(step)]).backward()
        torch.nn.utils.clip_grad_norm_(bare.parameters(), 1.5)
        optimiser.step()
        beta = 0 if ema is None else min(ema, (2 + step) / (11 + step))
        average = [beta * a + (1 - beta) * p.detach() for a, p in zip(average, bare.parameters(), strict=True)]
    for got, expected in zip(model.parameters(), average, strict=True):
        torch.testing.assert_close(got.detach(), expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(("n", "batch"), [(10, 3), (12, 4), (5, 100), (1, 7)])
def test_each_epoch_visits_each_point_once_in_a_new_order(n, batch):
    batches = Batches(n, batch, place=(0, "here"))
    size = min(n, batch)
    per_epoch = n // size
    epochs = [torch.cat([batches(e * per_epoch + b) for b in range(per_epoch)]) for e in range(40)]
    for rows in epochs:
        assert len(set(rows.tolist())) == per_epoch * size
    assert set(torch.cat(epochs).tolist()) == set(range(n))
    assert n <= 2 or len({tuple(rows.tolist()) for rows in epochs}) > 1
    again = Batches(n, batch, place=(0, "here"))
    assert torch.equal(again(17), batches(17))  # asked for out of order


def test_several_processes_share_a_batch_between_them():
    whole = Batches(50, 16, place=(1,))
    parts = [Batches(50, 16, place=(1,), rank=rank, world=3) for rank in range(3)]
    for step in (0, 2, 5):
        shares = torch.cat([part(step) for part in parts])
        assert sorted(shares.tolist()) == sorted(whole(step).tolist())


def test_an_objective_moves_on_each_kth_step_and_only_its_own_parameters():
    torch.manual_seed(0)
    model = Adversaries((5,))
    history = fit(model, toy_data(), steps=30, batch_size=32)
    assert model.calls == [30, 10]
    assert {"loss", "maker_loss", "maker_gradient_norm"} <= set(history.records[0])

    torch.manual_seed(0)
    frozen = Adversaries((5,))
    before = frozen.maker.weight.detach().clone()
    frozen.objectives = lambda: Adversaries.objectives(frozen)[:1]
    fit(frozen, toy_data(), steps=10, batch_size=32)
    assert torch.equal(frozen.maker.weight, before)


@pytest.mark.parametrize("model", [NoisyCoder, TwoStages])
def test_the_same_seed_gives_the_same_weights_and_another_one_others(model):
    def weights(seed, **kwargs):
        torch.manual_seed(0)
        fitted = model((5,))
        fit(fitted, toy_data(), steps=25, batch_size=64, seed=seed, **kwargs)
        return torch.cat([p.detach().flatten() for p in fitted.parameters()])

    first = weights(0)
    assert torch.equal(first, weights(0))
    assert not torch.equal(first, weights(1))

    def meddle(event):
        torch.randn(1000)
        event.model.train()

    # neither the number of evaluations nor what a callback draws reaches training
    assert torch.equal(first, weights(0, callbacks=[meddle], evaluate_every=3))


def test_the_caller_keeps_random_state_data_and_mode():
    x = toy_data()
    copy = x.clone()
    torch.manual_seed(11)
    state = torch.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002
    model = ClosedForm((5,))
    fit(model, x)
    model = NoisyCoder((5,)).train()
    torch.set_rng_state(state)
    fit(model, x, steps=10)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert torch.equal(x, copy)
    assert not model.training
    assert all(p.grad is None for p in model.parameters())


def test_the_kinds_of_input_are_the_same_data(tmp_path, monkeypatch):
    x = toy_data(300).numpy()
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")

    def weights(data, **kwargs):
        torch.manual_seed(0)
        model = TwoStages((5,))
        fit(model, data, steps=20, batch_size=32, **kwargs)
        return torch.cat([t.detach().flatten() for t in model.state_dict().values()])

    expected = weights(x)
    assert torch.equal(weights(torch.from_numpy(x)), expected)
    assert torch.equal(weights(Dataset(x)), expected)
    assert torch.equal(weights(x.astype(np.float64)), expected)
    assert torch.equal(weights(mapped), expected)
    monkeypatch.setattr(source, "_spare_memory", lambda: 4 * x.nbytes - 4)  # ... and does not fit
    kept, held = source.split(source.open_points(mapped, (5,), torch.device("cpu"), torch.float32), 0.1, 0)
    assert isinstance(kept, source.MappedPoints)
    train, test = Dataset(x).split(0.1, seed=0)
    assert np.array_equal(kept.batch(torch.arange(len(kept))).numpy(), train.x)
    assert np.array_equal(held.everything().numpy(), test.x)
    assert torch.equal(weights(mapped), expected)


def test_an_offset_that_costs_digits_is_told():
    x = toy_data(300).double()
    with pytest.warns(UserWarning, match="varies in 5 of 5 coordinates by hardly more than float32"):
        fit(GaussianMixture((5,), components=1), x + 1e6)
    flat = torch.cat([x[:, :4], torch.full((300, 1), 1e6, dtype=torch.float64)], dim=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(GaussianMixture((5,), components=1), x + 1e3)
        fit(GaussianMixture((5,), components=1).double(), x + 1e6)
        fit(GaussianMixture((5,), components=1), flat)


def test_a_map_larger_than_memory_is_transformed_batch_by_batch(tmp_path, monkeypatch):
    x = toy_data(500, 4).numpy()
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    monkeypatch.setattr(source, "_spare_memory", lambda: 400)
    points = source.open_points(mapped, (4,), torch.device("cpu"), torch.float32)
    latents = source.apply(Stage("half", transform=lambda batch: 2 * batch[:, :3]), points, torch.nn.Module())
    assert isinstance(latents, source.MappedPoints)
    rows = torch.tensor([400, 3, 3, 77])
    assert np.array_equal(latents.batch(rows).numpy(), 2 * x[[400, 3, 3, 77], :3])
    assert 2 <= len(latents.everything()) <= 400 / 4 / 12  # what fits


def test_held_out_data_decide_when_to_stop_and_which_weights_to_keep():
    torch.manual_seed(0)
    x = toy_data(40)
    settings = {"steps": 3000, "batch_size": 40, "learning_rate": 0.3, "schedule": "constant", "clip": None}
    losses = []

    def note(event):
        losses.append((event.record["held_out_loss"], event.model.decoder[0].weight.detach().clone()))

    model = NoisyCoder((5,))
    history = fit(model, x, held_out=toy_data(90)[50:], evaluate_every=5, patience=4, callbacks=[note], **settings)
    assert "stopped early" in history.stopped
    column = history.column("held_out_loss")
    best = int(column.argmin())
    assert len(column) - 1 - best == 4
    assert torch.equal(model.decoder[0].weight, losses[best][1])


@pytest.mark.parametrize("n", [1, 2, 3])
def test_very_few_points(n):
    x = toy_data(3)[:n]
    fit(Linear((5,)), x, steps=3, held_out=0)
    if n == 1:
        with pytest.raises(InvalidInput, match="at least 2"):
            fit(Linear((5,)), x, steps=3)
    else:
        fit(Linear((5,)), x, steps=3)


def test_double_precision_and_bfloat16():
    model = Linear((5,)).double()
    fit(model, toy_data(), steps=500, learning_rate=0.05, precision="no")
    assert model.weight.dtype == torch.float64
    torch.testing.assert_close(model.weight.detach(), torch.ones(5, dtype=torch.float64), atol=0.05, rtol=0)
    coder = NoisyCoder((5,))
    start = fit(coder, toy_data(), steps=200, precision="bf16", learning_rate=0.01)
    assert coder.decoder[0].weight.dtype == torch.float32
    assert start.column("held_out_loss")[-1] < 0.8 * start.column("held_out_loss")[0]
    fit(Linear((5,)), toy_data(), steps=3)  # the precision of one fit is not that of the next


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "steps=0"),
        ({"steps": {"fti": 5}}, "did you mean 'fit'"),
        ({"steps": {}}, "leaves out fit"),
        ({"batch_size": 2.5}, "batch_size=2.5"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"clip": -1.0}, "clip"),
        ({"ema": 1.0}, "ema=1.0"),
        ({"held_out": 0.95}, "held_out"),
        ({"held_out": 0, "patience": 3}, "patience=3 needs held-out"),
        ({"patience": 0}, "patience=0"),
        ({"precision": "fp16", "device": "cpu"}, "fp16"),
        ({"precision": "half"}, "precision"),
        ({"seed": -1}, "seed"),
        ({"device": "gpu"}, "device='gpu'"),
        ({"checkpoint_every": 0}, "checkpoint_every"),
        ({"tracker": "wandb"}, "tracker='wandb'"),
        ({"tracker": "tensorboard"}, "run="),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises(InvalidInput, match=message):
        fit(Linear((5,)), toy_data(), **({"steps": 5} | arguments))


def test_data_that_are_refused():
    for x, message in [
        (toy_data(10, 4), "shape"),
        (torch.full((10, 5), torch.nan), "NaN"),
        (np.array([["a"] * 5] * 3), "dtype"),
        (np.zeros((0, 5), dtype=np.float32), "0 points"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            fit(Linear((5,)), x, steps=5)
    with pytest.raises(InvalidInput, match="model="):
        fit("flow", toy_data(), steps=5)


def test_importing_is_light():
    code = "import sys, submanifold.training; assert not {'torch', 'accelerate', 'rich'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


class Moving(Model):
    """Two stages; the coder of the first has running statistics and units that drop out."""

    def __init__(self, data_shape):
        super().__init__(data_shape)
        self.coder = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Dropout(0.5))
        self.law = torch.nn.Linear(3, 1)
        self.modes, self.mapped_in = set(), set()

    def code_loss(self, x):
        return self.coder(x).square().mean()

    def law_loss(self, z):
        self.modes.add((self.coder.training, self.law.training))
        return self.law(z).square().mean()

    def joint_loss(self, x):
        return self.law_loss(self.coder(x))

    def coded(self, x):
        self.mapped_in.add((self.training, self.coder.training, torch.is_grad_enabled()))
        return self.coder(x)

    def own_loss(self, z):
        return z.mean() + self.coder[0].weight.square().sum()

    def stages(self):
        law, coder = list(self.law.parameters()), list(self.coder.parameters())
        return [
            Stage("own", [Objective("own", coder[:2], self.own_loss)], transform=self.coded),
            Stage("code", [Objective("code", coder, self.code_loss)]),
            Stage("law", [Objective("law", law, self.law_loss)], transform=self.coder),
            Stage("joint", [Objective("joint", law, self.joint_loss)]),
        ]


@pytest.mark.parametrize("mapped", [False, True])
def test_parts_that_a_stage_leaves_as_they_are_are_in_evaluation_mode(tmp_path, monkeypatch, mapped):
    x = toy_data(300, 4)
    if mapped:
        np.save(tmp_path / "x.npy", x.numpy())
        monkeypatch.setattr(source, "_spare_memory", lambda: 400)
        x = np.load(tmp_path / "x.npy", mmap_mode="r")
    torch.manual_seed(0)
    model = Moving((4,))
    after = {}

    def look(event):
        after.setdefault(event.stage, {key: value.clone() for key, value in model.coder.state_dict().items()})

    fit(model, x, steps=5, batch_size=32, held_out=0, callbacks=[look], progress=False)
    assert not torch.equal(after["code"]["1.running_mean"], torch.zeros(3))
    assert all(torch.equal(after["code"][key], value) for key, value in model.coder.state_dict().items())
    assert model.modes == {(False, True)}
    assert model.mapped_in == {(False, False, False)}  # also where that goes on while the coder is trained
    assert not any(part.training for part in model.modules())


def test_frozen_parts_are_in_evaluation_mode():
    torch.manual_seed(0)
    encoder = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 2))
    model = Autoencoder((4,), 2, network={"encoder": encoder.requires_grad_(False), "decoder": torch.nn.Linear(2, 4)})
    mean = encoder[1].running_mean.clone()
    fit(model, toy_data(100, 4), steps=5, progress=False)
    assert torch.equal(encoder[1].running_mean, mean)


@pytest.mark.parametrize("name", ["wae-mmd", "gmmn", "mmd-gan"])
@pytest.mark.parametrize("n", [4, 12])
def test_laws_of_few_points_are_compared(name, n):
    torch.manual_seed(0)
    records = fit(create(name, (2,), hidden=(8,)), toy_data(n, 2), steps=5, progress=False).records
    assert all(math.isfinite(record["held_out_loss"]) for record in records)
    assert {len(part) for part in Dataset(toy_data(4, 2).numpy()).split(0.1)} == {2}


@pytest.mark.parametrize("name", ["image-flow", "vq-vae", "vampprior-vae"])
def test_training_that_never_began_leaves_nothing_behind(name, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    x = toy_data(200, 16).reshape(-1, 1, 4, 4)
    losses = []
    for interrupted in (False, True):
        torch.manual_seed(0)
        model = create(name, (1, 4, 4), hidden=(16,))
        if interrupted:
            with monkeypatch.context() as patched:
                patched.setattr("submanifold.training.session.OverfittingWatch", stop)
                with pytest.raises(KeyboardInterrupt):
                    fit(model, 3 + 50 * x.flip(3), progress=False)
        losses.append(fit(model, x, steps=20, progress=False).records[-1]["held_out_loss"])
    assert losses[0] == losses[1]


@pytest.mark.parametrize("name", ["image-flow", "vq-vae", "vampprior-vae", "realnvp"])
def test_training_goes_on_from_where_a_model_is(name):
    """What is set by data at the beginning of training is set once: a step of no length changes nothing."""
    if name == "realnvp":
        name, options = "image-flow", {"coupling": "affine"}
    else:
        options = {}
    torch.manual_seed(0)
    model, x = create(name, (1, 4, 4), hidden=(16,), **options), toy_data(200, 16).reshape(-1, 1, 4, 4)
    fit(model, x, steps=30, learning_rate=3e-3, progress=False)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fit(model, x, steps=1, learning_rate=1e-30, seed=1, held_out=0, progress=False)
    for key, value in model.named_parameters():
        assert torch.allclose(value, before[key], rtol=0, atol=1e-20), key
    if name == "vq-vae":  # codes are running means, which a step of the batch moves by a hundredth
        assert torch.allclose(model.codebooks, before["codebooks"], atol=0.2)
