"""Models of KANs: every one that takes a network by name takes "kan", trains, samples, and is saved."""

import math
from fractions import Fraction

import pytest
import torch
from model_cases import IMAGES, fit_briefly, low_rank_data, make
from torch import nn

import submanifold as sm
from submanifold import models
from submanifold.errors import InvalidInput
from submanifold.models import Generator
from submanifold.models._zuko import KINDS, transforms
from submanifold.models.catalogue import parameters_of
from submanifold.nn.kan import KANLinear

REFUSED = ("sn-wgan",)  # by their spectral normalisation
ON_LEVELS = ("categorical-vae", "logistic-vae")
NAMES = [name for name in models.names() if "network" in parameters_of(name) and name not in REFUSED]


@pytest.mark.parametrize("name", NAMES)
def test_a_kan_in_its_place(name, tmp_path):
    torch.manual_seed(0)
    shape = (1, 4, 4) if name in IMAGES else (3,)
    model = make(name, shape, network="kan", hidden=(6,))
    kans = [module for module in model.modules() if isinstance(module, KANLinear)]
    assert kans
    before = [kan.coefficients.detach().clone() for kan in kans]
    x = low_rank_data(shape, 64)
    if name in (*ON_LEVELS, "pixelcnn"):
        x = x.round()
    fit_briefly(model, x, steps=3)
    assert any(not torch.equal(kan.coefficients, old) for kan, old in zip(kans, before, strict=True))
    models.save(model, tmp_path / "model")
    again = models.load(tmp_path / "model")
    for ours, theirs in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    if isinstance(model, Generator):
        assert model.sample(4, generator=torch.Generator().manual_seed(0)).isfinite().all()


@pytest.mark.parametrize(("name", "part"), [("iaf-vae", "posterior"), ("flow-prior-vae", "prior")])
def test_flows_of_latents_are_of_kans_too(name, part):
    for network in ("kan", "mlp"):
        model = make(name, (3,), network=network)
        flow = getattr(model, part).flow
        assert any(isinstance(module, KANLinear) for module in flow.modules()) == (network == "kan")


