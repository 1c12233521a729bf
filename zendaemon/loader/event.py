"""The lines of one event of an iCalendar file to an Event: times, zones and rules, each problem at its line.

What a value says is read by the library icalendar; this module is the only place that knows. Zones go by their names:
what a file's VTIMEZONE claims about Europe/Berlin is not believed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar
from zoneinfo import ZoneInfo

from zendaemon.core.recurrence import Frequency, Recurrence
from zendaemon.loader.report import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from zendaemon.loader.report import Report

ASKED = {"DTSTART", "DTEND", "DURATION", "RRULE", "RDATE", "EXDATE", "RECURRENCE-ID", "STATUS", "UID", "EXRULE"}

_PARTS = {
    "INTERVAL": (1, 100_000),
    "COUNT": (1, 1_000_000),
    "BYMONTH": (1, 12),
    "BYMONTHDAY": (-31, 31),
    "BYYEARDAY": (-366, 366),
    "BYSETPOS": (-366, 366),
}
_KNOWN = {*_PARTS, "FREQ", "UNTIL", "BYDAY", "WKST"}
_WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_YEARS = range(1600, 3000)  # Outlook begins in 1601
_LONGEST = timedelta(days=3660)
_DAY = timedelta(days=1)
_INSTEAD = "list its days in the calendar, or exclude them by a cron expression"
_MEND = "mend or remove the event"
_T = TypeVar("_T")


class _Library:
    """icalendar, imported by the first event: few have any, and it takes a tenth of a short command's time."""

    @cached_property
    def _package(self) -> Any:  # noqa: ANN401 - the library has no types
        return import_module("icalendar")

    def parts(self, text: str) -> Any:  # noqa: ANN401 - the library has no types
        """Name, parameters and value of a line."""
        return self._package.parser.Contentline(text).parts()

    def value(self, text: str) -> Any:  # noqa: ANN401 - the library has no types
        """A date, time, duration or period."""
        return self._package.vDDDTypes.from_ical(text)

    def rule(self, text: str) -> Any:  # noqa: ANN401 - the library has no types
        return self._package.vRecur.from_ical(text)

    def windows_zone(self, name: str) -> str:
        """The IANA name of what Windows calls a zone; any other name as it is."""
        found = import_module("icalendar.timezone.windows_to_olson").WINDOWS_TO_OLSON.get(name, name)
        return str(found)


_library = _Library()


class _Wrong(Exception):
    """What is wrong with a line, and the remedy."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line, unfolded, and the number of its first one."""

    number: int
    name: str
    text: str


@dataclass(slots=True)
class Event:
    """An event, its times as the clocks of its zone show them. All-day events begin at midnight and have no zone.

    `zone` is None also for times that count wherever the reader is. `more` are RDATEs, with lengths of their own or
    None; `less` are the occurrences that are left out, `less_days` the days of which every one is. `instead_of` is the
    occurrence of the events with the same `uid` that this one replaces, in whatever zone it is given. `nominal` is the
    part of the length that is in days of the clock, which may have 23 or 25 hours.
    """

    line: int
    uid: str
    whole_days: bool
    zone: ZoneInfo | None
    begin: datetime
    length: timedelta
    rule: Recurrence | None = None
    more: list[tuple[datetime, timedelta | None]] = field(default_factory=list)
    less: set[datetime] = field(default_factory=set)
    less_days: set[date] = field(default_factory=set)
    nominal: timedelta = timedelta()
    instead_of: date | None = None
    cancelled: bool = False


def read_event(begun: int, lines: list[Line], report: Report) -> Event | None:
    """The event that begins in line `begun`; None when something is wrong with it, which the report gets."""
    return _Draft(begun, lines, report).event()


