"""Networks of the user's own, in every model: they train, are checked, and come back into a saved model."""

import copy
import math
import re

import pytest
import torch
from model_cases import fit_briefly, low_rank_data, make
from torch import nn

import submanifold as sm
from submanifold import models
from submanifold.errors import InvalidInput
from submanifold.geometry import lipschitz_upper_bound
from submanifold.models import Generator
from submanifold.models.catalogue import PRESETS, parameters_of
from submanifold.models.persistence import configuration
from submanifold.nn import KAN, CausalNetwork, MaskedMLP

ON_LEVELS = ("categorical-vae", "logistic-vae")
MASKED = ("autoregressive", "maf", "nsf", "pixelcnn")
COUPLINGS = ("denoising-flow", "flow", "image-flow", "kan-flow", "softflow")
NAMES = [name for name in models.names() if "network" in parameters_of(name)]
ALL_NETWORKS = [name for name in NAMES if name not in (*MASKED, *COUPLINGS)]


def dense(in_shape, out_shape):
    sizes = math.prod(in_shape), math.prod(out_shape)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(sizes[0], 7), nn.Tanh(), nn.Linear(7, sizes[1]), nn.Unflatten(1, out_shape)
    )


class OfTime(nn.Module):
    """Told a level or a time besides."""

    def __init__(self, in_shape, out_shape):
        super().__init__()
        self.network = dense((math.prod(in_shape) + 1,), out_shape)

    def forward(self, x, t):
        return self.network(torch.cat([x.flatten(1), t[:, None]], dim=1))


def maker(name):
    return OfTime if set(PRESETS[name].model.networks) & {"denoiser", "field"} else dense


def shape_for(name):
    return (1, 4, 4) if name in ("image-flow", "pixelcnn") else (3,)


def data_for(name, n=40):
    x = low_rank_data(shape_for(name), n)
    return x.round() if name in ON_LEVELS else x


@pytest.mark.filterwarnings("ignore:the autoencoder reconstructs")
@pytest.mark.parametrize("name", sorted(set(NAMES) - set(MASKED)))
def test_a_network_of_the_users_own_in_its_place(name, tmp_path):
    """It is there, it learns, and the model is saved and comes back, to whoever hands the network again."""
    x = data_for(name)
    model = make(name, shape_for(name), network=maker(name))
    own = [module for module in model.modules() if type(module) in (OfTime, nn.Tanh)]
    assert own
    before = copy.deepcopy(model.state_dict())
    fit_briefly(model, x, steps=3)
    weights = [key for key in before if key.endswith("3.weight") or "score.1.weight" in key]
    assert any(not torch.equal(model.state_dict()[key], before[key]) for key in weights)
    if isinstance(model, Generator):
        assert model.sample(3, generator=torch.Generator().manual_seed(0)).isfinite().all()
    models.save(model, tmp_path)
    with pytest.raises(InvalidInput, match="holds a model with networks of your own") as refused:
        models.load(tmp_path)
    places = re.findall(r'"([a-z.]*network)"', str(refused.value))
    again = models.load(tmp_path, modules=dict.fromkeys(places, maker(name)))
    for ours, theirs in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", ALL_NETWORKS)
def test_modules_have_roles(name):
    """What is asked of a role is what the network of its name is asked for, and its module is the model's."""
    asked = {}

    def make_and_keep(in_shape, out_shape):
        module = maker(name)(in_shape, out_shape)
        asked.setdefault("modules", []).append(module)
        return module

    make(name, (3,), network=make_and_keep)
    cls = PRESETS[name].model
    roles = {"gebm": ("decoder", "critic", "energy"), "two-step": ("encoder", "decoder")}.get(name, cls.networks)
    if name == "latent-diffusion":
        roles = ("encoder", "decoder", "critic")
    assert len(asked["modules"]) == len(roles)
    given = dict(zip(roles, asked["modules"], strict=True))
    model = make(name, (3,), network=given)
    held = list(model.modules())
    assert all(any(module is other for other in held) for module in given.values())
    if len(roles) == 1 and name != "gebm":
        alone = make(name, (3,), network=asked["modules"][0])
        assert any(asked["modules"][0] is other for other in alone.modules())
    else:
        with pytest.raises(InvalidInput, match=r"is one module where the model has \d networks"):
            make(name, (3,), network=asked["modules"][0])


