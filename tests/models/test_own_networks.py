"""Networks of the user's own, in every model: they train, are checked, and come back into a saved model."""

import copy
import math
import pickle
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
from submanifold.nn import KAN, CausalNetwork, MaskedMLP, kan

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


def coder(encoder, decoder=None, **options):
    """An autoencoder of points of 3 coordinates with 2 latents, that knows its data."""
    network = {"encoder": encoder, "decoder": decoder or dense((2,), (3,))}
    model = make("autoencoder", (3,), network=network, **options)
    model.prepare(low_rank_data((3,), 40))
    return model


def loaded(folder, encoder, decoder=None):
    modules = {"network.encoder": encoder, "network.decoder": decoder or dense((2,), (3,))}
    return models.load(folder, modules=modules)


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

    model = make(name, (3,), network=make_and_keep)
    given = dict(zip(model.networks, asked["modules"], strict=True))
    model = make(name, (3,), network=given)
    held = list(model.modules())
    assert all(any(module is other for other in held) for module in given.values())
    if len(given) == 1:
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
    ("vae", {"encoder": Eager((1, 2))}, r"which maps \(n, 3\) to a tuple"),
    ("vae", {"encoder": Eager(torch.zeros(5, 4))}, r"which maps \(n, 3\) to a tensor \(5, 4\)"),
    ("vae", {"coder": nn.Linear(3, 4)}, "network has the key 'coder': give a mapping such as {\"encoder\": ..."),
    ("vae", dict.fromkeys(("encoder", "decoder"), nn.Linear(3, 3)), "one module for several roles"),
    ("vae", lambda shape: nn.Linear(3, 4), "<lambda> as encoder, which is not called with two shapes"),
    ("vae", lambda a, b: 3, "<lambda> as encoder, which makes a int"),
    ("vae", dict, "dict as encoder, which is not called with two shapes"),
    ("vae", max, "max as encoder, which is not called with two shapes"),
    ("vae", nn.Linear, r"Linear as encoder, which makes no module for \(3,\) and \(4,\)"),
    ("vae", {"encoder": "knn"}, "did you mean 'kan'"),
    ("sn-wgan", {"critic": KAN([3, 1])}, "not accepted for a critic with spectral normalisation"),
    ("diffusion", nn.Linear(3, 3), r"Linear as denoiser, which fails .* maps \(n, 3\), \(n,\) to \(n, 3\)"),
    ("continuous-flow", nn.Linear(3, 3), r"Linear as field, which fails .* maps \(n, 3\), \(n,\) to \(n, 3\)"),
    ("maf", dense, "may depend on those before it alone, by masks that a network of your own lacks"),
    ("nsf", nn.Linear(3, 3), "may depend on those before it alone, by masks that a network of your own lacks"),
    ("flow", nn.Linear(3, 3), "a flow has a network in each of its maps, give a callable"),
    ("flow", {"conditioner": dense}, "a flow has a network in each of its maps, give a callable"),
    ("flow", None, "network='None' is unknown: known are kan, mlp"),
    ("maf", 3, "network='3' is unknown: known are kan, mlp"),
    ("gebm", {"generator": dense}, 'such as {"decoder": ..., "critic": ..., "energy": ...}'),
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


