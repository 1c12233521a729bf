"""Days, ranges and calendars in `exclude`: exact where clocks change, and cheap whatever their number."""

# ruff: noqa: E501, FBT001 - a case of a table is a line, and some columns are flags
from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from zendaemon.core.changes import changes
from zendaemon.core.exclusion import Calendar, Days, Exclusion, around, check_rule, day_spans, merged, parse_days
from zendaemon.core.schedule import Schedule, ScheduleSet
from zendaemon.loader.config import never_fires

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
BERLIN = "Europe/Berlin"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def schedule(*calendars: Calendar, **keys: Any) -> Schedule:  # noqa: ANN401 - as in a file
    made = Schedule.model_validate({"name": "nightly", "snapshot": "prod", "every": "1h", **keys})
    return made.with_calendars({calendar.name: calendar for calendar in calendars})


def case(title: str, *values: object) -> object:
    return pytest.param(*values, id=title)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        case("a day", "2026-12-24", (date(2026, 12, 24), date(2026, 12, 24))),
        case("a range", "2026-12-24/2027-01-02", (date(2026, 12, 24), date(2027, 1, 2))),
        case("a range of one day", "2026-12-24/2026-12-24", (date(2026, 12, 24), date(2026, 12, 24))),
        case("a cron expression", "*/5 * * * *", None),
        case("a calendar", "calendar:2026", None),
    ],
)
def test_days(text: str, expected: Days | None) -> None:
    assert parse_days(text) == expected
    assert check_rule(text) == text


