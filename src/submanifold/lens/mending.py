"""Repair: keep what a model learned of the manifold, its decoder, and refit the distribution on it.

Manifold overfitting leaves the decoder sound and the law of the latents wrong; a second step on the encoded data mends
it (Loaiza-Ganem et al. 2022, arXiv 2204.07172, section 4; Dai and Wipf 2019, arXiv 1903.05789).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from submanifold.checks import check_choice, check_matrix
from submanifold.data.dataset import Dataset
from submanifold.errors import InvalidInput
from submanifold.lens.evidence import (
    draw,
    replicated,
    setting,
)
from submanifold.lens.finding import Finding, Number, Standing
from submanifold.models import TwoStep
from submanifold.models.base import EncoderDecoder, Generator, Model
from submanifold.plotting import DATA, new_figure, series, style
from submanifold.transport import wasserstein

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["repair"]

LAWS = ("gaussian-mixture", "kernel-density", "flow")
REPLICATES, REPLICATE = 6, 1000
"""How often W1 is measured with fresh samples, and on how many points at most."""

CLOSED_FORM_LAWS = ("gaussian-mixture", "kernel-density")


def repair(
    model: Model,
    X: Any,
    *,
    law: str | Model = "auto",
    reference: Any = None,
    dim: float | None = None,
    steps: int = 2000,
    seed: int = 0,
) -> Finding:
    """Freeze the decoder of `model`, refit the law of its latents, and say what that gains.

    Verdicts: "repaired" (W_1 to held-out data fell, beyond both intervals), "no gain", "worse".

    Args:
        model: a trained `EncoderDecoder` that samples.
        X: held-out data (n, *data_shape) on which before and after are measured; they are not fitted to.
        law: "gaussian-mixture", "kernel-density", "flow", a law of `data_shape` (latent_dim,), or "auto": the
        closed-form
            law whose samples, decoded, are closest in W_1 to a part of the reference that was kept from the fit.
        reference: the training data; without it, one half of X is fitted to and the other half measured on.
        dim: intrinsic dimension, estimated where not given.
        steps: training steps of a flow law.
        seed: of the split, the fit and the samples.

    Returns:
        A finding whose `model` is the repaired `TwoStep`; the given model is left as it was, and lends it its modules.

    Raises:
        InvalidInput: for a model without encoder and decoder, or an unknown law.
    """
    if not (isinstance(model, EncoderDecoder) and isinstance(model, Generator)):
        raise InvalidInput(
            f"model={type(model).__name__} has no encoder and decoder to keep: give an autoencoder, a VAE or a "
            f"two-step model"
        )
    data = setting(X, reference, dim=dim, seed=seed)
    x = data.x
    chosen = _choose_law(model, data.known, seed=seed) if law == "auto" else law
    mended = _refit(model, chosen, data.known, steps=steps, seed=seed)

    size, rng = min(len(x), REPLICATE), np.random.default_rng(seed)
    pick = [rng.permutation(len(x))[:size] for _ in range(REPLICATES)]
    drawn = {when: draw(m, REPLICATES * size, seed=seed) for when, m in (("before", model), ("after", mended))}
    w1 = {
        when: np.array([wasserstein(y, x[rows]) for y, rows in zip(np.split(samples, REPLICATES), pick, strict=True)])
        for when, samples in drawn.items()
    }
    train = check_matrix(data.known, name="reference")
    known = [train[rng.permutation(len(train))[:size]] for _ in pick]
    floor = replicated(
        [wasserstein(y, x[rows]) for y, rows in zip(known, pick, strict=True)],
        meaning="W1 between training data and held-out data, of the same size",
    )
    about = f"{size} samples and held-out points"
    before, after = (replicated(w1[when], meaning=f"W1 between {about}, {when} the repair") for when in w1)
    gain = replicated(w1["before"] - w1["after"], meaning="W1 before minus W1 after, on the same held-out points")
    errors = {when: data.errors(m, seed=seed) for when, m in (("before", model), ("after", mended))}
    numbers = {
        "w1_before": before,
        "w1_after": after,
        "w1_floor": floor,
        "w1_gain": gain,
        "w1_ratio": Number(before.value / after.value, kind="heuristic", meaning="W1 before over W1 after"),
        **{f"{name}_{when}": number for when, found in errors.items() for name, number in found.numbers().items()},
    }
    gained, lost = (gain.low or 0.0) > 0, (gain.high or 0.0) < 0
    standing: Standing = "good" if gained else "bad" if lost else "neutral"
    name = chosen if isinstance(chosen, str) else type(chosen).__name__
    return Finding(
        name="repair",
        verdict="repaired" if gained else "worse" if lost else "no gain",
        standing=standing,
        summary=(
            f"With the decoder kept and its latents refitted ({name}), W1 to held-out data goes from "
            f"{before.value:.3g} to {after.value:.3g}, where two samples of the data are {floor.value:.3g} apart; "
            f"along the manifold from {errors['before'].along.value:.3g} to {errors['after'].along.value:.3g} (floor "
            f"{errors['after'].floor.value:.3g})."
        ),
        numbers=numbers,
        advice="Use the repaired model in place of the original." if gained else "",
        assumptions=(
            "the decoder has learned the manifold",
            "held-out data come from the law of the training data",
        ),
        model=mended,
        draw=lambda: _draw({"before": (before, errors["before"]), "after": (after, errors["after"])}, floor),
    )


def _refit(model: Model, law: str | Model, data: Any, *, steps: int, seed: int) -> TwoStep:
    from submanifold.training import fit

    if isinstance(law, str):
        check_choice(law, LAWS, name="law")
    mended = TwoStep(model, law, train_autoencoder=False)
    fit(mended, data, steps=steps, seed=seed, progress=False)
    return mended


def _choose_law(model: Model, data: Dataset, *, seed: int) -> str:
    """The closed-form law whose decoded samples are closest to data that it was not fitted to."""
    rest, kept = data.split(0.25, seed=seed)
    target = check_matrix(kept.subsample(1000, seed=seed), name="reference")
    score = {}
    for law in CLOSED_FORM_LAWS:
        candidate = _refit(model, law, rest, steps=1, seed=seed)
        score[law] = np.mean([wasserstein(draw(candidate, len(target), seed=seed + r), target) for r in range(4)])
    return min(score, key=lambda law: score[law])


@style()
def _draw(outcome: dict[str, Any], floor: Number) -> Figure:
    figure, (axis,) = new_figure(width=6.2, height=2.9)
    for index, (when, (w1, errors)) in enumerate(outcome.items()):
        look = series(index)
        for row, number in enumerate((errors.along, w1)):
            axis.errorbar(
                number.value,
                row + 0.12 * (1 - 2 * index),
                xerr=number.value - number.low,
                fmt=look.marker,
                color=look.color,
                capsize=3,
                label=when if row == 0 else None,
            )
    floors = (outcome["after"][1].floor.value, floor.value)
    for row, least in enumerate(floors):
        label = "floor" if row == 0 else None
        axis.plot([least, least], [row - 0.3, row + 0.3], color=DATA.color, linestyle=":", label=label)
    axis.set(yticks=[0, 1], yticklabels=["along the manifold", "in ambient space"], ylim=(-0.6, 1.6))
    axis.set(xlabel="W1 to held-out data", xlim=(0, None))
    axis.set_title("Before and after the repair")
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
