"""The section `calendars` and iCalendar files: what they exclude, and every problem at its place, in bounded time."""

# ruff: noqa: E501 - a case of a table is a line
from __future__ import annotations

import os
import re
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import zendaemon.loader.calendars
from zendaemon.core.changes import changes
from zendaemon.core.errors import Invalid
from zendaemon.loader import Loaded, load
from zendaemon.loader.ics import Covered, read_calendar
from zendaemon.loader.report import Report

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ONE = "schedules: {a: {template: x, every: 1h, exclude: calendar:c}}\n"
WITH_ICS = "calendars: {c: {ics: c.ics}}\n" + ONE
SECONDS = 8  # a second or two is promised; a busy machine gets some more


def ics(*events: str) -> str:
    """A file with one event for each text, whose lines stand apart by `|`."""
    bodies = "".join(
        "BEGIN:VEVENT\r\n" + "".join(f"{line}\r\n" for line in event.split("|")) + "END:VEVENT\r\n" for event in events
    )
    return f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\n{bodies}END:VCALENDAR\r\n"


def write(folder: Path, text: str, name: str = "a.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(dedent(text).encode())
    return path


def problems(folder: Path) -> list[str]:
    with pytest.raises(Invalid) as caught:
        load(folder, now=NOW)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


def excluded(loaded: Loaded, first: str, last: str, name: str = "a") -> list[str]:
    """The hours that a schedule leaves out, as `first hour .. last hour` where there are many in a row."""
    instant, until = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (first, last))
    found: list[list[str]] = []
    before = False
    while instant < until:
        if now := loaded.set.schedules[name].excludes(instant):
            if not before:
                found.append([])
            found[-1].append(f"{instant:%m-%d %H}")
        before, instant = now, instant + HOUR
    return [" .. ".join(dict.fromkeys((hours[0], hours[-1]))) for hours in found]


def case(title: str, *values: object) -> object:
    return pytest.param(*values, id=title)


@pytest.mark.parametrize(
    ("calendar", "zone", "expected"),
    [
        case("a day", "2026-12-24", "UTC", ["12-24 00 .. 12-24 23"]),
        case("a list of days and ranges", '[2026-12-22, "2026-12-24/2026-12-25", 2026-12-25]', "UTC", ["12-22 00 .. 12-22 23", "12-24 00 .. 12-25 23"]),
        case("in the schedule's zone", "2026-12-24", "Europe/Berlin", ["12-23 23 .. 12-24 22"]),
        case("no days", "[]", "UTC", []),
    ],
)  # fmt: skip
def test_days(tmp_path: Path, calendar: str, zone: str, expected: list[str]) -> None:
    write(tmp_path, f"calendars: {{c: {calendar}}}\n{ONE.replace('}}', f', timezone: {zone}}}}}')}")
    assert excluded(load(tmp_path, now=NOW), "2026-12-20", "2026-12-31") == expected