class Tied(nn.Module):
    """Two layers of one weight."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.last(self.second(self.first(x).tanh()))


def test_loading_fills_modules_in_place(tmp_path):
    """What is tied stays tied, and an optimiser goes on with the parameters that it has."""
    model = coder(Tied())
    models.save(model, tmp_path)
    again = Tied()
    parameters = list(again.parameters())
    back = loaded(tmp_path, again)
    assert len(list(back.parameters())) == len(list(model.parameters()))
    assert back.encoder.second.weight is back.encoder.first.weight
    assert all(ours is theirs for ours, theirs in zip(again.parameters(), parameters, strict=True))
    assert not any(module.training for module in again.modules())
    x = low_rank_data((3,), 40)
    for one in (model, back):
        sm.fit(one, x, steps=3, batch_size=8, seed=0, progress=False)
    assert torch.equal(model.encode(x), back.encode(x))


class Eats(nn.Linear):
    """A layer that makes 75 million numbers on its way, none of which takes memory."""

    def forward(self, x):
        for _ in range(5):
            x.sum().expand(3000, 5000)
        return super().forward(x)


def test_what_a_network_of_the_users_own_makes_on_its_way_is_not_counted(tmp_path):
    def wasteful(in_shape, out_shape):
        torch.zeros(()).expand(3000, 5000)
        return Eats(*in_shape, *out_shape)

    models.save(coder(wasteful), tmp_path)
    assert isinstance(loaded(tmp_path, Eats(3, 2)).encoder, Eats)
    assert isinstance(loaded(tmp_path, wasteful).encoder, Eats)
    assert isinstance(models.load(models.save(coder("mlp", "mlp"), tmp_path)).encoder, nn.Module)


def test_what_a_network_raises_when_it_is_tried_is_said(tmp_path):
    class Broken(nn.Linear):
        def forward(self, x):
            return super().forward(x).reshape(7)

    models.save(coder(nn.Linear(3, 2)), tmp_path)
    with pytest.raises(InvalidInput, match=r"Broken as encoder, which fails \(shape '\[7\]' is invalid"):
        loaded(tmp_path, Broken(3, 2))


@pytest.mark.parametrize("kept", [True, False], ids=["same", "built again"])
def test_a_model_in_double_precision_comes_back(tmp_path, kept):
    encoder, decoder = dense((3,), (2,)), dense((2,), (3,))
    model = coder(encoder, decoder).double()
    models.save(model, tmp_path)
    x = low_rank_data((3,), 5).double()
    told = model.decode(model.encode(x))
    again = (encoder, decoder) if kept else (dense((3,), (2,)), dense((2,), (3,)))
    back = loaded(tmp_path, *again)
    assert torch.equal(back.decode(back.encode(x)), told)
    assert {parameter.dtype for parameter in back.parameters()} == {torch.float64}


def test_modules_in_double_precision_make_a_model_that_is():
    model = coder(nn.Linear(3, 2).double(), nn.Linear(2, 3).double()).double()
    assert model.encode(low_rank_data((3,), 5)).dtype == torch.float64
    causal = make("autoregressive", (3,), network=MaskedMLP(3, 30, (8,)).double()).double()
    causal.prepare(low_rank_data((3,), 5).double())
    assert causal.log_prob(low_rank_data((3,), 5)).dtype == torch.float64


def refined():
    """A KAN with a grid that a file makes finer or coarser."""
    network = KAN([3, 4, 2])
    kan.refine(network, 10)
    return network


@pytest.mark.parametrize(
    "unfit",
    [
        pytest.param(lambda: dense((2,), (3,)).append(nn.Identity()).append(nn.Linear(3, 3)), id="more"),
        pytest.param(lambda: nn.Sequential(nn.Linear(2, 3)), id="less"),
        pytest.param(lambda: nn.Sequential(nn.Flatten(), nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 3)), id="wider"),
        pytest.param(lambda: nn.Sequential(KAN([2, 7, 3])), id="another kind"),
    ],
)
@pytest.mark.parametrize("double", [False, True])
def test_a_failed_load_leaves_modules_as_they_were(tmp_path, unfit, double):
    model = coder(KAN([3, 4, 2]))
    models.save(model.double() if double else model, tmp_path)
    encoder, decoder = refined(), unfit()
    before = copy.deepcopy([encoder, decoder])
    with pytest.raises(InvalidInput, match="is a checkpoint of another model"):
        loaded(tmp_path, encoder, decoder)
    for now, then in zip([encoder, decoder], before, strict=True):
        for name, value in then.state_dict().items():
            assert torch.equal(now.state_dict()[name], value)
            assert now.state_dict()[name].dtype == value.dtype
    x = low_rank_data((3,), 5)
    assert torch.equal(encoder(x), before[0](x))
    back = loaded(tmp_path, encoder)  # with a decoder that fits
    assert torch.equal(back.encode(x), model.encode(x))


def test_a_module_of_splines_that_does_not_fit_is_as_it_was(tmp_path):
    """Grids of another number of inputs, behind a layer that could be filled."""

    def network(width):
        return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, width), KAN([width, 2]))

    models.save(coder(network(4)), tmp_path)
    wider = network(5)
    before = copy.deepcopy(wider.state_dict())
    with pytest.raises(InvalidInput, match=r"is a checkpoint of another model: widths \[4, 2\] are not"):
        loaded(tmp_path, wider)
    assert all(torch.equal(value, before[name]) for name, value in wider.state_dict().items())


def test_a_pruned_kan_in_a_network_of_ones_own_comes_back_or_all_is_as_it_was(tmp_path):
    def network(width):
        return nn.Sequential(KAN([3, 6, 2]), nn.Linear(2, width), nn.Linear(width, 2))

    own, x = network(4), low_rank_data((3,), 40)
    own[0] = kan.prune(own[0], x, edge_threshold=0.2, node_threshold=0.6)
    assert own[0].layers[0].out_features < 6
    model = coder(own)
    models.save(model, tmp_path)
    assert torch.equal(loaded(tmp_path, network(4)).encode(x), model.eval().encode(x))
    unfit = network(5)
    before = copy.deepcopy(unfit.state_dict())
    with pytest.raises(InvalidInput, match="is a checkpoint of another model"):
        loaded(tmp_path, unfit)
    assert all(torch.equal(value, before[name]) for name, value in unfit.state_dict().items())


def test_modules_that_learn_are_in_one_place():
    one, frozen = nn.Linear(2, 1), nn.Linear(2, 1).requires_grad_(False)

    def bigan(shared):
        network = {"encoder": shared, "critic": lambda in_shape, out_shape: shared}
        return models.BiGAN((2,), 1, hidden=(1,), network=network)

    with pytest.raises(InvalidInput, match="encoder and critic have one Linear in common: give each"):
        bigan(one)
    assert bigan(frozen).encoder is frozen
    square = nn.Linear(1, 1)
    with pytest.raises(InvalidInput, match="encoder and decoder have one Linear in common"):
        models.Autoencoder((1,), 1, full_latent=True, network=lambda in_shape, out_shape: square)
    with pytest.raises(InvalidInput, match=r'is one module where the model has 2 networks: give {"decoder": \.\.\.'):
        models.create("gebm", (1,), base="gmmn", latent_dim=1, network=square)
    base = models.create("gmmn", (1,), latent_dim=1, network=square)
    with pytest.raises(InvalidInput, match="base and energy have one Linear in common"):
        models.GEBM(base, network=square)
    again = models.GEBM(base, network={"energy": nn.Linear(1, 1)})
    assert again.networks == ("decoder", "energy")


def test_classes_say_what_their_networks_are_by_default():
    for name in ALL_NETWORKS:
        if name != "latent-diffusion":  # a preset with another autoencoder than its class
            assert PRESETS[name].model.networks == make(name, (3,)).networks != ()


def test_one_coordinate_that_depends_on_nothing_has_no_network():
    with pytest.raises(InvalidInput, match="network=dense is not accepted for data of one coordinate"):
        models.create("flow", (1,), network=dense)
    assert models.create("softflow", (1,), network=dense).transform is not None  # it depends on the noise


def test_a_causal_network_keeps_the_modes_of_its_parts():
    network = Handmade(MaskedMLP(3, 30, (8,)))
    network.inner.eval()
    make("autoregressive", (3,), network=network)
    assert network.training
    assert not network.inner.training


def test_models_are_pickled_with_what_can_be():
    x = low_rank_data((3,), 5)
    for model in (coder(dense), coder(dense((3,), (2,)))):
        again = pickle.loads(pickle.dumps(model))
        assert torch.equal(again.encode(x), model.encode(x))
    model = coder(lambda in_shape, out_shape: dense(in_shape, out_shape))
    assert torch.equal(copy.deepcopy(model).encode(x), model.encode(x))
