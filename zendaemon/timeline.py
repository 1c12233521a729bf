"""The last and the next 24 hours, counted by the minute, at most once a minute and for one asker at a time."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice
from threading import Lock
from typing import TYPE_CHECKING

from zendaemon.core.planning import unfolded
from zendaemon.core.shown import Timeline
from zendaemon.core.timeline import Tallies, expected, minute_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from zendaemon.core.schedule import Schedule
    from zendaemon.journal import Reader

SPAN = timedelta(hours=24)
KEPT = timedelta(minutes=1)
LIMIT = 100_000
"""Fire times that are reckoned from triggers, each way."""


class Timelines:
    """Called from any thread. Raises JournalError when the journal cannot be read."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._lock = Lock()
        self._made: tuple[object, Timeline] | None = None

    def get(
        self, schedules: Iterable[Schedule], ready: Mapping[str, datetime], now: datetime, version: object
    ) -> Timeline:
        """See core.timeline.expected. One of the same `version`, less than a minute old, is given again.

        So is an older one while another thread makes the next.
        """
        known = self._made
        if known is not None and known[0] is version and known[1].now <= now < known[1].now + KEPT:
            return known[1]
        if not self._lock.acquire(blocking=known is None) and known is not None:
            return known[1]
        try:
            if self._made is not known and self._made is not None:  # made while we waited
                return self._made[1]
            made = self._make(schedules, ready, now)
            self._made = version, made
            return made
        finally:
            self._lock.release()

    def _make(self, schedules: Iterable[Schedule], ready: Mapping[str, datetime], now: datetime) -> Timeline:
        past, whole = self._past(now)
        future = expected(schedules, ready, now, now + SPAN, LIMIT)
        return Timeline(
            now=now,
            past=past.shown(),
            future=future.minutes,
            complete=whole and future.until == now + SPAN,
            counted_until=future.until,
        )

    def _past(self, now: datetime) -> tuple[Tallies, bool]:
        """What the journal has, and whether that is all of it: its ranges may stand for any number of fires."""
        tallies = Tallies()
        for minute, state, count, names in self._reader.minutes(now - SPAN, now):
            tallies[minute].add(count, names, state)
        fires = iter(unfolded(self._reader.ranges(now - SPAN, now)))
        for fire in islice(fires, LIMIT):
            tallies[minute_of(fire.fire_time)].add(1, (fire.schedule,), fire.state)
        return tallies, next(fires, None) is None