@pytest.mark.parametrize(
    ("event", "more", "expected"),
    [
        case("an all-day event, DTEND is the day after", "DTSTART;VALUE=DATE:20261224|DTEND;VALUE=DATE:20261226", "", ["12-24 00 .. 12-25 23"]),
        case("without an end", "DTSTART;VALUE=DATE:20261224", "", ["12-24 00 .. 12-24 23"]),
        case("with a duration", "DTSTART;VALUE=DATE:20261224|DURATION:P2D", "", ["12-24 00 .. 12-25 23"]),
        case("in UTC", "DTSTART:20261224T100000Z|DTEND:20261224T120000Z", "", ["12-24 10 .. 12-24 11"]),
        case("in a zone of its own", "DTSTART;TZID=Asia/Tokyo:20261224T100000|DTEND;TZID=Asia/Tokyo:20261224T120000", "timezone: Europe/Berlin", ["12-24 01 .. 12-24 02"]),
        case("in a zone by Windows' name", "DTSTART;TZID=W. Europe Standard Time:20261224T100000|DURATION:PT2H", "", ["12-24 09 .. 12-24 10"]),
        case("in a zone by a path", "DTSTART;TZID=/x.org/20260101/Europe/Berlin:20261224T100000|DURATION:PT2H", "", ["12-24 09 .. 12-24 10"]),
        case("without a zone: the schedule's", "DTSTART:20261224T100000|DTEND:20261224T120000", "", ["12-24 10 .. 12-24 11"]),
        case("without a zone: the calendar's", "DTSTART:20261224T100000|DTEND:20261224T120000", "timezone: Europe/Berlin", ["12-24 09 .. 12-24 10"]),
        case("a time without a length", "DTSTART:20261224T100000Z", "", []),
        case("cancelled", "DTSTART;VALUE=DATE:20261224|STATUS:CANCELLED", "", []),
        case("every year since 1601", "DTSTART;VALUE=DATE:16011224|RRULE:FREQ=YEARLY", "", ["12-24 00 .. 12-24 23"]),
        case("until an instant, which it meets", "DTSTART;TZID=Europe/Berlin:20261222T100000|DURATION:PT1H|RRULE:FREQ=DAILY;UNTIL=20261223T090000Z", "", ["12-22 09", "12-23 09"]),
        case("until an instant, which it misses", "DTSTART;TZID=Europe/Berlin:20261222T100000|DURATION:PT1H|RRULE:FREQ=DAILY;UNTIL=20261223T085959Z", "", ["12-22 09"]),
        case("all but some", "DTSTART:20261222T100000Z|DURATION:PT1H|RRULE:FREQ=DAILY;COUNT=4|EXDATE:20261223T100000Z|EXDATE;VALUE=DATE:20261224", "", ["12-22 10", "12-25 10"]),
        case("some more", "DTSTART:20261222T100000Z|DURATION:PT1H|RDATE:20261224T100000Z,20261226T100000Z", "", ["12-22 10", "12-24 10", "12-26 10"]),
        case("periods", "DTSTART:20261222T100000Z|DURATION:PT1H|RDATE;VALUE=PERIOD:20261224T100000Z/PT2H,20261225T100000Z/20261225T130000Z", "", ["12-22 10", "12-24 10 .. 12-24 11", "12-25 10 .. 12-25 12"]),
        case("folded lines, and an alarm inside", "DTSTART;VALUE=DATE:2026|  1224|BEGIN:VALARM|TRIGGER:-PT15M|DURATION:PT9H|END:VALARM".replace("|  ", "|\t"), "", ["12-24 00 .. 12-24 23"]),
    ],
)  # fmt: skip
def test_events(tmp_path: Path, event: str, more: str, expected: list[str]) -> None:
    write(tmp_path, WITH_ICS.replace("c.ics", f"c.ics, {more}" if more else "c.ics"))
    write(tmp_path, ics(f"UID:1|{event}"), "c.ics")
    assert excluded(load(tmp_path, now=NOW), "2026-12-20", "2026-12-31") == expected


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        case("a day by the clock, which has 23 hours", "DTSTART;TZID=Europe/Berlin:20270328T000000|DURATION:P1D", ["03-27 23 .. 03-28 21"]),
        case("24 hours, where a day has 23", "DTSTART;TZID=Europe/Berlin:20270328T000000|DURATION:PT24H", ["03-27 23 .. 03-28 22"]),
        case("a day by the clock and an hour", "DTSTART;TZID=Europe/Berlin:20270328T000000|DURATION:P1DT1H", ["03-27 23 .. 03-28 22"]),
        case("a week by the clock", "DTSTART;TZID=Europe/Berlin:20270325T000000|DURATION:P1W", ["03-24 23 .. 03-31 21"]),
    ],
)  # fmt: skip
def test_a_duration_in_days_goes_by_the_clock_and_one_in_hours_does_not(
    tmp_path: Path, event: str, expected: list[str]
) -> None:
    write(tmp_path, WITH_ICS)
    write(tmp_path, ics(f"UID:1|{event}"), "c.ics")
    assert excluded(load(tmp_path, now=NOW), "2027-03-20", "2027-04-02") == expected


