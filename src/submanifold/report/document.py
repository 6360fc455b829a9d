"""The report as data: what the page says, as JSON for programs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from submanifold.lens.finding import Number

if TYPE_CHECKING:
    from submanifold.lens.outcome import Report

__all__ = ["SCHEMA", "plain", "to_json"]

SCHEMA = "submanifold.report/1"
"""Name and version of the layout; the version grows when a field changes its meaning or goes away."""


def plain(value: Any) -> Any:
    """`value` as JSON-able data: arrays become lists, numbers without a finite value become null."""
    if isinstance(value, Number):
        return value.to_json()
    if hasattr(value, "tolist"):  # NumPy scalars and arrays, tensors
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | bool | int):
        return value
    return str(value)


def to_json(report: Report) -> dict[str, Any]:
    """Everything in `report` but the pictures and the points, as JSON-able data with the version of its layout."""
    return {
        "schema": SCHEMA,
        "title": report.title,
        "headline": list(report.headline),
        "data": plain(report.data_facts),
        "dimension": None if report.dimension is None else plain(report.dimension.to_json()),
        "models": [
            {
                "name": card.name,
                "description": card.description,
                "learned_manifold": asdict(card.learned_manifold),
                "learned_distribution": asdict(card.learned_distribution),
                "facts": plain(card.facts),
                "findings": [finding.to_json() for finding in card.findings],
            }
            for card in report.cards
        ],
        "panels": [{"name": panel.name, "title": panel.title, "caption": panel.caption} for panel in report.panels],
        "settings": plain(report.settings),
        "seconds": plain(report.seconds),
    }
