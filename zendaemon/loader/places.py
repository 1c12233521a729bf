"""Where a key of a schedule stands, for what is said of schedules after loading.

The loader keeps the place of a schedule's name alone; a file is read again when more is asked, which is seldom.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zendaemon.loader.files import read
from zendaemon.loader.report import Position, Report, Stop
from zendaemon.loader.schedules import overlay
from zendaemon.loader.tree import parse

if TYPE_CHECKING:
    from zendaemon.core.schedule import ScheduleSet
    from zendaemon.loader.node import Node


class Places:
    """The places of the keys of a schedule set, as long as its files are as they were."""

    def __init__(self, schedules: ScheduleSet) -> None:
        self._places = schedules.places
        self._roots: dict[str, Node | None] = {}

    def of(self, name: str, key: str) -> tuple[str, int, int]:
        """File, line and column of a key, in the defaults if it is from there; of the name where it is not found."""
        place = self._places[name]
        line, column = self._position(place.file, name, key) or (place.line, 1)
        return place.file, line, column

    def _position(self, file: str, name: str, key: str) -> Position | None:
        if file not in self._roots:
            self._roots[file] = _root(file)
        root = self._roots[file]
        schedules = root.child("schedules") if root else None
        own = schedules.child(name) if schedules else None
        if root is None or schedules is None or own is None:
            return None
        defaults = root.child("defaults")
        keys = own.keys if defaults is None else overlay(defaults, own).keys
        return keys.get(key) or schedules.keys[name]


def _root(file: str) -> Node | None:
    try:
        return parse(read(file), Report(file), quick=True)
    except (OSError, Stop):
        return None
