"""The Wasserstein bound: its order is a theorem, and an isometry onto the data makes all of it one number."""

import math

import numpy as np
import pytest
import torch
from toys import Chart, Identity, Linear, Toy, assert_draws, circle_data

from submanifold.errors import InvalidInput
from submanifold.lens import bound, wasserstein_bound
from submanifold.models import VAE, Autoencoder, TwoStep
from submanifold.training import fit


class Random(Toy):
    """A random smooth decoder, a random encoder, and a random Gaussian law: nothing fits anything."""

    def __init__(self, D, d, seed):
        super().__init__((D,))
        self.latent_dim = d
        g = torch.Generator().manual_seed(seed)
        self.A, self.B, self.C = (
            torch.randn(*shape, generator=g, dtype=torch.float64) for shape in ((D, d), (d, 16), (16, D))
        )
        self.mean, self.width = torch.randn(2, d, generator=g, dtype=torch.float64)

    def encode(self, x):
        return torch.tanh(x @ self.A)

    def decode(self, z):
        return torch.sin(z @ self.B) @ self.C

    def sample_latent(self, n, *, generator=None):
        return self.mean + self.width * torch.randn(n, self.latent_dim, generator=generator, dtype=torch.float64)

    def decoder_lipschitz_bound(self):
        return float(torch.linalg.matrix_norm(self.B, 2) * torch.linalg.matrix_norm(self.C, 2))


@pytest.mark.parametrize("seed", range(6))
def test_the_order_holds_for_any_decoder_and_any_law(seed):
    rng = np.random.default_rng(seed)
    D = int(rng.integers(1, 12))
    model = Random(D, int(rng.integers(1, D + 1)), seed)
    numbers = wasserstein_bound(model, rng.standard_normal((300, D)), seed=seed, replicates=3).numbers
    exact, coupling, sampled, certified = (
        numbers[name].value for name in ("w1_exact", "coupling_bound", "lipschitz_form", "lipschitz_form_certified")
    )
    assert exact <= coupling <= sampled <= certified
    assert numbers["lipschitz_sampled"].value <= numbers["lipschitz_certified"].value
    assert coupling == pytest.approx(numbers["reconstruction_term"].value + numbers["latent_term"].value)


@pytest.mark.parametrize(("D", "d"), [(1, 1), (3, 2), (20, 3)])
@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_an_isometry_with_perfect_reconstruction_makes_all_bounds_equal(D, d, shift):
    model = Linear(D, d, seed=D, shift=shift)
    X = np.random.default_rng(0).standard_normal((400, d)) @ model.U.numpy().T
    numbers = wasserstein_bound(model, X, replicates=2).numbers
    assert numbers["reconstruction_term"].value == pytest.approx(0, abs=1e-12)
    for name in ("latent_term", "coupling_bound", "lipschitz_form", "lipschitz_form_certified", "latent_w1"):
        assert numbers[name].value == pytest.approx(numbers["w1_exact"].value, rel=1e-9)
    assert numbers["lipschitz_sampled"].value == pytest.approx(1.0, rel=1e-9)
    if shift:  # two Gaussians a vector apart: W1 is its length
        assert numbers["w1_exact"].value == pytest.approx(shift * math.sqrt(d), abs=0.35)
    else:
        assert numbers["w1_exact"].value == pytest.approx(numbers["w1_floor"].value, rel=0.5)


def test_reconstruction_is_the_distance_to_the_image():
    """Data at height h above a plane: the projection is off by h, and so is every sample."""
    model, h = Linear(3, 2, seed=3), 0.7
    normal = np.linalg.qr(np.concatenate([model.U.numpy(), np.ones((3, 1))], axis=1))[0][:, 2]
    X = np.random.default_rng(0).standard_normal((400, 2)) @ model.U.numpy().T + h * normal
    numbers = wasserstein_bound(model, X, replicates=2).numbers
    assert numbers["reconstruction_term"].value == pytest.approx(h)
    assert h < numbers["w1_exact"].value < numbers["coupling_bound"].value


def test_the_chart_of_the_circle_is_certified_and_a_wrong_law_shows_in_the_latent_term():
    right, wrong = (wasserstein_bound(Chart(mu), circle_data(800, 0), replicates=3) for mu in (0.0, math.pi))
    assert right.verdict == "informative"
    assert right.numbers["latent_term"].value < 0.2 < wrong.numbers["latent_term"].value
    assert wrong.numbers["lipschitz_sampled"].value == pytest.approx(1.0, rel=1e-6)
    assert "latent law" in wrong.advice
    assert_draws(wrong)


def test_a_model_that_says_nothing_is_vacuous():
    found = wasserstein_bound(Linear(2, 1, factor=50.0), circle_data(300, 0), replicates=2)
    assert found.verdict == "vacuous"
    assert_draws(found)


@pytest.mark.parametrize("name", ["vae", "two-step"])
def test_the_order_holds_for_networks_in_float32(name):
    data = circle_data(400, 0).x.astype(np.float32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first = (VAE if name == "vae" else Autoencoder)((2,), latent_dim=1, hidden=(16,))
        model = first if name == "vae" else TwoStep(first, "gaussian-mixture")
    fit(model, data[:200], steps=30, progress=False)
    numbers = wasserstein_bound(model, data[200:], replicates=2).numbers
    assert numbers["lipschitz_sampled"].value <= numbers["lipschitz_certified"].value * (1 + 1e-5)
    assert numbers["lipschitz_form"].value <= numbers["lipschitz_form_certified"].value * (1 + 1e-5)


def test_a_violation_is_an_error_and_not_a_finding(monkeypatch):
    monkeypatch.setattr(bound, "wasserstein", lambda x, y: 100.0)
    with pytest.raises(ArithmeticError, match="out of order"):
        wasserstein_bound(Chart(), circle_data(100, 0))


def test_the_seed_decides_it():
    first, second = (wasserstein_bound(Chart(), circle_data(200, 0), seed=2) for _ in range(2))
    assert first.to_json() == second.to_json()


def test_a_model_without_a_law_of_latents_is_refused():
    with pytest.raises(InvalidInput, match="Identity has no decoder with a latent law"):
        wasserstein_bound(Identity(), circle_data(100, 0))


def test_a_model_of_one_point_is_not_informative():
    class Constant(Chart):
        def decode(self, z):
            return 0.0 * torch.cat([z, z], dim=1)

    assert wasserstein_bound(Constant(), circle_data(400, 0), replicates=2).verdict == "vacuous"
