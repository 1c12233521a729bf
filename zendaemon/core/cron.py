"""When a cron expression fires: Debian's cron (package cron, 3.0pl1) in an IANA zone, with `L`, `W`, `#` and `H`.

Everything is counted in whole minutes since 0001-01-01. A *minute* is UTC, a *wall* minute is what a clock in the
zone shows, and the two differ by the zone's offset. `Rule` knows the calendar and only sees walls; `Cron` knows the
zone and leads from minutes to walls and back, as the main loop of Debian's cron.c does with its virtual time.
"""

from __future__ import annotations

import re
from calendar import isleap
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from zendaemon.core.errors import CronError
from zendaemon.core.fields import values
from zendaemon.core.near import did_you_mean
from zendaemon.core.offsets import DAY, LAST, MINUTE, ORIGIN, first_change, offset_at

_LAST_DAY = date.max.toordinal()
_HORIZON = 50 * 366 * DAY  # dates of the Gregorian calendar that come back at all do so within 40 years
_2000 = date(2000, 1, 1).toordinal()
_LARGE = 3 * 60  # minutes
_LENGTHS = (0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_HASHED = re.compile(r"(?<![a-z])h(?![a-z])", re.IGNORECASE)  # not that of THU or @hourly
_WEEKLY = sum(1 << day for day in range(0, 31, 7))  # every seventh day of a month


def _nearest_weekday(day: int, first: int, length: int) -> int:
    """The weekday nearest to `day` without leaving the month."""
    match (first + day - 1) % 7:
        case 0:
            return day + 1 if day < length else day - 2
        case 6:
            return day - 1 if day > 1 else 3
    return day


class Rule:
    """The calendar of an expression: which wall minutes it names."""

    __slots__ = ("_masks", "_months", "_times", "_values")

    def __init__(self, expression: str, seed: str) -> None:
        self._values = says = values(expression, seed)
        minutes = sum(1 << minute for minute in says.minutes)
        self._times = sum(minutes << 60 * hour for hour in says.hours)
        self._months = frozenset(says.months)
        self._masks: dict[int, int] = {}
        if self._next_day(_2000) is None:  # from there on, every kind of month comes within 28 years
            _, _, dom, month, dow = says.texts
            days = f'day-of-month "{dom}", month "{month}" and day-of-week "{dow}"'
            raise CronError(f"{days} never meet", hint="this would never fire; for the last day of a month use L")

    @property
    def hashed(self) -> bool:
        return self._values.hashed

    @property
    def wildcard(self) -> bool:
        return self._values.wildcard

    def makes_up(self, shift: int) -> bool:
        """Whether a change by so many minutes is made up for: skipped times fire, and repeated ones fire once.

        Only of fixed rules, and for less than three hours, told as cron.c does: after a minute has passed as well.
        """
        return not self._values.wildcard and -_LARGE <= shift < _LARGE

    def _mask(self, first: int, length: int) -> int:
        """The matching days, as bits, of a month of `length` days that begins on weekday `first` (0 is Sunday)."""
        key = first << 5 | length
        if (known := self._masks.get(key)) is not None:
            return known
        inside = (2 << length) - 2
        says = self._values
        by_date = sum(1 << day for day in says.days)
        for day, nearest in says.special_days:
            if day <= length:
                by_date |= 1 << (_nearest_weekday(day or length, first, length) if nearest else day or length)
        by_week = sum(_WEEKLY << (day - first) % 7 + 1 for day in says.weekdays)
        for weekday, nth in says.special_weekdays:
            start = (weekday - first) % 7 + 1
            by_week |= 1 << (start + 7 * (nth - 1) if nth else start + (length - start) // 7 * 7)
        self._masks[key] = mask = (by_date | by_week if says.either else by_date & by_week) & inside
        return mask

    def _next_day(self, ordinal: int) -> int | None:
        """The first matching day from `ordinal` on, within the horizon."""
        if ordinal > _LAST_DAY:
            return None
        day = date.fromordinal(ordinal)
        year, month, skip = day.year, day.month, day.day
        before = ordinal - skip  # the day before the month
        end = min(ordinal + _HORIZON // DAY, _LAST_DAY)
        while before < end:
            length = 29 if month == 2 and isleap(year) else _LENGTHS[month]
            if month in self._months and (rest := self._mask((before + 1) % 7, length) >> skip):
                return before + skip + (rest & -rest).bit_length() - 1
            before, skip = before + length, 1
            year, month = (year, month + 1) if month < 12 else (year + 1, 1)
        return None

    def minutes_of(self, day: date) -> int:
        """The wall minutes of a day that match, as bits."""
        length = 29 if day.month == 2 and isleap(day.year) else _LENGTHS[day.month]
        matching = day.month in self._months and self._mask(day.replace(day=1).isoweekday() % 7, length)
        return self._times if matching >> day.day & 1 else 0

    def next_match(self, wall: int) -> int | None:
        """The first matching wall minute from `wall` on."""
        today, time = divmod(max(wall, 0), DAY)
        day = self._next_day(today + 1)
        if day == today + 1:
            if later := self._times >> time:
                return today * DAY + time + (later & -later).bit_length() - 1
            day = self._next_day(today + 2)
        return None if day is None else (day - 1) * DAY + (self._times & -self._times).bit_length() - 1


@lru_cache(maxsize=65_536)
def _parsed(expression: str, seed: str) -> Rule:
    return Rule(expression, seed)


def _rule(expression: str, seed: str) -> Rule:
    """The rule of an expression, read once however many schedules have it; `H` asks for their names."""
    return _parsed(expression, seed if _HASHED.search(expression) else "")


def _zone(key: str) -> ZoneInfo:
    try:
        return ZoneInfo(key)
    except (KeyError, ValueError, OSError):
        hint = did_you_mean(key, available_timezones()) or "use an IANA name, as in Europe/Berlin"
        raise CronError(f'timezone "{key[:60]}" is unknown', hint=hint) from None


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression in a zone. Equal by expression and zone, and by name where `H` makes the name matter."""

    expression: str
    timezone: str = "UTC"
    name: str = field(default="", compare=False)
    _seed: str = field(init=False, repr=False)
    _rule: Rule = field(init=False, repr=False, compare=False)
    _tz: ZoneInfo = field(init=False, repr=False, compare=False)
    _fixed: int | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        rule, tz = _rule(self.expression, self.name), _zone(self.timezone)
        always = tz.utcoffset(None)  # None where the offset changes
        object.__setattr__(self, "expression", " ".join(self.expression.split()))
        object.__setattr__(self, "_rule", rule)
        object.__setattr__(self, "_seed", self.name if rule.hashed else "")
        object.__setattr__(self, "_tz", tz)
        object.__setattr__(self, "_fixed", None if always is None else always // MINUTE)

    @property
    def rule(self) -> Rule:
        """Its calendar, which knows no zone."""
        return self._rule

    def next_after(self, instant: datetime) -> datetime | None:
        """The first fire time after `instant`, in UTC; None when there is none within 50 years or before year 10000."""
        if instant.utcoffset() is None:
            raise ValueError(f"{instant} has no time zone; ask with an aware datetime")
        asked = max((instant - ORIGIN) // MINUTE, 0)
        if self._fixed is None:
            found = self._search(asked)
        else:
            match = self._rule.next_match(asked + self._fixed + 1)
            found = None if match is None else match - self._fixed
        return ORIGIN + MINUTE * found if found is not None and found <= LAST else None

    def _search(self, minute: int) -> int | None:
        """The first firing minute after `minute`, in a zone whose offset changes.

        cron.c keeps a virtual time, the wall minute up to which fixed rules have run. A forward change of less than
        3 hours runs what virtual time has to catch up on at the instant of the change; after a backward one of up to
        3 hours it waits for the wall to come past it again. Wildcard rules, and all at larger changes, follow the wall.
        """
        rule, offset = self._rule, offset_at(self._tz, minute)
        end = minute + _HORIZON
        match = rule.next_match(self._virtual(minute, offset) + 1)
        while match is not None and (found := match - offset) <= end:
            # Far from the match, a day is enough to look at: later changes do not lead back before `minute`.
            near = found <= minute + 2 * DAY
            change = first_change(self._tz, minute, found if near else minute + DAY)
            if change is None:
                if near:
                    return found
                minute = found - DAY
                offset = offset_at(self._tz, minute)
                continue
            before, offset, minute = offset, offset_at(self._tz, change), change
            if not rule.makes_up(offset - before):
                match = rule.next_match(change + offset)
            elif match <= change + offset:
                return change
        return None

    def _virtual(self, minute: int, offset: int) -> int:
        """The wall minute that has been dealt with: for a fixed rule in a repeated hour, the end of its first pass."""
        wall = minute + offset
        earlier = minute - DAY
        before = offset_at(self._tz, earlier)
        if before == offset or not self._rule.makes_up(offset - before):
            return wall
        change = first_change(self._tz, earlier, minute)
        if change is None:
            return wall
        return max(wall, change - 1 + before)
