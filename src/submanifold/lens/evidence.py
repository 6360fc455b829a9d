r"""What all diagnostics measure alike: error along the manifold and error off it, always together.

Notation: x are held-out data, y model samples; \pi is the projection on the data manifold as it is known (ground truth,
or planes through neighbouring reference points). Along-manifold error is W_1(\pi(y), \pi(x)) beside its floor, the
value that two samples of the data themselves have at the same size; off-manifold error is |y - \pi(y)|.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray

from submanifold import neighbors
from submanifold.checks import check_matrix
from submanifold.data.dataset import Dataset
from submanifold.dimension import estimate
from submanifold.errors import InvalidInput
from submanifold.lens.finding import Number
from submanifold.models.base import Generator
from submanifold.transport import TwoSampleTest, sliced_wasserstein_test, wasserstein

if TYPE_CHECKING:
    from submanifold.data.manifolds import Manifold

__all__ = [
    "ManifoldErrors",
    "Projection",
    "Reference",
    "Setting",
    "Tangents",
    "Truth",
    "apply_rows",
    "data_scale",
    "draw",
    "manifold_errors",
    "mean_distance",
    "mean_with_interval",
    "proportion",
    "replicated",
    "setting",
]

Array = NDArray[np.float64]

Z95 = 1.959964

LIMIT = 2000
"""Points and samples, at most, that enter exact transport."""

ENOUGH = 100
"""Held-out points below which no distribution counts as learned."""

TOLERANCE = 0.025
"""Excess along the manifold, as a fraction of the data's spread, up to which a distribution counts as learned."""


@dataclass(frozen=True)
class Projection:
    """Nearest points on the manifold, (n, D), and the distances to them, (n,)."""

    points: Array
    distance: Array


class Reference(Protocol):
    """The data manifold, as far as it is known."""

    @property
    def scale(self) -> float:
        """Root mean square deviation of the data per intrinsic direction: the length to which others are small."""
        ...

    @property
    def tube(self) -> float:
        """Distance within which a point counts as on the manifold."""
        ...

    def project(self, y: Array) -> Projection:
        """Project points (n, D)."""
        ...


def data_scale(x: Array, dim: float) -> float:
    """Root mean square deviation of x (n, D) from its mean, per one of `dim` directions."""
    return math.sqrt(float(x.var(axis=0).sum()) / max(dim, 1.0))


@dataclass(frozen=True)
class Truth:
    """A manifold whose projection is known in closed form."""

    manifold: Manifold
    scale: float
    tube: float

    def project(self, y: Array) -> Projection:
        points = np.asarray(self.manifold.project(y))
        return Projection(points, np.linalg.norm(y - points, axis=1))


