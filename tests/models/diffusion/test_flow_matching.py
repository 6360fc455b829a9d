"""Paths, predictions and couplings of trained flows, against laws that are known."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from model_cases import check_learns_the_circle
from scipy.stats import norm

import submanifold as sm
from submanifold.data import Dataset
from submanifold.errors import InvalidInput
from submanifold.models.diffusion.coupled_flow import CoupledFlow
from submanifold.models.diffusion.couplings import optimal_pairs
from submanifold.models.diffusion.diffusion import Diffusion
from submanifold.models.diffusion.levels import TRAINING_LEVELS
from submanifold.models.diffusion.paths import PATHS, PREDICTIONS
from submanifold.nn.kan import GridSchedule, refine
from submanifold.nn.kan.grids import spline_layers

WIDTH = 0.5
"""Deviation of the Gaussian whose denoiser is known."""


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Told(torch.nn.Module):
    """What the best network says of N(0, WIDTH^2 I) on a path, by linear regression on x_t."""

    def __init__(self, path, kind):
        super().__init__()
        self.path, self.kind = PATHS[path](), kind
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x_t, level):
        at = self.path.rates(self.path.time((4 * level).exp()))
        a, b = at.weights(self.kind)
        slope = (a * at.scale * WIDTH**2 + b * at.noise) / ((at.scale * WIDTH).square() + at.noise.square())
        return slope[:, None] * x_t


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_all_paths_and_predictions_are_one_denoiser(path, prediction):
    """Score, denoised point and log-density are the Gaussian's whatever the network says, and on whichever path."""
    model = Diffusion((3,), network=Told(path, prediction), path=path, prediction=prediction, preprocess=()).double()
    model.reference.variances.fill_(WIDTH**2)
    x = normal(6, 3)
    for sigma in (torch.full((6,), 0.05).double(), torch.linspace(0.02, 10, 6).double()):
        variance = WIDTH**2 + sigma[:, None] ** 2
        torch.testing.assert_close(model.score(x, sigma), -x / variance)
        torch.testing.assert_close(model.denoise(x, sigma), WIDTH**2 * x / variance)
    if path != "ve" and prediction == "v":
        variance = WIDTH**2 + model.sigma_min**2
        expected = -0.5 * (x.square().sum(dim=1) / variance + 3 * math.log(2 * math.pi * variance))
        torch.testing.assert_close(model.log_prob_at(x, tolerance=1e-6).log_prob, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_what_the_best_network_says_minimises_the_loss(path, prediction):
    """Its error is smaller than when it says 2% more or less."""
    model = Diffusion((2,), network=Told(path, prediction), path=path, prediction=prediction, preprocess=()).double()
    x, losses = WIDTH * normal(20_000, 2), []
    best = model.network.forward
    for factor in (0.98, 1.0, 1.02):
        model.network.forward = lambda x_t, level, factor=factor: factor * best(x_t, level)
        torch.manual_seed(1)
        losses.append(float(model.loss(x)))
    assert losses[1] < min(losses[0], losses[2])


@pytest.mark.parametrize("name", TRAINING_LEVELS)
@pytest.mark.parametrize("path", PATHS)
def test_levels_in_training_stay_in_their_range_and_reach_down(name, path):
    torch.manual_seed(0)
    sigma = TRAINING_LEVELS[name](torch.zeros(20_000, 1), PATHS[path](), 0.01, 20.0)
    assert sigma.shape == (20_000,)
    assert 0.0099 <= float(sigma.min()) < 0.05
    assert 1.0 < float(sigma.max()) <= 20.001


def test_optimal_pairs_are_the_best_of_all_orders():
    x, noise = normal(6, 2), normal(6, 2, seed=1)
    found = optimal_pairs(x, noise)
    least = min((x - noise[list(order)]).square().sum() for order in itertools.permutations(range(6)))
    torch.testing.assert_close((x - found).square().sum(), least)
    assert torch.equal(found.sort(dim=0).values, noise.sort(dim=0).values)  # the same noise in another order


def test_chunks_are_assigned_apart():
    x, noise = normal(10, 2), normal(10, 2, seed=1)
    apart = torch.cat([optimal_pairs(x[:5], noise[:5]), optimal_pairs(x[5:], noise[5:])])
    assert torch.equal(optimal_pairs(x, noise, chunk=5), apart)


def two_classes(n=2000):
    """Points about -2 and 2, of deviation 1/2."""
    labels = np.arange(n) % 2
    x = (4 * labels - 2)[:, None] + 0.5 * np.random.default_rng(0).standard_normal((n, 1))
    return Dataset(x.astype(np.float32), labels=labels)


@pytest.fixture(scope="module", params=[Diffusion, CoupledFlow])
def conditional(request):
    torch.manual_seed(0)
    model = request.param((1,), hidden=(64, 64), classes=2, unlabelled=0.2)
    sm.fit(model, two_classes(), steps=600, learning_rate=3e-3, ema=0.99, progress=False)
    return model


def drawn(model, n=1000, **kwargs):
    return model.sample(n, generator=torch.Generator().manual_seed(0), **kwargs)[:, 0]


def test_labels_choose_the_class(conditional):
    for label, centre in ((0, -2.0), (1, 2.0)):
        x = drawn(conditional, labels=label)
        assert float(x.mean()) == pytest.approx(centre, abs=0.25)
        assert float(x.std()) == pytest.approx(0.5, abs=0.15)
    each = torch.arange(1000) % 2
    assert float(((drawn(conditional, labels=each) > 0) == each.bool()).float().mean()) > 0.97


def test_without_labels_it_has_the_law_of_all_classes(conditional):
    x = drawn(conditional)
    assert 0.35 < float((x > 0).float().mean()) < 0.65
    assert float(x.abs().mean()) == pytest.approx(2.0, abs=0.3)


def test_log_densities_know_the_class(conditional):
    x = torch.tensor([[2.0], [-2.0]])
    sure, other = (conditional.log_prob_at(x, labels=label).log_prob for label in (1, 0))
    assert float(sure[0] - other[0]) > 5
    assert float(other[1] - sure[1]) > 5
    # the law of all classes is half of each
    assert float(conditional.log_prob(x)[0]) == pytest.approx(float(sure[0]) - math.log(2), abs=0.5)


@pytest.mark.parametrize("conditional", [Diffusion], indirect=True)  # the other's velocity is no score
def test_scores_know_the_class(conditional):
    """Given a label it is the score of the noised Gaussian of that class."""
    x, sigma = torch.tensor([[2.0], [-2.0]]), 1.0
    for label, centre in ((0, -2.0), (1, 2.0)):
        with torch.no_grad():
            score = conditional.score(x, sigma, labels=label)
            clean = conditional.denoise(x, sigma, labels=torch.tensor([label, label]))
        exact = (centre - x) / (0.25 + sigma**2)
        torch.testing.assert_close(score, exact, rtol=0.15, atol=0.3)
        torch.testing.assert_close(clean, x + sigma**2 * score)
    with torch.no_grad():
        assert not torch.equal(conditional.score(x, sigma), score)


def test_guidance_is_what_its_formula_says(conditional):
    y, sigma, labels = torch.linspace(-3, 3, 8)[:, None], torch.tensor(0.7), torch.ones(8, dtype=torch.int64)
    with torch.no_grad():
        plain = conditional._denoiser(labels, 0.0)(y, sigma)
        free = conditional._denoiser(None, 0.0)(y, sigma)
        guided = conditional._denoiser(labels, 1.5)(y, sigma)
    torch.testing.assert_close(guided, 2.5 * plain - 1.5 * free)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: m.sample(3, guidance=1.0), "guidance=1.0 needs labels"),
        (lambda m: m.sample(3, labels=2), "labels=2 are not accepted: give whole numbers from 0 to 1"),
        (lambda m: m.sample(3, labels=torch.tensor([0, 1])), "one or 3"),
        (lambda m: m.sample(3, labels=torch.tensor([0.0, 1.0, 1.0])), "whole numbers"),
        (lambda m: m.sample(3, labels="seven"), "labels='seven' are not accepted"),
        (lambda m: m.sample(3, labels=[1, 0, 2]), "whole numbers from 0 to 1"),
        (lambda m: m.sample(3, labels=0, guidance=-1.0), "guidance=-1"),
        (lambda m: Diffusion((1,)).receive_labels(0, 3), "a model without classes"),
        (lambda m: CoupledFlow((1,), sampler="ancestral"), "sampler='ancestral'"),
        (lambda m: CoupledFlow((1,), coupling="best"), "coupling='best'"),
        (lambda m: CoupledFlow((2,), preprocess=("standardise",)), "standardise makes noise unequal"),
        (lambda m: Diffusion((1,), classes=2, unlabelled=0), "unlabelled=0 with classes=2.*points without a label"),
        (lambda m: CoupledFlow((1,), classes=2, unlabelled=1.0), "unlabelled=1.0 with classes=2.*points with a label"),
        (lambda m: Diffusion((1,), path="straight"), "path='straight'"),
        (lambda m: Diffusion((1,), prediction="image"), "prediction='image'"),
    ],
)
def test_refusals(conditional, call, words):
    with pytest.raises(InvalidInput, match=words):
        call(conditional)


