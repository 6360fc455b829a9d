"""Files that are whole, say what they hold, and cannot hurt."""

import errno
import json
import os
import pickle
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from model_cases import fit_briefly, low_rank_data, make
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes

import submanifold as sm
from submanifold import models
from submanifold.errors import InvalidInput
from submanifold.models import Autoencoder, Model, TwoStep
from submanifold.models.persistence import FORMAT

X = low_rank_data((5,), 60)


@pytest.fixture
def saved(tmp_path):
    return sm.save(fit_briefly(make("vae", (5,)), X, steps=2), tmp_path / "vae")


def forge(folder, described=None, change=lambda state: state):
    """Rewrite the weights in `folder` with another configuration or other tensors."""
    path = folder / "model.safetensors"
    state = change(from_bytes(path.read_bytes()))
    metadata = {"submanifold": json.dumps(json.loads((folder / "config.json").read_text()) | (described or {}))}
    path.write_bytes(to_bytes(state, metadata))


def test_the_folder_holds_weights_and_a_copy_of_the_configuration(saved):
    assert {path.name for path in saved.iterdir()} == {"model.safetensors", "config.json"}
    described = json.loads((saved / "config.json").read_text())
    assert described["format"] == FORMAT
    assert described["model"] == "vae"
    assert described["config"]["hidden"] == [32]
    (saved / "config.json").unlink()
    assert sm.load(saved).latent_dim == 2  # the weights say it themselves


def test_nested_models_are_recorded_by_name(tmp_path):
    law = models.GaussianMixture((2,), components=3)
    model = fit_briefly(TwoStep(make("vae", (5,)), law, residual_quantile=0.5), X, steps=20)
    again = sm.load(sm.save(model, tmp_path))
    described = json.loads((tmp_path / "config.json").read_text())["config"]
    assert described["autoencoder"]["model"] == "vae"
    assert described["law"]["model"] == "gaussian-mixture"
    assert again.law.components == 3
    assert torch.equal(again.law.means, model.law.means)
    assert torch.equal(again.threshold, model.threshold)


def test_numbers_of_numpy_are_numbers(tmp_path):
    model = make("autoencoder", (np.int64(5),), latent_dim=np.int64(3))
    assert sm.load(sm.save(model, tmp_path)).latent_dim == 3


def test_points_of_a_kernel_density_come_back_into_a_fresh_model():
    model = fit_briefly(models.KernelDensity((5,)), X)
    fresh = models.KernelDensity((5,))
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh.log_prob(X), model.log_prob(X))
    with pytest.raises(RuntimeError, match="size mismatch"):
        models.KernelDensity((4,)).load_state_dict(model.state_dict())


def test_an_argument_without_a_json_form_is_named(tmp_path):
    with pytest.raises(InvalidInput, match="argument 'hidden' of autoencoder"):
        sm.save(Autoencoder((5,), 2, hidden=range(3, 5)), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_state_that_is_no_tensor_is_not_saved(tmp_path):
    class Remembers(torch.nn.Linear):
        def get_extra_state(self):
            return {"seen": 3}

    with pytest.raises(InvalidInput, match=r"decoder\._extra_state is a dict and cannot be saved"):
        sm.save(make("gmmn", (2,), network=Remembers(2, 2)), tmp_path)
    assert not list(tmp_path.iterdir())


def test_double_precision_reaches_what_is_not_in_files(tmp_path):
    model = make("flow-prior-vae", (5,)).double()
    model.prepare(X.double())
    again = sm.load(sm.save(model, tmp_path))
    seeds = (torch.Generator().manual_seed(0) for _ in range(2))
    assert torch.equal(*(one.sample(4, generator=next(seeds)) for one in (model.eval(), again)))


def test_a_class_that_is_not_registered_is_not_saved(tmp_path):
    with pytest.raises(InvalidInput, match="not a registered model"):
        sm.save(Model((3,)), tmp_path)


def test_a_full_disk_leaves_the_previous_files(saved, monkeypatch):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        sm.save(make("vae", (5,), seed=1), saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_a_folder_that_cannot_be_written_to_is_refused(saved):
    with pytest.raises(InvalidInput, match="folder="):
        sm.save(make("flow", (5,)), saved / "config.json")


@pytest.mark.parametrize("kept", [0, 4, 100, 0.5, 0.99])
def test_a_truncated_file_is_refused(saved, kept):
    path = saved / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: kept if isinstance(kept, int) else int(kept * len(whole))])
    with pytest.raises(InvalidInput, match="not a whole safetensors file"):
        sm.load(saved)


