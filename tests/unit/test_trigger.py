"""Triggers: `every`, `at` and bounds, and what `exclude` leaves of them. The cron rules have tests of their own."""

# ruff: noqa: E501, FBT001, FBT003 - a case of a table is a line, and some columns are flags
from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zendaemon.core.schedule import Schedule
from zendaemon.core.trigger import EPOCH, Trigger, matches, to_utc

SECOND = timedelta(seconds=1)
BERLIN = "Europe/Berlin"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def schedule(**keys: Any) -> Schedule:  # noqa: ANN401 - as in a file
    return Schedule.model_validate({"name": "nightly", "snapshot": "prod", **keys})


def case(title: str, *values: object) -> object:
    return pytest.param(*values, id=title)


def fires(trigger: Trigger | Schedule, after: str, count: int) -> list[str]:
    found: list[str] = []
    instant: datetime | None = utc(after)
    while len(found) < count and instant is not None and (instant := trigger.next_after(instant)):
        assert instant.tzinfo is UTC
        found.append(f"{instant:%m-%d %H:%M:%S}".removesuffix(":00"))
    return found


@pytest.mark.parametrize(
    ("keys", "after", "expected"),
    [
        case("every counts from the epoch", {"every": "7h"}, "2026-11-23 00:00", "11-23 02:00, 11-23 09:00"),
        case("and not from the zone's midnight", {"every": "6h", "timezone": BERLIN}, "2026-11-23 00:00", "11-23 06:00, 11-23 12:00"),
        case("every counts from start_time", {"every": "7h", "start_time": "2026-11-23T00:00:10"}, "2026-11-23 00:00", "11-23 00:00:10, 11-23 07:00:10"),
        case("start_time itself is the first", {"every": "1h", "start_time": "2026-11-23"}, "2020-01-01 00:00", "11-23 00:00, 11-23 01:00"),
        case("start_time is no fire time of a cron", {"cron": "30 * * * *", "start_time": "2026-11-23"}, "2020-01-01 00:00", "11-23 00:30, 11-23 01:30"),
        case("a cron fires at start_time if it is one", {"cron": "0 0 * * *", "start_time": "2026-11-23"}, "2020-01-01 00:00", "11-23 00:00, 11-24 00:00"),
        case("a start_time in a zone", {"every": "1d", "start_time": "2026-11-23", "timezone": BERLIN}, "2026-11-23 00:00", "11-23 23:00, 11-24 23:00"),
        case("none at end_time", {"every": "1h", "end_time": "2026-11-23T02:00:00"}, "2026-11-23 00:00", "11-23 01:00"),
        case("every is strictly after", {"every": "1s"}, "2026-11-23 00:00", "11-23 00:00:01, 11-23 00:00:02"),
        case("every does not follow the clock's changes", {"every": "1d", "timezone": BERLIN}, "2026-10-24 00:00", "10-25 00:00, 10-26 00:00"),
        case("at in any order", {"at": ["2026-11-24T00:00:00", "2026-11-23T12:00:00"]}, "2026-11-23 00:00", "11-23 12:00, 11-24 00:00"),
        case("at the same instant twice", {"at": ["2026-11-24T01:00:00+01:00", "2026-11-24T00:00:00Z"]}, "2026-11-23 00:00", "11-24 00:00"),
        case("at a date is its midnight in the zone", {"at": "2026-11-24", "timezone": BERLIN}, "2026-11-23 00:00", "11-23 23:00"),
        case("an `at` that is over", {"at": "2026-11-22T00:00:00"}, "2026-11-23 00:00", ""),
        case("at outside its bounds", {"at": "2026-11-24T00:00:00", "end_time": "2026-11-24"}, "2026-11-23 00:00", ""),
        case("crons are merged, equal fire times once", {"cron": ["0 */2 * * *", "0 */3 * * *"]}, "2026-11-23 00:00", "11-23 02:00, 11-23 03:00, 11-23 04:00, 11-23 06:00"),
    ],
)  # fmt: skip
def test_next_after(keys: dict[str, Any], after: str, expected: str) -> None:
    wanted = expected.split(", ") if expected else []
    count = len(wanted) if len(wanted) > 1 and "end_time" not in keys else 4
    assert fires(schedule(**keys).trigger, after, count)[: max(len(wanted), 1)] == wanted


