"""Names for things: one table per kind (models, manifolds, estimators)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from submanifold.checks import nearest_match
from submanifold.errors import InvalidInput

__all__ = ["Registry"]

T = TypeVar("T")


class Registry(Generic[T]):
    """A table from name to factory; `kind` is the word used in messages ("model", "manifold")."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._table: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """A decorator that enters a class or function under `name`."""

        def enter(item: T) -> T:
            if name in self._table:
                raise KeyError(f"{self.kind} {name!r} is registered twice")
            self._table[name] = item
            return item

        return enter

    def __getitem__(self, name: str) -> T:
        if name not in self._table:
            raise InvalidInput(f"{self.kind} {name!r} is unknown: {nearest_match(str(name), self._table)}")
        return self._table[name]

    def __contains__(self, name: object) -> bool:
        return name in self._table

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._table))

    def items(self) -> list[tuple[str, T]]:
        """Name and item of every entry, sorted by name."""
        return sorted(self._table.items())

    def name_of(self, item: object) -> str:
        """The name under which `item` (a registered class) was entered."""
        for name, known in self._table.items():
            if known is item:
                return name
        raise InvalidInput(f"{item!r} is not a registered {self.kind}: known are {', '.join(self)}")
