"""An iCalendar file (RFC 5545) to the days and times that its events cover, within bounds of time and number.

Lines and components are read here, so that each problem has its line and a file costs no more than its length; `event`
reads what the lines of an event say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from zendaemon.core.exclusion import YEARS
from zendaemon.core.recurrence import Budget, TooMuchWork
from zendaemon.loader.event import ASKED, Event, Line, read_event, wall
from zendaemon.loader.report import START, Report, Stop, shown
from zendaemon.loader.text import decode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zendaemon.core.exclusion import Days, Span

MAX_EVENTS = 10_000
MAX_DATES = 20_000
MAX_OCCURRENCES = 10_000
MAX_WORK = 1_000_000
MAX_DEPTH = 100

_NAME = re.compile(r"[A-Za-z0-9-]+(?=[:;])")
_LINE_END = re.compile(r"\r\n|\n|\r")
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Covered:
    """What the events of a file cover: whole days, spans in UTC, and spans in the time of whoever reads it."""

    days: tuple[Days, ...] = ()
    instants: tuple[Span, ...] = ()
    local: tuple[Span, ...] = ()


def expansion(now: datetime) -> tuple[date, date]:
    """From when until before when recurring events are expanded: last year, this one, and five more.

    Whole years, so that reloads within a year find the same days, and what did not change counts as unchanged.
    """
    year = now.astimezone(UTC).year
    return date(year - 1, 1, 1), date(year + 6, 1, 1)


def read_calendar(data: bytes, report: Report, now: datetime) -> Covered:
    """What a file covers, of use only when the report, which gets every problem, has none."""
    try:
        return _covered(_events(decode(data, report), report), report, *expansion(now))
    except Stop:
        return Covered()


def _events(text: str, report: Report) -> list[Event]:
    """The events of a file without the cancelled ones; an occurrence that another event stands in for is left out."""
    events: list[Event] = []
    dates = 0
    for begun, lines in _components(text, report):
        dates += sum(1 + line.text.count(",") for line in lines if line.name in ("RDATE", "EXDATE"))
        if len(events) >= MAX_EVENTS or dates > MAX_DATES:
            what = f"{MAX_DATES:,} dates of RDATE and EXDATE" if dates > MAX_DATES else f"{MAX_EVENTS:,} events"
            report.add((begun, 1), f"more than {what} in one file", "leave out what is long over")
            raise Stop
        if event := read_event(begun, lines, report):
            events.append(event)
    replaced: dict[str, list[date]] = {}
    for event in events:
        if event.instead_of is not None:
            replaced.setdefault(event.uid, []).append(event.instead_of)
    for event in events:
        if event.instead_of is None:
            event.less |= {wall(moment, event.zone) for moment in replaced.get(event.uid, ())}
    return [event for event in events if not event.cancelled]


def _components(text: str, report: Report) -> Iterator[tuple[int, list[Line]]]:
    """The lines of each event that say when it is, with the number of the line where it begins."""
    stack: list[tuple[str, int]] = []
    lines: list[Line] = []
    for line in _lines(text, report):
        value = line.text.partition(":")[2].strip().upper()
        if len(stack) > MAX_DEPTH:
            report.add((stack[-1][1], 1), f"nested deeper than {MAX_DEPTH} levels", "mend the file")
            raise Stop
        if not stack and (line.name, value) != ("BEGIN", "VCALENDAR"):
            report.add((line.number, 1), f"BEGIN:VCALENDAR expected, not {shown(line.text)}", "give an iCalendar file")
            raise Stop
        if not line.name:
            text = f"{shown(line.text)} is no line of an iCalendar file"
            report.add((line.number, 1), text, "write NAME:value, or mend the file")
        elif line.name == "BEGIN":
            stack.append((value, line.number))
            lines = [] if len(stack) == 2 else lines
        elif line.name == "END":
            name, begun = stack.pop()
            _check_end(line, value, name, begun, report)
            if name == "VEVENT" and len(stack) == 1:
                yield begun, lines
        elif len(stack) == 2 and line.name in ASKED:
            lines.append(line)
    if stack:
        name, begun = stack[-1]
        report.add((begun, 1), f"{shown(f'BEGIN:{name}')} has no end", "the file is cut off: export it anew")


def _check_end(line: Line, value: str, name: str, begun: int, report: Report) -> None:
    if value != name:
        message = f"{shown(line.text)} does not end {shown(f'BEGIN:{name}')} of line {begun}"
        report.add((line.number, 1), message, "mend the file, or export it anew")
        raise Stop


def _lines(text: str, report: Report) -> Iterator[Line]:
    """The lines of a file, unfolded: one that begins with a blank goes on the one before."""
    parts: list[str] = []
    number = 0
    for here, raw in enumerate([*_LINE_END.split(text), "END"], 1):
        if raw[:1] in (" ", "\t") and parts:
            parts.append(raw[1:])
        elif raw.strip():
            if parts:
                line = "".join(parts)
                name = _NAME.match(line)
                yield Line(number, name[0].upper() if name else "", line)
            parts, number = [raw], here
    if not number or not text.strip():
        report.add(START, "the file is empty", "give an iCalendar file")


def _covered(events: list[Event], report: Report, begin: date, end: date) -> Covered:
    days: list[Days] = []
    instants: list[Span] = []
    local: list[Span] = []
    budget = Budget(MAX_WORK)
    for event in events:
        try:
            for first, length in _occurrences(event, begin, end, budget):
                last = first + length
                if first.year not in YEARS or last.year not in YEARS:
                    continue
                if event.whole_days:
                    days.append((first.date(), (last - _DAY).date()))
                elif event.zone is None:
                    local.append((first, last))
                else:
                    nominal = event.nominal if length == event.length else timedelta()
                    start, later = (at.replace(tzinfo=event.zone).astimezone(UTC) for at in (first, first + nominal))
                    instants.append((start, later + length - nominal))
                if len(days) + len(instants) + len(local) > MAX_OCCURRENCES:
                    text = f"more than {MAX_OCCURRENCES:,} occurrences from {begin.year} to {end.year - 1}"
                    report.add((event.line, 1), text, "split the file, or exclude by a cron expression")
                    return Covered()
        except TooMuchWork:
            text = "the recurring events up to here take too long to look through"
            report.add((event.line, 1), text, "give them a later DTSTART instead of COUNT, or list their days")
            return Covered()
    return Covered(tuple(sorted(days)), tuple(sorted(instants)), tuple(sorted(local)))


def _occurrences(event: Event, begin: date, end: date, budget: Budget) -> Iterator[tuple[datetime, timedelta]]:
    """When the event begins, and how long it lasts each time."""
    found: dict[datetime, timedelta] = {}
    if event.rule is None:
        found[event.begin] = event.length
    else:
        for day in event.rule.days(event.begin.date(), begin, end, budget):
            found[datetime.combine(day, event.begin.time())] = event.length
            budget.spend(1)
    for first, length in event.more:
        found[first] = event.length if length is None else length
    for first, length in found.items():
        if first not in event.less and (event.instead_of is not None or first.date() not in event.less_days):
            yield first, length
