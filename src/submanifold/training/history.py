"""What happened during training, one record per evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from submanifold.checks import nearest_match
from submanifold.errors import InvalidInput

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["History", "Record"]

Record = dict[str, Any]
"""One evaluation: "stage" and "step", "loss" (mean over the steps since the last evaluation), "held_out_loss",
"learning_rate", "gradient_norm", "seconds" since the start, and whatever the loss and callbacks add."""


@dataclass(frozen=True)
class History:
    """The course of a fit.

    Attributes:
        records: one mapping per evaluation, in order; see `Record`.
        stopped: why training ended: "finished", or where it stopped early.
        seconds: wall-clock time, summed over the sessions of a resumed run.
    """

    records: list[Record] = field(repr=False)
    stopped: str = "finished"
    seconds: float = 0.0

    @property
    def stages(self) -> list[str]:
        """Names of the stages, in order."""
        return list(dict.fromkeys(record["stage"] for record in self.records))

    def column(self, name: str, *, stage: str | None = None) -> NDArray[np.float64]:
        """The values of `name` over the evaluations (of one stage), (m,); NaN where it was not recorded.

        Raises:
            InvalidInput: no record has that name, or there is no such stage.
        """
        if stage is not None and stage not in self.stages:
            raise InvalidInput(f"stage={stage!r} is unknown: {nearest_match(stage, self.stages)}")
        rows = [record for record in self.records if stage is None or record["stage"] == stage]
        known = {key for row in rows for key in row if key != "stage"}
        if name not in known:
            raise InvalidInput(f"name={name!r} is not recorded: {nearest_match(name, known)}")
        return np.array([row.get(name, np.nan) for row in rows], dtype=np.float64)

    def figure(self) -> Figure:
        """Training and held-out loss against the step, one panel per stage."""
        from submanifold.plotting import new_figure, series, style

        stages = [s for s in self.stages if any("loss" in r for r in self.records if r["stage"] == s)]
        figure, axes = new_figure(max(len(stages), 1))
        with style():
            for axis, stage in zip(axes, stages, strict=False):
                steps = self.column("step", stage=stage)
                for index, (name, label) in enumerate([("loss", "training"), ("held_out_loss", "held out")]):
                    if any(name in r for r in self.records if r["stage"] == stage):
                        values = self.column(name, stage=stage)
                        axis.plot(steps, values, label=label, **series(index).line_kwargs())
                axis.set(title=f"stage {stage!r}", xlabel="step", ylabel="loss")
                axis.legend()
        return figure
