"""When a schedule fires: the one rule behind `cron`, `every` and `at`, with its bounds and its delay."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from zendaemon.core.cron import Cron, Rule

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND, _MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def to_utc(when: date, timezone: str) -> datetime:
    """A date (its midnight), local time or aware instant of a file as an aware UTC instant.

    A local time that the clock skips is read with the offset before the change, so 02:30 becomes 03:30; one that
    occurs twice means its first occurrence (RFC 5545, 3.3.5).
    """
    if not isinstance(when, datetime):
        when = datetime(when.year, when.month, when.day)  # noqa: DTZ001 - a wall time on purpose
    if when.tzinfo is None:
        when = when.replace(tzinfo=ZoneInfo(timezone))
    return when.astimezone(UTC)


@lru_cache(maxsize=65_536)
def _cron(expression: str, timezone: str, name: str) -> Cron:
    return Cron(expression, timezone, name)


@dataclass(frozen=True, slots=True)
class Trigger:
    """A calendar rule. Equal triggers have the same fire times, so they share one timer.

    Exactly one of `cron`, `every` and `at` is set. `start` and `end` are UTC: no fire before `start`, none at or after
    `end`. `every` counts from `start`, else from the epoch, so that restarts and replicas agree.
    """

    timezone: str = "UTC"
    cron: tuple[str, ...] = ()
    every: timedelta | None = None
    at: tuple[datetime, ...] = ()
    start: datetime | None = None
    end: datetime | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if not any("H" in expression.upper() for expression in self.cron):
            object.__setattr__(self, "name", "")

    @property
    def shortest(self) -> timedelta:
        """No two fire times are closer to each other; zero where that cannot be told."""
        return self.every or (_MINUTE if self.cron else timedelta())

    def next_after(self, instant: datetime) -> datetime | None:
        """The first fire time strictly after `instant` (aware), in UTC; None when there is none."""
        if self.start is not None and instant < self.start:
            instant = self.start - timedelta(microseconds=1)
        found = self._unbounded(instant)
        if found is None or (self.end is not None and found >= self.end):
            return None
        return found

    def _unbounded(self, instant: datetime) -> datetime | None:
        if self.every is not None:
            anchor = self.start or EPOCH
            return anchor + ((instant - anchor) // self.every + 1) * self.every
        if self.at:
            return min((at for at in self.at if at > instant), default=None)
        crons = (_cron(expression, self.timezone, self.name) for expression in self.cron)
        return min((found for cron in crons if (found := cron.next_after(instant))), default=None)

    def last_until(self, instant: datetime, *, after: datetime) -> datetime | None:
        """The last fire time in (`after`, `instant`], in a number of steps that grows with the logarithm of the gap."""
        low = self.next_after(after)
        if low is None or low > instant:
            return None
        step = _SECOND
        while (probe := instant - step) > low:
            found = self.next_after(probe)
            if found is not None and found <= instant:
                low = found
                break
            step *= 4
        while (later := self.next_after(low)) is not None and later <= instant:
            low = later
        return low


def rule_of(expression: str, timezone: str, name: str) -> Rule:
    """The calendar of a cron expression."""
    return _cron(expression, timezone, name).rule


def matches(expression: str, timezone: str, name: str, instant: datetime) -> bool:
    """Whether a cron expression names the minute of `instant`."""
    minute = instant.astimezone(UTC).replace(second=0, microsecond=0)
    return _cron(expression, timezone, name).next_after(minute - _SECOND) == minute
