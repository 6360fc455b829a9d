"""The verdict of an examination in plain English."""

from __future__ import annotations

from collections.abc import Sequence

from submanifold.data.dataset import Dataset
from submanifold.dimension.result import DimensionEstimate
from submanifold.dimension.wording import verdict
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

_CLAUSE = {"yes": "learned", "no": "did not learn", "unclear": "may or may not have learned"}


def headline(data: Dataset, dimension: DimensionEstimate, cards: Sequence[ModelCard]) -> list[str]:
    """A few sentences: the dimension, what each model learned, what the repair gained."""
    sentences = [verdict(dimension, data.name, len(data))]
    sentences += [_sentence(card) for card in cards]
    for card in cards:
        for finding in card.findings:
            if finding.name == "repair":
                sentences.append(f"Repairing the {card.name}: {finding.summary}")
    return sentences


def _sentence(card: ModelCard) -> str:
    answers = (card.learned_manifold.answer, card.learned_distribution.answer)
    if answers in _LEARNED:
        text = f"The {card.name} {_LEARNED[answers]}."
    else:
        parts = zip(answers, ("the manifold", "the distribution on it"), strict=True)
        text = f"The {card.name} " + ", and ".join(f"{_CLAUSE[answer]} {what}" for answer, what in parts) + "."
    if any(f.name == "manifold_overfitting" and f.verdict == "overfitting" for f in card.findings):
        text += " This is manifold overfitting: its likelihood must not be trusted."
    return text
