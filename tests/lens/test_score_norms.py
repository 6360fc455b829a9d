"""How score norms grow from noise to data: the exponent of a manifold is 2, that of a density 0."""

import math

import numpy as np
import pytest
import torch
from toys import Identity, assert_draws

from submanifold.errors import InvalidInput
from submanifold.lens import score_norm_growth, score_norms
from submanifold.models import Autoencoder, TwoStep
from submanifold.models.diffusion.diffusion import Diffusion
from submanifold.models.diffusion.oracles import CircleScore, SubspaceGaussian
from submanifold.training import fit


def gaussian(D, d, width=1.0):
    """N(0, width^2) in the first d of D coordinates."""
    return SubspaceGaussian.of(torch.zeros(D, dtype=torch.float64), width * torch.eye(D, d, dtype=torch.float64))


class Latent:
    """Stands for a two-step model with this law."""

    def __init__(self, law):
        self.law = law


@pytest.mark.parametrize(("D", "d", "width"), [(1, 1, 1.0), (6, 6, 0.2), (5, 2, 1.0), (20, 1, 30.0)])
def test_along_the_paths_of_a_gaussian_the_norm_is_known_at_every_level(D, d, width):
    r"""|s|^2 / D is (1 + \sigma^2) ((D - d) / \sigma^2 + sum 1 / (\lambda + \sigma^2)) / D, in units of the deviation.

    The variance per coordinate is d width^2 / D, hence lambda = D / d in its units. Steps are exact across the
    subspace, and of first order along it.
    """
    norms = score_norms(gaussian(D, d, width), 400, 60, seed=1)
    square = norms.sigmas**2
    expected = (1 + square) * ((D - d) / square + d / (D / d + square)) / D
    assert len(norms.sigmas) == 60
    assert norms.sigmas[0] > 20
    assert norms.sigmas[-1] < 2e-3
    assert (np.abs(norms.mean / expected - 1) < 0.12 + 4 * norms.half_width / 1.96 / expected).all()


@pytest.mark.parametrize("D", [2, 20])
def test_on_a_circle_the_exponent_is_two_and_among_latents_nothing_grows(D):
    found = score_norm_growth(CircleScore((D,), kappa=1.0), Latent(gaussian(2, 2)))
    assert found.verdict == "bounded"
    ambient, latent = (found.numbers[f"{name}_exponent"] for name in ("ambient", "latent"))
    assert ambient.low - 0.05 <= 2 <= ambient.high + 0.05
    assert abs(latent.value) < 0.02
    growth = found.numbers["ambient_growth"]
    assert growth.value == pytest.approx((D - 1) / D * 1e6, rel=0.5)  # (D - d) / D / sigma_min^2
    assert 0.5 < found.numbers["latent_growth"].value < 2
    assert_draws(found)


def test_intervals_of_the_exponent_hold_it():
    model = gaussian(3, 1)
    exponents = [score_norms(model, 60, 25, seed=seed).exponent for seed in range(40)]
    assert sum(number.low <= 2 <= number.high for number in exponents) >= 33  # 38 expected; fewer: 1%


def test_the_unit_of_the_data_changes_nothing():
    one, thousand = (score_norms(gaussian(4, 2, width), 50, 20, seed=3) for width in (1.0, 1000.0))
    np.testing.assert_allclose(one.sigmas, thousand.sigmas, rtol=1e-9)
    np.testing.assert_allclose(one.squares, thousand.squares, rtol=1e-6)


def test_the_other_verdicts():
    manifold, density = gaussian(3, 1), gaussian(3, 3)
    for ambient, law, verdict, standing in [
        (manifold, manifold, "both grow", "bad"),
        (density, density, "neither grows", "neutral"),
        (density, manifold, "latents grow", "bad"),
    ]:
        found = score_norm_growth(ambient, Latent(law), n_paths=50, steps=30)
        assert (found.verdict, found.standing) == (verdict, standing)
        assert ("fewer latents" in found.advice) == (law is manifold)


def test_the_seed_decides_it_and_the_global_generator_is_left_alone():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, second, other = (score_norms(CircleScore((3,)), 20, 10, seed=seed).squares for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_unusable_arguments_are_refused():
    with pytest.raises(InvalidInput, match="model=Identity"):
        score_norms(Identity())
    with pytest.raises(InvalidInput, match="n_paths=1"):
        score_norms(CircleScore((2,)), 1)
    with pytest.raises(InvalidInput, match="steps=2"):
        score_norms(CircleScore((2,)), 20, 2)
    with pytest.raises(InvalidInput, match="TwoStep has no law that knows scores"):
        score_norm_growth(CircleScore((2,)), TwoStep(Autoencoder((2,), latent_dim=1), "flow"))
    with pytest.raises(InvalidInput, match="model=Identity"):
        score_norm_growth(Identity(), Latent(gaussian(1, 1)))


@pytest.mark.filterwarnings("ignore:the autoencoder reconstructs")
def test_a_two_step_model_with_a_diffusion_of_latents_is_taken():
    x = CircleScore((2,)).sample(300, generator=torch.Generator().manual_seed(0))
    model = TwoStep(Autoencoder((2,), latent_dim=1, hidden=[16]), Diffusion((1,), hidden=[16]))
    fit(model, x, steps=20, seed=0, progress=False)
    found = score_norm_growth(CircleScore((2,)), model, n_paths=20, steps=20)
    assert all(math.isfinite(number.value) for number in found.numbers.values())
