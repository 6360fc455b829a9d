"""Flows of images: inverses, log-determinants, the initialisation from data, a density that integrates to one."""

import math

import pytest
import torch
from model_cases import low_rank_data, make
from torch.nn.utils import parameters_to_vector, vector_to_parameters

import submanifold as sm
from submanifold.errors import InvalidInput
from submanifold.geometry import jacobian
from submanifold.models import ImageFlow
from submanifold.models.bijections import (
    CONDITIONERS,
    ActNorm,
    AffineCoupling,
    InvertibleConvolution,
    SplineCoupling,
    Squeeze,
)

SMALL = [((1, 4, 4), "auto"), ((1, 4, 4), 2), ((3, 4, 4), 2), ((2, 2, 6), 1)]


def perturbed(module, size=0.05, seed=0):
    """The module in float64 with noise on all parameters, so that nothing is the identity it starts as."""
    module = module.double().eval()
    weights = parameters_to_vector(module.parameters())
    noise = torch.randn(weights.shape, generator=torch.Generator().manual_seed(seed), dtype=weights.dtype)
    vector_to_parameters(weights + size * noise, module.parameters())
    return module.requires_grad_(False)


def prepared(shape, seed=0, **kwargs):
    model = make("image-flow", shape, seed=seed, **kwargs)
    model.prepare(low_rank_data(shape, 200, rank=4, seed=seed))
    return model


@pytest.mark.parametrize(
    "layer",
    [
        lambda: Squeeze(),
        lambda: ActNorm(4),
        lambda: InvertibleConvolution(4),
        lambda: AffineCoupling(4, [8, 8]),
        lambda: AffineCoupling(4, []),
        lambda: SplineCoupling(4, [8, 8], 5),
        lambda: AffineCoupling(4, [6], CONDITIONERS["kan"]),
        lambda: SplineCoupling(4, [6, 5], 5, CONDITIONERS["kan"]),
    ],
    ids=["squeeze", "actnorm", "convolution", "coupling", "linear-coupling", "spline-coupling", "kan", "spline-kan"],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_layers_invert_and_know_their_determinant(layer, seed):
    torch.manual_seed(seed)
    made = layer()
    made = perturbed(made, 0.3, seed) if list(made.parameters()) else made
    x = torch.randn(3, 4, 2, 2, dtype=torch.float64)
    y, log_det = made(x)
    torch.testing.assert_close(made.inverse(y), x, rtol=1e-10, atol=1e-10)
    J = jacobian(lambda x: made(x)[0].flatten(1), x)
    torch.testing.assert_close(log_det, torch.linalg.slogdet(J).logabsdet, rtol=1e-10, atol=1e-10)
    assert (log_det.abs() > 1e-3).all() or isinstance(made, Squeeze)


@pytest.mark.parametrize("channels", [2, 5, 16])
def test_a_convolution_starts_as_a_rotation(channels):
    layer = InvertibleConvolution(channels).double()
    W = layer(torch.eye(channels, dtype=torch.float64)[..., None, None])[0][..., 0, 0]
    torch.testing.assert_close(W @ W.T, torch.eye(channels, dtype=torch.float64), rtol=1e-5, atol=1e-5)
    assert abs(float(layer.log_s.detach().sum())) < 1e-5


@pytest.mark.parametrize(("shape", "scales"), SMALL)
@pytest.mark.parametrize(("coupling", "seed"), [("affine", 0), ("spline", 1)])
def test_the_density_is_that_of_the_change_of_variables(shape, scales, coupling, seed):
    model = perturbed(prepared(shape, seed, scales=scales, coupling=coupling), seed=seed)
    x = low_rank_data(shape, 6, rank=4, seed=seed).double()
    u = model._normalise(x)
    log_normal = -0.5 * (u.square() + math.log(2 * math.pi)).sum(dim=1)
    log_det = torch.linalg.slogdet(jacobian(model._normalise, x)).logabsdet
    torch.testing.assert_close(model.log_prob(x), log_normal + log_det, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model.local_scales(x).log().sum(dim=1), -log_det, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model.preprocess.inverse(model._generate(u)), x, rtol=1e-5, atol=1e-5)


def test_samples_are_normal_before_the_flow():
    """Samples, normalised again, are the noise they were made of; of each scale's share in the right place."""
    model = perturbed(prepared((3, 8, 4), scales=2))
    x = model.sample(50, generator=torch.Generator().manual_seed(0))
    u = torch.randn(50, 96, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(model._normalise(x), u, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("coupling", ["affine", "spline"])
def test_the_density_integrates_to_one(coupling, seed):
    """By importance sampling on images of 1 x 2 x 2, from Student's law, whose tails are heavier than the flow's."""
    model = make("image-flow", (1, 2, 2), seed=seed, coupling=coupling)
    model.prepare(torch.randn(200, 1, 2, 2, generator=torch.Generator().manual_seed(seed)))
    model = perturbed(model, 0.1, seed)
    s = model.sample(4000, generator=torch.Generator().manual_seed(seed)).flatten(1)
    mean, covariance = s.mean(dim=0), torch.cov(s.T)
    torch.manual_seed(seed)
    n, freedom = 100_000, 5.0
    chi = torch.distributions.Chi2(torch.tensor(freedom, dtype=torch.float64)).sample((n, 1))
    z = torch.randn(n, 4, dtype=torch.float64) * (freedom / chi).sqrt()
    x = mean + z @ torch.linalg.cholesky(covariance).T
    log_q = (
        math.lgamma((freedom + 4) / 2)
        - math.lgamma(freedom / 2)
        - 2 * math.log(freedom * math.pi)
        - 0.5 * torch.logdet(covariance)
        - (freedom + 4) / 2 * (1 + z.square().sum(dim=1) / freedom).log()
    )
    weights = (model.log_prob(x.reshape(-1, 1, 2, 2)) - log_q).exp()
    error = float(weights.std()) / math.sqrt(n)
    assert error < 0.02
    assert abs(float(weights.mean()) - 1) < 4 * error


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 8, 8), (1, 28, 28)])
def test_activations_are_normalised_by_the_data(shape):
    model = make("image-flow", shape).eval()
    x = low_rank_data(shape, 300, rank=5)
    model.prepare(x)
    seen = []
    hooks = [
        layer.register_forward_hook(lambda _, inputs, outputs: seen.append(outputs[0].detach()))
        for layer in model.modules()
        if isinstance(layer, ActNorm)
    ]
    model.log_prob(x)
    for hook in hooks:
        hook.remove()
    assert len(seen) == 4 * len(model.shapes)
    for y in seen:
        deviation, mean = torch.std_mean(y.double(), dim=(0, 2, 3), correction=0)
        assert mean.abs().max() < 1e-3
        assert (deviation - 1).abs().max() < 1e-3


