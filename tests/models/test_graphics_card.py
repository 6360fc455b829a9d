"""Every model trains, samples and says the same on a graphics card as on the processor."""

import copy
import math
import warnings

import pytest
import torch
from model_cases import IMAGES, LATTICE, low_rank_data, make

import submanifold as sm
from submanifold import models
from submanifold.errors import InvalidInput
from submanifold.models import Density, EncoderDecoder, Generator, Score
from submanifold.models.catalogue import parameters_of

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a graphics card")

CARD = "cuda"
CASES = [
    pytest.param(name, shape, id=f"{name}-{'x'.join(map(str, shape))}")
    for name in models.names()
    for shape in ((3,), (1, 8, 8))
    if len(shape) == 3 or name not in IMAGES
    if len(shape) == 1 or name not in ("maf", "nsf")  # as many evaluations as coordinates
]


def data(name, shape):
    x = low_rank_data(shape, 64)
    return x.round() if name in LATTICE else x


def agree(found, expected):
    scale = float(expected.abs().nan_to_num().max()) + 1e-12
    assert found.is_cuda == (CARD == "cuda")
    assert torch.allclose(found.cpu() / scale, expected / scale, atol=1e-7, equal_nan=True)


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_a_model_trains_and_samples_there_and_says_the_same_as_here(name, shape, tmp_path):
    model, x = make(name, shape), data(name, shape)
    history = sm.fit(model, x, steps=4, batch_size=32, device=CARD, seed=0, progress=False)
    assert model.device.type == CARD
    assert all(parameter.device.type == CARD for parameter in model.parameters())
    assert all(math.isfinite(value) for record in history.records for key, value in record.items() if key != "stage")
    if isinstance(model, Generator):
        one, two = (model.sample(3, generator=torch.Generator(CARD).manual_seed(0)) for _ in range(2))
        assert one.device.type == CARD
        assert one.isfinite().all()
        assert torch.allclose(one, two, rtol=1e-4, atol=1e-4)
    there = model.double()
    here = copy.deepcopy(there).cpu()
    some = x[:4]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a two-step model says how many points it refuses
        if isinstance(model, Density) and (len(shape) == 1 or not isinstance(model, Score)):  # costs a trajectory
            agree(there.log_prob(some).detach(), here.log_prob(some).detach())
        if isinstance(model, EncoderDecoder):
            z = here.encode(some).detach()
            agree(there.encode(some).detach(), z)
            agree(there.decode(z).detach(), here.decode(z).detach())
        if isinstance(model, Score):
            sigma = getattr(model, "sigma_range", (0.0, 1.0))[1]
            agree(there.score(some, sigma).detach(), here.score(some, sigma).detach())
    again = sm.load(sm.save(there, tmp_path))
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in here.state_dict().items())


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", ["vae", "flow", "wgan-gp", "diffusion"])
def test_mixed_precision_trains(name, precision):
    model = make(name, (1, 8, 8))
    sm.fit(model, data(name, (1, 8, 8)), steps=20, precision=precision, device=CARD, progress=False)
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("name", models.names())
def test_networks_of_splines_train_there(name):
    if "network" not in parameters_of(name):
        pytest.skip("it has no network to choose")
    try:
        model = make(name, (3,), network="kan")
    except InvalidInput:
        pytest.skip("it takes no KAN")
    sm.fit(model, data(name, (3,)), steps=4, device=CARD, progress=False)
    assert model.device.type == CARD


DIAGNOSTICS = {
    "autoencoder_audit": ("vae",),
    "manifold_overfitting": ("vae", "flow"),
    "repair": ("vae",),
    "sample_quality": ("flow", "diffusion"),
    "score_health": ("diffusion",),
    "wasserstein_bound": ("two-step",),
}


@pytest.mark.parametrize(("diagnostic", "name"), [(key, name) for key, names in DIAGNOSTICS.items() for name in names])
def test_a_diagnosis_of_a_model_there_is_that_of_its_copy_here(diagnostic, name):
    circle = sm.data.manifold("circle", ambient_dim=3)
    model = make(name, (3,), latent_dim=1)
    sm.fit(model, circle.sample(600, seed=0), steps=200, device=CARD, seed=0, progress=False)
    measure, x = getattr(sm.lens, diagnostic), circle.sample(500, seed=1)
    there = measure(model, x, seed=0)
    here = measure(copy.deepcopy(model).cpu(), x, seed=0)
    assert set(there.numbers) == set(here.numbers)
    for key, one in there.numbers.items():  # samples are other ones, as generators of devices are
        other = here.numbers[key]
        if one.low is not None:
            ends = one.low, one.high, other.low, other.high
            assert abs(one.value - other.value) <= 2 * math.hypot(ends[1] - ends[0], ends[3] - ends[2])  # 5.5 errors
