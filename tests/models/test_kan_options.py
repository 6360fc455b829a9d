"""KANs in models as they were asked for: by options that files keep, pruned to fewer nodes, and of known functions."""

import json

import pytest
import torch
from model_cases import IMAGES, fit_briefly, low_rank_data, make
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes

import submanifold as sm
from submanifold import models
from submanifold.errors import InvalidInput
from submanifold.models import Generator
from submanifold.models.catalogue import parameters_of
from submanifold.nn.kan import KAN, KANLinear, SymbolicKAN, prune, snap
from submanifold.nn.kan.bases import BSplines

NAMES = [name for name in models.names() if "network" in parameters_of(name) and name != "sn-wgan"]
SPLINES = {"name": "kan", "grid": 4, "order": 2, "base": None, "grid_range": [-2.5, 2.5], "open_knots": True}


def layers_of(model):
    return [module for module in model.modules() if isinstance(module, KANLinear)]


def shape_for(name):
    return (1, 4, 4) if name in IMAGES else (3,)


@pytest.mark.parametrize("name", NAMES)
def test_a_kan_with_options_in_its_place(name, tmp_path):
    model = make(name, shape_for(name), network=SPLINES, hidden=(6,))
    model.prepare(low_rank_data(shape_for(name), 50).round())
    assert len(layers_of(model)) == len(layers_of(make(name, shape_for(name), network="kan", hidden=(6,))))
    for layer in layers_of(model):
        assert isinstance(layer.basis, BSplines)
        assert (layer.basis.intervals, layer.basis.order, layer.basis.open_knots, layer.base) == (4, 2, True, None)
        assert layer.basis.breakpoints[0, [0, -1]].tolist() == [-2.5, 2.5]
    again = models.load(models.save(model, tmp_path / "model"))
    assert again.config == model.config
    for ours, theirs in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("basis", ["bspline", "chebyshev", "fourier", "rbf"])
@pytest.mark.parametrize("name", ["vae", "diffusion", "nsf", "autoregressive", "continuous-flow", "image-flow"])
def test_options_of_every_basis_train_and_come_back(name, basis, tmp_path):
    torch.manual_seed(0)
    shape = shape_for(name)
    model = make(name, shape, network={"name": "kan", "basis": basis, "grid": 3}, hidden=(6,))
    fit_briefly(model, low_rank_data(shape, 64), steps=3)
    again = models.load(models.save(model, tmp_path / "model"))
    assert isinstance(model, Generator)
    a, b = (one.eval().sample(4, generator=torch.Generator().manual_seed(0)) for one in (model, again))
    assert torch.equal(a, b)