def test_a_pickle_is_not_opened(saved):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(saved / "sprung"),))

    (saved / "model.safetensors").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(InvalidInput, match="not a whole safetensors file"):
        sm.load(saved)
    assert not (saved / "sprung").exists()


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match=r"holds no model\.safetensors"):
        sm.load(tmp_path / "nowhere")


def test_weights_of_something_else_are_refused(saved):
    (saved / "model.safetensors").write_bytes(to_bytes({"weight": torch.zeros(2)}))
    with pytest.raises(InvalidInput, match="does not say which model"):
        sm.load(saved)


@pytest.mark.parametrize(
    ("described", "reason"),
    [
        ({"model": "vea"}, "did you mean 'vae'"),
        ({"model": None}, "model None is unknown"),
        ({"model": ["vae"]}, "makes no model"),
        ({"model": "vae" * 10**5}, "unknown"),
        ({"format": FORMAT + 1}, f"format {FORMAT + 1}"),
        ({"config": [5]}, "does not say which model"),
        ({"config": {"data_shape": [5], "latent_dims": 2}}, "makes no model"),
        ({"config": {"data_shape": [5], "latent_dim": "two"}}, "latent_dim"),
        ({"model": "two-step", "config": {"autoencoder": {"model": "vae", "config": 3}}}, "makes no model"),
    ],
)
def test_a_forged_configuration_is_refused(saved, described, reason):
    forge(saved, described)
    with pytest.raises(InvalidInput, match=reason):
        sm.load(saved)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda state: {k: v for k, v in state.items() if k != "decoder.0.bias"}, "lacks decoder.0.bias"),
        (lambda state: state | {"decoder.9.bias": torch.zeros(2)}, "decoder.9.bias too much"),
        (lambda state: state | {"decoder.0.bias": torch.zeros(33)}, "decoder.0.bias"),
        (lambda state: {"points": torch.zeros(3, 5)}, "lacks"),
        (lambda state: state | {"decoder.0.bias": torch.zeros(32).long()}, "decoder.0.bias is torch.int64 in it"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(saved, change, reason):
    forge(saved, change=change)
    with pytest.raises(InvalidInput, match=f"checkpoint of another model.*{reason}"):
        sm.load(saved)


@pytest.mark.parametrize(
    "config",
    [
        {"data_shape": [10**12], "latent_dim": 2},
        {"data_shape": [5], "latent_dim": 2, "hidden": [100_000, 100_000]},
        {"data_shape": [5], "latent_dim": 2, "hidden": [10**30]},
        {"data_shape": [3, 10**6, 10**6], "latent_dim": 2},
        {"data_shape": [5], "latent_dim": 2, "hidden": [3000] * 40},
    ],
)
def test_absurd_sizes_are_refused_before_memory_is_spent(saved, config):
    forge(saved, {"config": config})
    start = time.process_time()
    with pytest.raises(InvalidInput, match="configuration"):
        sm.load(saved)
    assert time.process_time() - start < 2


class Needy(models.Model):
    """One that is not made of a shape alone."""

    def __init__(self, data_shape, width):
        super().__init__(data_shape)


def test_unknown_names_and_arguments_are_suggested():
    with pytest.raises(InvalidInput, match="did you mean 'autoencoder'"):
        models.create("auto-encoder", (5,), latent_dim=2)
    with pytest.raises(InvalidInput, match="vae has no argument 'latent_dims': did you mean 'latent_dim'"):
        models.create("vae", (5,), latent_dims=2)
    with pytest.raises(InvalidInput, match="Needy needs the argument 'width'"):
        models.create(Needy, (5,))
    with pytest.raises(InvalidInput, match="two-step has no argument 'lawn': did you mean 'law'"):
        models.create("two-step", (5,), latent_dim=2, lawn="flow")
    assert isinstance(models.create(Autoencoder, (5,), latent_dim=2), Autoencoder)


@pytest.mark.parametrize("data_shape", [5, (), (2, 3), (0,), (5.0,), "5"])
def test_data_shapes_are_checked(data_shape):
    with pytest.raises(InvalidInput, match="data_shape"):
        models.create("flow", data_shape)


def test_imports_have_no_side_effects():
    """The package costs no torch; zuko leaves the argument checks of torch.distributions as they were."""
    script = """
import sys, submanifold, submanifold.models as models
assert "torch" not in sys.modules
import torch
from torch.distributions import Distribution, Normal
before = (Distribution._validate_args, Distribution.__dict__["arg_constraints"])
models.create("flow", (2,), preprocess=[])
assert "zuko" in sys.modules
assert before == (Distribution._validate_args, Distribution.__dict__["arg_constraints"])
try:
    Normal(0.0, -1.0)
except ValueError:
    print("checked")
models.TwoStep(models.Autoencoder((3,), 2), "kernel-density")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "checked", done.stderr
