"""What every registered model keeps to when it is trained by the one trainer."""

import json

import pytest
import torch
from model_cases import fit_briefly, make, scalar
from test_model_contract import FLOWS, IMAGES, NOISED, data, latent_dim

import submanifold as sm
from submanifold import models
from submanifold.errors import InvalidInput, ManifoldOverfittingWarning
from submanifold.models import Density, EncoderDecoder, Model

NAMES = models.names()
SETTINGS = {"steps": 12, "batch_size": 8, "evaluate_every": 4, "checkpoint_every": 5, "progress": False, "seed": 1}

pytestmark = pytest.mark.filterwarnings(f"ignore::{ManifoldOverfittingWarning.__module__}.ManifoldOverfittingWarning")


def smallest(name):
    return (1, 4, 4) if name in IMAGES else (4,)


class Cut(Exception):
    """Stands for a crash."""


@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_was_cut_ends_bit_for_bit_like_one_that_was_not(name, tmp_path):
    shape = smallest(name)

    def crash(event):
        if event.step == 8:
            raise Cut

    whole = make(name, shape, latent_dim=latent_dim(shape))
    sm.fit(whole, data(name, shape), run=tmp_path / "whole", **SETTINGS)
    cut = make(name, shape, latent_dim=latent_dim(shape))
    try:
        sm.fit(cut, data(name, shape), run=tmp_path / "cut", callbacks=[crash], **SETTINGS)
    except Cut:
        torch.manual_seed(99)
        again = make(name, shape, latent_dim=latent_dim(shape), seed=5)
        sm.fit(again, data(name, shape), run=tmp_path / "cut", **SETTINGS)
    else:  # it has nothing to optimise, and nothing was cut
        assert not any(stage.objectives for stage in whole.stages())
    assert (tmp_path / "whole/model.safetensors").read_bytes() == (tmp_path / "cut/model.safetensors").read_bytes()
    records = [
        [
            {key: value for key, value in json.loads(line).items() if key != "seconds"}
            for line in (tmp_path / run / "history.jsonl").read_text().splitlines()
        ]
        for run in ("whole", "cut")
    ]
    assert records[0] == records[1]


def refusal(loss, otherwise):
    """What is said where `loss` refuses; `otherwise` where its value, if it has one, is finite."""
    try:
        value = loss()
    except InvalidInput as error:
        return str(error)
    assert isinstance(value, Model) or scalar(value).isfinite()
    return otherwise


@pytest.mark.parametrize("name", NAMES)
def test_degenerate_data_are_refused_in_a_sentence_or_have_a_finite_loss(name):
    """Copies of one point, two points that differ in the last bit, and batches of one point."""
    shape = smallest(name)
    one = data(name, shape)[:1]
    for x in (one.expand(16, *shape), one.repeat(16, *[1] * len(shape)) + torch.finfo(torch.float32).eps):
        model = make(name, shape, latent_dim=latent_dim(shape))
        assert ": give" in refusal(lambda model=model, x=x: fit_briefly(model, x, steps=1), ": give")
    model = fit_briefly(make(name, shape, latent_dim=latent_dim(shape)), data(name, shape), steps=2).train()
    for stage in model.stages():
        x = data(name, shape) if stage.transform is None else stage.transform(data(name, shape)).detach()
        for objective in stage.objectives:
            assert "batch" in refusal(lambda loss=objective.loss, x=x: loss(x[:1]), "batch")


@pytest.mark.parametrize("name", NAMES)
def test_losses_need_no_gradients_and_change_nothing_in_evaluation(name):
    """A held-out loss is computed without gradients; it leaves data, weights and buffers as they are."""
    shape = smallest(name)
    model = fit_briefly(make(name, shape, latent_dim=latent_dim(shape)), data(name, shape), steps=2).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for stage in model.stages():
        x = data(name, shape) if stage.transform is None else stage.transform(data(name, shape)).detach()
        kept = x.clone()
        for objective in stage.objectives:
            with torch.no_grad():
                torch.manual_seed(0)
                loss = scalar(objective.loss(x))
                torch.manual_seed(0)
                assert torch.equal(loss, scalar(objective.loss(x)))
            assert not loss.requires_grad
        assert torch.equal(x, kept)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


def is_quick(name):
    """Of classes; their presets have the same methods."""
    return name in models.MODELS and name not in FLOWS + NOISED


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if is_quick(name) else [pytest.mark.slow]) for name in NAMES]
)
def test_compiled_methods_give_the_same_numbers(name):
    """Through the whole of torch.compile but for the code generator, which takes a minute for each."""
    torch._dynamo.reset()
    shape = smallest(name)
    model = fit_briefly(make(name, shape, latent_dim=latent_dim(shape)), data(name, shape), steps=2).eval()
    x = data(name, shape)[:4]
    methods = []
    if isinstance(model, EncoderDecoder):
        methods += [(model.encode, x), (model.decode, model.encode(x).detach())]
    if isinstance(model, Density) and not isinstance(model, models.TwoStep):
        methods.append((model.log_prob, x))
    for method, argument in methods:
        with torch.no_grad():
            plain, compiled = method(argument), torch.compile(method, backend="aot_eager")(argument)
        assert torch.allclose(plain, compiled, rtol=1e-4, atol=1e-5)