SLASH = "; write the first and the last day with a slash: 2026-12-24/2027-01-02"
BLANKS = "; write calendar:name, in small letters and without blanks"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        case("dots", "2026-12-24..2027-01-02", f"'2026-12-24..2027-01-02' is no date and no range of days{SLASH}"),
        case("blanks", "2026-12-24 / 2027-01-02", f"'2026-12-24 / 2027-01-02' is no date and no range of days{SLASH}"),
        case("an end that is a part", "2026-12-24/31", f"'2026-12-24/31' is no date and no range of days{SLASH}"),
        case("an end that is a length", "2026-12-24/P3D", f"'2026-12-24/P3D' is no date and no range of days{SLASH}"),
        case("no end", "2026-12-24/", f"'2026-12-24/' is no date and no range of days{SLASH}"),
        case("reversed", "2027-01-02/2026-12-24", "'2027-01-02/2026-12-24' ends before it begins; write 2026-12-24/2027-01-02, the first day first"),
        case("no such day", "2026-12-24/2026-12-32", "'2026-12-32' is no date; write a day of the calendar as 2026-12-24, or a cron expression"),
        case("no such year", "0001-01-01", "the year 1 is out of range; give one from 1970 to 2999"),
        case("an endless range", "2026-12-24/9999-12-31", "the year 9999 is out of range; give one from 1970 to 2999"),
        case("a calendar after a blank", "calendar: company", f"'calendar: company' names no calendar{BLANKS}"),
        case("a calendar in capitals", "Calendar:company", f"'Calendar:company' names no calendar{BLANKS}"),
        case("a calendar without a name", "calendar:", f"'calendar:' names no calendar{BLANKS}"),
    ],
)  # fmt: skip
def test_wrong_rules(text: str, expected: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared
        check_rule(text)
    assert str(caught.value) == expected


def test_too_many_rules() -> None:
    with pytest.raises(ValidationError, match="at most 10000"):
        schedule(exclude=["2026-12-24"] * 10_001)


@pytest.mark.parametrize(
    ("zone", "days", "expected"),
    [
        case("a day", "UTC", "2026-12-24", "2026-12-24 00:00, 2026-12-25 00:00"),
        case("25 hours", BERLIN, "2026-10-25", "2026-10-24 22:00, 2026-10-25 23:00"),
        case("23 hours", BERLIN, "2026-03-29", "2026-03-28 23:00, 2026-03-29 22:00"),
        case("a range over a change of clocks", BERLIN, "2026-10-24/2026-10-26", "2026-10-23 22:00, 2026-10-26 23:00"),
        case("a midnight that does not exist: Cairo", "Africa/Cairo", "2026-04-24", "2026-04-23 22:00, 2026-04-24 21:00"),
        case("the day before that midnight", "Africa/Cairo", "2026-04-23", "2026-04-22 22:00, 2026-04-23 22:00"),
        case("set back at midnight: Sao Paulo", "America/Sao_Paulo", "2018-02-17", "2018-02-17 02:00, 2018-02-18 03:00"),
        case("a day that is skipped: Apia", "Pacific/Apia", "2011-12-30", ""),
        case("the day before it", "Pacific/Apia", "2011-12-29", "2011-12-29 10:00, 2011-12-30 10:00"),
        case("the day after it", "Pacific/Apia", "2011-12-31", "2011-12-30 10:00, 2011-12-31 10:00"),
        case("a range over it", "Pacific/Apia", "2011-12-29/2011-12-31", "2011-12-29 10:00, 2011-12-31 10:00"),
        case("a day whose end comes twice: St. John's", "America/St_Johns", "2010-11-06", "2010-11-06 02:30, 2010-11-07 02:30, 2010-11-07 02:31, 2010-11-07 03:30"),
        case("and the day that begins twice", "America/St_Johns", "2010-11-07", "2010-11-07 02:30, 2010-11-07 02:31, 2010-11-07 03:30, 2010-11-08 03:30"),
        case("both of them", "America/St_Johns", "2010-11-06/2010-11-07", "2010-11-06 02:30, 2010-11-08 03:30"),
    ],
)  # fmt: skip
def test_days_where_clocks_change(zone: str, days: str, expected: str) -> None:
    parsed = parse_days(days)
    assert parsed is not None
    edges = [edge for span in day_spans([parsed], ZoneInfo(zone)) for edge in span]
    assert edges == [utc(text) for text in expected.split(", ") if text]


ZONES = {
    "UTC": "2026-10-25",
    BERLIN: "2026-10-25",
    "Africa/Cairo": "2026-04-24",
    "Pacific/Apia": "2011-12-30",
    "America/St_Johns": "2010-11-07",
    "America/Sao_Paulo": "2018-02-18",
    "Australia/Lord_Howe": "2026-04-05",
    "Pacific/Kwajalein": "1993-08-21",
}


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(sorted(ZONES)),
    st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 3)), max_size=4),
    st.lists(st.tuples(st.integers(-4000, 4000), st.integers(0, 600)), max_size=4),
)
def test_what_is_excluded_is_what_a_slow_look_finds(
    name: str, ranges: list[tuple[int, int]], times: list[tuple[int, int]]
) -> None:
    middle, zone = date.fromisoformat(ZONES[name]), ZoneInfo(name)
    noon = datetime.combine(middle, datetime.min.time(), UTC)
    days = tuple((middle + first * DAY, middle + (first + more) * DAY) for first, more in ranges)
    instants = tuple((noon + begin * MINUTE, noon + (begin + long) * MINUTE) for begin, long in times)
    found = Exclusion.of(["calendar:a", "calendar:b"], name, "", {"a": Calendar("a", days, instants)})
    for step in range(-5 * 1440, 5 * 1440, 7):
        instant = noon + step * MINUTE
        shown = instant.astimezone(zone).date()
        expected = any(low <= shown <= high for low, high in days) or any(
            low <= instant < high for low, high in instants
        )
        span = found.span(instant)
        assert (span is not None) is expected, instant
        assert span is None or span[0] <= instant < span[1]


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(sorted(ZONES)),
    st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 2)), max_size=3),
    st.booleans(),
    st.integers(-4 * 1440, 4 * 1440),
)
def test_next_and_last_leave_out_what_is_excluded(
    name: str, ranges: list[tuple[int, int]], sundays: bool, begin: int
) -> None:
    middle = date.fromisoformat(ZONES[name])
    texts = [f"{middle + first * DAY}/{middle + (first + more) * DAY}" for first, more in ranges]
    tested = schedule(every="47m", timezone=name, exclude=[*texts, *(["* * * * sun"] if sundays else [])])
    after = datetime.combine(middle, datetime.min.time(), UTC) + begin * MINUTE
    until = after + 5 * DAY
    left = []
    instant = tested.trigger.next_after(after)
    while instant is not None and instant <= until:
        left += [] if tested.excludes(instant) else [instant]
        instant = tested.trigger.next_after(instant)
    found = tested.next_after(after)
    assert (found if found and found <= until else None) == (left[0] if left else None)
    assert tested.last_until(until, after=after) == (left[-1] if left else None)


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 9)), max_size=20))
def test_merged_spans_cover_the_same(pairs: list[tuple[int, int]]) -> None:
    start = utc("2026-11-23")
    spans = [(start + begin * HOUR, start + (begin + long) * HOUR) for begin, long in pairs]
    found = merged(spans)
    assert all(one[1] < other[0] for one, other in pairwise(found))
    for hour in range(120):
        instant = start + hour * HOUR
        assert (around(found, instant) is not None) is any(low <= instant < high for low, high in spans)


def test_times_of_a_calendar_without_a_zone_are_the_schedules() -> None:
    calendar = Calendar("a", local=((datetime(2026, 12, 24, 10), datetime(2026, 12, 24, 12)),))
    assert schedule(calendar, exclude="calendar:a", timezone=BERLIN).excluded_span(utc("2026-12-24 09:00")) == (
        utc("2026-12-24 09:00"),
        utc("2026-12-24 11:00"),
    )
    assert not schedule(calendar, exclude="calendar:a").excludes(utc("2026-12-24 09:00"))


