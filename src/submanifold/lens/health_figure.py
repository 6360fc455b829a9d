"""The figure of `score_health`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from submanifold.lens.score_curves import Curve, Plateau
from submanifold.lens.score_samples import Drawn
from submanifold.lens.score_truth import ScoreErrors
from submanifold.plotting import DATA, new_figure, series, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["health_figure"]


@style()
def health_figure(
    curve: Curve, reliable: int | None, plateau: Plateau | None, errors: ScoreErrors | None, drawn: Drawn
) -> Figure:
    """Three panels: the norm of the score, its error (or calibration, where the truth is unknown), and samples."""
    figure, (norm, error, offset) = new_figure(3, width=4.4)
    a = [curve.size(level) for level in range(len(curve.sigmas))]
    values, low, high = (np.array([getattr(n, end) for n in a], dtype=float) for end in ("value", "low", "high"))
    norm.semilogx(curve.sigmas, values, label=r"$\sigma^2 E|s|^2$", **series(0).line_kwargs())
    norm.fill_between(curve.sigmas, low, high, color=series(0).color, alpha=0.25, linewidth=0)
    other = series(1)
    norm.plot(
        curve.sigmas,
        curve.agreements.mean(axis=1),
        other.marker,
        color=other.color,
        fillstyle="none",
        linestyle="",
        markersize=7,
        label=r"$-\sigma E\, s\cdot\epsilon$: equal if true",
    )
    if plateau is not None:
        norm.hlines(
            plateau.codimension.value,
            plateau.low,
            plateau.high,
            color="black",
            linewidth=5,
            alpha=0.3,
            label=f"plateau, {plateau.codimension.value:.3g}",
        )
    D = curve.ambient_dim
    norm.axhline(D, color=DATA.color, linestyle=":", linewidth=1, label="D")
    norm.set_ylim(0 if D < 6 else None, min(1.6 * D, 1.1 * max(float(values.max()), D)))
    norm.set(xlabel="noise level", ylabel="squared norm x noise squared")
    norm.set_title("Score norm")
    norm.legend(loc="best")

    if errors is not None:
        for index, (part, squares) in enumerate(errors.parts.items()):
            error.loglog(errors.sigmas, np.sqrt(squares.mean(axis=1)), label=part, **series(index).line_kwargs())
        error.set(ylabel="error over its natural scale")
        error.set_title("Error of the score")
        error.legend()
    else:
        found = [(s, curve.calibration(level)) for level, s in enumerate(curve.sigmas)]
        ratio = [(s, number.value) for s, number in found if number is not None]
        error.semilogx(*zip(*ratio, strict=True), **series(0).line_kwargs())
        error.axhline(1, color=DATA.color, linestyle=":")
        error.set_ylim(0, 3)
        error.set(ylabel="ratio of the two on the left")
        error.set_title("Is the score calibrated?")
    error.set(xlabel="noise level")
    if reliable:
        for axis in (norm, error):
            axis.axvspan(curve.sigmas[0], curve.sigmas[reliable], color="black", alpha=0.08, linewidth=0)
        norm.text(curve.sigmas[0], norm.get_ylim()[0], " unreliable", va="bottom", fontsize=9)

    for distances, label, look, width in (
        (drawn.data, "noised data", DATA, 4.0),
        (drawn.flow, "samples, no noise (ODE)", series(0), 1.8),
        (drawn.noisy, "samples with noise (SDE)", series(1), 1.8),
    ):
        away, share = np.sort(distances) / drawn.sigma, np.arange(1, len(distances) + 1) / len(distances)
        offset.semilogx(away, share, color=look.color, linestyle=look.line, linewidth=width, label=label)
    ends = np.array([np.quantile(d, [0.05, 0.99]) for d in (drawn.flow, drawn.noisy, drawn.data)]) / drawn.sigma
    offset.set(xlim=(0.1 * max(ends[:, 0].min(), 1e-3), 2.0 * max(ends[:, 1].max(), 1e-2)))
    offset.set(xlabel="distance from the manifold / least noise", ylabel="share of points")
    offset.set_title(f"Samples; gap p = {drawn.gap.p_value:.2g}")
    offset.legend(loc="upper left", fontsize=8.5)
    return figure
