"""The verdict of an examination in plain English."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from submanifold.data.dataset import Dataset
from submanifold.lens.outcome import ModelCard

__all__ = ["headline"]

_LEARNED = {
    ("yes", "yes"): "learned both the manifold and the distribution on it",
    ("yes", "no"): "learned the manifold but not the distribution on it",
    (
        "no",
        "yes",
    ): "learned how the data are distributed along the manifold, but its samples lie off it",
    ("no", "no"): "learned neither the manifold nor the distribution on it",
}


def headline(data: Dataset, dimension: Any, cards: Sequence[ModelCard]) -> list[str]:
    """A few sentences: the dimension, what each model learned, what the repair gained."""
    low, high = dimension.interval
    sentences = [
        f"{data.name}: {len(data):,} points in {data.ambient_dim} dimensions lie near a manifold of about "
        f"{dimension.dimension:.1f} dimensions (95% interval {low:.1f} to {high:.1f})."
    ]
    sentences += [_sentence(card) for card in cards]
    for card in cards:
        for finding in card.findings:
            if finding.name == "repair":
                sentences.append(f"Repairing the {card.name}: {finding.summary}")
    return sentences


def _sentence(card: ModelCard) -> str:
    answers = (card.learned_manifold.answer, card.learned_distribution.answer)
    if answers in _LEARNED:
        text = f"The {card.name} {_LEARNED[answers]}"
    else:
        known = [
            f"{'learned' if answer == 'yes' else 'did not learn'} {what}"
            for answer, what in zip(answers, ("the manifold", "the distribution on it"), strict=True)
            if answer != "unclear"
        ]
        unknown = [
            what
            for answer, what in zip(answers, ("the manifold", "the distribution on it"), strict=True)
            if answer == "unclear"
        ]
        text = f"The {card.name} " + "; ".join([*known, f"whether it learned {' and '.join(unknown)} is unclear"])
    overfitting = next((f for f in card.findings if f.name == "manifold_overfitting"), None)
    if overfitting is not None and overfitting.verdict == "overfitting":
        text += ": manifold overfitting, so its likelihood must not be trusted"
    return text + "."
