"""The days on which an event of a calendar recurs: RFC 5545's RRULE, from FREQ=DAILY up, in bounded time.

The general libraries look for the next day without end (31 February) and from the very beginning (1601). Here every
day that is looked at is counted, and days before the span that is asked for are passed over wherever no COUNT is.
"""

from __future__ import annotations

from calendar import isleap, monthrange
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_DAY = timedelta(days=1)


class TooMuchWork(Exception):
    """More days to look at than were granted."""


class Frequency(StrEnum):
    DAILY = "DAILY"
    WEEKLY = "WEEKLY"
    MONTHLY = "MONTHLY"
    YEARLY = "YEARLY"


@dataclass(slots=True)
class Budget:
    """How many days may still be looked at, over all events of a file."""

    days: int

    def spend(self, days: int) -> None:
        self.days -= days
        if self.days < 0:
            raise TooMuchWork


@dataclass(frozen=True, slots=True)
class Recurrence:
    """An RRULE. `weekdays` are (which, Monday = 0), where 2 is the second, -1 the last and 0 each one."""

    frequency: Frequency
    interval: int = 1
    count: int | None = None
    until: date | None = None
    months: frozenset[int] = frozenset()
    month_days: frozenset[int] = frozenset()
    year_days: frozenset[int] = frozenset()
    weekdays: frozenset[tuple[int, int]] = frozenset()
    positions: frozenset[int] = frozenset()
    week_start: int = 0

    def days(self, start: date, begin: date, end: date, budget: Budget) -> Iterator[date]:
        """Its days from `begin` until before `end`; `start` itself is always one. Raises TooMuchWork."""
        if begin <= start < end:
            yield start
        found = 1
        if self.until is not None:
            end = min(end, self.until + _DAY)
        rule = self._completed(start)
        first = rule.period_of(start, max(begin, start)) if rule.count is None else 0
        for index in count(first):
            low, high = rule.period(start, index * rule.interval)
            if low >= end.toordinal():
                return
            for day in rule.chosen(low, high, budget):
                if day <= start:
                    continue
                found += 1
                if day >= end or (rule.count is not None and found > rule.count):
                    return
                if day >= begin:
                    yield day

    def _completed(self, start: date) -> Recurrence:
        """With what the rule leaves open taken from the event's first day, as the RFC has it."""
        if self.month_days or self.year_days or self.weekdays or self.frequency is Frequency.DAILY:
            return self
        if self.frequency is Frequency.WEEKLY:
            return replace(self, weekdays=frozenset({(0, start.weekday())}))
        if self.frequency is Frequency.YEARLY and not self.months:
            return replace(self, months=frozenset({start.month}), month_days=frozenset({start.day}))
        return replace(self, month_days=frozenset({start.day}))

    def period_of(self, start: date, day: date) -> int:
        """The number of the last period that counts, by the interval, and begins no later than that of `day`."""
        match self.frequency:
            case Frequency.DAILY:
                periods = day.toordinal() - start.toordinal()
            case Frequency.WEEKLY:
                periods = (self._week(day) - self._week(start)) // 7
            case Frequency.MONTHLY:
                periods = (day.year - start.year) * 12 + day.month - start.month
            case Frequency.YEARLY:
                periods = day.year - start.year
        return periods // self.interval

    def period(self, start: date, offset: int) -> tuple[int, int]:
        """The ordinals of the first day of a period and of the first one after it."""
        match self.frequency:
            case Frequency.DAILY:
                return start.toordinal() + offset, start.toordinal() + offset + 1
            case Frequency.WEEKLY:
                low = self._week(start) + 7 * offset
                return low, low + 7
            case Frequency.MONTHLY:
                months = start.year * 12 + start.month - 1 + offset
                return _month(months), _month(months + 1)
            case Frequency.YEARLY:
                return _month((start.year + offset) * 12), _month((start.year + offset + 1) * 12)

    def _week(self, day: date) -> int:
        return day.toordinal() - (day.weekday() - self.week_start) % 7

    def chosen(self, low: int, high: int, budget: Budget) -> list[date]:
        """The days of one period."""
        spans = [(low, high)]
        if self.frequency is Frequency.YEARLY and self.months:
            year = date.fromordinal(low).year * 12
            spans = [(_month(year + month - 1), _month(year + month)) for month in sorted(self.months)]
        budget.spend(sum(end - begin for begin, end in spans))
        days = [date.fromordinal(number) for begin, end in spans for number in range(begin, end)]
        days = [day for day in days if self._has(day)]
        if not self.positions:
            return days
        return [day for place, day in enumerate(days) if {place + 1, place - len(days)} & self.positions]

    def _has(self, day: date) -> bool:
        if self.months and day.month not in self.months:
            return False
        if self.month_days and not {day.day, day.day - _length(day) - 1} & self.month_days:
            return False
        if self.year_days:
            number, length = day.timetuple().tm_yday, 366 if isleap(day.year) else 365
            if not {number, number - length - 1} & self.year_days:
                return False
        return not self.weekdays or any(self._is(which, weekday, day) for which, weekday in self.weekdays)

    def _is(self, which: int, weekday: int, day: date) -> bool:
        """Whether `day` is such a weekday, the n-th of its month or, in a yearly rule without months, of its year."""
        if day.weekday() != weekday:
            return False
        if not which:
            return True
        number, length = day.day, _length(day)
        if self.frequency is Frequency.YEARLY and not self.months:
            number, length = day.timetuple().tm_yday, 366 if isleap(day.year) else 365
        return which == (number - 1) // 7 + 1 if which > 0 else which == -((length - number) // 7 + 1)


def _length(day: date) -> int:
    return monthrange(day.year, day.month)[1]


def _month(months: int) -> int:
    """The ordinal of the first day of a month that is counted from the year 0; far beyond the last year, the last."""
    year, month = divmod(months, 12)
    return date(year, month + 1, 1).toordinal() if year <= date.max.year else date.max.toordinal()