@pytest.fixture(scope="module", params=["ot-flow-matching", "rectified-flow"])
def coupled(request):
    torch.manual_seed(0)
    model = sm.models.create(request.param, (2,), hidden=(64, 64), sigma_min=0.05)
    x = np.random.default_rng(0).standard_normal((2000, 2)) * [2.0, 0.5] + [1.0, -1.0]
    sm.fit(model, x, steps=400, learning_rate=3e-3, ema=0.99, progress=False)
    return model


def test_its_density_integrates_to_one(coupled):
    side = torch.linspace(-9, 9, 46)
    grid = torch.cartesian_prod(side, side)
    mass = float(coupled.log_prob(grid).double().exp().sum() * (side[1] - side[0]) ** 2)
    assert mass == pytest.approx(1.0, abs=0.01)


def test_widths_are_what_the_log_density_says_of_the_flow(coupled):
    """log p(x) = log p_max(z) - log |det dx/dz|, z the end of x, so that widths multiply to that determinant."""
    x = coupled.sample(20, generator=torch.Generator().manual_seed(0))
    scored = coupled.log_prob_at(x, tolerance=1e-6)
    start = 0.5 * 2 * math.log(1 + coupled.sigma_max**2)
    expected = start + coupled.reference.log_prob(scored.ends, coupled.sigma_max) - scored.log_prob
    torch.testing.assert_close(coupled.local_scales(x).log().sum(dim=1), expected, rtol=0, atol=0.05)


