"""What every registered model keeps to, on the shapes that users have."""

import copy
import json
import math
import warnings
from functools import cache, partial

import pytest
import torch
from model_cases import IMAGES, LATTICE, fit_briefly, low_rank_data, make, scalar

import submanifold as sm
from submanifold import models
from submanifold.errors import InvalidInput, UnfittedModel
from submanifold.geometry import jacobian
from submanifold.lens.recipes import needs_latents
from submanifold.models import Density, EncoderDecoder, Generator, LocalScales, Model, Score

N = 32  # as many points as the widest image is wide: a mix-up of the two shows
SHAPES = [(1,), (2,), (64,), (1, 8, 8), (1, 28, 28), (3, 32, 32)]


def latent_dim(shape):
    return 1 if shape == (2,) else 2


LONG = (
    "autoregressive",
    "categorical-vae",
    "gaussian-mixture",
)  # time or memory is the square of the number of coordinates
SMALL = ("implicit-score-matching", "maf", "nsf")  # as many derivatives, or evaluations to sample, as coordinates
FLOWS = (
    "coupled-flow",
    "ddpm",
    "diffusion",
    "flow-matching",
    "latent-diffusion",
    "ot-flow-matching",
    "rectified-flow",
)  # a log-density takes a hundred passes of eight directions
CHAINS = (
    "denoising-score-matching",
    "ebm",
    "gebm",
    "implicit-score-matching",
    "ncsn",
    "nce",
    "sliced-score-matching",
)  # a sample takes tens of gradients
NOISED = ("denoising-flow", "mollified-flow", "noised", "noised-flow", "softflow")  # flows, which are done in full
CASES = [
    (name, shape)
    for name in models.names()
    for shape in SHAPES
    if shape != (1,) or not needs_latents(name)  # latents are fewer than coordinates
    if shape != (3, 32, 32) or name not in LONG
    if math.prod(shape) <= 64 or name not in SMALL
    if len(shape) == 3 or name not in IMAGES
]


def every(protocol=Model, *, most_coordinates=math.inf, scored=False):
    """All models that satisfy `protocol`, on all shapes up to a size.

    In the slow suite are presets on large images and long vectors, where their class is seen; images of one channel for
    models of chains and pixels, which are seen with three; and most of what is asked of flows of diffusion and of
    noised data: they are seen in the plane, and one of the former also on small images where it is not `scored`.
    """

    def is_slow(name, shape):
        if name == "diffusion":
            return math.prod(shape) > 64 or (scored and math.prod(shape) > 2)
        if name in FLOWS + NOISED:
            return shape != (2,)
        if name in (*CHAINS, "pixelcnn") and shape == (1, 28, 28):
            return True
        return (math.prod(shape) > 64 or shape == (64,)) and name not in models.MODELS

    able = {name for name in models.names() if isinstance(make(name, (1, 4, 4)), protocol)}
    chosen = [(name, shape) for name, shape in CASES if name in able and math.prod(shape) <= most_coordinates]
    return pytest.mark.parametrize(
        ("name", "shape"),
        [
            pytest.param(
                name,
                shape,
                id=f"{name}-{'x'.join(map(str, shape))}",
                marks=[pytest.mark.slow] if is_slow(name, shape) else [],
            )
            for name, shape in chosen
        ],
    )


every_case = every()


@cache
def data(name, shape):
    x = low_rank_data(shape, N, rank=latent_dim(shape))
    return x.round() if name in LATTICE else x


def to_score(name, shape):
    """Points for a log-density: few where one of an image takes a minute of a flow of diffusion."""
    slow = name in ("diffusion", *FLOWS) and name != "latent-diffusion" and math.prod(shape) > 64
    return data(name, shape)[: 3 if slow else N]


@cache
def fitted(name, shape):
    """A fitted model; the tests that share it leave it as it is."""
    steps = 30 if math.prod(shape) <= 64 else 10
    return fit_briefly(make(name, shape, latent_dim=latent_dim(shape)), data(name, shape), steps=steps)


def log_prob(model, x):
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a two-step model says how many points it refuses
        return model.log_prob(x)


def same(a, b):
    return torch.equal(a.isnan(), b.isnan()) and torch.equal(a.nan_to_num(), b.nan_to_num())


