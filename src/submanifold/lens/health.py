r"""Whether a model of scores says the truth at all noise levels that its samplers pass, and what comes of it if not.

On a d-dimensional manifold in R^D the score of noised data is -(x - \pi) / \sigma^2 normal to it, of size
\sqrt{D - d} / \sigma, and of size 1 along it: the manifold is learned if the error is small against the first, the
distribution on it only if the error is small against the second (arXiv 2509.24912). A sampler that ends at \sigma
leaves samples \sigma \sqrt{D - d} away from the manifold, and by the true score it draws from one law whether it
follows the differential equation with noise or without (Song et al. 2021, arXiv 2011.13456, section 4.3).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.stats import binom, chi2

from submanifold import neighbors
from submanifold.checks import check_int, check_matrix
from submanifold.errors import InvalidInput
from submanifold.lens.evidence import ENOUGH, Array, Setting, Truth, setting
from submanifold.lens.finding import Finding, Number, Standing
from submanifold.lens.health_figure import health_figure
from submanifold.lens.quality import NOT_LOOKED_FOR, copies, novelty
from submanifold.lens.score_curves import Curve, Plateau, field_of, find_plateau, score_curve
from submanifold.lens.score_samples import Drawn, draw_both, known_levels
from submanifold.lens.score_truth import ScoreErrors, exact_field, score_errors
from submanifold.models.base import Score

__all__ = ["score_health"]

_LOCAL = 0.3
"""Noise, as a fraction of the data's scale, up to which the geometry of the manifold shows."""
_PER_LEVEL = 4000
"""Noised points at each level, at most so many draws of noise on each point that they are reached."""
_MOST_DRAWS = 40
_ALLOWED = 1.25
"""Offset from the manifold over that of noised data, beyond which samples are off it."""
_ADRIFT = 0.1
"""Drift along the manifold, over the scale of the data, beyond which the tangential error counts."""


def score_health(
    model: Score,
    X: Any,
    *,
    reference: Any = None,
    dim: float | None = None,
    truth: Score | None = None,
    levels: int = 24,
    samples: int = 1000,
    steps: int = 50,
    seed: int = 0,
) -> Finding:
    r"""Whether `model`, which knows scores of noised data, knows them right.

    Measured on held-out data X, under noise from the least to the largest level that the model knows:

    - *norm*: \sigma^2 E|s|^2, which is the codimension D - d over a plateau of small \sigma; and whether it agrees with
      -\sigma E s^T \epsilon, as it must for the true score at every level (see `submanifold.lens.score_curves`). The
      least level down to which it does, and stays on its plateau, is the smallest reliable one;
    - *error*, normal and tangential to the manifold, over their natural scales, where the manifold is known: against
      `truth`, against the closed form where the law has one (circle, Gaussian on a subspace), or else in its normal
      part alone, to leading order; where the data say that they have noise of their own, the law is that under both;
    - *gap*: the sliced W_1 between samples of the probability flow (Heun's steps) and of the stochastic equation
      (ancestral steps, four times as many), both from data under the largest noise, with its permutation null;
    - *offset*: the median distance of samples that end at the least level to the manifold, beside that of held-out
      data under as much noise;
    - *copies*, if `reference` is given: denoised samples that repeat training points, as in `sample_quality`.

    Verdicts: "memorising" (samples repeat training points), "score off" (the score fails at a level that samplers pass,
    the two ways of sampling disagree, samples are farther from the manifold than the noise explains, or the tangential
    error carries them along it by a tenth of its scale; where the first is all, and samples show nothing of it, the
    standing is "unsure"), "healthy" (none of these, and the curve has a plateau), "inconclusive" (none of these, but no
    plateau or fewer than 100 points).

    Args:
        model: a `Score`, such as a diffusion model. Of a two-step model give the law, and encoded data.
        X: data that the model was not trained on, (n, *data_shape).
        reference: the training data; without it one half of X stands in to know the manifold by. A `Setting` in place
            of X says itself what it holds.
        dim: intrinsic dimension, estimated from the reference where not given.
        truth: a model that knows the true score.
        levels: noise levels that are looked at.
        samples: how many are drawn in each of the two ways.
        steps: of Heun's sampler, two evaluations each.
        seed: of noise and samples.

    Raises:
        InvalidInput: for a model without scores, or data of the wrong shape.
        NonFiniteScore: where the model says something that is not a number.
    """
    for name, given in (("model", model), ("truth", truth)):
        if given is not None and not isinstance(given, Score):
            raise InvalidInput(f"{name}={type(given).__name__} knows no scores: give a model with score and denoise")
    check_int(levels, name="levels", low=4)
    check_int(samples, name="samples", low=20)
    check_int(steps, name="steps", low=2)
    data = setting(X, reference, dim=dim, seed=seed)
    shape = tuple(getattr(model, "data_shape", data.held_out.data_shape))
    if math.prod(shape) != data.x.shape[1]:
        raise InvalidInput(f"X has {data.x.shape[1]} coordinates: give points of the model's shape {shape}")
    known = data.manifold.manifold if isinstance(data.manifold, Truth) else None
    sigmas, score = np.geomspace(*known_levels(model, data.manifold.scale), levels), field_of(model, shape)

    draws = min(_MOST_DRAWS, math.ceil(_PER_LEVEL / len(data.x)))
    curve = score_curve(score, data.x[:_PER_LEVEL], sigmas, draws=draws, seed=seed)
    calibrated = curve.smallest_reliable()
    sound = math.inf if calibrated is None else float(sigmas[calibrated])
    plateau = find_plateau(curve, low=sound, high=_LOCAL * data.manifold.scale)
    reliable = curve.smallest_reliable(plateau)
    noise = data.known.noise_sigma
    right = field_of(truth, shape) if truth is not None else exact_field(known, noise=noise)
    errors = score_errors(score, right, known, data.x[:1000], sigmas, scale=data.manifold.scale, noise=noise, seed=seed)
    drawn = draw_both(model, data, shape, sigmas, count=samples, steps=steps, seed=seed)
    numbers = _numbers(curve, reliable, plateau, errors, drawn, data)
    if data.trained_on:
        train = check_matrix(data.known, name="reference")
        own, others = (neighbors.query(train, points, 1).distances[:, 0] for points in (drawn.denoised, data.x))
        numbers |= novelty(own, others)
    verdict, standing, summary, advice = _judge(numbers, curve, reliable, plateau, drawn)
    return Finding(
        name="score_health",
        verdict=verdict,
        standing=standing,
        summary=summary,
        numbers=numbers,
        advice=advice,
        assumptions=(
            "held-out data come from the law of the training data",
            "they are on a manifold: where they are as thick as the noise, the norm leaves its plateau as if the score "
            "failed",
            *(
                (f"they have noise of deviation {noise:.2g} of their own in every coordinate, as they say",)
                if noise
                else ()
            ),
            *(() if known is not None else ("the manifold is known well enough from the reference to project on it",)),
            *(() if data.trained_on else (NOT_LOOKED_FOR,)),
            *(() if right is not None else ("the true score is not known: the score was tested against itself",)),
        ),
        draw=lambda: health_figure(curve, reliable, plateau, errors, drawn),
    )


