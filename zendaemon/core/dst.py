"""What a change of clocks does to fire times, said of a fire and told in advance."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from zendaemon.core.cron import Rule
from zendaemon.core.offsets import DAY, MINUTE, ORIGIN, first_change, offset_at
from zendaemon.core.trigger import matches, to_utc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from zendaemon.core.schedule import Schedule
    from zendaemon.core.trigger import Trigger

_DAY = timedelta(days=1)
_LISTED = 4


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a zone's offset, at `instant` (UTC)."""

    instant: datetime
    before: timedelta
    after: timedelta

    @property
    def size(self) -> timedelta:
        return abs(self.after - self.before)

    @property
    def forward(self) -> bool:
        return self.after > self.before

    @property
    def walls(self) -> tuple[datetime, datetime]:
        """The wall times that are skipped, or repeated: from, and until before."""
        one, other = sorted((self.before, self.after))
        wall = self.instant.replace(tzinfo=None)
        return wall + one, wall + other


def changes(timezone: str, after: datetime, until: datetime) -> Iterator[Change]:
    """The changes of a zone's offset in (`after`, `until`], in order."""
    for year in range(after.year, until.year + 1):
        yield from (change for change in _of_year(timezone, year) if after < change.instant <= until)


@lru_cache(maxsize=4096)
def _of_year(timezone: str, year: int) -> tuple[Change, ...]:
    zone = ZoneInfo(timezone)
    if zone.utcoffset(None) is not None or year >= date.max.year:
        return ()
    first, last = (date(begun, 1, 1).toordinal() - 1 for begun in (year, year + 1))
    found = (first_change(zone, day * DAY, day * DAY + DAY) for day in range(first, last))
    return tuple(
        Change(ORIGIN + MINUTE * minute, MINUTE * offset_at(zone, minute - 1), MINUTE * offset_at(zone, minute))
        for minute in found
        if minute is not None
    )


@lru_cache(maxsize=65_536)
def _rule(expression: str, name: str) -> Rule:
    return Rule(expression, name)


def touched(expression: str, name: str, change: Change) -> list[datetime]:
    """The wall times of an expression that a change skips, or repeats."""
    minute, end = map(_minute, change.walls)
    rule = _rule(expression, name)
    found = []
    while (match := rule.next_match(minute)) is not None and match < end:
        found.append(change.walls[0] + MINUTE * (match - _minute(change.walls[0])))
        minute = match + 1
    return found


def _minute(wall: datetime) -> int:
    """The number that `Rule` has for a wall time."""
    return (wall - ORIGIN.replace(tzinfo=None)) // MINUTE


def is_compensated(expression: str, name: str, change: Change) -> bool:
    """Whether fixed times are made up for, or not repeated: a fixed rule at a change of less than three hours."""
    return _rule(expression, name).makes_up((change.after - change.before) // MINUTE)


def note(schedule: Schedule, after: datetime, fire_time: datetime) -> str | None:
    """What changes of clocks did to a fire, given the instant that it was asked from; None where they did nothing."""
    notes = [found for at in schedule.at if (found := _note_of_time(at, schedule.timezone, fire_time))]
    return "; ".join(notes) or note_of_trigger(schedule.trigger, after, fire_time, schedule.excludes)


def note_of_trigger(
    trigger: Trigger, after: datetime, fire_time: datetime, excludes: Callable[[datetime], bool] | None = None
) -> str | None:
    """As `note`, of cron expressions: times that were skipped on the way to this fire, or that occur twice."""
    if not trigger.cron:
        return None
    passed = [change for change in changes(trigger.timezone, after, fire_time) if change.forward]
    near = changes(trigger.timezone, fire_time - _DAY, fire_time + _DAY)
    repeated = [change for change in near if not change.forward and _within(fire_time, change)]
    notes = []
    for expression in trigger.cron:
        for change in passed:
            bounded = trigger.start is None or change.instant >= trigger.start
            if bounded and not (excludes and excludes(change.instant)):
                notes.append(_note_of_gap(expression, trigger, change, fire_time))
        if repeated and matches(expression, trigger.timezone, trigger.name, fire_time):
            notes += [_note_of_overlap(expression, trigger.name, change, fire_time) for change in repeated]
    return "; ".join(dict.fromkeys(filter(None, notes))) or None


def _within(fire_time: datetime, change: Change) -> bool:
    return change.instant - change.size <= fire_time < change.instant + change.size


def _note_of_gap(expression: str, trigger: Trigger, change: Change, fire_time: datetime) -> str | None:
    walls = touched(expression, trigger.name, change)
    if not walls:
        return None
    forward = change.walls[1]
    local = fire_time.replace(tzinfo=None) + change.after
    missing = f"{said(walls)} {'does' if len(walls) == 1 else 'do'} not exist on {_day(walls[0], local)}"
    if not is_compensated(expression, trigger.name, change):
        return f"{missing}: no fire"
    if fire_time != change.instant:
        return None
    fires = "fires" if len(walls) == 1 else "one fire for all"
    merged = _rule(expression, trigger.name).next_match(_minute(forward)) == _minute(forward)
    with_it = f", as one with {forward:%H:%M} itself" if merged else ""
    return f"{missing}: {fires} at {forward:%H:%M}, when the clock is set forward{with_it}"


def _note_of_overlap(expression: str, name: str, change: Change, fire_time: datetime) -> str:
    first = fire_time < change.instant
    twice = f"{fire_time.replace(tzinfo=None) + (change.before if first else change.after):%H:%M} occurs twice"
    if is_compensated(expression, name, change):
        return f"{twice}: fires on the first pass"
    return f"{twice}: fires on both passes, this is the {'first' if first else 'second'}"


def _note_of_time(at: date, timezone: str, fire_time: datetime) -> str | None:
    """What became of a local time of `at`."""
    if not isinstance(at, datetime) or at.tzinfo is not None or to_utc(at, timezone) != fire_time:
        return None
    zone = ZoneInfo(timezone)
    local = fire_time.astimezone(zone).replace(tzinfo=None)
    if local != at:
        return f"{at:%H:%M} does not exist on {_day(at, local)}: fires at {local:%H:%M}"
    first, second = (at.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
    return f"{at:%H:%M} occurs twice: fires on the first pass" if first != second else None


def _day(wall: datetime, seen: datetime) -> str:
    return "that day" if wall.date() == seen.date() else f"{wall:%Y-%m-%d}"


def said(walls: list[datetime]) -> str:
    """Wall times in words: a few by name, many by their ends."""
    texts = [f"{wall:%H:%M}" for wall in walls]
    if len(texts) > _LISTED:
        return f"{len(texts)} times from {texts[0]} to {texts[-1]}"
    return f"{', '.join(texts[:-1])} and {texts[-1]}" if len(texts) > 1 else texts[0]