def test_an_occurrence_that_is_moved_and_one_that_is_cancelled(tmp_path: Path) -> None:
    series = "UID:1|DTSTART;TZID=Europe/Berlin:20261222T100000|DURATION:PT1H|RRULE:FREQ=DAILY;COUNT=4"
    moved = "UID:1|RECURRENCE-ID:20261223T090000Z|DTSTART;TZID=Europe/Berlin:20261223T200000|DURATION:PT1H"
    cancelled = "UID:1|RECURRENCE-ID;TZID=Europe/Berlin:20261224T100000|DTSTART:20261224T090000Z|STATUS:CANCELLED"
    write(tmp_path, WITH_ICS)
    write(tmp_path, ics(moved, series, cancelled, "UID:2|DTSTART:20261228T000000Z|DURATION:PT1H"), "c.ics")
    assert excluded(load(tmp_path, now=NOW), "2026-12-20", "2026-12-31") == [
        "12-22 09",
        "12-23 19",
        "12-25 09",
        "12-28 00",
    ]


def test_a_wall_time_stays_when_clocks_change(tmp_path: Path) -> None:
    write(tmp_path, WITH_ICS)
    event = "UID:1|DTSTART;TZID=Europe/Berlin:20260101T100000|DURATION:PT1H|RRULE:FREQ=WEEKLY;BYDAY=SA,SU"
    write(tmp_path, ics(event), "c.ics")
    assert excluded(load(tmp_path, now=NOW), "2026-10-23", "2026-10-27") == ["10-24 08", "10-25 09"]


def test_recurring_events_are_expanded_over_whole_years() -> None:
    data = ics("UID:1|DTSTART;VALUE=DATE:20200224|RRULE:FREQ=YEARLY", "UID:2|DTSTART;VALUE=DATE:20400101").encode()
    found = [
        read_calendar(data, Report("c.ics"), datetime(year, month, 1, tzinfo=UTC))
        for year, month in ((2026, 1), (2026, 12), (2027, 1))
    ]
    years = [[first.year for first, _ in each.days] for each in found]
    assert years == [[*range(2025, 2032), 2040], [*range(2025, 2032), 2040], [*range(2026, 2033), 2040]]
    assert found[0] == found[1]


def test_calendars_are_for_the_schedules_of_all_files(tmp_path: Path) -> None:
    write(tmp_path, "calendars: {c: 2026-12-24, unused: 2026-12-25}\n", "z/calendars.yaml")
    write(tmp_path, f"defaults: {{exclude: [calendar:c]}}\n{ONE.replace('exclude: calendar:c', '')}", "a.yaml")
    assert excluded(load(tmp_path, now=NOW), "2026-12-20", "2026-12-31") == ["12-24 00 .. 12-24 23"]