def _median(values: Array, meaning: str) -> Number:
    """The median with the order statistics that enclose it in 95% of samples."""
    ordered, n = np.sort(values), len(values)
    rank = int(binom.ppf(0.025, n, 0.5))
    return Number(
        float(np.median(ordered)),
        float(ordered[max(rank - 1, 0)]),
        float(ordered[min(n - rank, n - 1)]),
        meaning=meaning,
    )


def _numbers(
    curve: Curve,
    reliable: int | None,
    plateau: Plateau | None,
    errors: ScoreErrors | None,
    drawn: Drawn,
    data: Setting,
) -> dict[str, Number]:
    numbers: dict[str, Number] = {}
    D, sigma, noise = curve.ambient_dim, drawn.sigma, data.known.noise_sigma
    if plateau is not None:
        numbers |= {
            "codimension": plateau.codimension,
            "implied_dimension": plateau.dimension,
            "unexplained_noise": plateau.unexplained,
        }
    numbers["least_sigma"] = Number(sigma, meaning="the least noise level looked at, at which samplers end")
    if reliable is not None:
        numbers["smallest_reliable_sigma"] = Number(
            float(curve.sigmas[reliable]),
            kind="heuristic",
            meaning="the least level down to which sigma^2 E|s|^2 and -sigma E s.noise agree to 5%, and on the plateau",
        )
        numbers["norm_at_smallest_reliable_sigma"] = replace(
            curve.size(reliable), meaning="sigma^2 E|s|^2 at that level"
        )
    at_least = curve.calibration(0)
    if at_least is not None:
        meaning = "sigma^2 E|s|^2 over -sigma E s.noise at the least level: 1 for the true score"
        numbers["calibration_at_least_sigma"] = replace(at_least, meaning=meaning)
    if errors is not None:
        all_noise = "sqrt(sigma^2 + noise^2), noise being the data's own" if noise else "sigma"
        scale = {
            "normal": f"sqrt(D - d) / {all_noise}",
            "tangential": "that of the true score",
            "total": "the true score",
        }
        where = {"least": sigma} | ({} if reliable is None else {"smallest reliable": float(curve.sigmas[reliable])})
        for part in errors.parts:
            for words, level in where.items():
                numbers[f"{part}_error_at_{words.replace(' ', '_')}_sigma"] = replace(
                    errors.at(part, level),
                    meaning=f"{part} error of the score over {scale[part]}, at the {words} level",
                )
        drift = errors.drift()
        if drift is not None:
            numbers["tangential_drift"] = replace(
                drift,
                kind="heuristic",
                meaning="how far the tangential error carries samples along the manifold at most, over the scale",
            )
    numbers |= {
        "sde_ode_gap": Number(drawn.gap.statistic, meaning="sliced W1 between samples with and without noise"),
        "sde_ode_gap_floor": Number(drawn.gap.floor, meaning="its mean if they had one law"),
        "sde_ode_gap_p_value": Number(drawn.gap.p_value, meaning="permutation p-value of their equality"),
        "offset": _median(drawn.flow, "median distance from the manifold of samples that follow the probability flow"),
        "offset_stochastic": _median(drawn.noisy, "the same of samples of the stochastic equation"),
        "offset_of_data": _median(drawn.data, "the same of held-out data under noise of the least level"),
    }
    codimension = D - min(round(data.dim), D)
    if codimension:
        least = "sqrt(least sigma^2 + noise^2)" if noise else "least sigma"
        numbers["offset_in_theory"] = Number(
            math.hypot(sigma, noise) * math.sqrt(float(chi2.median(codimension))),
            kind="certified" if isinstance(data.manifold, Truth) else "heuristic",
            meaning=f"{least} times the median length of a standard normal vector of {codimension} coordinates",
        )
    return numbers


