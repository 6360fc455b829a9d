"""The benchmark scores what `estimate` and the estimators say, and nothing else."""

from __future__ import annotations

import json

import numpy as np
import pytest

import submanifold as sm
from submanifold.data.benchmarks import BENCHMARK
from submanifold.dimension.benchmark import fast_methods, run_benchmark
from submanifold.dimension.benchmark_scores import Benchmark
from submanifold.errors import InvalidInput

FEW = ["M2_Affine_3to5", "M9_Affine", "Mp1_Paraboloid"]


@pytest.fixture(scope="module")
def scores() -> Benchmark:
    return run_benchmark(["mle", "twonn"], n=300, manifolds=FEW)


def test_scores_are_those_of_the_estimators_by_themselves(scores: Benchmark) -> None:
    samples = {name: BENCHMARK[name].sample(300) for name in FEW}
    truth = {name: BENCHMARK[name].dim for name in FEW}
    for one, estimator in ((one, sm.dimension.ESTIMATORS[one.name]()) for one in scores.methods):
        alone = {name: estimator.fit(X).dimension_ for name, X in samples.items()}
        assert one.estimates == pytest.approx(alone)
        errors = {name: 100 * abs(alone[name] - truth[name]) / truth[name] for name in FEW}
        assert one.mape == pytest.approx(np.mean(list(errors.values())))
        rounded = [100 * abs(round(alone[name]) - truth[name]) / truth[name] for name in FEW]
        assert one.mape_rounded == pytest.approx(np.mean(rounded))
        assert one.worst == max(errors, key=errors.__getitem__)
        assert abs(one.worst_error) == pytest.approx(max(errors.values()))
    assert [one.mape for one in scores.methods] == sorted(one.mape for one in scores.methods)


def test_the_consensus_is_that_of_estimate(scores: Benchmark) -> None:
    for one in scores.manifolds:
        found = sm.dimension.estimate(BENCHMARK[one.name].sample(300))
        assert one.dimension == found.largest
        assert one.interval == found.interval
        assert one.by_reference == found.reading.by_reference
        assert one.covered == (found.interval[0] <= one.dim <= found.interval[1])
    assert scores.mape == pytest.approx(np.mean([abs(one.dimension / one.dim - 1) for one in scores.manifolds]) * 100)


def test_all_manifolds_are_scored_in_natural_order() -> None:
    scores = run_benchmark([], n=100)
    names = [one.name for one in scores.manifolds]
    assert set(names) == set(BENCHMARK)
    assert names[:2] == ["M1_Sphere", "M2_Affine_3to5"]
    assert names.index("M9_Affine") < names.index("M10a_Cubic")
    assert scores.methods == ()


def test_the_same_seed_gives_the_same_scores(scores: Benchmark) -> None:
    again = run_benchmark(["mle", "twonn"], n=300, manifolds=FEW)
    assert again.manifolds == scores.manifolds
    assert [one.estimates for one in again.methods] == [one.estimates for one in scores.methods]
    other = run_benchmark(["mle"], n=300, manifolds=FEW, seed=1)
    assert other.methods[0].estimates != scores.methods[0].estimates


def test_scores_as_json(scores: Benchmark) -> None:
    document = scores.to_json()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert set(document["manifolds"]) == set(FEW)
    assert set(document["manifolds"]["M9_Affine"]) >= {"dim", "dimension", "interval", "error", "raw", "by_reference"}


def test_methods_that_refuse_all_manifolds_are_skipped_with_their_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object, *arguments: object, **options: object) -> None:
        raise InvalidInput("X has 300 different values: give binary features")

    monkeypatch.setattr(sm.dimension.TwoNN, "fit", refuse)
    scores = run_benchmark(["twonn"], n=300, manifolds=FEW)
    assert scores.methods == ()
    assert "binary" in scores.skipped["twonn"]


def test_methods_of_the_benchmark_are_registered() -> None:
    assert set(fast_methods()) <= set(sm.dimension.ESTIMATORS)
    assert {"mle", "twonn"} <= set(fast_methods())


@pytest.mark.parametrize(
    "bad", [{"methods": ["mel"]}, {"n": 50}, {"manifolds": []}, {"manifolds": ["M99"]}, {"seed": -1}, {"noise": -0.1}]
)
def test_bad_arguments_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        run_benchmark(**{"methods": ["mle"], "n": 200, **bad})  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_consensus_on_the_benchmark(seed: int) -> None:
    scores = run_benchmark([], seed=seed)
    assert scores.mape <= 6.5
    assert scores.mape_rounded <= 5.5
    assert abs(scores.worst.error) <= 35