YAML = [
    case("an unknown name", "calendars: {company: []}\nschedules: {a: {template: x, every: 1h, exclude: ['calendar:compny']}}", ["a.yaml:2:51: exclude: unknown calendar 'compny'; did you mean calendar:company?"]),
    case("an unknown name, beside other things", "schedules: {a: {template: x, every: 1, exclude: calendar:c}}", ["a.yaml:1:37: every: 1 is no duration; write a number and a unit, such as 30s, 5m, 6h or 1d", "a.yaml:1:49: exclude: unknown calendar 'c'; define it below `calendars:`, or check all files together"]),
    case("an unknown name in the defaults, once", "defaults: {exclude: calendar:c}\nschedules: {a: {template: x, every: 1h}, b: {template: x, every: 1h}}", ["a.yaml:1:21: exclude: unknown calendar 'c'; define it below `calendars:`, or check all files together"]),
    case("a blank", "schedules: {a: {template: x, every: 1h, exclude: [calendar: c]}}", ["a.yaml:1:51: exclude: calendar has a blank after its colon; write calendar:name, without blanks"]),
    case("a bad name", "calendars: {Feier Tage: [], '': []}", ["a.yaml:1:13: 'Feier Tage' is no name: 1 to 100 of a-z, 0-9, dot, dash and underscore, the first a letter or digit; call it feier-tage", "a.yaml:1:29: '' is no name: 1 to 100 of a-z, 0-9, dot, dash and underscore, the first a letter or digit; call it holidays, for example"]),
    case("no mapping", "calendars: [2026-12-24]", ["a.yaml:1:12: calendars must be a mapping of names to calendars, not a list"]),
    case("nothing", "calendars: {c: }", ["a.yaml:1:15: calendar 'c' is empty; write a list of days, or {ics: holidays.ics}"]),
    case("no day", "calendars: {c: [tomorrow, 5, 2026-02-30, 2026-12-24/2026-12-01, 0 0 * * *]}", [
        "a.yaml:1:17: 'tomorrow' is no day; write 2026-12-24 or 2026-12-24/2027-01-02; cron expressions stand in `exclude`",
        "a.yaml:1:27: a calendar has days, not 5; write 2026-12-24 or 2026-12-24/2027-01-02",
        "a.yaml:1:30: '2026-02-30' is no date; write a day of the calendar as 2026-12-24",
        "a.yaml:1:42: '2026-12-24/2026-12-01' ends before it begins; write 2026-12-01/2026-12-24, the first day first",
        "a.yaml:1:65: '0 0 * * *' is no day; write 2026-12-24 or 2026-12-24/2027-01-02; cron expressions stand in `exclude`",
    ]),
    case("an unknown key and no ics", "calendars: {c: {isc: c.ics}}", ["a.yaml:1:13: calendar 'c' has no ics; write a list of days, or {ics: holidays.ics}", "a.yaml:1:17: unknown key 'isc' in a calendar; did you mean ics?"]),
    case("an unknown zone", "calendars: {c: {ics: c.ics, timezone: Europe/Berln}}", ["a.yaml:1:39: timezone: unknown time zone 'Europe/Berln'; did you mean Europe/Berlin?"]),
    case("another kind of file", "calendars: {c: {ics: holidays.csv}}", ["a.yaml:1:22: ics must be an .ics file beside this one, not 'holidays.csv'; give its path relative to this file, such as holidays.ics"]),
    case("an absolute path", "calendars: {c: {ics: /etc/c.ics}}", ["a.yaml:1:22: ics must be an .ics file beside this one, not '/etc/c.ics'; give its path relative to this file, such as holidays.ics"]),
    case("everything excluded", "calendars: {c: 2026-12-01/2027-01-31}\nschedules: {a: {template: x, every: 1h, exclude: 'calendar:c', start_time: 2026-12-01, end_time: 2027-01-31}}", ["a.yaml:2:50: exclude leaves no fire time of every; mend the trigger, or its bounds"]),
    case("a misspelt section", "calendar: {c: []}\nschedules:", ["a.yaml:1:1: unknown key 'calendar' at the top of the file; did you mean calendars?"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), YAML)
def test_a_problem_of_the_section(tmp_path: Path, text: str, expected: list[str]) -> None:
    write(tmp_path, text)
    write(tmp_path, ics(), "c.ics")
    assert problems(tmp_path) == expected


def test_a_long_time_without_fires_is_no_problem(tmp_path: Path) -> None:
    text = "schedules: {a: {template: x, cron: 0 0 * * *, start_time: 2027-01-01, exclude: 2027-01-01/2037-12-31}}"
    (schedule,) = load(write(tmp_path, text), now=NOW).set.schedules.values()
    assert schedule.next_after(NOW) == datetime(2038, 1, 1, tzinfo=UTC)


def test_a_name_in_two_files_is_told_at_both(tmp_path: Path) -> None:
    write(tmp_path, "calendars:\n\n  c: []\n", "a.yaml")
    write(tmp_path, "calendars: {c: []}\n" + ONE, "b.yaml")
    rest = "names are unique over all files; rename one"
    assert problems(tmp_path) == [
        f"a.yaml:3:3: calendar 'c' is also in b.yaml:1; {rest}",
        f"b.yaml:1:13: calendar 'c' is also in a.yaml:3; {rest}",
    ]


def test_a_broken_file_makes_no_unknown_names(tmp_path: Path) -> None:
    write(tmp_path, "calendars: {c: [", "b.yaml")
    write(tmp_path, ONE)
    assert [line.partition(": ")[0] for line in problems(tmp_path)] == ["b.yaml:1:17"]


EVENT = "DTSTART;VALUE=DATE:20261224"
REMEDY = "mend or remove the event"
INSTEAD = "list its days in the calendar, or exclude them by a cron expression"
ICS = [
    case("an empty file", "", "c.ics:1:1: the file is empty; give an iCalendar file"),
    case("a page of the web", "<html>\n<body>not found: 404</body>", "c.ics:1:1: BEGIN:VCALENDAR expected, not '<html>'; give an iCalendar file"),
    case("cut off", ics(EVENT)[:72], "c.ics:3:1: 'BEGIN:VEVENT' has no end; the file is cut off: export it anew"),
    case("an end too many", ics(EVENT) + "END:VCALENDAR", "c.ics:7:1: BEGIN:VCALENDAR expected, not 'END:VCALENDAR'; give an iCalendar file"),
    case("another end", "BEGIN:VCALENDAR\nEND:VEVENT", "c.ics:2:1: 'END:VEVENT' does not end 'BEGIN:VCALENDAR' of line 1; mend the file, or export it anew"),
    case("a line that is none", ics("what|" + EVENT), "c.ics:4:1: 'what' is no line of an iCalendar file; write NAME:value, or mend the file"),
    case("no DTSTART", ics("UID:1"), f"c.ics:3:1: an event without DTSTART; {REMEDY}"),
    case("no date", ics("DTSTART:soon"), f"c.ics:4:1: 'DTSTART:soon' cannot be read; {REMEDY}"),
    case("a time of day alone", ics("DTSTART:100000"), f"c.ics:4:1: 'DTSTART:100000' is no date or time; {REMEDY}"),
    case("two beginnings", ics(EVENT + "|" + EVENT), "c.ics:5:1: an event with two lines DTSTART; remove one"),
    case("a zone of its own", ics("DTSTART;TZID=Home:20261224T100000"), "c.ics:4:1: unknown time zone 'Home'; use an IANA name such as Europe/Berlin"),
    case("a zone outside the zones", ics("DTSTART;TZID=../../etc/passwd:20261224T100000"), "c.ics:4:1: unknown time zone '../../etc/passwd'; use an IANA name such as Europe/Berlin"),
    case("a date and a time", ics(EVENT + "|DTEND:20261225T000000Z"), f"c.ics:5:1: one of DTSTART and DTEND is a date and the other a time; {REMEDY}"),
    case("the end first", ics(EVENT + "|DTEND;VALUE=DATE:20261223"), f"c.ics:5:1: the event ends before it begins; {REMEDY}"),
    case("an endless event", ics(EVENT + "|DTEND;VALUE=DATE:29991223"), f"c.ics:5:1: the event is longer than ten years; {REMEDY}"),
    case("a year at the end of time", ics("DTSTART;VALUE=DATE:99991231"), "c.ics:4:1: the year 9999 is out of range; give one from 1600 to 2999"),
    case("every second, for ever", ics("DTSTART:20261224T000000Z|RRULE:FREQ=SECONDLY"), f"c.ics:5:1: an event that recurs with FREQ=SECONDLY is not supported; {INSTEAD}"),
    case("every second of each day", ics("DTSTART:20261224T000000Z|RRULE:FREQ=DAILY;BYSECOND=0,1,2"), f"c.ics:5:1: BYSECOND in an RRULE is not supported; {INSTEAD}"),
    case("an interval of nothing", ics(EVENT + "|RRULE:FREQ=DAILY;INTERVAL=0"), "c.ics:5:1: INTERVAL=0 in an RRULE is out of range; give one from 1 to 100000, not 0"),
    case("no rule", ics(EVENT + "|RRULE:often"), f"c.ics:5:1: 'RRULE:often' is no rule; {REMEDY}"),
    case("a second Monday of the week", ics(EVENT + "|RRULE:FREQ=WEEKLY;BYDAY=2MO"), f"c.ics:5:1: a weekday with a number does not go with FREQ=WEEKLY; {REMEDY}"),
    case("EXRULE", ics(EVENT + "|EXRULE:FREQ=DAILY"), f"c.ics:5:1: EXRULE is not supported; {INSTEAD}"),
    case("this and all later", ics(EVENT + "|RECURRENCE-ID;RANGE=THISANDFUTURE;VALUE=DATE:20261224"), "c.ics:5:1: a change of this and all later occurrences is not supported; end the series, and begin another"),
    case("too many occurrences", ics(*[f"DTSTART;VALUE=DATE:202601{day:02}|RRULE:FREQ=DAILY" for day in range(1, 9)]), "c.ics:19:1: more than 10,000 occurrences from 2025 to 2031; split the file, or exclude by a cron expression"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), ICS)
def test_a_problem_of_an_icalendar_file(tmp_path: Path, text: str, expected: str) -> None:
    write(tmp_path, WITH_ICS)
    (tmp_path / "c.ics").write_bytes(text.encode())
    assert problems(tmp_path) == [expected]


MANY = "BEGIN:VEVENT\r\nDTSTART:20261224T000000Z\r\n"
HOSTILE: dict[str, tuple[bytes, str]] = {
    "10 MB": (b"x" * 10**7, "c.ics:1:1: the file is larger than 4 MiB"),
    "not UTF-8": (ics("SUMMARY:ü").encode("latin-1"), "c.ics:4:9: byte 0xfc is not UTF-8; save the file as UTF-8"),
    "UTF-16": (ics(EVENT).encode("utf-16"), "c.ics:1:1: the file is UTF-16; save it as UTF-8"),
    "NUL bytes": (b"\0" * 10**6, "c.ics:1:1: a NUL byte; remove it"),
    "every byte": (bytes(range(256)) * 1000, "c.ics:2:"),
    "4 MB of line ends": (b"\n" * 4 * 10**6, "c.ics:1:1: the file is empty"),
    "4 MB of one line": (b"BEGIN:VCALENDAR\nX" + b"X" * 4 * 10**6, "c.ics:2:1: 'XXX"),
    "4 MB of folds": (b"BEGIN:VCALENDAR\nX:" + b"\n " * 2 * 10**6, "c.ics:1:1: 'BEGIN:VCALENDAR' has no end"),
    "lines that are none": (b"BEGIN:VCALENDAR\n" + b"x\n" * 10**6, "1000 problems so far"),
    "components without end": (b"BEGIN:VCALENDAR\n" * 10**5, "c.ics:101:1: nested deeper than 100 levels"),
    "100,000 events": (ics(*["DTSTART:20261224T000000Z"] * 50_000).encode(), "c.ics:30003:1: more than 10,000 events in one file"),
    "a million dates left out": (ics(EVENT + "|EXDATE:" + "20261224," * 400_000).encode(), "c.ics:3:1: more than 20,000 dates of RDATE and EXDATE"),
    "rules that begin in 1600 and count": (ics(*["DTSTART;VALUE=DATE:16000101|RRULE:FREQ=DAILY;COUNT=1000000;BYMONTHDAY=31;BYMONTH=2"] * 100).encode(), "the recurring events up to here take too long to look through"),
    "a huge interval": (ics(EVENT + "|RRULE:FREQ=DAILY;INTERVAL=" + "9" * 10_000).encode(), "c.ics:5:1: 'RRULE:FREQ=DAILY;INTERVAL=999"),
    "a huge duration": (ics(EVENT + "|DURATION:P" + "9" * 100_000 + "D").encode(), "c.ics:5:1: 'DURATION:P999"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "expected"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_icalendar_file(tmp_path: Path, content: bytes, expected: str) -> None:
    write(tmp_path, WITH_ICS)
    (tmp_path / "c.ics").write_bytes(content)
    begun = time.process_time()
    found = problems(tmp_path)
    assert time.process_time() - begun < SECONDS
    assert any(expected in line for line in found), found[:3]
    assert all(line.isprintable() and line.startswith("c.ics:") and len(line) < 400 for line in found)


def _outside(folder: Path) -> None:
    (folder / "c.ics").symlink_to(write(folder.parent, ics(EVENT), "secret.ics"))


def _sibling(folder: Path) -> None:
    (folder / "c.ics").symlink_to(write(folder.parent, ics(EVENT), f"{folder.name}-not/c.ics"))


PLACES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda _: None, "no such file or directory"),
    "a link outside": (_outside, "leads out of the schedules folder"),
    "a link to a folder whose name begins alike": (_sibling, "leads out of the schedules folder"),
    "a folder": (lambda folder: (folder / "c.ics").mkdir(), "is a folder, not a file"),
    "a link to itself": (lambda folder: (folder / "c.ics").symlink_to("c.ics"), "too many levels of symbolic links"),
    "a named pipe": (lambda folder: os.mkfifo(folder / "c.ics"), "is a named pipe, not a file"),
    "a device": (lambda folder: (folder / "c.ics").symlink_to("/dev/zero"), "leads out of the schedules folder"),
}


@pytest.mark.parametrize(("make", "expected"), PLACES.values(), ids=PLACES)
def test_an_icalendar_file_that_cannot_be_read(tmp_path: Path, make: Callable[[Path], object], expected: str) -> None:
    folder = tmp_path / "schedules"
    write(folder, WITH_ICS)
    make(folder)
    remedy = "name an .ics file in the schedules folder, relative to this file"
    assert problems(folder)[0] == f"a.yaml:1:22: 'c.ics' cannot be read: {expected}; {remedy}"


def test_relative_to_its_file_and_through_the_links_of_a_config_map(tmp_path: Path) -> None:
    write(tmp_path, WITH_ICS.replace("c.ics", "../days/c.ics"), "..1/a.yaml")
    write(tmp_path, ics(EVENT), "..1/c.ics")
    (tmp_path / "x").mkdir()
    (tmp_path / "days").mkdir()
    (tmp_path / "x" / "a.yaml").symlink_to("../..1/a.yaml")
    (tmp_path / "days" / "c.ics").symlink_to("../..1/c.ics")
    assert excluded(load(tmp_path, now=NOW), "2026-12-20", "2026-12-31") == ["12-24 00 .. 12-24 23"]
    with pytest.raises(Invalid, match="1 problem"):
        load(tmp_path / "x" / "a.yaml", now=NOW)


def test_a_reload_sees_a_changed_calendar_and_reads_it_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, WITH_ICS + "  \n")
    write(
        tmp_path,
        WITH_ICS.replace("c.ics", "d.ics").replace("c:", "d:").replace("a:", "b:").replace("r:c", "r:d"),
        "b.yaml",
    )
    write(tmp_path, ics(EVENT), "c.ics")
    write(tmp_path, ics(EVENT), "d.ics")
    read: list[str] = []

    def spy(data: bytes, report: Report, now: datetime) -> Covered:
        read.append(Path(report.file).name)
        return read_calendar(data, report, now)

    monkeypatch.setattr(zendaemon.loader.calendars, "read_calendar", spy)
    before = load(tmp_path, now=NOW)
    same = load(tmp_path, now=NOW + timedelta(days=20), previous=before)
    assert changes(before.set, same.set).unchanged == ("a", "b")
    assert read == ["c.ics", "d.ics"]
    write(tmp_path, ics("DTSTART;VALUE=DATE:20261226"), "c.ics")
    after = load(tmp_path, now=NOW, previous=same)
    told = changes(before.set, after.set)
    assert (told.changed, told.unchanged, told.restarted) == (("a",), ("b",), ())
    assert read[2:] == ["c.ics"]
    assert excluded(after, "2026-12-20", "2026-12-31") == ["12-26 00 .. 12-26 23"]
    load(tmp_path, now=datetime(2027, 1, 1, tzinfo=UTC), previous=after)
    assert read[3:] == ["c.ics", "d.ics"]


