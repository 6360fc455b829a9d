"""What an examination gathers: facts about the data, findings about the models, and what to draw.

A `Report` is plain data; `submanifold.report` turns it into a page, JSON and PNGs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from submanifold.lens.finding import Finding

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Cell", "Cloud", "ModelCard", "Panel", "Report"]


@dataclass(frozen=True)
class Panel:
    """One figure of the report with a title and a caption that says how to read it."""

    name: str
    title: str
    caption: str
    draw: Callable[[], Figure] = field(repr=False)


@dataclass(frozen=True)
class Cloud:
    """One labelled set of points for the interactive view: `points` (n, 3), or (n, 2) for planar data."""

    label: str
    points: NDArray[np.float64] = field(repr=False)
    color_by: NDArray[np.int64] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Cell:
    """One answer in the table of models: "yes", "no" or "unclear", and the number that decides it."""

    answer: str
    standing: str
    detail: str


@dataclass(frozen=True)
class ModelCard:
    """What is said of one model: how it was trained, and whether it learned the manifold and the distribution on it."""

    name: str
    description: str
    learned_manifold: Cell
    learned_distribution: Cell
    findings: Sequence[Finding]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """The outcome of `submanifold.lens.examine`.

    Attributes:
        headline: the verdict in plain English, a few sentences.
        data_facts: name, n, D, labels, lattice and whatever else is known about the data, in the order to print.
        dimension: the intrinsic dimension, a `submanifold.dimension.DimensionEstimate`.
        cards: one per model, in the order examined.
        panels: the figures, in order.
        clouds: point sets of the interactive view: the data first.
        clouds_caption: how the interactive view was projected.
        settings: arguments, seed and versions: all that it takes to reproduce the numbers.
        seconds: wall-clock time by part.
    """

    title: str
    headline: Sequence[str]
    data_facts: Mapping[str, Any]
    dimension: Any
    cards: Sequence[ModelCard]
    panels: Sequence[Panel]
    clouds: Sequence[Cloud]
    clouds_caption: str
    settings: Mapping[str, Any]
    seconds: Mapping[str, float]

    def finding(self, model: str, name: str) -> Finding:
        """The finding `name` about `model`."""
        for card in self.cards:
            for finding in card.findings:
                if card.name == model and finding.name == name:
                    return finding
        raise KeyError(f"no finding {name!r} about {model!r} in this report")

    def save(self, path: str | Path) -> Path:
        """Write the report: `path` ending in .html, with report.json and PNGs beside it; return the page's path.

        Raises:
            OSError: if the folder cannot be written; files that were there before stay whole.
        """
        from submanifold.report.folder import write  # the page is made on request: findings need no renderer

        return write(self, path)
