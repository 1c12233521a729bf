"""How many fires each minute has: those to come from the triggers, counted once for all schedules that share one."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from heapq import heapify, heappop, heapreplace
from typing import TYPE_CHECKING

from zendaemon.core.shown import Minute

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from zendaemon.core.fire import FireState
    from zendaemon.core.schedule import Schedule
    from zendaemon.core.trigger import Trigger

NAMES = 5
"""Schedules that a minute names."""
MINUTE = timedelta(minutes=1)


def minute_of(instant: datetime) -> datetime:
    return instant.replace(second=0, microsecond=0)


@dataclass(slots=True)
class Tally:
    """What is counted for one minute."""

    states: dict[FireState, int] = field(default_factory=lambda: defaultdict(int))
    names: set[str] = field(default_factory=set)
    count: int = 0

    def add(self, count: int, names: Iterable[str], state: FireState | None = None) -> None:
        self.count += count
        self.names.update(names)
        if len(self.names) > NAMES:
            self.names = set(sorted(self.names)[:NAMES])
        if state is not None:
            self.states[state] += count


class Tallies:
    """Minutes by their beginning."""

    def __init__(self) -> None:
        self._minutes: dict[datetime, Tally] = defaultdict(Tally)

    def __getitem__(self, minute: datetime) -> Tally:
        return self._minutes[minute]

    def shown(self) -> tuple[Minute, ...]:
        return tuple(
            Minute(minute=minute, count=tally.count, states=dict(tally.states), schedules=tuple(sorted(tally.names)))
            for minute, tally in sorted(self._minutes.items())
        )


@dataclass(frozen=True, slots=True)
class Expected:
    """The fires to come. `until` is how far all were counted: the end, or the minute at which there were too many."""

    minutes: tuple[Minute, ...]
    until: datetime


def expected(
    schedules: Iterable[Schedule], ready: Mapping[str, datetime], now: datetime, end: datetime, limit: int
) -> Expected:
    """Fires to be started after `now` and before `end`: by their fire time and jitter, without those that are excluded.

    `ready` has the ends of pauses, before which nothing of a schedule is started. At most `limit` fire times are
    reckoned, however many schedules share each.
    """
    groups: dict[tuple[Trigger, timedelta, str, datetime], list[Schedule]] = defaultdict(list)
    for schedule in schedules:
        alone = schedule.name if schedule.exclude else ""
        groups[schedule.trigger, schedule.delay, alone, ready.get(schedule.name, now)].append(schedule)
    queue = [
        (start, order, together[0], len(together), tuple(sorted(schedule.name for schedule in together)[:NAMES]))
        for order, ((_, _, _, since), together) in enumerate(groups.items())
        if (start := _next(together[0], since)) is not None
    ]
    return _counted(queue, end, limit)


def _counted(queue: list[tuple[datetime, int, Schedule, int, tuple[str, ...]]], end: datetime, limit: int) -> Expected:
    """Takes the next start of all groups each time, so that every minute before the limit is complete."""
    heapify(queue)
    tallies = Tallies()
    reckoned = 0
    while queue and queue[0][0] < end:
        start, order, schedule, count, names = queue[0]
        if reckoned >= limit:
            return Expected(tallies.shown(), start)
        reckoned += 1
        tallies[minute_of(start)].add(count, names)
        following = _next(schedule, start)
        if following is None:
            heappop(queue)
        else:
            heapreplace(queue, (following, order, schedule, count, names))
    return Expected(tallies.shown(), end)


def _next(schedule: Schedule, after: datetime) -> datetime | None:
    """When it starts next after a start at `after`."""
    found = schedule.next_after(after - schedule.delay)
    return None if found is None else found + schedule.delay