def test_too_many_icalendar_files(tmp_path: Path) -> None:
    text = "calendars:\n" + "".join(f"  c{n}: {{ics: {'./' * n}c.ics}}\n" for n in range(200))
    write(tmp_path, text)
    write(tmp_path, ics(EVENT), "c.ics")
    found = problems(tmp_path)
    assert len(found) == 100
    assert found[0].startswith("a.yaml:102:15: more than 100 calendars from iCalendar files; put several into one file")


WORDS = ["BEGIN:VCALENDAR\n", "BEGIN:VEVENT\n", "END:VEVENT\n", "END:VCALENDAR\n", "DTSTART", "DTEND", "RRULE:", "EXDATE", "RDATE", "DURATION:", ";TZID=", ";VALUE=DATE", ";VALUE=PERIOD", "Europe/Berlin", ":", "20261224", "T100000", "Z", "P1D", "/PT1H", ",", "\n", "\n ", "FREQ=", "DAILY", "YEARLY", ";BYDAY=", "2MO", ";COUNT=", ";UNTIL=", ";INTERVAL=", "3", "-1", "RECURRENCE-ID", "é", '"', "=", "STATUS:"]  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(WORDS), max_size=40))
def test_anything_like_an_icalendar_file(words: list[str]) -> None:
    report = Report("c.ics")
    read_calendar(("BEGIN:VCALENDAR\nBEGIN:VEVENT\n" + "".join(words)).encode(), report, NOW)
    assert all(str(problem).isprintable() for problem in report.found)


