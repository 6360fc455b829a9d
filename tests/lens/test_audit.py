"""The audit, on maps whose boxes, ghosts and seams have closed forms."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from toys import Chart, Identity, Linear, Sampler, Toy, assert_draws, blind, circle_data

from submanifold.data import Dataset
from submanifold.data.manifolds import manifold
from submanifold.errors import InvalidInput
from submanifold.lens import autoencoder_audit

CIRCLE = manifold("circle", kappa=1.0)


def even(n):
    """Evenly spaced points on the whole circle."""
    return Dataset(CIRCLE.at(np.arange(n) * 2 * np.pi / n), "circle", manifold=CIRCLE)


def annulus(width):
    """Area of the points within `width` of the unit circle that the square [-1, 1]^2 holds."""
    outer = 1 + width
    # the disc of radius R minus its four caps beyond the square
    disc = math.pi * outer**2 - 4 * (outer**2 * math.acos(1 / outer) - math.sqrt(outer**2 - 1))
    return disc - math.pi * (1 - width) ** 2


@pytest.mark.parametrize("seed", range(3))
def test_what_the_identity_decodes_and_reconstructs_off_the_circle_are_areas(seed):
    found = autoencoder_audit(Identity(), even(1000), reference=circle_data(1000, seed), seed=seed)
    numbers, tube = found.numbers, found.numbers["tube"].value
    off, ghosts = 1 - annulus(tube) / 4, 1 - annulus(2 * tube) / 4
    assert numbers["latent_box_off_manifold"].value == pytest.approx(off, abs=0.03)
    assert numbers["ghost_fraction"].value == pytest.approx(ghosts, abs=0.02)
    assert numbers["decoded_ghosts"].value == pytest.approx(ghosts, abs=0.03)
    assert numbers["sup_reconstruction_error"].value == 0
    assert numbers["latent_box_off_manifold"].low < off < numbers["latent_box_off_manifold"].high + 0.01
    assert found.verdict == "open"


def test_an_exact_chart_has_a_seam_across_all_its_latents_and_tears_nothing():
    found = autoencoder_audit(Chart(), even(1000), reference=circle_data(1000, 0))
    assert found.numbers["seam"].value == pytest.approx(1.0, abs=0.01)
    assert found.numbers["sup_reconstruction_error"].value < 1e-12
    assert found.numbers["latent_box_off_manifold"].value == 0
    assert found.numbers["ghost_fraction"].value == 0
    assert found.verdict == "closed"
    assert_draws(found)


class Compressed(Chart):
    """A continuous latent: the angle, squeezed back to 0 within `width` of the seam, where it is wrong."""

    def __init__(self, width=0.3):
        super().__init__()
        self.width = width

    def encode(self, x):
        angle = super().encode(x)
        return angle * ((math.pi - angle.abs()) / self.width).clamp(max=1.0)


def test_the_sup_error_of_one_continuous_latent_reaches_the_radius():
    """Borsuk and Ulam: some pair of antipodes shares its latent."""
    for width in (0.1, 0.5, 2.0):
        found = autoencoder_audit(Compressed(width), even(4000), reference=circle_data(1000, 0))
        assert found.numbers["sup_reconstruction_error"].value == pytest.approx(2.0, abs=0.01)
    found = autoencoder_audit(Compressed(0.005), even(1000), reference=circle_data(1000, 0))
    assert found.verdict == "tears"
    assert found.standing == "bad"
    assert_draws(found)


def test_the_summary_names_the_error_itself():
    found = autoencoder_audit(Compressed(0.005), even(1000), reference=circle_data(1000, 0))
    assert "{" not in found.summary


class OnlyCentre(Toy):
    latent_dim = 1

    def encode(self, x):
        return torch.zeros(len(x), 1, dtype=x.dtype)

    def decode(self, z):
        return torch.zeros(len(z), 2, dtype=z.dtype)


def test_a_collapsed_autoencoder_is_audited_like_any_other():
    found = autoencoder_audit(OnlyCentre(), even(500), reference=circle_data(500, 0))
    assert found.numbers["sup_reconstruction_error"].value == pytest.approx(1.0)
    assert found.numbers["latent_box_off_manifold"].value == 1.0
    assert found.numbers["seam"].value == 0
    assert_draws(found)


def test_a_flat_box_of_data_is_closed_under_its_own_chart():
    """Uniform data in a square of R^3, and the isometry onto it: the latent box is the data."""
    model = Linear(3, 2, seed=1)
    rng = np.random.default_rng(0)
    held_out, known = (rng.uniform(-1, 1, (1500, 2)) @ model.U.numpy().T for _ in range(2))
    # U^T x runs over the square itself
    found = autoencoder_audit(model, held_out, reference=known, dim=2.0)
    assert found.verdict == "closed"
    assert found.numbers["latent_box_off_manifold"].value < 0.05
    assert found.numbers["ghost_fraction"].value < 0.01


def digits_pca():
    X = load_digits().data
    X = X - X.mean(axis=0)
    model = Linear(64, 9)
    model.U = torch.from_numpy(np.linalg.svd(X[:1437], full_matrices=False)[2][:9].T.copy())
    return model, X


def test_a_linear_map_does_not_tear_digits():
    model, X = digits_pca()
    found = autoencoder_audit(model, X[1437:], reference=X[:1437])
    assert found.verdict != "tears"
    assert_draws(found)


def test_few_points_on_an_arc_are_not_torn_by_a_smooth_map():
    for seed in range(5):
        angle = np.random.default_rng(seed).uniform(-2, 2, 80)
        arc = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        found = autoencoder_audit(Chart(), arc[:40], reference=arc[40:], dim=1.0, seed=seed)
        assert found.verdict == "closed", found


def test_the_seed_decides_it():
    first, second = (autoencoder_audit(Identity(), blind(circle_data(300, 0)), seed=4) for _ in range(2))
    assert first.to_json() == second.to_json()


def test_a_model_without_encoder_is_refused():
    with pytest.raises(InvalidInput, match="no encoder and decoder"):
        autoencoder_audit(Sampler(lambda n, rng: rng.standard_normal((n, 2))), circle_data(100, 0))