@pytest.mark.parametrize(
    ("wall", "zone", "expected"),
    [
        case("a usual time", "2026-07-01T02:30:00", BERLIN, "2026-07-01 00:30"),
        case("spring: 02:30 does not exist, it is read as 03:30", "2026-03-29T02:30:00", BERLIN, "2026-03-29 01:30"),
        case("autumn: of two 02:30 the first", "2026-10-25T02:30:00", BERLIN, "2026-10-25 00:30"),
        case("the offset tells which", "2026-10-25T02:30:00+01:00", BERLIN, "2026-10-25 01:30"),
        case("half an hour is skipped: Lord Howe", "2026-10-04T02:15:00", "Australia/Lord_Howe", "2026-10-03 15:45"),
        case("midnight does not exist: Cairo", "2026-04-24T00:00:00", "Africa/Cairo", "2026-04-23 22:00"),
    ],
)
def test_a_wall_time_as_an_instant(wall: str, zone: str, expected: str) -> None:
    when = datetime.fromisoformat(wall)
    assert to_utc(when, zone) == utc(expected)
    assert schedule(at=wall, timezone=zone).trigger.at == (utc(expected),)


def test_a_date_begins_where_the_clock_jumps_over_midnight() -> None:
    assert to_utc(date(2026, 4, 24), "Africa/Cairo") == utc("2026-04-23 22:00")


@given(st.integers(1, 10**6), st.datetimes(datetime(1950, 1, 1), datetime(2150, 1, 1)))
def test_every_is_a_multiple_from_its_anchor(seconds: int, naive: datetime) -> None:
    instant = naive.replace(tzinfo=UTC)
    found = Trigger(every=timedelta(seconds=seconds)).next_after(instant)
    assert found is not None
    assert (found - EPOCH) % timedelta(seconds=seconds) == timedelta()
    assert timedelta() < found - instant <= timedelta(seconds=seconds)


TRIGGERS = st.sampled_from([
    Trigger(every=timedelta(seconds=1)),
    Trigger(every=timedelta(seconds=97)),
    Trigger(every=timedelta(hours=7), start=utc("2026-10-24 05:00:30")),
    Trigger(cron=("* * * * *",)),
    Trigger(cron=("* 2 * * *",), timezone=BERLIN),
    Trigger(cron=("30 2 * * *", "0 3 * * *"), timezone=BERLIN),
    Trigger(cron=("0 0 1 * *",)),
    Trigger(cron=("*/20 * * * sat",), end=utc("2026-10-25 00:30")),
    Trigger(at=(utc("2026-10-24 12:00"), utc("2026-10-24 12:00:01"), utc("2026-10-25 09:00"))),
])  # fmt: skip


@settings(deadline=None)
@given(
    TRIGGERS, st.integers(0, 40 * 3600), st.integers(-60, 5000) | st.integers(0, 40 * 3600), st.integers(0, 10**6 - 1)
)
def test_last_until_is_the_last_of_all(trigger: Trigger, begin: int, gap: int, micros: int) -> None:
    after = utc("2026-10-24 00:00") + timedelta(seconds=begin, microseconds=micros)
    until = after + timedelta(seconds=min(gap, 5000) if trigger.every == SECOND else gap)
    expected, instant = None, trigger.next_after(after)
    while instant is not None and instant <= until:
        expected, instant = instant, trigger.next_after(instant)
    assert trigger.last_until(until, after=after) == expected


def test_last_until_over_years_of_seconds_is_cheap() -> None:
    trigger = Trigger(every=SECOND)
    begun = time.perf_counter()
    assert trigger.last_until(utc("2026-01-01"), after=utc("1990-01-01")) == utc("2026-01-01")
    assert time.perf_counter() - begun < 0.1


def test_triggers_without_h_are_equal_whatever_their_name() -> None:
    assert Trigger(cron=("0 2 * * *",), name="a") == Trigger(cron=("0 2 * * *",), name="b")
    assert Trigger(cron=("H 2 * * *",), name="a") != Trigger(cron=("H 2 * * *",), name="b")
    assert Trigger(cron=("h 2 * * *",), name="a") != Trigger(cron=("h 2 * * *",), name="b")


@pytest.mark.parametrize(
    ("expression", "instant", "expected"),
    [
        case("the minute's first second", "* 2 * * *", "2026-11-23 02:00", True),
        case("any second of the minute", "* 2 * * *", "2026-11-23 02:00:01", True),
        case("the last microsecond", "30 2 * * *", "2026-11-23 02:30:59.999999", True),
        case("the second before", "30 2 * * *", "2026-11-23 02:29:59", False),
        case("the second after", "30 2 * * *", "2026-11-23 02:31", False),
    ],
)
def test_a_cron_expression_names_whole_minutes(expression: str, instant: str, expected: bool) -> None:
    assert matches(expression, "UTC", "", utc(instant)) is expected


