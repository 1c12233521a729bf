"""What `exclude` covers: days, ranges of days, cron expressions and calendars, as sorted spans of instants.

A span is [begin, end). Days are dates in the schedule's zone, a range of days has both its ends in it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache, reduce
from operator import itemgetter, or_
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from zendaemon.core.cron import Cron
from zendaemon.core.offsets import DAY, MINUTE, ORIGIN, first_change, offset_at
from zendaemon.core.trigger import matches, rule_of, to_utc

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Span = tuple[datetime, datetime]
Days = tuple[date, date]

YEARS = range(1970, 3000)  # far from the ends of the calendar, where arithmetic with instants overflows
REFERENCE = "calendar:"
_DATE = r"\d{4}-\d\d-\d\d"
_DAYS = re.compile(rf"({_DATE})(?:/({_DATE}))?")
_LIKE_DAYS = re.compile(r"\d{4}-")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_DAY = timedelta(days=1)
_ALL_DAY = (1 << DAY) - 1
_FAR = 16 * 60  # minutes: no zone is as far from UTC, so a midnight lies between 16 hours before and after UTC's


@dataclass(frozen=True, slots=True)
class Calendar:
    """Named days, and times of days: `instants` in UTC, `local` naive, which each schedule reads in its own zone."""

    name: str
    days: tuple[Days, ...] = ()
    instants: tuple[Span, ...] = ()
    local: tuple[Span, ...] = ()

    def __hash__(self) -> int:
        return hash((self.name, len(self.days), len(self.instants)))  # cheap, since a calendar may have 10,000 days


def parse_days(text: str) -> Days | None:
    """The first and the last of the days that a date or range means; None for what looks like neither."""
    if not _LIKE_DAYS.match(text):
        return None
    if (found := _DAYS.fullmatch(text)) is None:
        remedy = "write the first and the last day with a slash: 2026-12-24/2027-01-02"
        raise ValueError(f"{_short(text)} is no date and no range of days; {remedy}")
    first, last = (_day(part) for part in (found[1], found[2] or found[1]))
    if last < first:
        raise ValueError(f"{text!r} ends before it begins; write {last}/{first}, the first day first")
    if outside := [day.year for day in (first, last) if day.year not in YEARS]:
        raise ValueError(f"the year {outside[0]} is out of range; give one from {YEARS[0]} to {YEARS[-1]}")
    return first, last


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        remedy = "write a day of the calendar as 2026-12-24, or a cron expression"
        raise ValueError(f"{text!r} is no date; {remedy}") from None


def check_rule(text: str) -> str:
    """A rule of `exclude`, as it is. Raises ValueError or the cron evaluator's error."""
    if text.lower().startswith("calendar"):
        if referred(text) is None:
            raise ValueError(
                f"{_short(text)} names no calendar; write calendar:name, in small letters and without blanks"
            )
    elif parse_days(text) is None:
        Cron(text)
    return text


def referred(rule: str) -> str | None:
    """The name of the calendar that a rule refers to."""
    name = rule.removeprefix(REFERENCE)
    return name if name != rule and _NAME.fullmatch(name) else None