def test_a_mapping_may_name_networks_of_ours():
    model = make("vae", (1, 4, 4), network={"decoder": "kan"})
    assert any(isinstance(module, KAN) for module in model.decoder.modules())
    assert not any(isinstance(module, KAN) for module in model.encoder.modules())
    assert configuration(model)["config"]["network"] == {"decoder": "kan"}


def test_modules_are_not_copied_and_keep_what_is_frozen():
    encoder, decoder = dense((3,), (4,)), dense((2,), (3,))
    frozen = encoder[1].requires_grad_(False).weight.clone()
    free = encoder[3].weight.detach().clone()
    model = make("vae", (3,), network={"encoder": encoder, "decoder": decoder})
    sm.fit(model, low_rank_data((3,), 40), steps=3, batch_size=8, progress=False)
    assert torch.equal(encoder[1].weight, frozen)
    assert not torch.equal(encoder[3].weight, free)


def test_a_model_is_resumed_with_the_network_handed_again(tmp_path):
    options = {"batch_size": 16, "seed": 0, "progress": False, "run": tmp_path, "checkpoint_every": 2}
    x = low_rank_data((3,), 40)

    def fresh():
        torch.manual_seed(0)
        return make("autoencoder", (3,), network={"encoder": dense((3,), (2,)), "decoder": dense((2,), (3,))})

    first = fresh()
    sm.fit(first, x, steps=6, **options)
    again = fresh()
    sm.fit(again, x, steps=6, **options)
    loaded = models.load(tmp_path, modules={"network.encoder": dense((3,), (2,)), "network.decoder": dense((2,), (3,))})
    for model in (again, loaded):
        assert torch.equal(model.encode(x), first.encode(x))


def test_the_certificate_of_a_decoder_of_ones_own():
    decoder = dense((2,), (3,))
    model = make("autoencoder", (3,), network={"decoder": decoder}, preprocess=())
    assert model.decoder_lipschitz_bound() == lipschitz_upper_bound(decoder) < math.inf
    unknown = nn.Sequential(decoder, nn.Softmax(dim=1))
    assert make("autoencoder", (3,), network={"decoder": unknown}, preprocess=()).decoder_lipschitz_bound() == math.inf