def test_a_cron_expression_names_minutes_of_its_zone() -> None:
    assert matches("30 5 * * *", "Asia/Kolkata", "", utc("2026-11-23 00:00:30"))


@pytest.mark.parametrize(
    ("keys", "after", "expected"),
    [
        case("a day of seconds is skipped at once", {"every": "1s", "exclude": ["2026-12-24"]}, "2026-12-23 23:59:58", "12-23 23:59:59, 12-25 00:00"),
        case("also from within it", {"every": "1s", "exclude": ["2026-12-24"]}, "2026-12-24 12:00", "12-25 00:00"),
        case("days in a row", {"every": "1s", "exclude": ["2026-12-24", "2026-12-25"]}, "2026-12-24 12:00", "12-26 00:00"),
        case("a local day", {"every": "1h", "timezone": BERLIN, "exclude": ["2026-12-24"]}, "2026-12-23 22:00", "12-24 23:00"),
        case("a local day of 25 hours", {"every": "1h", "timezone": BERLIN, "exclude": ["2026-10-25"]}, "2026-10-24 21:00", "10-25 23:00"),
        case("a local day that begins at one: Cairo", {"every": "1h", "timezone": "Africa/Cairo", "exclude": ["2026-04-24"]}, "2026-04-23 20:00", "04-23 21:00, 04-24 21:00"),
        case("a local day that ends twice: Sao Paulo", {"every": "1h", "timezone": "America/Sao_Paulo", "exclude": ["2018-02-17"]}, "2018-02-17 01:00", "02-18 03:00"),
        case("a local day that exists nowhere: Apia", {"every": "1h", "timezone": "Pacific/Apia", "exclude": ["2011-12-29"]}, "2011-12-30 00:00", "12-30 10:00"),
        case("an hour of seconds by cron", {"every": "1s", "exclude": ["* 2 * * *"]}, "2026-11-23 01:59:58", "11-23 01:59:59, 11-23 03:00"),
        case("one minute of seconds", {"every": "20s", "exclude": ["30 2 * * *"]}, "2026-11-23 02:29:40", "11-23 02:31"),
        case("a month of seconds by cron", {"every": "1s", "exclude": ["* * * 12 *"]}, "2026-12-01 00:00:01", "01-01 00:00"),
        case("weekends by cron", {"every": "1s", "exclude": ["* * * * sat,sun"]}, "2026-11-21 12:00", "11-23 00:00"),
        case("a date by date and by cron", {"cron": "0 2 * * *", "exclude": ["2026-12-24", "* * 25 12 *"]}, "2026-12-23 12:00", "12-26 02:00"),
        case("what is left of `at`", {"at": ["2026-12-24T02:00:00", "2026-12-27T02:00:00"], "exclude": ["2026-12-24"]}, "2026-12-01 00:00", "12-27 02:00"),
        case("nothing left", {"at": "2026-12-24T02:00:00", "exclude": ["2026-12-24"]}, "2026-12-01 00:00", ""),
    ],
)  # fmt: skip
def test_exclude(keys: dict[str, Any], after: str, expected: str) -> None:
    wanted = expected.split(", ") if expected else []
    assert fires(schedule(**keys), after, max(1, len(wanted))) == wanted


def test_a_rule_that_excludes_everything_costs_a_bounded_time() -> None:
    assert schedule(every="1s", exclude=["*/1 * * * *"]).next_after(utc("2026-11-23")) is None
    assert schedule(every="1s", exclude=["* * * * *"]).last_until(utc("2026-11-23"), after=utc("1990-01-01")) is None


EXCLUDES = st.lists(
    st.sampled_from(["2026-10-24", "2026-10-25", "* 1 * * *", "* * * * sun", "1-58/3 * * * *", "30 2 * * *"]),
    max_size=3,
)


@settings(deadline=None, max_examples=50)
@given(
    st.sampled_from(["7m", "47m", "1h"]),
    EXCLUDES,
    st.sampled_from(["UTC", BERLIN, "Africa/Cairo", "Pacific/Apia"]),
    st.integers(0, 2 * 86400),
)
def test_what_exclude_leaves_is_what_a_slow_search_finds(every: str, exclude: list[str], zone: str, begin: int) -> None:
    tested = schedule(every=every, exclude=exclude, timezone=zone)
    after = utc("2026-10-23 22:00") + timedelta(seconds=begin)
    expected = tested.trigger.next_after(after)
    while expected is not None and tested.excludes(expected):
        expected = tested.trigger.next_after(expected)
    found = tested.next_after(after)
    assert found == expected
    if found is not None:
        assert tested.last_until(found, after=after) == found
        assert tested.last_until(found - SECOND, after=after) is None
