r"""Manifold overfitting: a likelihood that grows because the density collapses onto a manifold, not because it is
right.

On a d-dimensional M in R^D, E log p_\sigma = (D - d) log(1/\sigma) + const for *any* density q on M smoothed by
N(0, \sigma^2 I) (Loaiza-Ganem et al. 2022, arXiv 2204.07172; survey 2404.02954, section 4): the slope of the
log-likelihood against log 1/\sigma is the codimension, right or wrong q alike. So a collapse alone proves nothing, and
neither does a misfit; the alarm needs both.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from submanifold.errors import InvalidInput
from submanifold.lens.evidence import (
    ManifoldErrors,
    Setting,
    data_scale,
    mean_with_interval,
    setting,
)
from submanifold.lens.finding import Finding, Number, Standing
from submanifold.models.base import Density, Factored, Generator, LocalScales
from submanifold.plotting import DATA, new_figure, series, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["codimension_curve", "effective_codimension", "local_scales", "manifold_overfitting"]

Array = NDArray[np.float64]

_WIDTHS_BUDGET = 4_000_000
"""Entries of all Jacobians whose widths are taken: fewer points where D is large."""


def local_scales(density: Density, x: torch.Tensor) -> Array:
    r"""Widths (n, D), descending, of `density` around x: its own account, or (-\nabla^2 log p)^{-1/2}.

    Directions in which log p is not concave have no width of their own and count as infinitely wide.
    """
    if isinstance(density, LocalScales):
        return np.asarray(density.local_scales(x).detach().double().cpu().numpy())

    def log_prob(point: torch.Tensor) -> torch.Tensor:
        return density.log_prob(point[None])[0]

    hessian = torch.autograd.functional.hessian
    rows = [-hessian(log_prob, point.detach()).reshape(point.numel(), -1) for point in x]  # type: ignore[no-untyped-call]
    curvature = torch.linalg.eigvalsh(torch.stack(rows).double()).clamp(min=0.0)  # (n, D) ascending
    return np.asarray(curvature.rsqrt().cpu().numpy())


def effective_codimension(scales: Array, tau: float) -> Array:
    r"""-d/d log(tau) of log (p * N(0, tau^2 I)), per point (n,), for a ridge p with widths s_i (n, D) through it.

    On its ridge a Gaussian of width s, smoothed by tau, has log-density -1/2 log(s^2 + tau^2) + const by direction,
    and so the slope tau^2 / (s^2 + tau^2): directions narrower than tau count 1, wider ones 0, equal ones 1/2.
    """
    return np.asarray((tau**2 / (scales**2 + tau**2)).sum(axis=1))


def codimension_curve(scales: Array, taus: Array) -> Array:
    """`effective_codimension` averaged over points, for each smoothing level in `taus`."""
    return np.array([effective_codimension(scales, float(tau)).mean() for tau in taus])


def _training_slope(history: Any) -> Number | None:
    """Slope of the log-likelihood against log 1/scale over the recorded training, with its 95% interval."""
    records = [r for r in getattr(history, "records", ()) if "smallest_scale" in r and "log_likelihood" in r]
    if len(records) < 5:
        return None
    a = -np.log([r["smallest_scale"] for r in records])
    b = np.array([r["log_likelihood"] for r in records])
    if np.ptp(a) < 0.5:
        return None
    (slope, _), cov = np.polyfit(a, b, 1, cov=True)
    half = 1.96 * math.sqrt(cov[0, 0])
    return Number(
        float(slope),
        float(slope - half),
        float(slope + half),
        kind="heuristic",
        meaning="slope of the log-likelihood against log 1/(narrowest width) over training",
    )


def manifold_overfitting(
    model: Generator,
    X: Any,
    *,
    reference: Any = None,
    dim: float | None = None,
    history: Any = None,
    seed: int = 0,
) -> Finding:
    r"""Whether `model` has learned the manifold and not the distribution on it.

    Two measurements decide together. The *effective codimension* is the slope of the smoothed log-likelihood against
    log 1/\tau at a tenth of the data's scale, from those widths of the density around held-out points (decoder scale
    and Jacobian, the flow's singular values, or the curvature of log p) that are below it, so that many wide directions
    do not add up to a narrow one. The *along-manifold discrepancy* is W_1 between samples and held-out data after
    projection on the data manifold, minus its floor, with a permutation p-value.

    Verdicts: "overfitting" (the density has collapsed onto the manifold and the distribution along it is wrong),
    "healthy" (the distribution along the manifold is right), "inconclusive" (a wrong distribution without a collapse or
    off the manifold, or too little evidence).

    Args:
        model: a `Generator`, and a `Density` for the first measurement. Of a `Factored` model (two-step), the factor
            that is a density on R^latent_dim is measured, on encoded data.
        X: data that the model was not trained on, (n, *data_shape).
        reference: the training data, to know the manifold by; without it one half of X serves.
        dim: intrinsic dimension, estimated from the reference where not given.
        history: what `submanifold.fit` returned; adds the slope seen during training.
        seed: of model samples and permutations.

    Raises:
        InvalidInput: for a model that cannot sample, or data of the wrong shape.
    """
    if not isinstance(model, Generator):
        raise InvalidInput(f"model={type(model).__name__} cannot sample: give a model with a sample method")
    data = setting(X, reference, dim=dim, seed=seed)
    errors = data.errors(model, seed=seed)

    numbers = errors.numbers()
    curve: tuple[Array, Array] | None = None
    if isinstance(model, Density):
        density, points = _ambient_factor(model, data)
        flat = points.detach().reshape(len(points), -1).double().cpu().numpy()  # (n, D)
        scale = data_scale(flat, min(data.dim, flat.shape[1]))
        scales = local_scales(density, points[: max(8, min(128, _WIDTHS_BUDGET // flat.shape[1] ** 2))])
        taus = scale * np.logspace(-3, 0.5, 36)
        curve = taus / scale, codimension_curve(scales, taus)
        narrow = np.where(scales < 0.1 * scale, scales, np.inf)  # many wide directions do not make a narrow one
        numbers["effective_codimension"] = mean_with_interval(
            effective_codimension(narrow, 0.1 * scale),
            meaning="slope of the smoothed log-likelihood against log 1/tau at a tenth of the data's scale, "
            "from the directions narrower than that",
        )
        numbers["narrowest_width"] = Number(
            float(np.median(scales[:, -1]) / scale),
            kind="heuristic",
            meaning="median smallest width of the density, as a fraction of the data's scale",
        )
    slope = _training_slope(history)
    if slope is not None:
        numbers["training_slope"] = slope

    verdict, standing, found, advice = _decide(numbers.get("effective_codimension"), errors)
    return Finding(
        name="manifold_overfitting",
        verdict=verdict,
        standing=standing,
        summary=(
            f"{found}; along the manifold samples are {errors.along.value:.3g} from the data in W1, where two samples "
            f"of the data are {errors.floor.value:.3g} apart (p = {errors.test.p_value:.2g})."
        ),
        numbers=numbers,
        advice=advice,
        assumptions=(
            "held-out data come from the law of the training data",
            "the data manifold is known well enough from the reference to project on it",
            *(() if isinstance(model, Density) else ("the model has no density, so only samples were judged",)),
        ),
        draw=lambda: _draw(curve, errors),
    )


def _ambient_factor(model: Any, data: Setting) -> tuple[Density, torch.Tensor]:
    x = model.receive(data.held_out)
    return model.ambient_factor(x) if isinstance(model, Factored) else (model, x)


def _decide(codimension: Number | None, errors: ManifoldErrors) -> tuple[str, Standing, str, str]:
    """Verdict, standing, what was found, and advice."""
    wide = codimension is None or codimension.low is None or codimension.low <= 0.5
    if errors.learned_distribution == "yes":
        return "healthy", "good", "No manifold overfitting", ""
    if errors.learned_distribution == "unclear":
        return "inconclusive", "unsure", "The evidence does not decide", "Give more held-out data."
    if wide:
        found = "The distribution is wrong, but not because the density collapsed"
        return "inconclusive", "unsure", found, "Train longer, or with more capacity."
    if errors.learned_manifold == "no":
        found = (
            f"Neither the manifold nor the distribution is learned: {errors.inside.value:.0%} of the samples are on it"
        )
        return "inconclusive", "unsure", found, "Look at the manifold first: train longer, or with fewer dimensions."
    assert codimension is not None
    found = (
        "Learned the manifold but not the distribution on it: the density has collapsed, with an effective codimension "
        f"of {codimension.value:.2g}"
    )
    advice = (
        "Do not trust this model's likelihood, nor compare models by it; keep the decoder and refit the law of its "
        "latents (repair), or train a two-step or diffusion model."
    )
    return "overfitting", "bad", found, advice


@style()
def _draw(curve: tuple[Array, Array] | None, errors: ManifoldErrors) -> Figure:
    figure, axes = new_figure(2)
    slope, distance = axes
    if curve is not None:
        slope.semilogx(curve[0], curve[1], color=series(0).color)
        slope.axvline(0.1, color=DATA.color, linestyle=":", linewidth=1)
        slope.axhline(0.5, color=series(1).color, linestyle="--", linewidth=1)
        slope.set(xlabel="smoothing level / data scale", ylabel="directions narrower than it")
    else:
        slope.text(0.5, 0.5, "the model has no density", ha="center", transform=slope.transAxes)
    slope.set_title("Effective codimension")
    distance.hist(errors.test.null, bins=30, color=DATA.color, alpha=0.6, label="if the laws were equal")
    distance.axvline(errors.test.statistic, color=series(1).color, label="samples against data")
    distance.set(xlabel="sliced W1 along the manifold", ylabel="permutations")
    distance.set_title(f"Along the manifold, p = {errors.test.p_value:.2g}")
    distance.legend()
    return figure
