"""Tables of an estimate of the dimension, by method, piece, class and cluster, for pages and the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from submanifold.lens.finding import Number
from submanifold.report.wording import estimate, number

if TYPE_CHECKING:
    from submanifold.dimension.result import DimensionEstimate, MethodEstimate

__all__ = ["Row", "Table", "dimension_tables"]


@dataclass(frozen=True)
class Row:
    """One number of a table.

    Attributes:
        name: what it is the dimension of.
        number: the dimension with its 95% interval.
        expected: what would agree with the consensus, if known.
        share: the part of all points it was made from, if it is a piece.
    """

    name: str
    number: Number
    expected: float | None = None
    share: float | None = None

    @property
    def expected_text(self) -> str:
        """`expected` with as many digits as the number has; empty without."""
        if self.expected is None:
            return ""
        return estimate(Number(self.expected, self.number.low, self.number.high))

    @property
    def share_text(self) -> str:
        """`share` in per cent; empty without."""
        return "" if self.share is None else f"{number(100 * self.share, 0)}%"


@dataclass(frozen=True)
class Table:
    """Rows of one kind: "Method", "Piece", "Class" or "Cluster"."""

    kind: str
    rows: tuple[Row, ...]

    @property
    def has_expected(self) -> bool:
        """Whether any row knows what would agree."""
        return any(row.expected is not None for row in self.rows)

    @property
    def has_shares(self) -> bool:
        """Whether any row is a part of the points."""
        return any(row.share is not None for row in self.rows)


def dimension_tables(found: DimensionEstimate) -> list[Table]:
    """The tables that `found` has: pieces, if any, come first, and there is no consensus then."""
    methods = [_row(name, one) for name, one in found.by_method.items()]
    tables = []
    if found.pieces:
        pieces = [
            Row(f"piece {index}", Number(piece.dimension, *piece.interval), share=piece.share)
            for index, piece in enumerate(found.pieces, start=1)
        ]
        tables.append(Table("Piece", tuple(pieces)))
    else:
        methods = [Row("consensus", Number(found.dimension, *found.interval)), *methods]
    tables.append(Table("Method", tuple(methods)))
    groups: tuple[tuple[str, Mapping[Any, MethodEstimate] | None], ...] = (
        ("Class", found.by_class),
        ("Cluster", found.by_cluster),
    )
    for kind, group in groups:
        if group:
            tables.append(Table(kind, tuple(_row(f"{kind.lower()} {label}", one) for label, one in group.items())))
    return tables


def _row(name: str, one: MethodEstimate) -> Row:
    return Row(name, Number(one.dimension, *one.interval), expected=one.expected)
