r"""How good samples are as samples: fidelity, diversity, distance, and whether they are copies.

Precision and recall after Kynkaanniemi et al. 2019 (arXiv 1904.06991), density and coverage after Naeem et al. 2020
(arXiv 2002.09797, eqs. 4 and 5): all from k-nearest-neighbour balls around real and drawn points.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from submanifold import neighbors
from submanifold.checks import check_int, check_matrix
from submanifold.errors import InvalidInput
from submanifold.lens.evidence import (
    Array,
    ManifoldErrors,
    draw,
    mean_with_interval,
    proportion,
    setting,
)
from submanifold.lens.finding import Finding, Number
from submanifold.models.base import Generator
from submanifold.plotting import DATA, new_figure, series, style
from submanifold.transport import frechet, mmd, sliced_wasserstein_test
from submanifold.transport.samples import pairwise_distances

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["NOT_LOOKED_FOR", "Balls", "copies", "novelty", "prdc", "sample_quality"]

NOT_LOOKED_FOR = "no training data were given, so that no copies were looked for"


@dataclass(frozen=True)
class Balls:
    """Per-point ingredients of precision, recall, density and coverage.

    Attributes:
        precise: samples inside at least one data ball, (m,).
        recalled: data inside at least one sample ball, (n,).
        density: data balls around each sample, over k, (m,).
        covered: data whose ball holds at least one sample, (n,).
    """

    precise: NDArray[np.bool_]
    recalled: NDArray[np.bool_]
    density: Array
    covered: NDArray[np.bool_]


def prdc(data: Array, samples: Array, *, k: int = 5) -> Balls:
    """Precision, recall, density and coverage, point by point.

    The ball of a point reaches to its k-th neighbour in its own set (itself excluded).

    Args:
        data: real points, (n, D).
        samples: drawn points, (m, D).
        k: neighbours that set a ball's radius; smaller than n and m.
    """
    check_int(k, name="k", high=min(len(data), len(samples)) - 1)
    data_radius, sample_radius = _radius(data, k), _radius(samples, k)  # (n,), (m,)
    centre = data.mean(axis=0)
    distance = pairwise_distances(data - centre, samples - centre)  # (n, m)
    in_data_ball = distance < data_radius[:, None]
    return Balls(
        precise=np.asarray(in_data_ball.any(axis=0)),
        recalled=np.asarray((distance < sample_radius[None]).any(axis=1)),
        density=np.asarray(in_data_ball.sum(axis=0) / k),
        covered=np.asarray(in_data_ball.any(axis=1)),
    )


def _radius(points: Array, k: int) -> Array:
    """Distance of each point to its k-th neighbour, (n,); 0 where all points are one."""
    if (points == points[0]).all():
        return np.zeros(len(points))
    return neighbors.NeighborGraph(points, k).distances[:, -1]


def sample_quality(
    model: Generator,
    X: Any,
    *,
    reference: Any = None,
    dim: float | None = None,
    features: Callable[[Array], Array] | None = None,
    k: int = 5,
    limit: int = 2000,
    seed: int = 0,
) -> Finding:
    """Fidelity, diversity and novelty of samples, against held-out data.

    Verdicts: "copies" (samples repeat training points, beyond what new data do by chance), "unfaithful" (too many lie
    off the data), "narrow" (they leave parts of the data uncovered), "skewed" (the distribution along the manifold is
    wrong), "good" (none of these). Too many or too few is measured against training data, or other data
    of the same law, in place of samples.

    Args:
        model: a `Generator`.
        X: held-out data, (n, *data_shape).
        reference: the training data, for the manifold and the search for copies; without it one half of X serves to
            know the manifold by, and copies are not looked for.
        dim: intrinsic dimension, estimated where not given.
        features: coordinates (n, m) of points (n, D) in which balls are drawn, such as `classifier_features`, instead
            of the points themselves; then there is the Fréchet distance in them as well.
        k: neighbours that set the radius of a ball.
        limit: at most so many points and samples are compared.
        seed: of samples and permutations.

    Raises:
        InvalidInput: for a model that cannot sample.
    """
    if not isinstance(model, Generator):
        raise InvalidInput(f"model={type(model).__name__} cannot sample: give a model with a sample method")
    check_int(limit, name="limit", low=20, high=5000)
    data = setting(X, reference, dim=dim, seed=seed)
    train = check_matrix(data.known, name="reference")
    rng = np.random.default_rng(seed)
    size = min(len(data.x), len(train), limit)
    x, real = (points[rng.permutation(len(points))[:size]] for points in (data.x, train))
    y = draw(model, size, seed=seed)

    a, b, c = (x, y, real) if features is None else map(features, (x, y, real))
    balls, ceiling = prdc(a, b, k=k), prdc(a, c, k=k)
    sliced, kernel = sliced_wasserstein_test(y, x, seed=seed), mmd(y, x, seed=seed)
    own, others = (neighbors.query(train, points, 1).distances[:, 0] for points in (y, x))
    errors = data.errors(model, seed=seed)
    numbers = {
        "precision": proportion(balls.precise, meaning="samples inside a data ball"),
        "recall": proportion(balls.recalled, meaning="held-out data inside a sample ball"),
        "density": mean_with_interval(balls.density, meaning="data balls around a sample, over k"),
        "coverage": proportion(balls.covered, meaning="held-out data whose ball holds a sample"),
        "precision_of_data": proportion(
            ceiling.precise, meaning="precision of other data: what a perfect model reaches"
        ),
        "coverage_of_data": proportion(ceiling.covered, meaning="coverage of other data: what a perfect model reaches"),
        "sliced_w1": Number(sliced.statistic, meaning="sliced W1 between samples and held-out data"),
        "sliced_w1_floor": Number(sliced.floor, meaning="its mean if samples and data had one law"),
        "sliced_w1_p_value": Number(sliced.p_value, meaning="permutation p-value of sliced W1"),
        "mmd2": Number(kernel.statistic, meaning="unbiased squared MMD, Gaussian kernel at the median distance"),
        "mmd2_p_value": Number(kernel.p_value, meaning="permutation p-value of MMD"),
        **(novelty(own, others) if data.trained_on else {}),
        **errors.numbers(),
    }
    if features is not None:
        numbers["frechet"] = Number(frechet(a, b), meaning="squared Fréchet distance of features, samples to data")
        numbers["frechet_of_data"] = Number(frechet(a, c), meaning="the same of other data, at the same size")
    verdict, advice = _judge(numbers, errors)
    return Finding(
        name="sample_quality",
        verdict=verdict,
        standing="good" if verdict == "good" else "bad",
        summary=(
            f"Precision {numbers['precision'].value:.0%} (data: {numbers['precision_of_data'].value:.0%}), coverage "
            f"{numbers['coverage'].value:.0%} (data: {numbers['coverage_of_data'].value:.0%}), sliced W1 "
            f"{sliced.statistic:.3g} (floor {sliced.floor:.3g})"
            + (f"; {numbers['copies'].value:.1%} of the samples are copies." if data.trained_on else ".")
        ),
        numbers=numbers,
        advice=advice,
        assumptions=(
            "held-out data come from the law of the training data",
            f"Euclidean distance between {'points' if features is None else 'features'} is meaningful",
            *(() if data.trained_on else (NOT_LOOKED_FOR,)),
        ),
        draw=lambda: _draw(numbers, own, others, "training" if data.trained_on else "known"),
    )


def novelty(own: Array, others: Array) -> dict[str, Number]:
    """Whether samples repeat training data, from distances to the nearest training point.

    Args:
        own: of samples, (m,).
        others: of held-out data, (n,).
    """
    near = 0.1 * np.median(others)
    return {
        "closer_to_training": _closer(own, others),
        "copies": proportion(
            own < near, meaning="samples within a tenth of the usual distance of new data to the training data"
        ),
        "copies_of_data": proportion(others < near, meaning="held-out data as close as that: what chance alone makes"),
    }


def copies(numbers: Mapping[str, Number]) -> bool:
    """Whether samples repeat training data beyond what new data do by chance, by the numbers of `novelty`."""
    repeated, closer = numbers["copies"], numbers["closer_to_training"]
    return (repeated.low or 0.0) > 2 * numbers["copies_of_data"].value and (closer.low or 0.0) > 0.5


def _closer(own: Array, others: Array) -> Number:
    """P(a sample is closer to the training data than a new point is), with DeLong's interval; 1/2 is novel."""
    wins = (own[:, None] < others[None]) + 0.5 * (own[:, None] == others[None])  # (m, n)
    value = float(wins.mean())
    error = np.sqrt(wins.mean(axis=1).var(ddof=1) / len(own) + wins.mean(axis=0).var(ddof=1) / len(others))
    return Number(
        value,
        float(value - 1.96 * error),
        float(value + 1.96 * error),
        meaning="probability that a sample is closer to the training data than a held-out point is",
    )