def test_roles_have_options_of_their_own(tmp_path):
    network = {"encoder": {"name": "kan", "grid": 20}, "decoder": "mlp"}
    model = make("autoencoder", (3,), network=network)
    assert [layer.basis.intervals for layer in layers_of(model)] == [20, 20]
    assert not layers_of(model.decoder)
    model.prepare(low_rank_data((3,), 40))
    sm.save(model, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["config"]["network"] == network
    assert torch.equal(sm.load(tmp_path).encode(torch.ones(2, 3)), model.eval().encode(torch.ones(2, 3)))


def test_without_options_a_kan_is_what_it_was():
    for network in ("kan", {"name": "kan"}):
        torch.manual_seed(0)
        kan = sm.nn.encoder(network, (3,), 2, (5,))
        torch.manual_seed(0)
        assert torch.equal(kan(torch.ones(4, 3)), KAN([3, 5, 2], grid=6, grid_range=(-3.0, 3.0))(torch.ones(4, 3)))


@pytest.mark.parametrize(
    ("name", "network", "words"),
    [
        (
            "vae",
            {"name": "kan", "gird": 2},
            r"the option 'gird': with basis='bspline' a KAN takes base, basis, .*grid",
        ),
        ("vae", {"encoder": {"name": "kan", "gird": 2}}, "has the option 'gird'"),
        ("vae", {"name": "kan", "order": 2, "basis": "chebyshev"}, "has the option 'order': with basis='chebyshev'"),
        ("vae", {"name": "kan", "basis": "wavelet"}, "basis='wavelet' is unknown: known are bspline"),
        ("vae", {"name": "kan", "grid": 0}, "grid=0 is not accepted"),
        ("vae", {"name": "kan", "grid_range": [1.0, 0.0]}, "grid_range=0.0"),
        ("vae", {"name": "mlp", "grid": 2}, '"kan" alone has options'),
        ("vae", {"name": "kann"}, "network='kann' is unknown: did you mean 'kan'"),
        ("vae", {"grid": 20}, r'network has the key \'grid\': .* or {"name": "kan", "grid": 20}'),
        ("vae", {"encoder": {"grid": 20}}, r"network={'grid': 20} is not accepted: give one network, by name"),
        ("flow", {"name": "conv"}, "network='conv' is unknown"),
        ("pixelcnn", {"name": "kan", "gird": 2}, "has the option 'gird'"),
        ("sn-wgan", {"name": "kan", "grid": 5}, 'network="kan" is not accepted for a critic with spectral'),
    ],
)
def test_options_that_are_not_accepted_are_named(name, network, words):
    with pytest.raises(InvalidInput, match=words):
        make(name, (1, 4, 4) if name == "pixelcnn" else (3,), network=network, hidden=(6,))


def coder(shape=(3,), hidden=(8, 6)):
    """An autoencoder of KANs, its data as its encoder sees them, and the KAN in its encoder."""
    torch.manual_seed(0)
    model = make("autoencoder", shape, network="kan", hidden=hidden)
    x = low_rank_data(shape, 64)
    fit_briefly(model, x, steps=3)
    kan = model.encoder if isinstance(model.encoder, KAN) else model.encoder[1]
    return model.eval(), x, model.preprocess(x).flatten(1), kan


@pytest.mark.parametrize("shape", [(3,), (1, 2, 2)])
def test_a_model_of_which_a_kan_was_pruned_comes_back(shape, tmp_path):
    model, x, y, kan = coder(shape)
    smaller = prune(kan, y, edge_threshold=0.25, node_threshold=0.5)
    assert smaller.layers[0].out_features < 8
    model.set_submodule("encoder" if len(shape) == 1 else "encoder.1", smaller)
    again = sm.load(sm.save(model, tmp_path))
    assert torch.equal(again.encode(x), model.encode(x))
    assert torch.equal(sm.load(sm.save(again, tmp_path)).encode(x), model.encode(x))


@pytest.mark.parametrize("min_r2", [0.0, 0.9999])
def test_a_model_with_known_functions_comes_back(min_r2, tmp_path):
    model, x, y, kan = coder()
    model.encoder = snap(prune(kan, y, edge_threshold=0.25, node_threshold=0.5), y, min_r2=min_r2)
    again = sm.load(sm.save(model, tmp_path))
    assert isinstance(again.encoder, SymbolicKAN)
    assert torch.equal(again.encode(x), model.encode(x))
    assert again.encoder.formula() == model.encoder.formula()


def bytes_of(described):
    return torch.tensor(list(json.dumps(described).encode()), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoder.0.mask": torch.ones(9, 3, dtype=torch.bool)}, "checkpoint of another model"),
        ({"encoder.0.mask": torch.ones(7, 3, dtype=torch.bool)}, "checkpoint of another model"),
        (
            {
                "encoder.0.mask": torch.ones(10**4, 3, dtype=torch.bool),
                "encoder.1.mask": torch.ones(6, 10**4, dtype=torch.bool),
            },
            "are not those of a pruned KAN",
        ),
        ({"encoder.0._extra_state": torch.ones(5, dtype=torch.uint8)}, "which known functions"),
        (
            {"encoder.0._extra_state": bytes_of({"widths": [3, 8], "edges": [], "splines": True})},
            "which known functions",
        ),
        (
            {
                f"encoder.{i}._extra_state": bytes_of({"widths": [3, 10**6], "edges": [], "splines": True})
                for i in range(3)
            },
            "are not those of a pruned KAN",
        ),
        (
            {
                f"encoder.{i}._extra_state": bytes_of({"widths": widths, "edges": [[8, 0, "sin"]], "splines": True})
                for i, widths in enumerate([[3, 8], [8, 6], [6, 2]])
            },
            "edges that are not in",
        ),
        (
            {
                f"encoder.{i}._extra_state": bytes_of({"widths": widths, "edges": [[0, 0, "eval"]], "splines": True})
                for i, widths in enumerate([[3, 8], [8, 6], [6, 2]])
            },
            "which known functions",
        ),
    ],
)
def test_forged_shapes_and_functions_are_refused(change, words, tmp_path):
    model, *_ = coder()
    path = sm.save(model, tmp_path) / "model.safetensors"
    state = from_bytes(path.read_bytes())
    metadata = {"submanifold": (tmp_path / "config.json").read_text()}
    path.write_bytes(to_bytes(state | change, metadata))
    with pytest.raises(InvalidInput, match=words):
        sm.load(tmp_path)