class _Draft:
    def __init__(self, begun: int, lines: list[Line], report: Report) -> None:
        self.begun = begun
        self.lines = lines
        self.report = report
        self.sound = True

    def event(self) -> Event | None:
        first = self.one("DTSTART", _moment)
        if first is None:
            if self.sound:
                self.add(self.begun, "an event without DTSTART", _MEND)
            return None
        whole, zone = not isinstance(first, datetime), _zone_of(first)
        event = Event(self.begun, self.text("UID"), whole, zone, wall(first, zone), self.length(first))
        if not self.named("DTEND"):
            event.nominal = self.one("DURATION", _nominal) or timedelta()
        event.rule = self.one("RRULE", lambda line: _rule(line, event))
        for pairs in self.each("RDATE", lambda line: _more(line, event)):
            event.more += pairs
        for moments in self.each("EXDATE", _moments):
            event.less |= {wall(one, zone) for one in moments if whole or isinstance(one, datetime)}
            event.less_days |= {one for one in moments if not isinstance(one, datetime)}
        event.instead_of = self.one("RECURRENCE-ID", _single)
        for line in self.named("EXRULE"):
            self.add(line.number, "EXRULE is not supported", _INSTEAD)
        event.cancelled = self.text("STATUS").upper() == "CANCELLED"
        return event if self.sound else None

    def length(self, begin: date) -> timedelta:
        """How long it lasts: exactly, where it has times; all-day events one day at least."""
        whole = not isinstance(begin, datetime)
        given = self.named("DTEND") or self.named("DURATION")
        here = given[0].number if given else self.begun
        length = self.one("DURATION", _duration) or timedelta()
        if (end := self.one("DTEND", _moment)) is not None:
            if whole is isinstance(end, datetime):
                self.add(here, "one of DTSTART and DTEND is a date and the other a time", _MEND)
                return _DAY
            length = _between(begin, end)
        if length < timedelta():
            self.add(here, "the event ends before it begins", _MEND)
        elif length > _LONGEST:
            self.add(here, "the event is longer than ten years", _MEND)
        elif whole and length % _DAY:
            self.add(here, "an all-day event has no whole number of days", _MEND)
        return max(length, _DAY) if whole else length

    def named(self, name: str) -> list[Line]:
        return [line for line in self.lines if line.name == name]

    def text(self, name: str) -> str:
        return next((line.text.partition(":")[2].strip() for line in self.named(name)), "")

    def one(self, name: str, read: Callable[[Line], _T]) -> _T | None:
        """The value of a line that may be there once."""
        for line in self.named(name)[1:]:
            self.add(line.number, f"an event with two lines {name}", "remove one")
        return next(iter(self.each(name, read)), None)

    def each(self, name: str, read: Callable[[Line], _T]) -> list[_T]:
        found = []
        for line in self.named(name):
            try:
                found.append(read(line))
            except _Wrong as wrong:
                self.add(line.number, *wrong.args)
            except Exception:  # noqa: BLE001 - the library meets hostile files; whatever it trips over is a problem of the file
                self.add(line.number, f"{shown(line.text)} cannot be read", _MEND)
        return found

    def add(self, number: int, message: str, remedy: str) -> None:
        self.sound = False
        self.report.add((number, 1), message, remedy)


def _moments(line: Line) -> list[date]:
    """Dates, naive times and times with a zone, of a line with commas between them."""
    _, params, value = _library.parts(line.text)
    zone = _zone(str(params["TZID"])) if "TZID" in params else None
    return [_checked(_library.value(part), zone, line) for part in value.split(",")]


def _checked(value: object, zone: ZoneInfo | None, line: Line) -> date:
    if not isinstance(value, date):
        raise _Wrong(f"{shown(line.text)} is no date or time", _MEND)
    if value.year not in _YEARS:
        raise _Wrong(f"the year {value.year} is out of range", f"give one from {_YEARS[0]} to {_YEARS[-1]}")
    if isinstance(value, datetime):
        return value.replace(tzinfo=ZoneInfo("UTC") if value.tzinfo else zone)
    return value


def _moment(line: Line) -> date:
    (found,) = _moments(line)
    return found


def _single(line: Line) -> date:
    if "RANGE" in _library.parts(line.text)[1]:
        raise _Wrong("a change of this and all later occurrences is not supported", "end the series, and begin another")
    return _moment(line)


def _duration(line: Line) -> timedelta:
    value = _library.value(line.text.partition(":")[2])
    if not isinstance(value, timedelta):
        raise _Wrong(f"{shown(line.text)} is no duration", _MEND)
    return value


def _nominal(line: Line) -> timedelta:
    """The weeks and days of a duration, which RFC 5545 (3.3.6) tells from its hours."""
    days = line.text.partition(":")[2].strip().upper().partition("T")[0]
    return timedelta() if days.endswith("P") else _duration(Line(line.number, line.name, f"{line.name}:{days}"))


def _more(line: Line, event: Event) -> list[tuple[datetime, timedelta | None]]:
    """The beginnings of an RDATE, and the lengths of those that have their own."""
    name, params, value = _library.parts(line.text)
    if params.get("VALUE", "").upper() != "PERIOD":
        moments = _moments(line)
        if any(isinstance(moment, datetime) is event.whole_days for moment in moments):
            raise _Wrong("one of DTSTART and RDATE is a date and the other a time", _MEND)
        return [(wall(moment, event.zone), None) for moment in moments]
    found: list[tuple[datetime, timedelta | None]] = []
    zone = f";TZID={params['TZID']}" if "TZID" in params else ""
    for part in value.split(","):
        first, _, last = part.partition("/")
        begin = _moment(Line(line.number, name, f"{name}{zone}:{first}"))
        if last.startswith("P"):
            length = _duration(Line(line.number, name, f"{name}:{last}"))
        else:
            length = _between(begin, _moment(Line(line.number, name, f"{name}{zone}:{last}")))
        if event.whole_days or not timedelta() <= length <= _LONGEST:
            raise _Wrong(f"the period {shown(part)} does not fit the event", _MEND)
        found.append((wall(begin, event.zone), length))
    return found