@pytest.mark.parametrize(("shape", "options"), [((3,), {}), ((1, 2, 3), {}), ((1, 2, 3), {"preprocess": ["whiten"]})])
@pytest.mark.parametrize("name", ["two-step", "vae", "gmmn", "gebm"])
def test_what_a_kan_decodes_is_within_its_bounds(name, shape, options):
    torch.manual_seed(0)
    model = fit_briefly(make(name, shape, network="kan", hidden=(6,), **options), low_rank_data(shape, 200), steps=5)
    model = model.double().eval()
    centre = torch.randn(10, 2, dtype=torch.float64)
    low, high = centre - 0.3, centre + 0.1
    least, most = model.decode_bounds(low, high)
    share = torch.rand(400, 10, 2, dtype=torch.float64)
    share[:100] = share[:100].round()
    with torch.no_grad():
        seen = model.decode((low + (high - low) * share).flatten(0, 1)).unflatten(0, (400, 10))
    assert least.shape == most.shape == (10, *shape)
    assert (seen >= least).all()
    assert (seen <= most).all()
    for bound in model.decode_bounds(centre, centre):
        torch.testing.assert_close(bound, model.decode(centre).detach(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ON_LEVELS)
def test_means_of_levels_are_within_their_bounds(name):
    torch.manual_seed(0)
    model = make(name, (1, 2, 2), network="kan", hidden=(6,), levels=8).double()
    model.prepare(torch.randint(0, 6, (50, 1, 2, 2)).double())
    with torch.no_grad():
        for kan in (module for module in model.decoder.modules() if isinstance(module, KANLinear)):
            kan.coefficients.mul_(20)
    centre = torch.randn(10, 2, dtype=torch.float64)
    least, most = model.decode_bounds(centre - 0.2, centre + 0.2)
    with torch.no_grad():
        seen = model.decode((centre + 0.4 * torch.rand(400, 10, 2) - 0.2).flatten(0, 1)).unflatten(0, (400, 10))
    assert (seen >= least).all()
    assert (seen <= most).all()
    assert (least >= -1e-9).all()  # the least level
    assert (most <= 5 + 1e-9).all()
    assert (most - least).amin() < 4  # and something is said
    for bound in model.decode_bounds(centre, centre):
        torch.testing.assert_close(bound, model.decode(centre).detach(), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("size", [0.1, 10.0, 1000.0])
def test_means_of_levels_are_bounded_on_wide_boxes(size):
    torch.manual_seed(0)
    model = make("categorical-vae", (3,), hidden=(6,), levels=200).double()
    model.prepare(65536.0 * torch.arange(200).repeat(3, 1).mT.double())
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.mul_(4)
    least, most = model.decode_bounds(torch.full((3, 2), -size), torch.full((3, 2), size))
    with torch.no_grad():
        seen = model.decode(size * (2 * torch.rand(1000, 2, dtype=torch.float64) - 1))
    assert (least[0] <= seen).all()
    assert (seen <= most[0]).all()
    assert (least >= -1).all()  # beyond the levels by a millionth of them at most
    assert (most <= 65536 * 199 + 1).all()


def test_the_largest_mean_of_levels_is_that_of_the_best_split():
    from submanifold.models.discrete_vae import _largest_mean

    generator = torch.Generator().manual_seed(0)
    low = 30 * torch.randn(5, 7, 3, dtype=torch.float64, generator=generator)
    high = low + 40 * torch.rand(5, 7, 3, dtype=torch.float64, generator=generator)
    at = torch.linspace(-1, 1, 7, dtype=torch.float64)
    ends = torch.cartesian_prod(*7 * [torch.tensor([0.0, 1.0], dtype=torch.float64)])  # (128, 7)
    logits = low[:, None] + ends[:, :, None] * (high - low)[:, None]  # (5, 128, 7, 3)
    best = torch.einsum("nald,l->nad", logits.softmax(dim=2), at).amax(dim=1)
    found = _largest_mean(low, high, at)
    assert (found >= best).all()
    torch.testing.assert_close(found, best, rtol=1e-10, atol=1e-12)


def test_bounds_hold_for_data_far_from_zero():
    model = make("autoencoder", (2,), network={"encoder": nn.Identity(), "decoder": nn.Identity()}, full_latent=True)
    model.prepare(1e8 + torch.randn(100, 2).double())
    z = torch.randn(50, 2, dtype=torch.float64)
    least, most = model.decode_bounds(z, z)
    mean, scale = (float(getattr(model.preprocess.maps[0], name)[0]) for name in ("mean", "scale"))
    for i, value in enumerate(z[:, 0].tolist()):
        exact = Fraction(value) * Fraction(scale) + Fraction(mean)
        assert Fraction(float(least[i, 0])) <= exact <= Fraction(float(most[i, 0]))


@pytest.mark.parametrize("name", REFUSED)
def test_spectral_normalisation_of_a_kan_is_refused(name):
    with pytest.raises(InvalidInput, match='network="kan" is not accepted for a critic with spectral normalisation'):
        make(name, (3,), network="kan", hidden=(6,))


@pytest.mark.parametrize("shape", [(3,), (1, 2, 2)])
def test_certificates_hold_with_a_kan_as_decoder(shape):
    torch.manual_seed(0)
    x = low_rank_data(shape, 200)
    model = models.create("two-step", shape, latent_dim=2, network="kan", hidden=(6,))
    fit_briefly(model, x, steps=20)
    numbers = sm.lens.wasserstein_bound(model, x, replicates=2).numbers
    assert numbers["lipschitz_sampled"].value <= numbers["lipschitz_certified"].value < float("inf")
    assert numbers["coupling_bound"].value <= numbers["lipschitz_form_certified"].value


def flow_of_kans(kind, D, steps=40, **kwargs):
    """Fitted to data on scales of their own, off the origin, in float64."""
    torch.manual_seed(0)
    flow = models.Flow((D,), kind=kind, network="kan", hidden=(8,), **kwargs).double()
    scales = torch.linspace(0.5, 2.0, D)
    x = low_rank_data((D,), 300, rank=D).double() * scales
    return fit_briefly(flow, x, steps=steps, lr=1e-2), x


@pytest.mark.parametrize("D", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_flow_of_kans_integrates_to_one(kind, D):
    flow, x = flow_of_kans(kind, D)
    spread = x.amax(0) - x.amin(0)
    n = 4001 if D == 1 else 201
    axes = [
        torch.linspace(float(low), float(high), n, dtype=torch.float64)
        for low, high in zip(x.amin(0) - 1.5 * spread, x.amax(0) + 1.5 * spread, strict=True)
    ]
    with torch.no_grad():
        density = flow.log_prob(torch.cartesian_prod(*axes).reshape(-1, D)).exp()
    assert float(density.sum() * math.prod(float(axis[1] - axis[0]) for axis in axes)) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("D", [1, 2, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_a_flow_of_kans_is_inverted_and_has_the_jacobian_that_it_says(kind, D):
    flow, x = flow_of_kans(kind, D, steps=10)
    y = torch.cat([flow.preprocess(x[:20]), 8 * flow.preprocess(x[20:30])])  # off the grids too
    with torch.no_grad():
        u, log_det = flow.transform().call_and_ladj(y)
        torch.testing.assert_close(flow.transform().inv(u), y, rtol=1e-6, atol=1e-6)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda y: flow.transform()(y)))(y)
    torch.testing.assert_close(log_det, torch.linalg.slogdet(jacobian)[1].detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"spline-coupling"}))
def test_autoregressive_maps_see_what_comes_before_them_and_all_of_the_context(kind, context):
    """Their Jacobians are triangular in their order, and nothing that they may see is left out."""
    torch.manual_seed(0)
    flow = transforms(kind, 5, layers=3, hidden=(8, 8), bins=6, context=context, network="kan").double()
    y, c = torch.randn(7, 5).double(), torch.randn(7, context).double()
    for one in flow.transforms:

        def mapped(y, c, one=one):
            return one(c if context else None)(y)

        by_y, by_c = (torch.func.vmap(torch.func.jacrev(mapped, argnums=i))(y, c) for i in (0, 1))
        by_y = by_y.abs().amax(dim=0)
        assert torch.equal(by_y != 0, one.order[:, None] >= one.order)
        assert (by_c.abs().amax(dim=0) != 0).all()


@pytest.mark.parametrize("D", [2, 6])
@pytest.mark.parametrize("kind", KINDS)
def test_a_flow_of_kans_starts_near_the_identity(kind, D):
    for seed in range(3):
        torch.manual_seed(seed)
        flow = models.Flow((D,), kind=kind, network="kan", preprocess=[])
        y = torch.randn(500, D)
        with torch.no_grad():
            u, log_det = flow.transform().call_and_ladj(y)
        assert 0 < float((u - y).square().mean().sqrt()) < 0.3
        assert 0 < float(log_det.abs().mean()) / D < 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_a_flow_of_kans_is_saved_and_resumed_to_the_bit(kind, tmp_path):
    def crash(event):
        if event.step == 8:
            raise Cut

    options = {"steps": 12, "batch_size": 16, "evaluate_every": 4, "checkpoint_every": 5, "progress": False}
    x = low_rank_data((2,), 60)
    whole, cut, again = (make("kan-flow", (2,), kind=kind, hidden=(6,), seed=seed) for seed in (0, 0, 5))
    sm.fit(whole, x, run=tmp_path / "whole", **options)
    with pytest.raises(Cut):
        sm.fit(cut, x, run=tmp_path / "cut", callbacks=[crash], **options)
    sm.fit(again, x, run=tmp_path / "cut", **options)
    loaded = models.load(tmp_path / "cut")
    for model in (again, loaded):
        assert torch.equal(model.log_prob(x), whole.log_prob(x))
        assert model.config == whole.config


class Cut(Exception):
    """Stands for a crash."""


@pytest.mark.parametrize(("network", "words"), [("conv", "network='conv'"), ("kann", "did you mean 'kan'")])
def test_networks_that_a_flow_does_not_have_are_refused(network, words):
    with pytest.raises(InvalidInput, match=words):
        models.Flow((2,), network=network)
