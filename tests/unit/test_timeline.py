"""Fires to come, by the minute: the same as walking every schedule by itself, and bounded."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from zendaemon.core import timeline
from zendaemon.core.schedule import Schedule
from zendaemon.core.timeline import MINUTE, NAMES, expected, minute_of

NOW = datetime(2026, 11, 23, 12, 0, 30, tzinfo=UTC)
DAY = timedelta(hours=24)


def schedule(name: str, **keys: Any) -> Schedule:  # noqa: ANN401 - as in a file
    return Schedule.model_validate({"name": name, "snapshot": "x", **keys})


SCHEDULES = [
    *(schedule(f"quarter-{n}", cron="*/15 * * * *") for n in range(7)),
    *(schedule(f"jittery-{n}", cron="0 * * * *", jitter="30m") for n in range(5)),
    schedule("often", every="20s"),
    schedule("night", cron="30 2 * * *", timezone="Europe/Berlin"),
    schedule("holiday", cron="*/10 * * * *", exclude=["* 13 * * *"]),
    schedule("over", at="2026-11-23T12:00:00Z"),
    schedule("once", at="2026-11-23T18:00:00Z"),
    schedule("far", at="2030-01-01"),
    *(schedule(f"hashed-{n}", cron="H * * * *") for n in range(5)),
]


def walked(end: datetime) -> dict[datetime, Counter[str]]:
    """By brute force."""
    found: dict[datetime, Counter[str]] = {}
    for one in SCHEDULES:
        instant = one.next_after(NOW - one.delay)
        while instant is not None and instant + one.delay < end:
            found.setdefault(minute_of(instant + one.delay), Counter())[one.name] += 1
            instant = one.next_after(instant)
    return found


def test_it_is_what_walking_every_schedule_gives() -> None:
    counted = expected(SCHEDULES, {}, NOW, NOW + DAY, 100_000)
    brute = walked(NOW + DAY)
    assert counted.until == NOW + DAY
    assert {minute.minute: minute.count for minute in counted.minutes} == {
        minute: sum(names.values()) for minute, names in brute.items()
    }
    for minute in counted.minutes:
        assert minute.schedules == tuple(sorted(brute[minute.minute]))[:NAMES]
        assert minute.states == {}


def test_when_there_is_too_much_what_was_counted_is_complete() -> None:
    counted = expected(SCHEDULES, {}, NOW, NOW + DAY, 1000)
    brute = walked(NOW + DAY)
    assert NOW + timedelta(hours=1) < counted.until < NOW + DAY
    for minute in counted.minutes:
        if minute.minute + MINUTE <= counted.until:
            assert minute.count == sum(brute[minute.minute].values())


def test_schedules_that_share_a_trigger_are_reckoned_once() -> None:
    many = [schedule(f"s{n}", cron="* * * * *") for n in range(5000)]
    counted = expected(many, {}, NOW, NOW + DAY, 1500)
    assert counted.until == NOW + DAY
    assert {minute.count for minute in counted.minutes} == {5000}
    assert len(counted.minutes) == 1440


def test_a_pause_counts_till_its_end() -> None:
    one = schedule("often", every="1m")
    counted = expected([one], {"often": NOW + timedelta(hours=23, minutes=50)}, NOW, NOW + DAY, 10_000)
    assert sum(minute.count for minute in counted.minutes) == 10


def test_minutes_name_some_schedules_the_first_by_name() -> None:
    tallies = timeline.Tallies()
    for name in "hgfedcba":
        tallies[NOW].add(1, [name])
    assert tallies.shown()[0].schedules == tuple("abcde")
