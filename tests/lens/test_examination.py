"""The main job from end to end, on a circle and with little training: every part is there, finite, and repeatable."""

import json
import math
import warnings

import numpy as np
import pytest
import torch
from toys import Chart, Identity, KnownWidths, assert_draws, blind, circle_data

from submanifold.errors import InvalidInput
from submanifold.lens import examination, examine
from submanifold.plotting import png_bytes

MODELS = ("vae", "flow", "two-step")
DENSITY, SAMPLES, CODER, BOUND, REPAIR = (
    "manifold_overfitting",
    "sample_quality",
    "autoencoder_audit",
    "wasserstein_bound",
    "repair",
)


@pytest.fixture(scope="module")
def report():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="the autoencoder reconstructs held-out data no better")
        return examine(circle_data(400, 0), MODELS, steps=60, latent_dim=1, seed=1, progress=False)


def test_each_model_has_the_findings_that_it_can_have(report):
    found = {card.name: [finding.name for finding in card.findings] for card in report.cards}
    assert found == {
        "vae": [DENSITY, SAMPLES, CODER, BOUND, REPAIR],
        "vae repaired": [DENSITY, SAMPLES, CODER, BOUND],
        "flow": [DENSITY, SAMPLES],
        "two-step": [DENSITY, SAMPLES, CODER, BOUND],
    }
    assert all(finding.subject == card.name for card in report.cards for finding in card.findings)


def test_every_number_is_finite_within_its_interval_and_json(report):
    for card in report.cards:
        for finding in card.findings:
            for name, number in finding.numbers.items():
                assert math.isfinite(number.value), (card.name, finding.name, name)
                assert number.meaning
                if number.low is not None:
                    assert number.low <= number.value <= number.high
            written = json.loads(json.dumps(finding.to_json(), allow_nan=False))
            assert written["verdict"] == finding.verdict
            assert "{" not in finding.summary
            assert "nan" not in finding.summary
    json.dumps([dict(report.settings), dict(report.data_facts), dict(report.seconds)], allow_nan=False)
    json.dumps([dict(card.facts) for card in report.cards], allow_nan=False)


def test_the_table_and_the_findings_say_one_thing(report):
    for card in report.cards:
        finding = report.finding(card.name, DENSITY)
        along = finding.numbers["along_manifold_w1"].value
        assert f"{along:.3g}" in card.learned_distribution.detail
        assert report.finding(card.name, SAMPLES).numbers["along_manifold_w1"].value == along
        answers = {"healthy": "yes", "overfitting": "no"}
        assert answers.get(finding.verdict, card.learned_distribution.answer) == card.learned_distribution.answer


def test_the_headline_speaks_of_the_dimension_and_of_each_model(report):
    text = " ".join(report.headline)
    assert "400 points in 2 dimensions" in text
    assert f"{report.dimension.dimension:.1f} dimensions" in text
    assert all(card.name in text for card in report.cards)


def test_figures_and_panels_draw(report):
    for card in report.cards:
        for finding in card.findings:
            assert_draws(finding)
    assert [panel.name for panel in report.panels] == ["samples", "dimension", "training"]
    for panel in report.panels:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert png_bytes(panel.draw()).startswith(b"\x89PNG")
    assert [cloud.label for cloud in report.clouds] == ["data", *(card.name for card in report.cards)]


def numbers(report):
    return {
        (card.name, finding.name): {name: number.to_json() for name, number in finding.numbers.items()}
        for card in report.cards
        for finding in card.findings
    }


def test_the_seed_decides_every_number_and_nothing_outside_is_touched():
    data = blind(circle_data(300, 0, noise=0.01))
    before = data.x.copy()
    torch.manual_seed(7)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = examine(data, ["vae"], steps=30, latent_dim=1, seed=4, progress=False)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert np.array_equal(data.x, before)
    torch.manual_seed(8)
    assert numbers(first) == numbers(examine(data, ["vae"], steps=30, latent_dim=1, seed=4, progress=False))


def test_fitted_models_are_examined_as_they_are():
    model = KnownWidths(mu=math.pi, sigma=0.01)
    report = examine(circle_data(2000, 0), {"mine": model, "chart": Chart(mu=math.pi)}, seed=0, progress=False)
    assert [card.name for card in report.cards] == ["mine", "chart", "chart repaired"]
    assert report.finding("mine", DENSITY).verdict == "overfitting"
    assert report.finding("chart", REPAIR).verdict == "repaired"
    assert report.cards[0].learned_manifold.answer == "yes"
    assert report.cards[0].learned_distribution.answer == "no"
    assert report.cards[2].learned_distribution.answer == "yes"
    assert "manifold overfitting" in " ".join(report.headline)
    with pytest.raises(KeyError, match="no finding"):
        report.finding("mine", REPAIR)


def test_unusable_arguments_are_refused_before_anything_is_trained(monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("training began")

    monkeypatch.setattr(examination, "fit", forbidden)
    data = circle_data(200, 0)
    for arguments, word in [
        ((circle_data(99, 0),), "99 points: give at least 100"),
        ((data, ["flow", "two-stepp"]), "two-step"),
        ((data, []), "models is empty"),
        ((np.full((200, 2), np.inf),), "NaN or infinity"),
        ((np.ones((200, 2)),), "copies of one point"),
    ]:
        with pytest.raises(InvalidInput, match=word):
            examine(*arguments, progress=False)
    with pytest.raises(InvalidInput, match="limit"):
        examine(data, limit=50, progress=False)


def test_a_fitted_model_that_cannot_sample_is_refused_by_name():
    with pytest.raises(InvalidInput, match="'codes'"):
        examine(circle_data(200, 0), {"codes": Identity()}, progress=False)


def test_one_name_is_a_list_of_one(monkeypatch):
    report = examine(circle_data(200, 0), "flow", steps=5, progress=False)
    assert [card.name for card in report.cards] == ["flow"]


def test_a_recipe_that_cannot_sample_is_refused_before_it_is_trained(monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("training began")

    monkeypatch.setattr(examination, "fit", forbidden)
    with pytest.raises(InvalidInput, match="autoencoder"):
        examine(circle_data(200, 0), ["autoencoder"], progress=False)


def test_data_on_a_line_are_refused():
    with pytest.raises(InvalidInput, match="X has one coordinate"):
        examine(np.random.default_rng(0).standard_normal((200, 1)), steps=5, progress=False)