def _judge(
    numbers: dict[str, Number], curve: Curve, reliable: int | None, plateau: Plateau | None, drawn: Drawn
) -> tuple[str, Standing, str, str]:
    """Verdict, standing, summary and advice."""
    least, n = float(curve.sigmas[0]), curve.sizes.shape[1]
    copied = "copies" in numbers and copies(numbers)
    failures = _failures(numbers, drawn)
    found, advice = [failure for failure, _ in failures], [mend for _, mend in failures]
    if copied:
        share, chance = numbers["copies"].value, numbers["copies_of_data"].value
        found.insert(0, f"{share:.0%} of the samples repeat training points (new data: {chance:.1%})")
        advice = ["Stop training earlier, regularise, or train on more data."]
    harmless = not found and reliable is not None
    if reliable is None:
        found.append(f"the score is off already at the largest noise, {curve.sigmas[-1]:.2g}")
        advice.append("Train longer, and look whether data and model have the same units.")
    elif reliable > 0:
        sound = float(curve.sigmas[reliable])
        found.append(f"the score holds down to noise of {sound:.2g} and not to {least:.2g}")
        advice.append(f"Train longer with more weight on small noise, or end sampling at sigma_min = {sound:.2g}.")
    says = (
        "its norm has no plateau where it holds"
        if plateau is None
        else f"its norm says codimension {_about(plateau.codimension)}, dimension {_about(plateau.dimension)}"
    )
    fine = (
        f"samples are {numbers['offset'].value:.2g} off the manifold (their noise: "
        f"{numbers['offset_of_data'].value:.2g}), and sampling with noise and without agree (p = "
        f"{drawn.gap.p_value:.2g})"
    )
    if found:
        clauses = "; ".join([*found, says, *([f"all the same {fine}"] if harmless else [])])
        verdict, standing = ("memorising" if copied else "score off"), ("unsure" if harmless else "bad")
        return verdict, standing, f"{clauses[0].upper()}{clauses[1:]}.", advice[0] if copied else " ".join(advice)  # type: ignore[return-value]
    if plateau is None or n < ENOUGH:
        more = "Give more held-out data." if n < ENOUGH else "Look at smaller noise: train with a smaller sigma_min."
        return "inconclusive", "unsure", f"Nothing is wrong with the score, but {says}; {fine}.", more
    return "healthy", "good", f"The score holds down to noise of {least:.2g}: {says}; {fine}.", ""


def _failures(numbers: dict[str, Number], drawn: Drawn) -> list[tuple[str, str]]:
    """What samples show of a wrong score, and what to do about each."""
    offset, allowed, drift = numbers["offset"], numbers["offset_of_data"], numbers.get("tangential_drift")
    found = []
    if drawn.gapes:
        found.append(
            (
                f"samples drawn with noise and without are {drawn.gap.statistic:.2g} apart in sliced W1 (by chance "
                f"{drawn.gap.floor:.2g}, p = {drawn.gap.p_value:.2g})",
                "Repeat with more steps: what remains of the gap then is the score's.",
            )
        )
    if (offset.low or 0.0) > _ALLOWED * (allowed.high or 0.0):
        found.append(
            (
                f"samples are {offset.value:.2g} off the manifold, where their noise explains {allowed.value:.2g}",
                "End sampling with a step to the denoised point, or at a larger sigma_min.",
            )
        )
    if drift is not None and (drift.low or 0.0) > _ADRIFT:
        found.append(
            (
                f"the error along the manifold carries samples by up to {drift.value:.0%} of the data's scale",
                "Train longer with more weight on noise as large as the data.",
            )
        )
    return found


def _about(number: Number) -> str:
    return f"{number.value:.3g} [{number.low:.3g}, {number.high:.3g}]"
