"""Which schedules depend on which: names that there are, and no circle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zendaemon.core.errors import Problem
from zendaemon.core.near import did_you_mean
from zendaemon.loader.places import Places

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from zendaemon.core.schedule import Schedule, ScheduleSet

_GUESSED = 10_000


def check_dependencies(schedules: ScheduleSet) -> Iterator[Problem]:
    """Every `depends_on` that names no schedule, and one problem for each circle, at its first name."""
    known = schedules.schedules
    depending = {name: schedule for name, schedule in known.items() if schedule.depends_on}
    places = Places(schedules)
    for name, schedule in depending.items():
        for other in schedule.depends_on:
            if other not in known:
                remedy = did_you_mean(other, known) if len(known) < _GUESSED else ""
                message = f"schedule {name!r} depends on {other!r}, which there is not"
                yield Problem(*places.of(name, "depends_on"), message, remedy or "name a schedule of any file")
    for circle in _circles(depending):
        way = " -> ".join((*circle, circle[0]))
        message = f"schedule {circle[0]!r} depends on itself: {way}"
        yield Problem(*places.of(circle[0], "depends_on"), message, "take one of them out of depends_on")


def _circles(depending: Mapping[str, Schedule]) -> Iterator[list[str]]:
    """Each circle once, from the first of its names on."""
    done: set[str] = set()
    for start in sorted(depending):
        way: list[str] = []
        branches = [iter([start])]
        while branches:
            name = next(branches[-1], None)
            if name is None:
                branches.pop()
                done.update(way[len(branches) - 1 :])
                del way[len(branches) - 1 :]
            elif name in way:
                circle = way[way.index(name) :]
                first = circle.index(min(circle))
                yield circle[first:] + circle[:first]
            elif name in depending and name not in done:
                way.append(name)
                branches.append(iter(depending[name].depends_on))