class Handmade(CausalNetwork):
    """A causal network around another, with all that sampling asks for."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, y):
        return self.inner(y)

    def begin(self, n):
        return self.inner.begin(n)

    def advance(self, y, state):
        return self.inner.advance(y, state)


class Ahead(Handmade):
    """Each row sees its own coordinate."""

    def forward(self, y):
        return self.inner(y) + y[..., None]


def test_causal_networks_are_accepted_by_autoregressive_models(tmp_path):
    def handmade(in_shape, out_shape):
        return Handmade(MaskedMLP(in_shape[0], out_shape[1], (8,)))

    model = fit_briefly(make("autoregressive", (3,), network=handmade, components=2), low_rank_data((3,), 40), steps=3)
    assert model.sample(4).isfinite().all()
    again = models.load(models.save(model, tmp_path), modules={"network": handmade((3,), (3, 6))})
    x = low_rank_data((3,), 5)
    assert torch.equal(model.log_prob(x), again.log_prob(x))


class Eager(nn.Module):
    def __init__(self, said):
        super().__init__()
        self.said = said

    def forward(self, x):
        return self.said


REFUSALS = [
    (
        "vae",
        {"encoder": nn.Linear(3, 5)},
        r"Linear as encoder, which maps \(n, 3\) to \(n, 5\): .* \(n, 3\) to \(n, 4\)",
    ),
    ("vae", {"encoder": nn.Linear(4, 4)}, r"Linear as encoder, which fails \(mat1 and mat2 .*\): give one that maps"),
    ("vae", {"decoder": nn.Linear(2, 4)}, r"Linear as decoder, which maps \(n, 2\) to \(n, 4\)"),
    ("vae", {"encoder": nn.Linear(3, 4).double()}, r"Linear as encoder, which fails \(.*dtype"),
    ("vae", {"encoder": Eager((1, 2))}, r"which maps \(n, 3\) to a tuple"),
    ("vae", {"encoder": Eager(torch.zeros(5, 4))}, r"which maps \(n, 3\) to a tensor \(5, 4\)"),
    ("vae", {"coder": nn.Linear(3, 4)}, "network has the key 'coder': give a mapping such as {\"encoder\": ..."),
    ("vae", dict.fromkeys(("encoder", "decoder"), nn.Linear(3, 3)), "one module for several roles"),
    ("vae", lambda shape: nn.Linear(3, 4), "<lambda> as encoder, which is not called with two shapes"),
    ("vae", lambda a, b: 3, "<lambda> as encoder, which makes a int"),
    ("vae", nn.Linear, r"Linear as encoder, which makes no module for \(3,\) and \(4,\)"),
    ("vae", {"encoder": "knn"}, "did you mean 'kan'"),
    ("sn-wgan", {"critic": KAN([3, 1])}, "not accepted for a critic with spectral normalisation"),
    ("diffusion", nn.Linear(3, 3), r"Linear as denoiser, which fails .* maps \(n, 3\), \(n,\) to \(n, 3\)"),
    ("continuous-flow", nn.Linear(3, 3), r"Linear as field, which fails .* maps \(n, 3\), \(n,\) to \(n, 3\)"),
    ("maf", dense, "may depend on those before it alone, by masks that a network of your own lacks"),
    ("nsf", nn.Linear(3, 3), "may depend on those before it alone, by masks that a network of your own lacks"),
    ("flow", nn.Linear(3, 3), "a flow has a network in each of its maps, give a callable"),
    ("autoregressive", dense, "what is said of a coordinate may depend on those before it alone"),
    ("autoregressive", Ahead(MaskedMLP(3, 30, (8,))), "Ahead is not causal: give one of which row"),
    ("pixelcnn", dense, "may depend on those before it alone, by masks"),
    ("image-flow", nn.Conv2d(1, 1, 1), "which has a network in each coupling, of several sizes: give a callable"),
]


@pytest.mark.parametrize(
    ("name", "network", "words"), REFUSALS, ids=[f"{i}-{row[0]}" for i, row in enumerate(REFUSALS)]
)
def test_networks_that_do_not_fit_are_refused(name, network, words):
    with pytest.raises(InvalidInput, match=words):
        make(name, shape_for(name), network=network)


def test_a_trial_leaves_the_network_as_it_is():
    encoder = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4).eval(), nn.Dropout(0.5))
    network = {"encoder": encoder, "decoder": nn.Linear(2, 3)}
    before, state = copy.deepcopy(encoder.state_dict()), torch.get_rng_state()
    models.VAE((3,), 2, network=network)
    assert [module.training for module in encoder] == [True, False, True]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


def test_modules_that_a_file_does_not_need_are_refused(tmp_path):
    models.save(make("vae", (3,)), tmp_path / "ours")
    with pytest.raises(InvalidInput, match="holds a model without networks of your own: leave out modules"):
        models.load(tmp_path / "ours", modules={"network": dense})
    models.save(make("gmmn", (3,), network=dense((2,), (3,))), tmp_path / "own")
    for modules in (None, {"decoder": dense}, {"network": 3}):
        with pytest.raises(InvalidInput, match=r'modules=\{"network": Sequential\}, with modules built as they were'):
            models.load(tmp_path / "own", modules=modules)
    with pytest.raises(InvalidInput, match="checkpoint of another model"):
        models.load(tmp_path / "own", modules={"network": nn.Linear(2, 3)})