def test_a_flow_that_is_trained_on_its_own_pairs_is_straighter():
    """Of two modes: after one reflow a single step does what takes many before."""
    x, errors = two_classes().x, []
    for reflows in (0, 1):
        torch.manual_seed(0)
        model = CoupledFlow((1,), coupling="independent", reflows=reflows, hidden=(64, 64))
        sm.fit(model, x, steps=600, learning_rate=3e-3, ema=0.99, progress=False)
        many, few = (np.sort(drawn(model, steps=steps, sampler="euler").numpy()) for steps in (100, 3))
        errors.append(float(np.abs(many - few).mean()))
    assert errors[1] < 0.5 * errors[0]


MODES = {0: (-3.0, 1.0), 1: (-1.0, 3.0)}
"""Of each class two, of deviation 0.3, and between them those of the other."""


def crossing_classes(n=2000, seed=0):
    labels, which = np.arange(n) % 2, np.arange(n) // 2 % 2
    centres = np.array([MODES[0], MODES[1]])[labels, which]
    x = centres + 0.3 * np.random.default_rng(seed).standard_normal(n)
    return Dataset(x[:, None].astype(np.float32), labels=labels)


def distance_from_classes(x, labels):
    """W1 between points and the law of these classes."""
    at = np.linspace(-7, 7, 20_001)
    quantiles = (np.arange(len(x)) + 0.5) / len(x)
    cdf = np.mean([norm.cdf(at, mode, 0.3) for label in labels for mode in MODES[label]], axis=0)
    return float(np.abs(np.sort(x.numpy()) - np.interp(quantiles, cdf, at)).mean())


