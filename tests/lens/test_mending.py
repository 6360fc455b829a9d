"""Repair, on the exact chart of the circle with a wrong law of latents."""

import copy
import math

import numpy as np
import pytest
import torch
from scipy.special import i0, i1
from toys import Chart, Identity, Sampler, assert_draws, blind, circle_data

from submanifold.errors import InvalidInput
from submanifold.lens import repair
from submanifold.lens.evidence import draw
from submanifold.models import KernelDensity
from submanifold.transport import circular_wasserstein


@pytest.mark.parametrize("seed", range(3))
def test_a_sound_decoder_with_a_wrong_law_is_repaired_and_left_alone(seed):
    model = Chart(mu=math.pi)
    before = copy.deepcopy(model.state_dict())
    held_out, known = circle_data(500, 10 + seed), circle_data(1200, 20 + seed)
    found = repair(model, held_out, reference=known, seed=seed)
    assert found.verdict == "repaired"
    assert found.numbers["w1_ratio"].value >= 3
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    circle = held_out.manifold
    truth = circle.angle(circle.sample(3000, seed=30 + seed))
    w1 = [circular_wasserstein(truth, circle.angle(draw(m, 3000, seed=seed))) for m in (model, found.model)]
    assert w1[0] > 1.0
    assert w1[1] < w1[0] / 3
    assert circle.distance(draw(found.model, 500, seed=0)).max() < 1e-5  # the decoder is the same


@pytest.mark.parametrize("law", ["gaussian-mixture", "kernel-density", KernelDensity((1,))])
def test_each_law_of_closed_form_repairs(law):
    found = repair(Chart(), blind(circle_data(400, 1)), reference=blind(circle_data(1000, 2)), law=law, dim=1.0)
    assert found.verdict == "repaired"
    assert (law if isinstance(law, str) else "KernelDensity") in found.summary


def test_what_is_not_broken_is_not_repaired():
    for seed in range(3):
        found = repair(Chart(mu=0.0), circle_data(400, seed), reference=circle_data(800, 50 + seed), seed=seed)
        assert found.verdict == "no gain"
        assert found.numbers["w1_ratio"].value == pytest.approx(1.0, abs=0.5)


def test_the_floor_is_that_of_two_halves_of_the_data():
    found = repair(Chart(), circle_data(600, 0), reference=circle_data(1000, 1), law="kernel-density")
    assert found.numbers["w1_after"].value < 2 * found.numbers["w1_floor"].value
    gap = 2 * i1(1.0) / i0(1.0)  # between the two means: W1 is no less, and no more than the 1.14 along the arc
    assert gap - 0.06 < found.numbers["w1_before"].value < 1.14
    assert_draws(found)


def test_the_seed_decides_it():
    first, second = (
        repair(Chart(), circle_data(300, 0), reference=circle_data(400, 1), law="gaussian-mixture", seed=3)
        for _ in range(2)
    )
    assert first.to_json() == second.to_json()
    np.testing.assert_array_equal(draw(first.model, 50, seed=1), draw(second.model, 50, seed=1))


def test_models_without_an_encoder_or_without_samples_are_refused():
    for model in (Sampler(lambda n, rng: rng.standard_normal((n, 2))), Identity()):
        with pytest.raises(InvalidInput, match=type(model).__name__):
            repair(model, circle_data(100, 0))


def test_an_unknown_law_is_refused_with_the_nearest():
    with pytest.raises(InvalidInput, match="kernel-density"):
        repair(Chart(), circle_data(100, 0), law="kernel-densty")