def _judge(numbers: dict[str, Number], errors: ManifoldErrors) -> tuple[str, str]:
    if "copies" in numbers and copies(numbers):
        return (
            "copies",
            "The model repeats its training data: regularise it, or train it on more data.",
        )
    if numbers["precision"].value < 0.75 * numbers["precision_of_data"].value:
        return (
            "unfaithful",
            "Too many samples lie off the data: look at the manifold first (autoencoder audit, reconstruction).",
        )
    if numbers["coverage"].value < 0.75 * numbers["coverage_of_data"].value:
        return (
            "narrow",
            "Parts of the data are not covered: refit the latent law (repair), or train longer.",
        )
    if errors.learned_distribution == "no":
        return (
            "skewed",
            "The samples are faithful one by one and come in wrong proportions: refit the law of the latents.",
        )
    return "good", ""


@style()
def _draw(numbers: dict[str, Number], own: Array, others: Array, kind: str) -> Figure:
    figure, (bars, distances) = new_figure(2)
    names = ["precision", "recall", "density", "coverage"]
    for row, name in enumerate(names):
        number = numbers[name]
        reach = [[abs(number.value - (end if end is not None else number.value))] for end in (number.low, number.high)]
        bars.errorbar(
            number.value,
            row,
            xerr=reach,
            fmt="s",
            color=series(0).color,
            capsize=3,
        )
    for row, name in ((0, "precision_of_data"), (3, "coverage_of_data")):
        bars.plot(
            numbers[name].value,
            row,
            "o",
            color=DATA.color,
            fillstyle="none",
            label="data against data" if row == 0 else None,
        )
    bars.set(yticks=range(4), yticklabels=names, xlim=(0, None))
    bars.invert_yaxis()
    bars.set_title("Fidelity and diversity")
    bars.legend()
    top = float(np.quantile(np.concatenate([own, others]), 0.99))
    bins = np.linspace(0, top, 40).tolist()
    distances.hist(others, bins=bins, color=DATA.color, alpha=0.6, label="held-out data")
    distances.hist(own, bins=bins, histtype="step", linewidth=1.8, color=series(1).color, label="samples")
    distances.set(xlabel=f"distance to the nearest {kind} point", ylabel="points")
    distances.set_title("Novel, or copied?" if "copies" in numbers else "As near as data are?")
    distances.legend()
    return figure
