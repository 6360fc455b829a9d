"""The pictures of a dimension estimate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from submanifold.plotting import DATA, new_figure, series, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from submanifold.dimension.pointwise import LocalDimension
    from submanifold.dimension.result import DimensionEstimate

__all__ = ["draw", "draw_map"]

_MOST_SHOWN = 5_000  # points of a map


def draw(estimate: DimensionEstimate) -> Figure:
    """Two panels: the dimension against scale, and the estimates by method and class with 95% intervals."""
    rows = 1 + sum(len(group or ()) for group in (estimate.by_method, estimate.by_class, estimate.by_cluster))
    figure, (left, right) = new_figure(2, height=max(3.5, 0.28 * (rows + len(estimate.pieces)) + 1.2))
    with style():
        _draw_scales(left, estimate)
        _draw_estimates(right, estimate)
    return figure


def draw_map(found: LocalDimension, X: NDArray[np.float64] | None) -> Figure:
    """The local dimension over the first two principal axes of X (n, D), if given, and its histogram."""
    figure, axes = new_figure(1 if X is None else 2, height=3.8)
    low, high = np.quantile(found.dimension, [0.02, 0.98])
    with style():
        if X is not None:
            _draw_places(figure, axes[0], found, X, low, max(high, low * 1.01))
        _draw_histogram(axes[-1], found, low, high * 1.001)
    return figure


def _draw_places(
    figure: Figure, axes: Axes, found: LocalDimension, X: NDArray[np.float64], low: float, high: float
) -> None:
    x, axis_names = _plane(X)
    shown = np.linspace(0, len(found.rows) - 1, min(_MOST_SHOWN, len(found.rows))).astype(int)
    points = x[found.rows[shown]]
    dots = axes.scatter(
        points[:, 0],
        points[:, 1],
        c=found.dimension[shown],
        s=9,
        vmin=low,
        vmax=high,
        cmap="cividis",
        linewidths=0,
    )
    figure.colorbar(dots, ax=axes, label="local dimension")
    axes.set(xlabel=axis_names[0], ylabel=axis_names[1], title="Where the dimension is what")
    axes.set_aspect("equal", adjustable="datalim")


def _draw_histogram(axes: Axes, found: LocalDimension, low: float, high: float) -> None:
    """How often each local dimension occurs, with the error of one."""
    axes.hist(found.dimension, bins=40, range=(low, high), color=series(0).color)
    middle = float(np.median(found.dimension))
    height = 1.04 * axes.get_ylim()[1]
    axes.errorbar(
        middle,
        height,
        xerr=1.96 * found.relative_error * middle,
        fmt=DATA.marker,
        color=DATA.color,
        capsize=3,
        label="95% interval of one point",
    )
    axes.set(xlabel="local dimension", ylabel="points", ylim=(0, 1.3 * height))
    word = "differs between places" if found.varies else "is the same everywhere, as far as can be told"
    axes.set_title(f"The dimension {word}", fontsize=10.5)
    axes.legend(loc="upper right")


def _plane(X: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[str, str]]:
    """X (n, D) on its first two principal axes, (n, 2), and what they are called."""
    if X.shape[1] <= 2:
        return np.column_stack([X, np.zeros(len(X))])[:, :2], ("x1", "x2" if X.shape[1] == 2 else "")
    from sklearn.decomposition import PCA

    return PCA(2, random_state=0).fit_transform(X), ("principal axis 1", "principal axis 2")


def _draw_scales(axes: Axes, estimate: DimensionEstimate) -> None:
    curve = estimate.scale_curve
    raw, calibrated = series(1), series(0)
    if not estimate.pieces:
        axes.axhspan(*_drawable(estimate.interval), color=DATA.color, alpha=0.16, linewidth=0)
        axes.axhline(
            estimate.dimension,
            color=DATA.color,
            linestyle="--",
            linewidth=1.2,
            label=f"consensus {'' if curve.flat else 'at most '}{estimate.dimension:.1f}, 95% interval",
        )
    ks, error = curve.ks, np.minimum(np.nan_to_num(curve.relative_error, posinf=0.0), 5.0)
    width = np.exp(1.96 * error)
    axes.fill_between(
        ks, curve.calibrated / width, curve.calibrated * width, color=calibrated.color, alpha=0.25, linewidth=0
    )
    axes.plot(ks, curve.calibrated, label="corrected for n and k", **calibrated.line_kwargs())
    axes.plot(ks, curve.dimension, label="maximum likelihood, as read", **{**raw.line_kwargs(), "linewidth": 1.2})
    most = np.inf if estimate.ambient_dim is None else 2.0 * estimate.ambient_dim
    highest = min(float(curve.calibrated.max()), most)  # on a lattice it starts at infinity
    top = 1.25 * max(highest, min(_drawable(estimate.interval)[1], 2 * highest))
    axes.set_xscale("log")
    axes.set_ylim(0, top)
    _mark_regimes(axes, estimate, top)
    ticks = [k for k in (2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000) if k <= ks[-1]]
    axes.set_xticks(ticks, [f"{k:,}" for k in ticks], rotation=45 if len(ticks) > 8 else 0)
    axes.minorticks_off()
    axes.set_xlabel("neighbours k (the scale)")
    axes.set_ylabel("intrinsic dimension")
    axes.set_title("Dimension against scale")
    axes.legend(loc="lower left")


def _mark_regimes(axes: Axes, estimate: DimensionEstimate, top: float) -> None:
    """Name the scales that see noise and those of the plateau, and mark where the consensus is read."""
    curve = estimate.scale_curve
    edge = np.sqrt(curve.ks[curve.start] * curve.ks[max(curve.start - 1, 0)])
    if curve.noisy:
        right = edge if curve.flat else curve.ks[-1]
        axes.axvspan(curve.ks[0], right, color="#999999", alpha=0.15, linewidth=0, hatch="///", fill=False)
        axes.text(np.sqrt(curve.ks[0] * right), 0.965 * top, "noise", ha="center", va="top", color=DATA.color)
    if curve.flat:
        left, right = max(edge, curve.ks[0]), curve.ks[curve.stop - 1]
        axes.plot([left, right], [0.9 * top] * 2, color=DATA.color, linewidth=3, solid_capstyle="butt")
        if curve.stop - curve.start > 2:
            axes.text(np.sqrt(left * right), 0.965 * top, "plateau", ha="center", va="top", color=DATA.color)
    if not estimate.pieces:
        reading = estimate.reading
        axes.plot(
            reading.k, reading.dimension, "o", color=DATA.color, markersize=9, fillstyle="none", markeredgewidth=1.6
        )


def _draw_estimates(axes: Axes, estimate: DimensionEstimate) -> None:
    entries = [("consensus", estimate.dimension, estimate.interval, DATA)] if not estimate.pieces else []
    entries += [(f"piece of {one.share:.0%}", one.dimension, one.interval, DATA) for one in estimate.pieces]
    entries += [(name, e.dimension, e.interval, series(0)) for name, e in estimate.by_method.items()]
    for word, group, look in (
        ("class", estimate.by_class, series(1)),
        ("cluster", estimate.by_cluster, series(2)),
    ):
        entries += [(f"{word} {label}", e.dimension, e.interval, look) for label, e in (group or {}).items()]
    label: str | None = "would agree with the consensus"
    for height, (name, value, (low, high), look) in enumerate(entries):
        errors = np.nan_to_num([[value - low], [high - value]], posinf=0.0)
        axes.errorbar(value, height, xerr=errors, fmt=look.marker, color=look.color, capsize=3, markersize=6)
        expected = estimate.by_method[name].expected if name in estimate.by_method else None
        if expected is not None and abs(expected / estimate.dimension - 1) > 0.02:
            axes.plot(expected, height, "|", color=DATA.color, markersize=13, markeredgewidth=2, label=label)
            label = None
    if not estimate.pieces:
        axes.axvspan(*_drawable(estimate.interval), color=DATA.color, alpha=0.16, linewidth=0)
    axes.set_yticks(range(len(entries)), [entry[0] for entry in entries])
    axes.set_ylim(len(entries) - 0.5 + (label is None), -0.5)  # with room for the legend
    axes.set_xlim(left=0)
    if label is None:
        axes.legend(loc="lower right")
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("intrinsic dimension, 95% interval")
    groups = [word for word, group in (("class", estimate.by_class), ("cluster", estimate.by_cluster)) if group]
    axes.set_title("By " + ", ".join((["piece"] if estimate.pieces else []) + ["method", *groups]))


def _drawable(interval: tuple[float, float]) -> tuple[float, float]:
    low, high = interval
    return low, high if np.isfinite(high) else 1e6
