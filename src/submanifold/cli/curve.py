"""The dimension against scale, drawn with characters: one row a scale, legible without colour."""

from __future__ import annotations

import math
import textwrap

import numpy as np

from submanifold.dimension.result import DimensionEstimate

__all__ = ["curve_lines"]

_MOST_ROWS = 24
_LEFT, _RIGHT = 28, 10  # columns of the numbers, and of the words
_NARROWEST = 12
_KEY = "Dimension by scale:  ● corrected  ─ 95% interval  ○ as it is read"


def curve_lines(found: DimensionEstimate, width: int = 80) -> list[str]:
    """The scale curve as lines of at most `width` characters (60 or more): a key, one row for each scale, and an axis.

    In a row ● is the estimate corrected for n and k, ─ its 95% interval, ○ the maximum likelihood estimate as it is
    read, and ┊ the consensus. Scales that see noise and those of the plateau are named at the right, as is the scale
    at which the consensus was read.
    """
    curve = found.scale_curve
    room = max(width - _LEFT - _RIGHT, _NARROWEST)
    rows = _rows_shown(found)
    top = _top(found, rows)
    words = _words(found)
    key = _KEY if found.pieces else f"{_KEY}  ┊ consensus"
    lines = [*textwrap.wrap(key, width), f"{'k':>7}{'radius':>10}{'dimension':>10}"]
    for row in rows:
        numbers = f"{curve.ks[row]:>7,}{_digits(curve.radii[row]):>10}{_fixed(curve.calibrated[row]):>10} "
        lines.append(f"{numbers:<{_LEFT}}{_plot(found, row, top, room)}{words[row]}".rstrip())
    lines.append(" " * _LEFT + _axis(top, room).rstrip())
    return lines


def _rows_shown(found: DimensionEstimate) -> list[int]:
    """Positions in the curve that get a row: at even steps, with the ends of the plateau and the scale read."""
    curve = found.scale_curve
    count = len(curve.ks)
    kept = set(np.linspace(0, count - 1, min(count, _MOST_ROWS - 3)).round().astype(int).tolist())
    return sorted(kept | {curve.start, curve.stop - 1, _read_at(found)})


def _read_at(found: DimensionEstimate) -> int:
    return int(np.argmin(np.abs(found.scale_curve.ks - found.reading.k)))


def _top(found: DimensionEstimate, rows: list[int]) -> float:
    """The right end of the axis: on a lattice the curve starts at infinity, which must not flatten the rest."""
    values = [*found.scale_curve.calibrated[rows], *found.scale_curve.dimension[rows], found.largest]
    finite = [float(value) for value in values if math.isfinite(value)]
    most = math.inf if found.ambient_dim is None else 2.0 * found.ambient_dim
    return 1.1 * min(max(finite, default=1.0), most)


def _plot(found: DimensionEstimate, row: int, top: float, room: int) -> str:
    curve = found.scale_curve
    cells = [" "] * room

    def at(value: float) -> int:
        return min(round(value / top * (room - 2)), room - 1) if math.isfinite(value) else room - 1

    if not found.pieces:
        cells[at(found.dimension)] = "┊"
    value, error = float(curve.calibrated[row]), float(curve.relative_error[row])
    if math.isfinite(error):
        spread = math.exp(min(1.96 * error, 5.0))
        first, last = at(value / spread), at(value * spread)
        cells[first : last + 1] = "─" * (last + 1 - first)
    cells[at(float(curve.dimension[row]))] = "○"
    cells[at(value)] = "●" if value <= top else "→"
    return "".join(cells)


def _words(found: DimensionEstimate) -> list[str]:
    """What is said at the right of each row."""
    curve = found.scale_curve
    words = ["" for _ in curve.ks]
    for row in range(len(words)):
        if row < curve.start or not curve.flat:
            words[row] = "▒ noise"
        elif row < curve.stop:
            words[row] = "█ plateau"
    if not found.pieces:
        row = _read_at(found)
        words[row] = f"{words[row][:1]:<1} ◀ read" if words[row] else "  ◀ read"
    return words


def _axis(top: float, room: int) -> str:
    """Round numbers under the plot."""
    step = 10.0 ** math.floor(math.log10(top / 2))
    step = next(step * factor for factor in (1, 2, 5, 10) if top / (step * factor) <= 6)
    axis = [" "] * (room + 6)
    for tick in np.arange(0, top, step):
        text = f"{tick:g}"
        place = round(tick / top * (room - 2))
        axis[place : place + len(text)] = text
    return "".join(axis)[:room]


def _fixed(value: float) -> str:
    """Two decimals, so that a column is easily compared; a sign for what is beyond all dimensions."""
    return f"{value:.2f}" if value < 1e4 else "∞"


def _digits(value: float) -> str:
    return f"{value:.3g}" if value < 1000 or value >= 1e6 else f"{value:.0f}"