def test_a_calendar_that_is_not_known_excludes_nothing() -> None:
    assert not schedule(exclude="calendar:a").excludes(utc("2026-12-24"))


def test_another_calendar_makes_another_schedule_that_is_not_restarted() -> None:
    days = ((date(2026, 12, 24), date(2026, 12, 24)),)
    old, same, new = (
        ScheduleSet({"nightly": schedule(Calendar("a", days * count), exclude="calendar:a")}) for count in (1, 1, 0)
    )
    assert changes(old, same).unchanged == ("nightly",)
    assert (changes(old, new).changed, changes(old, new).restarted) == (("nightly",), ())


def test_a_calendar_of_10_000_days_is_as_cheap_as_one_of_a_few() -> None:
    first = date(2026, 1, 1)
    calendar = Calendar("a", tuple((first + 2 * n * DAY, first + 2 * n * DAY) for n in range(10_000)))
    tested = schedule(calendar, exclude="calendar:a", timezone=BERLIN, every="1s")
    begun = time.perf_counter()
    for day in range(1000):
        tested.excludes(utc("2026-06-01") + day * DAY)
        assert tested.next_after(utc("2026-06-01") + day * DAY)
    assert time.perf_counter() - begun < 1
    others = [schedule(calendar, exclude="calendar:a", timezone=BERLIN) for _ in range(1000)]
    assert others[0].exclusion.dated[0] is others[-1].exclusion.dated[0]
    assert time.perf_counter() - begun < 5


@pytest.mark.parametrize(
    "rules",
    [
        case("written as steps", ["*/1 * * 12 *"]),
        case("written as ranges", ["0-59 0-23 * 12 *"]),
        case("by two rules that fit together", ["0-58 * * 12 *", "59 * * 12 *"]),
        case("by hours that fit together", ["* 0-7 * 12 *", "* 8-23 * dec *"]),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", BERLIN])
def test_a_month_of_minutes_that_cron_rules_leave_out_is_passed_over(rules: list[str], zone: str) -> None:
    every_minute = schedule(every=None, cron="* * * * *", exclude=rules, timezone=zone)
    asked = datetime(2026, 12, 1, 0, 30, tzinfo=ZoneInfo(zone))
    begun = time.process_time()
    assert every_minute.next_after(asked) == datetime(2027, 1, 1, tzinfo=ZoneInfo(zone))
    last = datetime(2026, 12, 31, 23, tzinfo=ZoneInfo(zone))
    assert every_minute.last_until(last, after=asked - DAY) == datetime(2026, 11, 30, 23, 59, tzinfo=ZoneInfo(zone))
    assert time.process_time() - begun < 0.1


@pytest.mark.parametrize(
    "keys",
    [
        case("an interval of years", {"every": "3660d", "start_time": "2030-01-01", "exclude": ["2030-01-01"]}),
        case("leap days", {"every": None, "cron": "0 0 29 2 *", "start_time": "2028-01-01", "exclude": ["2028-02-29"]}),
        case(
            "one weekday of them",
            {"every": None, "cron": "0 0 29 2 *", "start_time": "2028-01-01", "exclude": ["* * 29 2 */2"]},
        ),
    ],
)
def test_one_excluded_fire_of_those_that_are_years_apart_leaves_the_others(keys: dict[str, Any]) -> None:
    rare = schedule(**keys)
    assert rare.next_after(utc("2026-11-23")) is not None
    assert never_fires(rare, utc("2026-11-23")) is None


RULES = st.sampled_from(
    [
        "* * 28,29 * *",
        "*/1 * * * *",
        "0-59 0-23 * * *",
        "0-29 2 * * *",
        "30-59 1-2 * * *",
        "*/2 * * * *",
        "* 2-3 * * *",
        "15 0-3 * * 0",
        "1-59/2 0,1,2 * * *",
    ]
)
CHANGED = st.sampled_from(
    [
        (BERLIN, "2027-03-28T01:00"),
        (BERLIN, "2027-10-31T01:00"),
        ("Australia/Lord_Howe", "2026-10-03T15:30"),
        ("Australia/Lord_Howe", "2027-04-03T15:00"),
        ("Africa/Cairo", "2027-10-28T21:00"),
        ("Pacific/Apia", "2011-12-30T10:00"),
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(RULES, min_size=1, max_size=3), CHANGED, st.integers(-2000, 2000))
def test_a_span_of_cron_rules_has_no_minute_that_they_leave_in(
    rules: list[str], changed: tuple[str, str], minutes: int
) -> None:
    zone, change = changed
    excluding = Exclusion.of(rules, zone, "nightly", {})
    instant = utc(change) + MINUTE * minutes
    span = excluding.span(instant)
    if span is not None:
        assert span[0] <= instant < span[1] <= span[0] + DAY + 3 * HOUR
        size = (span[1] - span[0]) // MINUTE
        assert all(excluding.span(span[0] + MINUTE * n) for n in {*range(0, size, 7), size - 1})