def reflowed(seed, **kwargs):
    """A flow that was trained on its own pairs once, and what it was before."""
    torch.manual_seed(seed)
    options = {"coupling": "independent", "reflows": 1, "classes": 2, "hidden": (64, 64)}
    after = CoupledFlow((1,), **options | {"unlabelled": 0.2} | kwargs)
    settings = {"steps": 500, "learning_rate": 3e-3, "ema": 0.99, "held_out": 0, "seed": seed}
    sm.fit(after, crossing_classes(seed=seed), **settings, evaluate_every=500, progress=False)
    before = copy.deepcopy(after)
    before.network = after.teacher.of(after.network)
    return before, after


@pytest.fixture(scope="module", params=[0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def reflow(request):
    return reflowed(request.param)


@pytest.mark.parametrize("label", [0, 1])
def test_classes_keep_their_law_in_a_reflow_and_need_few_steps(reflow, label):
    """The modes are 4 apart: one step of the flow as it was is further off than half a mode."""
    before, after = reflow
    many, few = {"labels": label, "steps": 50}, {"labels": label, "steps": 3, "sampler": "euler"}
    assert distance_from_classes(drawn(before, **few), [label]) > 0.5
    assert distance_from_classes(drawn(after, **many), [label]) < 0.25
    assert distance_from_classes(drawn(after, **few), [label]) < 0.3


def test_without_labels_a_reflow_keeps_the_law_of_all_classes(reflow):
    assert distance_from_classes(drawn(reflow[1], steps=50), [0, 1]) < 0.3


def test_a_reflow_may_guide_away_from_the_other_class(reflow):
    """With guidance as without it, points are of the class: near its modes, and not at those of the other."""
    for label, other in ((0, 1), (1, 0)):
        x = drawn(reflow[1], labels=label, guidance=1.0).numpy()[:, None]
        own, foreign = (np.abs(x - np.array(MODES[c])).min(axis=1) for c in (label, other))
        assert float((own < foreign).mean()) > 0.9


class Signs(torch.nn.Module):
    """Says the velocity to -1 of class 0, to 1 of class 1, and to 0 without a label; it keeps the labels it is told."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.told = []

    def forward(self, x_t, level, labels):
        self.told.append(labels)
        t = torch.sigmoid(4 * level)[:, None]  # sigma / (1 + sigma)
        target = torch.tensor([-1.0, 1.0, 0.0]).to(x_t)[labels][:, None]
        return (x_t - target) / t + self.weight


def test_pairs_are_of_the_class_of_their_point():
    model = CoupledFlow((1,), network=Signs(), classes=2, reflows=1, preprocess=())
    labels = torch.tensor([0, 1, 1, 0, 1])
    y, noise = model._own_pairs(torch.zeros(5, 1), labels).unbind(dim=1)
    torch.testing.assert_close(y[:, 0], 2.0 * labels - 1, rtol=0, atol=1e-4)
    assert float(noise.abs().max()) < 5


@pytest.mark.parametrize("unlabelled", [0.02, 0.25, 0.98])
def test_labels_of_pairs_are_hidden_as_often_as_those_of_points(unlabelled):
    model = CoupledFlow((1,), network=Signs(), classes=2, reflows=1, unlabelled=unlabelled, preprocess=())
    labels, pairs = torch.arange(4000) % 2, torch.zeros(4000, 2, 1)
    model.network.told.clear()
    torch.manual_seed(0)
    model._reflow_loss(pairs, labels)
    (told,) = model.network.told
    hidden = told == 2
    assert torch.equal(told[~hidden], labels[~hidden])
    assert float(hidden.float().mean()) == pytest.approx(unlabelled, abs=0.03)  # four deviations of 4000 draws


class Cut(Exception):
    """A crash."""


def check_resumes(fitted, crash):
    """`fitted(run, seed, callback)`, whose weights differ at first by `seed`, comes to the same bits after a crash."""

    def crashing(event):
        if (event.stage, event.step) == crash or (crash[1] == 0 and event.stage == crash[0]):
            raise Cut

    whole = fitted("whole", 0).state_dict()
    with pytest.raises(Cut):
        fitted("cut", 0, crashing)
    again = fitted("cut", 1).state_dict()
    assert whole.keys() == again.keys()
    assert all(torch.equal(value, again[name]) for name, value in whole.items())


@pytest.mark.parametrize("crash", [("fit", 20), ("reflow 1", 0), ("reflow 1", 20), ("reflow 2", 10)])
def test_a_reflow_of_classes_resumes_to_the_bit(crash, tmp_path):
    settings = {"steps": 30, "batch_size": 32, "ema": 0.9, "evaluate_every": 10, "checkpoint_every": 7}

    def fitted(run, seed, *callbacks):
        torch.manual_seed(seed)
        model = CoupledFlow((1,), reflows=2, classes=2, hidden=(16,), sample_steps=5)
        sm.fit(model, crossing_classes(200), run=tmp_path / run, **settings, callbacks=callbacks, progress=False)
        return model

    check_resumes(fitted, crash)


class Normalised(torch.nn.Module):
    """Its state is more than parameters: it keeps means and variances of training."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(2, 8), torch.nn.BatchNorm1d(8), torch.nn.SiLU(), torch.nn.Linear(8, 1)
        )

    def forward(self, x_t, level):
        return self.layers(torch.cat([x_t, level[:, None]], dim=1))


CHANGING = {
    "means": (Normalised, {}),
    "grids that move": (lambda: "kan", {"update_until": 20}),
    "grids that were refined": (lambda: "kan", {"refine": {5: 8}}),
    "grids that are refined": (lambda: "kan", {"refine": {5: 8, 15: 12}}),
}


@pytest.mark.parametrize("name", CHANGING)
def test_a_reflow_resumes_with_all_that_its_first_flow_was(name, tmp_path):
    """Its pairs are made anew by a network whose state, and its shapes, have changed since."""
    make, schedule = CHANGING[name]
    settings = {"steps": {"fit": 10, "reflow 1": 30}, "batch_size": 32, "evaluate_every": 5, "checkpoint_every": 4}

    def fitted(run, seed, *callbacks):
        torch.manual_seed(seed)
        model = CoupledFlow((1,), reflows=1, network=make(), hidden=(4,), sample_steps=5)
        both = [GridSchedule(**schedule), *callbacks] if schedule else callbacks
        sm.fit(model, crossing_classes(200).x, run=tmp_path / run, **settings, callbacks=both, progress=False)
        return model

    check_resumes(fitted, ("reflow 1", 20))


def test_a_flow_is_saved_with_the_one_that_taught_it(tmp_path):
    torch.manual_seed(0)
    model = CoupledFlow((1,), reflows=1, network="kan", hidden=(4,), sample_steps=5)
    model.prepare(torch.randn(50, 1))
    refine(model.network, 8)
    model._teach(torch.randn(50, 1))
    refine(model.network, 12)
    again = sm.load(sm.save(model, tmp_path))
    x, level = torch.randn(2, 7, 1).unbind()
    for ours, theirs in ((m.teacher.of(m.network), m.network) for m in (model, again)):
        assert [layer.basis.intervals for layer in spline_layers(ours)] == [8] * len(spline_layers(ours))
        assert [layer.basis.intervals for layer in spline_layers(theirs)] == [12] * len(spline_layers(theirs))
    told = x, level[:, 0]
    assert torch.equal(model.teacher.of(model.network)(*told), again.teacher.of(again.network)(*told))


def test_a_law_of_latents_is_reflowed_by_class():
    data = crossing_classes(400)
    law = CoupledFlow((1,), coupling="independent", reflows=1, classes=2, hidden=(32,))
    model = sm.models.TwoStep(sm.models.create("autoencoder", (2,), latent_dim=1), law, whiten=True)
    x = np.column_stack([data.x[:, 0], -data.x[:, 0]])
    settings = {"steps": 150, "learning_rate": 5e-3, "evaluate_every": 150}
    sm.fit(model, Dataset(x, labels=data.labels), **settings, progress=False)
    low, high = (model.sample(400, labels=c, generator=torch.Generator().manual_seed(0))[:, 0] for c in (0, 1))
    assert float(high.mean() - low.mean()) == pytest.approx(2.0, abs=0.7)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("D", [2, 20])
@pytest.mark.parametrize("name", ["flow-matching", "ot-flow-matching", "rectified-flow", "ddpm"])
def test_a_law_on_a_circle_is_learned(name, D, seed):
    torch.manual_seed(seed)
    model = sm.models.create(name, (D,))
    check_learns_the_circle(model, sm.data.manifold("circle", kappa=1.0, ambient_dim=D), seed)