@dataclass(frozen=True, slots=True)
class Exclusion:
    """The rules of one schedule, ready to be asked. `dated` are sorted spans, of the days and of each calendar."""

    timezone: str = "UTC"
    name: str = ""
    dated: tuple[tuple[Span, ...], ...] = ()
    crons: tuple[str, ...] = ()

    @classmethod
    def of(cls, rules: Iterable[str], timezone: str, name: str, known: Mapping[str, Calendar]) -> Exclusion:
        """The exclusion by `rules`. A reference to a calendar that is not among the known ones covers nothing."""
        own: list[str] = []
        crons: list[str] = []
        calendars: list[Calendar] = []
        for rule in dict.fromkeys(rules):
            if (calendar := referred(rule)) is not None:
                calendars += [known[calendar]] if calendar in known else []
            elif _LIKE_DAYS.match(rule):
                own.append(rule)
            else:
                crons.append(rule)
        dated = [_spans_of_days(tuple(own), timezone)] if own else []
        dated += [_spans_of_calendar(calendar, timezone) for calendar in calendars]
        return cls(timezone, name, tuple(dated), tuple(crons))

    def span(self, fire_time: datetime) -> Span | None:
        """The span around `fire_time` that is covered without a gap by one rule or more, not always the longest."""
        return self.dated_span(fire_time) or self._cron_span(fire_time)

    def dated_span(self, fire_time: datetime) -> Span | None:
        """As `span`, by days and calendars alone: what these cover ends one day, and does not come back."""
        return next((found for spans in self.dated if (found := around(spans, fire_time))), None)

    def _cron_span(self, fire_time: datetime) -> Span | None:
        if not any(matches(rule, self.timezone, self.name, fire_time) for rule in self.crons):
            return None
        zone = ZoneInfo(self.timezone)
        local = fire_time.astimezone(zone)
        rules = [rule_of(rule, self.timezone, self.name) for rule in self.crons]
        named = [rule.minutes_of(local.date()) for rule in rules]
        if any(bits == _ALL_DAY and rule.wildcard for rule, bits in zip(rules, named, strict=True)):
            return around(day_spans([(local.date(), local.date())], zone), fire_time)
        at = (fire_time - ORIGIN) // MINUTE
        before, after = _run(reduce(or_, named), local.hour * 60 + local.minute)
        if first_change(zone, at - DAY, at + after) is not None:
            before, after = 0, 1  # where clocks change, the rules do not go by the wall alone
        return ORIGIN + MINUTE * (at - before), ORIGIN + MINUTE * (at + after)


def _run(bits: int, place: int) -> tuple[int, int]:
    """How many bits before `place`, which is set, and how many from it on, are set without a gap."""
    above = ~(bits >> place)
    below = ~bits & (1 << place) - 1
    return place - below.bit_length(), (above & -above).bit_length() - 1


def around(spans: Sequence[Span], instant: datetime) -> Span | None:
    """The one of some sorted spans that has `instant` in it."""
    index = bisect_right(spans, instant, key=itemgetter(0)) - 1
    return spans[index] if index >= 0 and instant < spans[index][1] else None


def merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Sorted, empty ones left out, those that overlap or touch made one."""
    found: list[Span] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        elif begin < end:
            found.append((begin, end))
    return tuple(found)


def day_spans(days: Iterable[Days], zone: ZoneInfo) -> tuple[Span, ...]:
    """When the clocks of a zone show one of these days."""
    ranges: list[Days] = []
    for first, last in sorted(days):
        if ranges and first <= ranges[-1][1] + _DAY:
            ranges[-1] = ranges[-1][0], max(last, ranges[-1][1])
        else:
            ranges.append((first, last))
    spans: list[Span] = []
    for first, last in ranges:
        edges = [*_edges(first, zone), *_edges(last + _DAY, zone)]
        spans += zip(edges[::2], edges[1::2], strict=True)
    return merged(spans)


def _edges(day: date, zone: ZoneInfo) -> tuple[datetime, ...]:
    """When the clocks of a zone begin to show `day` or a later one.

    One instant, also where the clock skips midnight or the whole day. Three where the clock is set back over midnight
    after it has passed: they begin to, they cease to, they begin again.
    """
    midnight = (day.toordinal() - 1) * DAY
    low, high = midnight - _FAR, midnight + _FAR
    first, second = midnight - offset_at(zone, low), midnight - offset_at(zone, high)
    change = first_change(zone, low, high)
    edges: tuple[int, ...] = (first,)
    if change is not None and first >= change:
        edges = (max(change, second),)
    elif change is not None and second > change:
        edges = (first, change, second)
    return tuple(ORIGIN + MINUTE * edge for edge in edges)


@lru_cache(maxsize=256)
def _spans_of_days(rules: tuple[str, ...], timezone: str) -> tuple[Span, ...]:
    return day_spans((days for rule in rules if (days := parse_days(rule))), ZoneInfo(timezone))


@lru_cache(maxsize=256)
def _spans_of_calendar(calendar: Calendar, timezone: str) -> tuple[Span, ...]:
    days = day_spans(calendar.days, ZoneInfo(timezone))
    local = ((to_utc(begin, timezone), to_utc(end, timezone)) for begin, end in calendar.local)
    return merged([*days, *calendar.instants, *local])


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:59]}…")
