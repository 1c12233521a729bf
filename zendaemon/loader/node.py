"""A value of a file and where it stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import JsonValue

    from zendaemon.loader.report import Position

MAX_VALUES = 250_000
MAX_DEPTH = 100


@dataclass(slots=True, eq=False)
class Node:
    """A value and where it stands. `items` are the nodes of a mapping or list, `keys` the places of a mapping's keys.

    An alias is the node of its anchor itself, so that a value shows where it is written. `size` counts the values below
    as though aliases were written out, `height` their depth.
    """

    position: Position
    value: JsonValue
    items: dict[str, Node] | list[Node] | None = None
    keys: dict[str, Position] = field(default_factory=dict)
    size: int = 1
    height: int = 0

    def child(self, key: object) -> Node | None:
        if isinstance(self.items, dict):
            return self.items.get(key) if isinstance(key, str) else None
        if isinstance(self.items, list) and isinstance(key, int) and 0 <= key < len(self.items):
            return self.items[key]
        return None

    def mapping(self) -> dict[str, Node]:
        """The nodes of a mapping by key; of anything else none."""
        return self.items if isinstance(self.items, dict) else {}