@dataclass(frozen=True)
class Tangents:
    """The manifold as patches of tangent planes: local PCA of the nearest reference points, (n_ref, D).

    A point is projected on the `dim`-dimensional plane through its `k` nearest reference points, and no farther along
    it than these points reach, so that a point beyond the data is off the manifold even if it lies in the plane.
    """

    points: Array = field(repr=False)
    dim: int
    k: int
    scale: float
    tube: float

    def project(self, y: Array) -> Projection:
        nearest = neighbors.query(self.points, y, self.k).indices
        projected = np.empty_like(y)
        for rows in np.array_split(np.arange(len(y)), max(1, len(y) * self.k * y.shape[1] // 4_000_000)):
            patch = self.points[nearest[rows]]  # (b, k, D)
            centre = patch.mean(axis=1, keepdims=True)
            _, _, axes = np.linalg.svd(patch - centre, full_matrices=False)
            tangent = axes[:, : self.dim]  # (b, dim, D)
            reach = np.linalg.norm(np.einsum("bkD,bdD->bkd", patch - centre, tangent), axis=2).max(axis=1)
            along = np.einsum("bD,bdD->bd", y[rows] - centre[:, 0], tangent)
            length = np.linalg.norm(along, axis=1)
            shrink = np.minimum(1.0, reach / np.maximum(length, np.finfo(float).tiny))
            projected[rows] = centre[:, 0] + np.einsum("bd,bdD->bD", along * shrink[:, None], tangent)
        return Projection(projected, np.linalg.norm(y - projected, axis=1))


@dataclass(frozen=True)
class Setting:
    """Everything a diagnostic knows about the data, prepared once and shared.

    Attributes:
        held_out: points that no model was trained on; `x` is their matrix (n, D).
        known: the training data, or the half of the data that stands in for them.
        manifold: the data manifold as the known points show it.
        dim: intrinsic dimension.
        trained_on: whether models were trained on the known points, so that copies of them can be looked for.
    """

    held_out: Dataset
    known: Dataset
    x: Array = field(repr=False)
    manifold: Reference
    dim: float
    trained_on: bool
    _measured: WeakKeyDictionary[Any, dict[int, ManifoldErrors]] = field(
        default_factory=WeakKeyDictionary, repr=False, compare=False
    )

    def errors(self, model: Generator, *, seed: int) -> ManifoldErrors:
        """The errors of the model's samples, measured once for all diagnostics that ask."""
        known = self._measured.setdefault(model, {})
        if seed not in known:
            samples = draw(model, min(len(self.x), LIMIT), seed=seed)
            known[seed] = manifold_errors(samples, self.x, self.manifold, seed=seed)
        return known[seed]


def setting(
    X: Any, reference: Any = None, *, dim: float | None = None, trained_on: bool = True, seed: int = 0
) -> Setting:
    """Prepare the data for the diagnostics.

    Args:
        X: held-out data, or a `Setting`, which is returned as it is, whatever the other arguments.
        reference: the training data; without it X is split in two halves.
        dim: intrinsic dimension; the truth where the data have one, otherwise estimated.
        trained_on: False where models have not seen the reference, which then serves to know the manifold by alone, as
            one half of X does.
        seed: of the split.

    The tube reaches a tenth of the data's scale from the manifold, or as far as 95% of the held-out points, whichever
    is more.
    """
    if isinstance(X, Setting):
        return X
    held_out, trained_on = X if isinstance(X, Dataset) else Dataset(_array(X)), trained_on and reference is not None
    if reference is None:
        if len(held_out) < 40:
            raise InvalidInput(f"X holds {len(held_out)} points: give at least 40, or give reference data as well")
        known, held_out = held_out.split(0.5, seed=seed)
    else:
        known = reference if isinstance(reference, Dataset) else Dataset(_array(reference))
    held_out = held_out.take(np.random.default_rng(seed).permutation(len(held_out)))  # tables come sorted by class
    x, points = (
        check_matrix(held_out, name="X", min_rows=20),
        check_matrix(known, name="reference", min_rows=20),
    )
    if x.shape[1] != points.shape[1]:
        raise InvalidInput(
            f"reference has {points.shape[1]} coordinates where X has {x.shape[1]}: give data of one kind"
        )
    if known.manifold is not None:
        dim = float(known.manifold.dim)
        scale = data_scale(points, dim)
        return Setting(held_out, known, x, _reaching(Truth(known.manifold, scale, math.inf), x), dim, trained_on)
    if dim is None:
        dim = estimate(points, seed=seed).largest
    d = min(max(1, round(dim)), points.shape[1])
    k = min(max(10, 2 * d), len(points) - 1)
    scale = data_scale(points, d)
    patches = Tangents(points, d, k, scale=scale, tube=math.inf)
    return Setting(held_out, known, x, _reaching(patches, x), dim, trained_on)


_Known = TypeVar("_Known", Truth, Tangents)


def _reaching(manifold: _Known, x: Array) -> _Known:
    """`manifold` with the tube that 95% of x are in, of a tenth of the data's scale at least."""
    reached = float(np.quantile(manifold.project(x).distance, 0.95))
    return replace(manifold, tube=max(0.1 * manifold.scale, reached))


def _array(X: Any) -> NDArray[Any]:
    return X.detach().cpu().numpy() if isinstance(X, torch.Tensor) else np.asarray(X)


def draw(model: Generator, n: int, *, seed: int) -> Array:
    """`n` samples of `model` as a float64 matrix (n, D), the same for the same seed."""
    device = getattr(model, "device", torch.device("cpu"))
    drawn = model.sample(n, generator=torch.Generator(device).manual_seed(seed))
    y: Array = drawn.detach().reshape(n, -1).double().cpu().numpy()  # (n, D)
    if not np.isfinite(y).all():
        bad = int((~np.isfinite(y)).any(axis=1).sum())
        raise InvalidInput(
            f"model drew {bad} of {n} samples with NaN or infinity: train it anew, or load a sound checkpoint"
        )
    return y


def apply_rows(f: Any, x: Array, model: Any, shape: tuple[int, ...]) -> Array:
    """`f`, a method of `model`, over the rows of x reshaped to `shape`, in blocks; float64 in and out, (n, m)."""
    with torch.no_grad():
        blocks = [
            f(torch.from_numpy(block.reshape(-1, *shape)).to(model.device, model.dtype)).double().cpu().numpy()
            for block in np.array_split(x, max(1, len(x) // 4096))
        ]
    return np.concatenate([block.reshape(len(block), -1) for block in blocks])  # (n, m)


def mean_distance(x: Array, *, seed: int) -> float:
    """Mean distance between two independent points of x (n, D)."""
    order = np.random.default_rng(seed).permutation(len(x))
    return float(np.linalg.norm(x[order] - x[np.roll(order, 1)], axis=1).mean())


def mean_with_interval(values: Sequence[float] | Array, **about: Any) -> Number:
    """The mean of independent `values` with its normal 95% interval."""
    v = np.asarray(values, dtype=float)
    half = Z95 * v.std(ddof=1) / math.sqrt(len(v)) if len(v) > 1 else math.nan
    return Number(float(v.mean()), float(v.mean() - half), float(v.mean() + half), **about)


def replicated(values: Sequence[float] | Array, **about: Any) -> Number:
    """The mean over replicates that share data, with the spread of one replicate as a conservative 95% interval."""
    v = np.asarray(values, dtype=float)
    half = Z95 * v.std(ddof=1)
    return Number(float(v.mean()), float(v.mean() - half), float(v.mean() + half), **about)


def proportion(hits: NDArray[np.bool_], **about: Any) -> Number:
    """A proportion with Wilson's 95% interval (Wilson 1927)."""
    n, p = len(hits), float(np.mean(hits))
    centre = (p + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * math.sqrt(p * (1 - p) / n + Z95**2 / (4 * n**2))
    return Number(p, max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half)), **about)


@dataclass(frozen=True)
class ManifoldErrors:
    """How far model samples are from held-out data, along the manifold and off it.

    Attributes:
        along: W_1 between projected samples and projected held-out data.
        floor: the same between two halves of the held-out data, at the same size.
        excess: along minus the mean of the floors of data and of samples, as a fraction of the spread. Both floors
            enter, as in the Sinkhorn divergence (Feydy et al. 2019, arXiv 1810.08278), since samples that vary too
            little have a low plug-in W_1 to anything, data included.
        spread: mean distance between two independent held-out points.
        off: mean distance of samples to the manifold.
        off_data: mean distance of held-out data to the manifold, the least that can be asked for.
        inside: fraction of samples within the tube.
        test: permutation test of equality of the projected laws, by sliced W_1.
        size: held-out points that were used.
    """

    along: Number
    floor: Number
    excess: Number
    spread: float
    off: Number
    off_data: Number
    inside: Number
    test: TwoSampleTest
    size: int

    @property
    def learned_distribution(self) -> str:
        """Whether the laws agree along the manifold, up to an excess of 2.5% of the spread.

        "no" beyond that, if the permutation test leaves no room for equality (p < 0.01); "yes" up to there, if there
        are `ENOUGH` held-out points, and either the test does not tell the laws apart or the interval of the excess
        ends below twice the tolerance; "unclear" otherwise. In many dimensions the excess grows slowly with the
        difference of the laws, and "yes" means less: look at the p-value as well.
        """
        differs = self.test.p_value < 0.01
        if self.excess.value > TOLERANCE:
            return "no" if differs else "unclear"
        small = self.excess.high is not None and self.excess.high <= 2 * TOLERANCE
        return "yes" if self.size >= ENOUGH and (small or not differs) else "unclear"

    @property
    def learned_manifold(self) -> str:
        """Whether samples stay on the manifold: "yes" where 80% or more are in its tube, "no" below 50%, or "unclear".

        It does not ask whether they cover it: a single point of the manifold passes.
        """
        return "yes" if self.inside.value >= 0.8 else "no" if self.inside.value < 0.5 else "unclear"

    def numbers(self) -> dict[str, Number]:
        """Everything as numbers of a finding."""
        return {
            "along_manifold_w1": self.along,
            "along_manifold_floor": self.floor,
            "along_manifold_excess": self.excess,
            "along_manifold_p_value": Number(
                self.test.p_value,
                meaning="permutation p-value of equality along the manifold (sliced W1)",
            ),
            "off_manifold_distance": self.off,
            "off_manifold_distance_data": self.off_data,
            "inside_tube": self.inside,
        }


def manifold_errors(
    samples: Array,
    held_out: Array,
    reference: Reference,
    *,
    replicates: int = 8,
    limit: int = LIMIT,
    seed: int = 0,
) -> ManifoldErrors:
    """Measure `samples` (m, D) against `held_out` (n, D); at most `limit` of each enter exact transport.

    Each replicate compares half of the held-out data with as many samples, and with the other half for the floor.
    """
    x, y = reference.project(held_out), reference.project(samples)
    rng = np.random.default_rng(seed)
    size = min(len(held_out) // 2, len(samples) // 2, limit // 2)
    along, floor, excess = [], [], []
    for _ in range(replicates):
        rows, drawn = rng.permutation(len(held_out)), rng.permutation(len(samples))
        x1, x2 = x.points[rows[:size]], x.points[rows[size : 2 * size]]
        y1, y2 = y.points[drawn[:size]], y.points[drawn[size : 2 * size]]
        along.append(wasserstein(y1, x1))
        floor.append(wasserstein(x2, x1))
        excess.append(along[-1] - 0.5 * (floor[-1] + wasserstein(y2, y1)))
    spread = mean_distance(held_out, seed=seed)
    size = min(len(held_out), len(samples), limit)
    return ManifoldErrors(
        along=replicated(along, meaning="W1 between projected samples and projected held-out data"),
        floor=replicated(floor, meaning="the same W1 between two halves of the held-out data"),
        excess=replicated(
            np.array(excess) / spread,
            meaning="W1 along the manifold above the floors of data and samples, over the mean distance of two points",
        ),
        spread=spread,
        test=sliced_wasserstein_test(y.points[:size], x.points[rng.permutation(len(held_out))[:size]], seed=seed),
        size=size,
        off=mean_with_interval(y.distance, meaning="mean distance of samples to the data manifold"),
        off_data=mean_with_interval(x.distance, meaning="mean distance of held-out data to the data manifold"),
        inside=proportion(
            y.distance <= reference.tube,
            meaning=f"fraction of samples within {reference.tube:.3g} of the data manifold",
        ),
    )
