"""Grids of KANs in the middle of training: what a schedule changes and when, and that a run resumes."""

import copy
import itertools

import pytest
import torch

import submanifold as sm
from submanifold.errors import InvalidInput
from submanifold.models import Autoencoder
from submanifold.nn.kan import GridSchedule, refine
from submanifold.nn.kan.grids import spline_layers


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_only_what_a_stage_trains_gets_other_grids():
    torch.manual_seed(0)
    model = sm.models.create("two-step", (3,), latent_dim=1, network="kan", hidden=(4,))
    grids = []
    schedule = GridSchedule(refine={10: 9})
    x = normal(200, 3, dtype=torch.float32)

    def look(event):
        law, encoder = (spline_layers(part) for part in (model.law, model.autoencoder))
        grids.append((event.stage, event.step, *([layer.basis.intervals for layer in part] for part in (law, encoder))))

    sm.fit(model, x, steps=30, batch_size=32, evaluate_every=10, callbacks=[schedule, look], progress=False)
    first = [row for row in grids if row[0] == grids[0][0]]
    assert set(first[-1][3]) == {9}
    assert 9 not in first[-1][2]


def trained(run=None, steps=60, **kwargs):
    """An autoencoder of KANs whose grids change twice on the way."""
    torch.manual_seed(0)
    model = Autoencoder((3,), latent_dim=1, network="kan", hidden=(4,))
    t = normal(300, 1, dtype=torch.float32)
    x = torch.cat([t, t.sin(), t.cos()], dim=1)
    schedule = GridSchedule(update_until=20, refine={30: 12, 50: 18})
    history = sm.fit(
        model, x, steps=steps, batch_size=32, evaluate_every=10, callbacks=[schedule], run=run, progress=False, **kwargs
    )
    return model, history


@pytest.mark.parametrize("options", [{}, {"ema": 0.9}, {"patience": 3}])
def test_grids_change_while_a_model_trains(options, tmp_path):
    model, history = trained(tmp_path / "run", **options)
    assert {layer.basis.intervals for layer in spline_layers(model)} == {18}
    assert history.records[-1]["held_out_loss"] < 0.8 * history.records[0]["held_out_loss"]
    assert 0 <= history.records[0]["outside_grid"] <= 1
    again = sm.load(tmp_path / "run")
    x = normal(5, 3, dtype=torch.float32)
    assert torch.equal(again.encode(x), model.encode(x))


class Stop(Exception):
    pass


@pytest.mark.parametrize("at", [20, 40, 50])
def test_a_run_that_stops_between_grids_resumes_to_the_bit(at, tmp_path):
    whole, _ = trained()
    calls = itertools.count()

    def stop(event):
        if event.step == at and next(calls) == 0:
            raise Stop

    torch.manual_seed(0)
    model = Autoencoder((3,), latent_dim=1, network="kan", hidden=(4,))
    t = normal(300, 1, dtype=torch.float32)
    x = torch.cat([t, t.sin(), t.cos()], dim=1)
    schedule = GridSchedule(update_until=20, refine={30: 12, 50: 18})
    options = {"steps": 60, "batch_size": 32, "evaluate_every": 10, "run": tmp_path / "run", "progress": False}
    with pytest.raises(Stop):
        sm.fit(model, x, callbacks=[schedule, stop], checkpoint_every=5, **options)
    torch.manual_seed(0)
    model = Autoencoder((3,), latent_dim=1, network="kan", hidden=(4,))
    sm.fit(model, x, callbacks=[schedule], checkpoint_every=5, **options)
    for ours, theirs in zip(model.state_dict().values(), whole.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_nothing_changes_after_the_last_step():
    """A refinement that is due between the last two evaluations does not take place."""
    torch.manual_seed(0)
    model = Autoencoder((3,), latent_dim=1, network="kan", hidden=(4,))
    records = sm.fit(
        model,
        normal(100, 3, dtype=torch.float32),
        steps=30,
        evaluate_every=10,
        callbacks=[GridSchedule(refine={20: 9, 21: 12})],
        progress=False,
    ).records
    assert ["outside_grid" in record for record in records] == [True, True, False]
    assert {layer.basis.intervals for layer in spline_layers(model)} == {9}


def test_schedules_to_coarser_grids_are_refused_before_any_grid_changes():
    torch.manual_seed(0)
    model = Autoencoder((3,), latent_dim=1, network={"name": "kan", "grid": 8}, hidden=(4,))
    schedule = GridSchedule(update_until=10, refine={20: 6, 30: 7})
    before = [layer.basis.breakpoints.clone() for layer in spline_layers(model)]
    x = normal(100, 3, dtype=torch.float32)
    with pytest.raises(InvalidInput, match=r"refine=\{20: 6, 30: 7\} is coarser than all grids, of 8 at least"):
        sm.fit(model, x, steps=40, evaluate_every=10, callbacks=[schedule], progress=False)
    for layer, breakpoints in zip(spline_layers(model), before, strict=True):
        assert torch.equal(layer.basis.breakpoints, breakpoints)


def test_grids_that_are_fine_already_stay_so():
    """In a second stage with the same layers, in a second fit, and beside others that are coarser."""
    torch.manual_seed(0)
    x, schedule = normal(100, 2, dtype=torch.float32), GridSchedule(refine={10: 6, 20: 12})
    options = {"steps": 30, "evaluate_every": 10, "progress": False}
    model = sm.models.create(
        "rectified-flow", (2,), reflows=1, hidden=(4,), network={"name": "kan", "grid": 4}, sample_steps=2
    )
    for _ in range(2):
        sm.fit(model, x, callbacks=[schedule], **options)
        assert {layer.basis.intervals for layer in spline_layers(model)} == {12}
    model = Autoencoder((2,), latent_dim=1, network={"name": "kan", "grid": 4}, hidden=(4,))
    finer, *others = spline_layers(model)
    refine(finer, 8)
    sm.fit(model, x, callbacks=[GridSchedule(refine={10: 6})], **options)
    assert [finer.basis.intervals, *(layer.basis.intervals for layer in others)] == [8, *(6 for _ in others)]


@pytest.mark.parametrize(("again", "words"), [({}, None), ({"refine": {30: 14}}, "alteration"), (None, "alteration")])
def test_a_model_whose_grids_changed_is_still_that_of_its_run(again, words, tmp_path):
    """It is not with another schedule, nor with none."""
    torch.manual_seed(0)
    model = Autoencoder((3,), latent_dim=1, network="kan", hidden=(4,))
    x = normal(100, 3, dtype=torch.float32)
    options = {"steps": 40, "batch_size": 32, "evaluate_every": 10, "run": tmp_path / "run", "progress": False}
    schedule = {"update_until": 10, "refine": {20: 12}}
    records = sm.fit(model, x, callbacks=[GridSchedule(**schedule)], **options).records
    state = copy.deepcopy(model.state_dict())
    callbacks = [] if again is None else [GridSchedule(**(schedule | again))]
    if words is None:
        assert sm.fit(model, x, callbacks=callbacks, **options).records == records
        for name, value in model.state_dict().items():
            assert torch.equal(value, state[name])
    else:
        with pytest.raises(InvalidInput, match=f"started with another {words}"):
            sm.fit(model, x, callbacks=callbacks, **options)
