"""What is said about training that cannot go on."""

from __future__ import annotations

from submanifold.training.overfitting import Rise
from submanifold.training.settings import Settings

__all__ = ["divergence_message"]


def divergence_message(
    stage: str, step: int, reason: Exception, last_loss: float | None, rise: Rise | None, settings: Settings
) -> str:
    """What happened in step number `step`, and what to do about it, in one sentence."""
    what = str(reason).splitlines()[0]
    before = "there was no finite loss before" if last_loss is None else f"the last finite loss was {last_loss:.4g}"
    advice = (
        f"lower learning_rate (now {settings.learning_rate:g}) or clip (now {settings.clip}), "
        "or give the model preprocessing that brings the data to unit scale"
    )
    story = advice if rise is None else f"before that, {rise}"
    return f"training diverged in stage {stage!r} at step {step}: {what}; {before}; {story}"