def test_models_can_do_what_the_design_says():
    able = {
        protocol: {name for name in models.names() if isinstance(make(name, (1, 4, 4)), protocol)}
        for protocol in (Generator, Density, EncoderDecoder, LocalScales)
    }
    exact = {"flow", "maf", "autoregressive", "made", "gaussian-mixture", "kernel-density"}
    coders = {"vae", "two-step", "rae", "wae-mmd", "wae-gan", "bigan", "avb", "vq-vae", "adversarial-vae"}
    made_of_noise = {"gan", "wgan-gp", "gmmn", "sliced-wasserstein-generator", "gebm"}
    assert able[Generator] >= exact | coders | made_of_noise
    assert able[Density] >= exact | {"vae", "two-step", "ebm", "nce"}
    assert able[EncoderDecoder] >= coders | {"autoencoder"}
    assert able[LocalScales] >= {"vae", "flow", "autoregressive", "made"}
    assert "autoencoder" not in able[Generator] | able[Density]  # it has no law
    assert "two-step" not in able[LocalScales]  # its density has no width
    assert not exact & able[EncoderDecoder]
    assert able[Generator] == set(models.names()) - {"autoencoder"}


def test_the_table_of_models_says_what_each_can_do():
    for entry in models.describe():
        assert entry.family
        assert entry.why
        assert entry.awareness in ("aware", "unaware", "n/a")
        model = make(entry.name, (1, 4, 4))
        assert ("sample" in entry.capabilities) == isinstance(model, Generator)
        assert ("encode" in entry.capabilities) == isinstance(model, EncoderDecoder)
        assert ("scales" in entry.capabilities) == isinstance(model, LocalScales)
        assert ("log_prob" in entry.capabilities) == isinstance(model, Density) == (entry.log_prob != "none")
        assert entry.awareness == model.awareness
        if isinstance(model, Density):
            assert entry.measure == model.measure
            assert entry.log_prob in ("as its law", model.log_prob_kind)


@pytest.mark.parametrize("shape", [(2,), (1, 8, 8)])
def test_a_name_and_a_shape_make_a_model(shape):
    for name in set(models.names()) - set(IMAGES if len(shape) == 1 else ()):
        model = models.create(name, shape)
        if needs_latents(name):
            assert model.latent_dim == {(2,): 1, (1, 8, 8): 16}[shape]


@pytest.mark.parametrize(("shape", "latents"), [((1, 28, 28), 49), ((3, 32, 32), 128), ((1, 8, 8), 16)])
def test_latents_that_are_images_fill_their_channels(shape, latents):
    for name in ("autoencoder", "two-step", "vae", "adversarial-vae", "latent-diffusion"):
        assert models.create(name, shape, network="spatial").latent_dim == latents


@every_case
def test_configuration_is_plain_data_and_makes_the_same_model(name, shape):
    from submanifold.models.persistence import configuration, from_configuration

    model = fitted(name, shape)
    described = json.loads(json.dumps(configuration(model)))
    again = from_configuration(described)
    assert configuration(again) == described
    shapes = {key: value.shape for key, value in again.named_parameters()}
    assert shapes == {key: value.shape for key, value in model.named_parameters()}


@every_case
def test_loss_is_finite_and_its_gradient_reaches_every_parameter(name, shape):
    model = copy.deepcopy(fitted(name, shape)).train()
    trained = set()
    for stage in model.stages():
        x = data(name, shape) if stage.transform is None else stage.transform(data(name, shape)).detach()
        for objective in stage.objectives:
            model.zero_grad()
            loss = scalar(objective.loss(x))
            assert loss.shape == ()
            assert loss.isfinite()
            loss.backward()
            for parameter in objective.parameters:
                assert parameter.grad is not None
                assert parameter.grad.isfinite().all()
                assert parameter.grad.abs().sum() > 0
            trained |= set(objective.parameters)
    assert trained == set(model.parameters())