def _zone(name: str) -> ZoneInfo:
    """A zone by its IANA name, the name that Windows has for it, or a path that ends in the former."""
    parts = name.strip("/").split("/")
    for candidate in (_library.windows_zone(name), *("/".join(parts[-count:]) for count in (3, 2))):
        try:
            return ZoneInfo(candidate)
        except (KeyError, ValueError, OSError):
            continue
    raise _Wrong(f"unknown time zone {shown(name)}", "use an IANA name such as Europe/Berlin")


def _zone_of(moment: date) -> ZoneInfo | None:
    zone = moment.tzinfo if isinstance(moment, datetime) else None
    return zone if isinstance(zone, ZoneInfo) else None


def wall(moment: date, zone: ZoneInfo | None) -> datetime:
    """What the clocks of `zone` show at a moment; a moment without a zone is taken for one of that zone."""
    if not isinstance(moment, datetime):
        return datetime.combine(moment, time())
    if moment.tzinfo is not None and zone is not None:
        moment = moment.astimezone(zone)
    return moment.replace(tzinfo=None)


def _between(begin: date, end: date) -> timedelta:
    zone = _zone_of(begin)
    if zone is None or not isinstance(begin, datetime):
        return wall(end, zone) - wall(begin, zone)
    last = wall(end, zone).replace(tzinfo=zone) if _zone_of(end) is None else end
    return last.astimezone(UTC) - begin.astimezone(UTC) if isinstance(last, datetime) else timedelta()


def _rule(line: Line, event: Event) -> Recurrence:
    given = _library.rule(line.text.partition(":")[2])
    parts: dict[str, list[object]] = {
        str(key).upper(): value if isinstance(value, list) else [value] for key, value in given.items()
    }
    if "FREQ" not in parts:
        raise _Wrong(f"{shown(line.text)} is no rule", _MEND)
    frequency = str(parts["FREQ"][0]).upper()
    if frequency not in Frequency.__members__:
        raise _Wrong(f"an event that recurs with FREQ={frequency[:20]} is not supported", _INSTEAD)
    if other := sorted(parts.keys() - _KNOWN):
        raise _Wrong(f"{other[0][:20]} in an RRULE is not supported", _INSTEAD)
    numbers = {key: frozenset(_numbers(key, parts.get(key, ()), *bounds)) for key, bounds in _PARTS.items()}
    weekdays = frozenset(_weekday(str(part)) for part in parts.get("BYDAY", ()))
    if any(which for which, _ in weekdays) and frequency not in ("MONTHLY", "YEARLY"):
        raise _Wrong(f"a weekday with a number does not go with FREQ={frequency}", _MEND)
    return Recurrence(
        Frequency(frequency),
        interval=max(numbers["INTERVAL"], default=1),
        count=max(numbers["COUNT"], default=None),
        until=_until(parts["UNTIL"][0], event, line) if "UNTIL" in parts else None,
        months=numbers["BYMONTH"],
        month_days=numbers["BYMONTHDAY"],
        year_days=numbers["BYYEARDAY"],
        weekdays=weekdays,
        positions=numbers["BYSETPOS"],
        week_start=_weekday(str(parts.get("WKST", ["MO"])[0]))[1],
    )


def _numbers(key: str, values: Iterable[object], low: int, high: int) -> Iterable[int]:
    for value in values:
        number = int(str(value)) if not isinstance(value, int) else int(value)
        if not low <= number <= high or not number or not str(value).lstrip("+-").isdigit():
            raise _Wrong(f"{key}={value} in an RRULE is out of range", f"give one from {low} to {high}, not 0")
        yield number


def _weekday(text: str) -> tuple[int, int]:
    which = int(text[:-2] or "0")
    if not -53 <= which <= 53:
        raise _Wrong(f"the weekday {text} in an RRULE is out of range", _MEND)
    return which, _WEEKDAYS.index(text[-2:].upper())


def _until(value: object, event: Event, line: Line) -> date:
    """The last day on which the event may begin, given the time of day at which it does."""
    if not isinstance(value, date):
        raise _Wrong(f"{shown(line.text)} is no rule with a date in UNTIL", _MEND)
    if value.year not in range(2, 9999):
        return date(_YEARS[-1], 12, 31)
    if not isinstance(value, datetime):
        return value
    until = wall(value, event.zone)
    return until.date() if event.begin.time() <= until.time() or event.whole_days else until.date() - _DAY
