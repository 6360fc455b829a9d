"""Models of KANs: every one that takes a network by name takes "kan", trains, samples, and is saved."""

import pytest
import torch
from model_cases import fit_briefly, low_rank_data, make

import submanifold as sm
from submanifold import models
from submanifold.errors import InvalidInput
from submanifold.models import Generator
from submanifold.models.catalogue import parameters_of
from submanifold.nn.kan import KANLinear

REFUSED = ("sn-wgan",)  # by their spectral normalisation
ON_LEVELS = ("categorical-vae", "logistic-vae")
NAMES = [name for name in models.names() if "network" in parameters_of(name) and name not in REFUSED]


@pytest.mark.parametrize("name", NAMES)
def test_a_kan_in_its_place(name, tmp_path):
    torch.manual_seed(0)
    model = make(name, (3,), network="kan", hidden=(6,))
    kans = [module for module in model.modules() if isinstance(module, KANLinear)]
    assert kans
    before = [kan.coefficients.detach().clone() for kan in kans]
    x = low_rank_data((3,), 64)
    if name in ON_LEVELS:
        x = x.round()
    fit_briefly(model, x, steps=3)
    assert any(not torch.equal(kan.coefficients, old) for kan, old in zip(kans, before, strict=True))
    models.save(model, tmp_path / "model")
    again = models.load(tmp_path / "model")
    for ours, theirs in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    if isinstance(model, Generator):
        assert model.sample(4, generator=torch.Generator().manual_seed(0)).isfinite().all()


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