def test_the_guides_example_with_an_icalendar_file_loads(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "schedule-files.md").read_text()
    (block,) = re.findall(r"^```text\n(calendars:.*?)^```", guide, re.MULTILINE | re.DOTALL)
    write(tmp_path, block + ONE.replace("calendar:c", "calendar:company"))
    write(tmp_path, ics(EVENT), "holidays.ics")
    assert excluded(load(tmp_path, now=NOW), "2026-12-20", "2026-12-31") == ["12-24 00 .. 12-24 23"]


def test_the_guide_describes_every_key_of_a_calendar() -> None:
    guide = (ROOT / "docs" / "schedule-files.md").read_text()
    assert {"ics", "timezone"} <= set(re.findall(r"^\| `(\w+)` \|", guide, re.MULTILINE))


def test_the_example_leaves_its_holidays_out() -> None:
    schedule = load(ROOT / "schedules", now=NOW).set.schedules["daily-forecast"]
    days = [
        date(2026, 12, 7),
        date(2026, 12, 8),
        date(2026, 12, 24),
        date(2026, 12, 25),
        date(2026, 12, 28),
        date(2026, 12, 30),
        date(2027, 1, 1),
    ]
    out = [schedule.excludes(datetime(day.year, day.month, day.day, 4, tzinfo=UTC)) for day in days]
    assert out == [True, False, True, True, False, True, True]
