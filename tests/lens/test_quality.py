"""Fidelity, diversity and copies: the balls by brute force, and the verdicts on samplers that fail in known ways."""

import math

import numpy as np
import pytest
from toys import Identity, Sampler, assert_draws, circle_data

from submanifold.data import Dataset
from submanifold.data.manifolds import manifold
from submanifold.errors import InvalidInput
from submanifold.lens import sample_quality
from submanifold.lens.quality import prdc


def brute_force(data, samples, k):
    """The four figures as their papers write them, by loops over all pairs."""

    def distance(a, b):
        return math.sqrt(sum((p - q) ** 2 for p, q in zip(a, b, strict=True)))

    def radius(points, i):
        return sorted(distance(points[i], other) for j, other in enumerate(points) if j != i)[k - 1]

    inside_data = [
        [distance(data[i], y) < radius(data, i) for i in range(len(data))] for y in samples
    ]  # one row per sample
    inside_samples = [[distance(samples[j], x) < radius(samples, j) for j in range(len(samples))] for x in data]
    return (
        [any(row) for row in inside_data],
        [any(row) for row in inside_samples],
        [sum(row) / k for row in inside_data],
        [any(row[i] for row in inside_data) for i in range(len(data))],
    )


@pytest.mark.parametrize(("D", "n", "m", "k"), [(1, 12, 9, 1), (2, 15, 20, 3), (30, 12, 14, 5)])
def test_balls_are_those_of_the_definitions(D, n, m, k):
    rng = np.random.default_rng(D)
    data, samples = rng.standard_normal((n, D)), 1.3 * rng.standard_normal((m, D)) + 0.3
    balls = prdc(data, samples, k=k)
    for found, expected in zip(
        (balls.precise, balls.recalled, balls.density, balls.covered), brute_force(data, samples, k), strict=True
    ):
        np.testing.assert_allclose(found, expected)


def test_samples_of_the_same_law_have_density_one_and_the_coverage_of_theory():
    rng = np.random.default_rng(0)
    data, samples = rng.standard_normal((2, 3000, 2))
    balls = prdc(data, samples, k=5)
    assert balls.density.mean() == pytest.approx(1.0, abs=0.05)
    # a ball with k of n - 1 neighbours misses m = n samples with probability 2^{-k} (Naeem et al. 2020, lemma 2)
    assert balls.covered.mean() == pytest.approx(1 - 2.0**-5, abs=0.01)


def test_too_few_points_for_the_neighbours_are_refused():
    with pytest.raises(InvalidInput, match="k=5"):
        prdc(np.zeros((5, 2)) + np.arange(5)[:, None], np.ones((9, 2)), k=5)


def judged(f, seed, n=400, n_train=1000):
    return sample_quality(Sampler(f), circle_data(n, 100 + seed), reference=circle_data(n_train, 200 + seed), seed=seed)


def law(mu=0.0):
    def f(n, rng):
        angle = rng.vonmises(mu, 1.0, n)
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)

    return f


@pytest.mark.parametrize("seed", range(5))
def test_the_datas_own_law_is_good(seed):
    found = judged(law(), seed)
    assert found.verdict == "good"
    assert found.numbers["closer_to_training"].value == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize("seed", range(3))
def test_a_model_that_repeats_its_training_data_copies(seed):
    train = circle_data(1000, 200 + seed).x
    exact = judged(lambda n, rng: train[rng.choice(1000, n)], seed)
    nearly = judged(lambda n, rng: train[rng.choice(1000, n)] + 1e-7 * rng.standard_normal((n, 2)), seed)
    for found in (exact, nearly):
        assert found.verdict == "copies"
        assert found.numbers["copies"].value == 1.0
        assert found.numbers["closer_to_training"].low > 0.9


@pytest.mark.parametrize("seed", range(3))
def test_a_collapsed_model_is_narrow_or_worse(seed):
    def quarter(n, rng):
        angle = rng.uniform(0, math.pi / 2, n)
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)

    assert judged(quarter, seed).verdict == "narrow"
    assert judged(lambda n, rng: [1.0, 0.0] + 1e-3 * rng.standard_normal((n, 2)), seed).verdict != "good"


def test_a_model_that_draws_one_point_is_judged_and_not_refused():
    assert judged(lambda n, rng: np.ones((n, 2)), 0).verdict != "good"


@pytest.mark.parametrize("seed", range(3))
def test_noise_is_unfaithful(seed):
    assert judged(lambda n, rng: rng.standard_normal((n, 2)), seed).verdict == "unfaithful"


def test_a_distribution_that_is_wrong_beyond_doubt_is_not_good():
    """An eighth of a turn, p = 0.002."""
    for seed in range(3):
        found = judged(law(mu=math.pi / 4), seed)
        assert found.numbers["sliced_w1_p_value"].value < 0.01
        assert found.verdict != "good"


def test_the_datas_own_law_is_not_accused_of_copying_whatever_the_size():
    verdicts = [judged(law(), seed, n=60, n_train=300).verdict for seed in range(30)]
    assert "copies" not in verdicts


def test_without_training_data_copies_are_not_looked_for():
    known = circle_data(1000, 200)
    repeats = Sampler(lambda n, rng: known.x[rng.choice(1000, n)])
    found = sample_quality(repeats, circle_data(400, 100).x)
    assert "copies" not in found.numbers
    assert "cop" not in found.summary
    assert any("no copies were looked for" in assumption for assumption in found.assumptions)
    assert sample_quality(repeats, circle_data(400, 100), reference=known).verdict == "copies"
    assert_draws(found)


def test_the_sphere_in_ten_dimensions_is_good_without_the_truth():
    sphere = manifold("sphere", ambient_dim=10)
    held_out, known = (Dataset(sphere.sample(n, seed=s)) for n, s in ((400, 0), (1000, 1)))
    model = Sampler(lambda n, rng: sphere.sample(n, seed=int(rng.integers(2**31))), (10,))
    found = sample_quality(model, held_out, reference=known)
    assert found.verdict == "good"
    assert_draws(found)


def test_the_seed_decides_it():
    first, second = (judged(law(1.0), 3) for _ in range(2))
    assert first.to_json() == second.to_json()


def test_a_model_that_cannot_sample_is_refused():
    with pytest.raises(InvalidInput, match="Identity cannot sample"):
        sample_quality(Identity(), circle_data(100, 0))
