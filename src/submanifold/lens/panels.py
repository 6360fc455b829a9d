"""The figures of an examination that no single finding owns: data beside samples, and likelihood against quality."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from submanifold.data.dataset import Dataset
from submanifold.lens.evidence import Array
from submanifold.lens.outcome import Cloud
from submanifold.plotting import DATA, new_figure, series, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["clouds", "principal_axes", "samples_figure", "training_figure"]


def principal_axes(x: Array, dim: int) -> tuple[Array, Array]:
    """Mean (D,) and leading `dim` principal axes (dim, D) of x (n, D)."""
    centre = x.mean(axis=0)
    _, _, axes = np.linalg.svd(x - centre, full_matrices=False)
    return centre, axes[:dim]


def clouds(data: Dataset, samples: Mapping[str, Array], *, limit: int = 1500) -> tuple[list[Cloud], str]:
    """Point sets in three dimensions, and a sentence that says how they got there."""
    shown = data.subsample(limit)
    x = np.asarray(shown.flat(), dtype=float)
    if x.shape[1] <= 3:
        centre, axes = np.zeros(x.shape[1]), np.eye(x.shape[1])
        caption = f"The data as they are, in {x.shape[1]} dimensions."
    else:
        centre, axes = principal_axes(x, 3)
        share = ((x - centre) @ axes.T).var(axis=0).sum() / x.var(axis=0).sum()
        caption = f"Projected on the first three principal axes of the data, which hold {share:.0%} of its variance."
    sets = [Cloud("data", (x - centre) @ axes.T, shown.labels)]
    sets += [Cloud(name, (y[:limit] - centre) @ axes.T) for name, y in samples.items()]
    return sets, caption


def samples_figure(data: Dataset, samples: Mapping[str, Array]) -> Figure:
    """Data beside samples of every model: rows of images, or scatter plots on two axes."""
    return _images(data, samples) if data.is_image else _scatters(data, samples)


@style()
def _images(data: Dataset, samples: Mapping[str, Array], columns: int = 12) -> Figure:
    rows = {"data": np.asarray(data.subsample(columns, seed=1).flat(), dtype=float), **samples}
    figure, axes = new_figure(1, len(rows), width=8.4, height=8.4 / columns + 0.25)
    low, high = float(rows["data"].min()), float(rows["data"].max())
    for axis, (name, points) in zip(axes, rows.items(), strict=True):
        images = points[:columns].reshape(-1, *data.data_shape)
        strip = np.concatenate([np.pad(i, ((0, 0), (1, 1), (1, 1)), constant_values=low) for i in images], axis=2)
        strip = np.clip((strip - low) / max(high - low, 1e-12), 0, 1)  # (C, H, W of the strip)
        axis.imshow(
            strip[0] if len(strip) != 3 else np.moveaxis(strip, 0, -1),
            cmap="gray_r",
            vmin=0,
            vmax=1,
        )
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
        axis.set_ylabel(name, rotation=0, ha="right", va="center")
        for spine in axis.spines.values():
            spine.set_visible(False)
    return figure


@style()
def _scatters(data: Dataset, samples: Mapping[str, Array], limit: int = 1200) -> Figure:
    x = np.asarray(data.subsample(limit).flat(), dtype=float)
    if x.shape[1] > 2:
        centre, axes = principal_axes(x, 2)
        labels = ["principal axis 1", "principal axis 2"]
    else:
        centre, axes = np.zeros(x.shape[1]), np.eye(x.shape[1])
        labels = ["x1", "x2"]
    count = max(1, len(samples))
    columns = 2 if count in (2, 4) else min(count, 3)
    figure, panels = new_figure(columns, math.ceil(count / columns), width=3.4, height=3.4, sharex=True, sharey=True)
    flat = (x - centre) @ axes.T
    for index, (panel, name) in enumerate(zip(panels, samples or {"data": x}, strict=False)):
        _points(panel, flat, DATA.color, "o", "data")
        if samples:
            look = series(index)
            _points(panel, (samples[name][:limit] - centre) @ axes.T, look.color, look.marker, "samples")
        panel.set_title(name)
        panel.set(xlabel=labels[0], ylabel=labels[1] if flat.shape[1] > 1 else "")
        panel.set_aspect("equal", adjustable="box")
        panel.legend(loc="upper right", markerscale=2)
    for panel in panels[count:]:
        panel.set_visible(False)
    return figure


def _points(panel: Any, flat: Array, color: str, marker: str, label: str) -> None:
    height = flat[:, 1] if flat.shape[1] > 1 else np.zeros(len(flat)) + (label == "samples")
    panel.plot(
        flat[:, 0],
        height,
        marker,
        color=color,
        markersize=2.2,
        alpha=0.45,
        linestyle="",
        label=label,
    )


@style()
def training_figure(curves: Mapping[str, list[dict[str, Any]]], floor: float) -> Figure:
    """Held-out log-likelihood above and W1 along the manifold below: the picture of manifold overfitting."""
    figure, axes = new_figure(len(curves), 2, width=3.6, height=2.5, sharex="col")
    for index, (name, records) in enumerate(curves.items()):
        likelihood, distance = axes[index], axes[len(curves) + index]
        look = series(index)
        for axis, key in ((likelihood, "log_likelihood"), (distance, "along_manifold_w1")):
            points = [(r["step"], r[key]) for r in records if key in r]
            if points:
                axis.plot(*zip(*points, strict=True), **look.line_kwargs())
        likelihood.set_title(name)
        distance.axhline(floor, color=DATA.color, linestyle=":", label="floor")
        distance.set(xlabel="training step", ylim=(0, None))
        if index == 0:
            likelihood.set_ylabel("log-likelihood\n(nats, held out)")
            distance.set_ylabel("sliced W1\nalong the manifold")
            distance.legend()
    return figure
