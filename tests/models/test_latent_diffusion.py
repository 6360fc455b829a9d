"""Two-step models whose law is a diffusion: whitened latents, latents that are images, labels."""

import math

import numpy as np
import pytest
import torch
from model_cases import check_learns_the_circle

import submanifold as sm
from submanifold.data import Dataset
from submanifold.data.preprocess import Preprocess
from submanifold.errors import InvalidInput
from submanifold.models import VAE, Autoencoder, Diffusion, GaussianMixture, TwoStep


def correlated(n=500, D=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(D, D, generator=generator)
    return 5 + torch.randn(n, D, generator=generator) @ mix


@pytest.mark.parametrize("shape", [(3,), (3, 4, 5)])
def test_whitening_is_invertible_and_whitens(shape):
    x = correlated(500 * math.prod(shape[1:])).reshape(500, *shape[1:], 3).movedim(-1, 1).contiguous()
    whiten = Preprocess(("whiten",), shape)
    whiten.fit(x)
    u = whiten(x)
    features = u.movedim(1, -1).reshape(-1, 3)
    torch.testing.assert_close(features.mean(dim=0), torch.zeros(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(features.T @ features / len(features), torch.eye(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(whiten.inverse(u), x, rtol=1e-4, atol=1e-4)
    J = torch.func.jacfwd(lambda x: whiten(x).flatten())(x[0].double()).reshape(math.prod(shape), -1)
    log_det = whiten.forward_and_log_det(x[:1])[1]
    assert float(log_det[0]) == pytest.approx(float(torch.linalg.slogdet(J)[1]), rel=1e-4)
    stretch = 1 / float(torch.linalg.svdvals(J).min())
    assert whiten.inverse_lipschitz() == pytest.approx(stretch, rel=1e-4)


def test_a_direction_that_does_not_vary_is_left_small():
    x = correlated()
    x[:, 2] = x[:, 1]
    whiten = Preprocess(("whiten",), (3,))
    whiten.fit(x)
    assert whiten(x).isfinite().all()
    assert float(whiten(x).square().mean(dim=0).min()) < 1e-4


@pytest.fixture(scope="module")
def plain():
    """An autoencoder of a plane in R^4, trained once for the laws below."""
    torch.manual_seed(0)
    x = correlated(D=2) @ torch.randn(2, 4)
    autoencoder = Autoencoder((4,), latent_dim=2, hidden=(32,))
    sm.fit(autoencoder, x, steps=300, learning_rate=3e-3, progress=False)
    return autoencoder, x


def test_whitening_changes_what_the_law_sees_and_not_the_density(plain):
    """A Gaussian is one whether its latents are whitened or not."""
    autoencoder, x = plain
    scores = []
    for whiten in (False, True):
        law = GaussianMixture((2,), components=1)
        model = TwoStep(autoencoder, law, whiten=whiten, train_autoencoder=False)
        sm.fit(model, x, held_out=0, progress=False)
        scores.append(model.log_prob(x[:50]))
        z = model.sample_latent(4000, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(z.T.cov(), model.encode(x).T.cov().detach(), rtol=0.1, atol=0.1)
        seen = model.ambient_factor(x)[1]
        if whiten:
            torch.testing.assert_close(seen.T.cov(), torch.eye(2), rtol=0, atol=0.02)
    torch.testing.assert_close(scores[0], scores[1], rtol=0, atol=1e-2, equal_nan=True)


@pytest.mark.parametrize("autoencoder", ["autoencoder", "vae", "adversarial-vae", "vq-vae"])
def test_latents_that_are_images_have_a_law_of_images(autoencoder, tmp_path):
    torch.manual_seed(0)
    model = sm.models.create(
        "two-step",
        (1, 8, 8),
        latent_dim=12,
        autoencoder=autoencoder,
        network="spatial",
        hidden=(8,),
        law="diffusion",
        whiten=True,
    )
    assert model.law.data_shape == (3, 2, 2)
    x = torch.randn(64, 1, 8, 8)
    sm.fit(model, x, steps=3, batch_size=16, progress=False)
    assert model.encode(x).shape == (64, 12)
    drawn = model.sample(5, generator=torch.Generator().manual_seed(0), steps=3)
    assert drawn.shape == (5, 1, 8, 8)
    sm.models.save(model, tmp_path / "model")
    again = sm.models.load(tmp_path / "model")
    assert torch.equal(again.sample(5, generator=torch.Generator().manual_seed(0), steps=3), drawn)


def test_labels_reach_the_law():
    labels = np.arange(400) % 2
    x = np.column_stack([4.0 * labels - 2, 8.0 * labels - 4]) + 0.3 * np.random.default_rng(0).standard_normal((400, 1))
    torch.manual_seed(0)
    model = TwoStep(Autoencoder((2,), latent_dim=1, hidden=(32,)), Diffusion((1,), hidden=(32, 32), classes=2))
    sm.fit(model, Dataset(x.astype(np.float32), labels=labels), steps=500, learning_rate=3e-3, progress=False)
    for label in (0, 1):
        drawn = model.sample(200, labels=label, generator=torch.Generator().manual_seed(0))
        assert float(((drawn[:, 0] > 0) == bool(label)).float().mean()) > 0.95


@pytest.mark.parametrize("whiten", [False, True])
def test_the_wasserstein_bound_of_latent_diffusion_holds_and_says_something(plain, whiten):
    """Latents are compared as the decoder sees them, whitened or not, and its two terms are above the exact W_1."""
    autoencoder, x = plain
    torch.manual_seed(0)
    model = TwoStep(autoencoder, Diffusion((2,), hidden=(32, 32)), whiten=whiten, train_autoencoder=False)
    sm.fit(model, x, steps=400, learning_rate=3e-3, ema=0.99, progress=False)
    found = sm.lens.wasserstein_bound(model, x, replicates=2)  # of a plane: nothing to learn by heart
    numbers = {name: number.value for name, number in found.numbers.items()}
    assert found.verdict == "informative"
    assert numbers["w1_exact"] <= numbers["coupling_bound"] <= numbers["lipschitz_form_certified"]
    assert numbers["coupling_bound"] < 3 * numbers["w1_floor"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: TwoStep(VAE((1, 8, 8), 12), Diffusion((2, 2, 2))), r"law has data_shape=\(2, 2, 2\)"),
        (
            lambda: sm.models.create("latent-diffusion", (1, 8, 8), latent_dim=7, network="spatial"),
            "multiple of 4, the 2 x 2 places",
        ),
    ],
)
def test_refusals(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("D", [2, 20])
def test_a_law_on_a_circle_is_learned(D, seed):
    torch.manual_seed(seed)
    model = sm.models.create("latent-diffusion", (D,), latent_dim=1 if D == 2 else 2)
    check_learns_the_circle(model, sm.data.manifold("circle", kappa=1.0, ambient_dim=D), seed, steps=2000)