@every(Generator)
def test_samples(name, shape):
    model = fitted(name, shape)
    state = torch.random.get_rng_state()
    one, two, three = (model.sample(5, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert one.shape == (5, *shape)
    assert one.dtype == torch.float32
    assert one.isfinite().all()
    assert not one.requires_grad
    assert torch.equal(one, two)
    assert not torch.equal(one, three)
    assert torch.equal(torch.random.get_rng_state(), state)  # a generator leaves the global one alone
    torch.manual_seed(3)
    four = model.sample(1)
    torch.manual_seed(3)
    assert torch.equal(four, model.sample(1))


@every(Density, scored=True)
def test_log_prob(name, shape):
    model = fitted(name, shape)
    x = to_score(name, shape)
    before, state = x.clone(), torch.random.get_rng_state()
    values = log_prob(model, x)
    assert values.shape == (len(x),)
    assert values.dtype == torch.float32
    assert values.isfinite().float().mean() > 0.9
    assert same(values, log_prob(model, x))
    assert torch.equal(x, before)
    assert torch.equal(torch.random.get_rng_state(), state)
    turned = x.transpose(-1, -2).contiguous().transpose(-1, -2) if len(shape) == 3 else x.t().contiguous().t()
    assert same(values, log_prob(model, turned))  # strides say nothing
    assert same(values, log_prob(model, x.double().numpy()))
    assert log_prob(model, x[:1]).shape == (1,)
    if model.log_prob_kind == "exact":  # no noise: each point is scored on its own
        assert torch.allclose(values.flip(0), log_prob(model, x.flip(0)), rtol=1e-4, equal_nan=True)


@every(Density | EncoderDecoder | Score)
def test_bad_points_are_refused(name, shape):
    model = fitted(name, shape)
    if isinstance(model, Density | EncoderDecoder):
        score = getattr(model, "log_prob", None) or model.encode
    else:
        score = partial(model.score, sigma=model.sigma_range[1])
    for bad, reason in (
        (data(name, shape).clone().index_fill_(0, torch.tensor([3]), torch.nan), "NaN"),
        (data(name, shape).clone().index_fill_(0, torch.tensor([3]), torch.inf), "infinity"),
        (torch.zeros(4, *shape[:-1], shape[-1] + 1), "shape"),
        (torch.zeros(4, *shape, dtype=torch.complex64), "complex"),
        (torch.zeros(0, *shape), "0 points"),
    ):
        with pytest.raises(InvalidInput, match=reason) as refusal:
            score(bad)
        assert str(refusal.value).startswith("x ")


@every(EncoderDecoder)
def test_latents(name, shape):
    model = fitted(name, shape)
    x = data(name, shape)
    z = model.encode(x)
    assert z.shape == (N, latent_dim(shape))
    assert torch.equal(z, model.encode(x))
    assert model.decode(z).shape == x.shape
    fine, z = copy.deepcopy(model).double(), z[:3].detach().double()
    step = 1e-4 * torch.randn(z.shape, generator=torch.Generator().manual_seed(0)).double()
    moved = (fine.decode(z + step) - fine.decode(z - step)).flatten(1) / 2
    along = torch.einsum("nij,nj->ni", jacobian(fine.decode, z), step)
    assert torch.allclose(along, moved, atol=1e-3 * float(moved.detach().abs().max()) + 1e-9)
    with pytest.raises(InvalidInput, match="z has"):
        model.decode(torch.zeros(3, latent_dim(shape) + 1))


@every(LocalScales, most_coordinates=64, scored=True)
def test_local_scales(name, shape):
    model = fitted(name, shape)
    scales = model.local_scales(data(name, shape)[:4])
    assert scales.shape == (4, math.prod(shape))
    assert (scales > 0).all()
    assert (scales.diff(dim=1) <= 1e-12).all()


@every(scored=True)
def test_a_saved_model_comes_back_to_the_bit(name, shape, tmp_path):
    model = fitted(name, shape)
    again = sm.load(sm.save(model, tmp_path))
    before, after = model.state_dict(), again.state_dict()
    assert list(before) == list(after)
    for key, value in before.items():
        assert value.dtype == after[key].dtype
        assert same(value, after[key]) if value.is_floating_point() else torch.equal(value, after[key])
    assert again.config == model.config
    assert not again.training
    if isinstance(model, Density):
        assert same(log_prob(model, to_score(name, shape)), log_prob(again, to_score(name, shape)))
    if isinstance(model, Generator):
        generators = (torch.Generator().manual_seed(0) for _ in range(2))
        assert torch.equal(*(m.sample(3, generator=g) for m, g in zip((model, again), generators, strict=True)))


@every(scored=True)
def test_double_precision(name, shape):
    model = copy.deepcopy(fitted(name, shape)).double()
    x = data(name, shape)[:4]
    if isinstance(model, Generator):
        assert model.sample(2).dtype == torch.float64
    if isinstance(model, Density):
        fine, coarse = log_prob(model, x), log_prob(fitted(name, shape), x)
        assert fine.dtype == torch.float64
        if model.log_prob_kind == "exact":
            assert torch.allclose(fine.float(), coarse, rtol=1e-3, atol=1e-3 * math.prod(shape), equal_nan=True)


@every_case
def test_an_unfitted_model_says_so(name, shape):
    model = make(name, shape, latent_dim=latent_dim(shape))
    for method in ("log_prob", "encode"):
        if hasattr(model, method):
            with pytest.raises(UnfittedModel, match="fit"):
                getattr(model, method)(data(name, shape))
    if hasattr(model, "sample"):
        with pytest.raises(UnfittedModel, match="fit"):
            model.sample(2)