def test_a_channel_without_variation_keeps_its_scale():
    layer = ActNorm(2)
    x = torch.stack([torch.full((8, 3, 3), 5.0), 4 * torch.randn(8, 3, 3)], dim=1)
    layer.initialise(x)
    y, log_det = layer(x)
    assert y[:, 0].abs().max() < 1e-6
    torch.testing.assert_close(log_det[0], -9 * x[:, 1].std(correction=0).log())


def test_forward_initialises_nothing():
    model = prepared((1, 4, 4))
    before = parameters_to_vector(model.parameters()).clone()
    model.train().loss(100 * torch.randn(8, 1, 4, 4))
    assert torch.equal(parameters_to_vector(model.parameters()), before)


def test_bits_per_dimension_are_nats_over_coordinates():
    model = perturbed(prepared((1, 4, 4)))
    x = low_rank_data((1, 4, 4), 5, rank=4)
    torch.testing.assert_close(model.bits_per_dim(x), -model.log_prob(x) / (16 * math.log(2)))


def test_bits_per_dimension_of_pixels_do_not_depend_on_their_units():
    """The same 16 levels, as whole numbers and as multiples of 1/15: densities differ, code lengths do not."""
    levels = torch.randint(16, (400, 1, 4, 4), generator=torch.Generator().manual_seed(0)).float()
    bits = []
    for x in (levels, levels / 15):
        model = make("image-flow", (1, 4, 4)).eval()
        torch.manual_seed(0)
        model.prepare(x)
        bits.append(model.bits_per_dim(x))
        assert torch.equal(bits[-1], model.train().bits_per_dim(x))
    torch.testing.assert_close(*bits, rtol=1e-3, atol=1e-3)
    # Before training it is a Gaussian of the variance of the levels, noise included: 4.05 bits; a uniform law has 4.
    expected = math.log2(math.sqrt(2 * math.pi * math.e * 16**2 / 12))
    assert abs(float(bits[0].mean().detach()) - expected) < 0.03


@pytest.mark.parametrize(
    ("shape", "scales", "expected"),
    [
        ((1, 28, 28), "auto", [(4, 14, 14), (8, 7, 7)]),
        ((1, 8, 8), "auto", [(4, 4, 4), (8, 2, 2)]),
        ((1, 8, 8), 3, [(4, 4, 4), (8, 2, 2), (16, 1, 1)]),
        ((3, 32, 32), "auto", [(12, 16, 16), (24, 8, 8), (48, 4, 4)]),
        ((3, 32, 32), 1, [(12, 16, 16)]),
        ((1, 2, 6), "auto", [(4, 1, 3)]),
    ],
)
def test_scales(shape, scales, expected):
    assert make("image-flow", shape, scales=scales).shapes == expected


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ImageFlow((64,)), "data_shape="),
        (lambda: ImageFlow((1, 7, 8)), "data_shape="),
        (lambda: ImageFlow((1, 28, 28), scales=3), "give at most 2"),
        (lambda: ImageFlow((1, 8, 8), scales=0), "scales=0"),
        (lambda: ImageFlow((1, 8, 8), steps=0), "steps=0"),
        (lambda: ImageFlow((1, 8, 8), hidden="64"), "hidden"),
        (lambda: ImageFlow((1, 8, 8), coupling="cubic"), "coupling='cubic'"),
        (lambda: ImageFlow((1, 8, 8), bins=1), "bins=1"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()


@pytest.mark.slow
def test_digits_are_coded_shorter_than_by_a_gaussian():
    """On digits it was not trained on, in bits per pixel, by more than 0.1."""
    from sklearn.datasets import load_digits

    images = torch.tensor(load_digits().images[:, None], dtype=torch.float32)
    images = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))]
    train, held_out = images[:1437], images[1437:]
    model = ImageFlow((1, 8, 8))
    sm.fit(model, train, steps=800, batch_size=128, seed=0)
    generator = torch.Generator().manual_seed(1)
    noised, held_noised = (
        (x + torch.rand(x.shape, generator=generator) - 0.5).flatten(1).double() for x in (train, held_out)
    )
    gaussian = torch.distributions.MultivariateNormal(noised.mean(dim=0), torch.cov(noised.T))
    baseline = -gaussian.log_prob(held_noised).mean() / (64 * math.log(2))
    with torch.no_grad():
        assert model.bits_per_dim(held_out).mean() < baseline - 0.1
