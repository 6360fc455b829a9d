"""The picture of a dimension estimate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from submanifold.plotting import DATA, new_figure, series, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from submanifold.dimension.result import DimensionEstimate

__all__ = ["draw"]


def draw(estimate: DimensionEstimate) -> Figure:
    """Two panels: the dimension against scale, and the estimates by method and class with 95% intervals."""
    rows = 1 + len(estimate.by_method) + len(estimate.by_class or {})
    figure, (left, right) = new_figure(2, height=max(3.5, 0.28 * rows + 1.2))
    with style():
        _draw_scales(left, estimate)
        _draw_estimates(right, estimate)
    return figure


def _draw_scales(axes: Axes, estimate: DimensionEstimate) -> None:
    curve = estimate.scale_curve
    look = series(0)
    axes.axhspan(*estimate.interval, color=DATA.color, alpha=0.18, linewidth=0)
    axes.axhline(
        estimate.dimension,
        color=DATA.color,
        linestyle="--",
        linewidth=1.2,
        label=f"consensus {estimate.dimension:.1f}, 95% interval",
    )
    shown = np.isfinite(curve.high)
    axes.fill_between(curve.ks[shown], curve.low[shown], curve.high[shown], color=look.color, alpha=0.25, linewidth=0)
    axes.plot(curve.ks, curve.dimension, label="maximum likelihood", **look.line_kwargs())
    axes.set_xscale("log")
    ticks = [k for k in (2, 5, 10, 20, 50, 100) if k <= curve.ks[-1]]
    axes.set_xticks(ticks, [str(k) for k in ticks])
    axes.minorticks_off()
    highest = min(curve.dimension.max(), 2 * estimate.ambient_dim)  # on a lattice the curve starts at infinity
    axes.set_ylim(0, 1.15 * max(highest, estimate.interval[1]))
    axes.set_xlabel("neighbours k (the scale)")
    axes.set_ylabel("intrinsic dimension")
    axes.set_title("Dimension against scale")
    axes.legend(loc="lower left")


def _draw_estimates(axes: Axes, estimate: DimensionEstimate) -> None:
    entries = [("consensus", estimate.dimension, estimate.interval, DATA)]
    entries += [(name, e.dimension, e.interval, series(0)) for name, e in estimate.by_method.items()]
    entries += [
        (f"class {label}", e.dimension, e.interval, series(1)) for label, e in (estimate.by_class or {}).items()
    ]
    for height, (_, value, (low, high), look) in enumerate(entries):
        errors = np.nan_to_num([[value - low], [high - value]], posinf=0.0)
        axes.errorbar(value, height, xerr=errors, fmt=look.marker, color=look.color, capsize=3, markersize=6)
    axes.axvspan(*estimate.interval, color=DATA.color, alpha=0.18, linewidth=0)
    axes.set_yticks(range(len(entries)), [entry[0] for entry in entries])
    axes.set_ylim(len(entries) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("intrinsic dimension, 95% interval")
    axes.set_title("By method" + (" and class" if estimate.by_class else ""))
