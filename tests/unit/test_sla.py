"""Promises as tables: what is known of a schedule, and now."""

# ruff: noqa: E501 - a case of a table is a line
from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from zendaemon.core.alert import AlertKind
from zendaemon.core.fire import EarlierRun, Fire, FireState
from zendaemon.core.schedule import Schedule
from zendaemon.core.sla import KINDS, Facts, Promise, broken, ended_late, started_late

HOUR = timedelta(hours=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-23T{text}").replace(tzinfo=UTC)


def schedule(sla: dict[str, str] | None, **keys: Any) -> Schedule:  # noqa: ANN401 - as in a file
    given = {"name": "nightly", "snapshot": "x", "cron": "0 * * * *", **keys}
    return Schedule.model_validate(given if sla is None else {**given, "sla": sla})


def case(title: str, *values: object) -> object:
    return pytest.param(*values, id=title)


LATE = {"late_after": "5m"}
LONG = {"max_runtime": "2h"}
STALE = {"max_time_since_success": "1d"}
DUE = Facts(due=at("02:00"))
NOT_STARTED = "the fire of 2026-11-23T02:00:00Z has not been started within 5m"


def running(*begun: str) -> Facts:
    return Facts(active=tuple((f"r{number}", at(text)) for number, text in enumerate(begun)))


def waited(since: str, *, succeeded: bool = True, goes_on: bool = True) -> Facts:
    return Facts(last_success=at(since) - timedelta(days=1), succeeded=succeeded, goes_on=goes_on)


@pytest.mark.parametrize(
    ("sla", "facts", "now", "since", "text"),
    [
        case("nothing promised", None, DUE, "23:00", None, None),
        case("nothing due", LATE, Facts(), "23:00", None, None),
        case("not yet late", LATE, DUE, "02:05", None, None),
        case("late", LATE, DUE, "02:05:00.000001", "02:05", NOT_STARTED),
        case("late, and the words stay", LATE, DUE, "12:00", "02:05", NOT_STARTED),
        case("a clock that was set back", LATE, DUE, "01:00", None, None),
        case("only what is promised", LONG, DUE, "12:00", None, None),
        case("no run", LONG, Facts(), "12:00", None, None),
        case("a run in time", LONG, running("02:00"), "04:00", None, None),
        case("a run too long", LONG, running("02:00"), "04:00:01", "04:00", "run r0 has been active for longer than 2h, since 2026-11-23T02:00:00Z"),
        case("the longest of several", LONG, running("03:00", "02:00", "09:00", "01:00"), "10:00", "03:00", "run r3 has been active for longer than 2h, since 2026-11-23T01:00:00Z, and 2 more"),
        case("nothing known of successes yet", STALE, Facts(), "12:00", None, None),
        case("a success in time", STALE, waited("12:00"), "12:00", None, None),
        case("none in time", STALE, waited("11:59"), "12:00", "11:59", "no run has succeeded within 1d, the last one that did ended at 2026-11-22T11:59:00Z"),
        case("none ever", STALE, waited("11:59", succeeded=False), "12:00", "11:59", "no run has succeeded within 1d, since 2026-11-22T11:59:00Z"),
        case("none will be", STALE, waited("11:59", goes_on=False), "12:00", None, None),
    ],
)  # fmt: skip
def test_broken(sla: dict[str, str] | None, facts: Facts, now: str, since: str | None, text: str | None) -> None:
    found = broken(schedule(sla), facts, at(now))
    assert [(each.since, each.text) for each in found] == ([(at(since), text)] if since else [])


def test_all_of_them_at_once() -> None:
    facts = replace(running("02:00"), due=at("02:00"), last_success=at("02:00"))
    found = broken(
        schedule({"late_after": "1m", "max_runtime": "1m", "max_time_since_success": "1m"}), facts, at("03:00")
    )
    assert [each.promise for each in found] == list(Promise) == list(KINDS)
    assert {KINDS[each.promise] for each in found} == {
        AlertKind.LATE_START,
        AlertKind.LATE_FINISH,
        AlertKind.NO_SUCCESS,
    }


def test_runs_are_by_the_clock_of_the_server() -> None:
    ahead = timedelta(minutes=10)
    assert broken(schedule(LONG), replace(running("02:00"), skew=ahead), at("03:50")) == ()
    assert len(broken(schedule(LONG), replace(running("02:00"), skew=ahead), at("03:51"))) == 1
    assert broken(schedule(STALE), replace(waited("12:00"), skew=ahead), at("11:50")) == ()
    assert len(broken(schedule(STALE), replace(waited("12:00"), skew=ahead), at("11:51"))) == 1
    assert broken(schedule(STALE), replace(waited("12:00", succeeded=False), skew=ahead), at("11:59")) == ()
    assert broken(schedule(LATE), replace(DUE, skew=ahead), at("02:05")) == ()


def test_jitter_delays_the_promise() -> None:
    jittered = schedule(LATE, jitter="30m")
    assert jittered.delay > 2 * timedelta(minutes=5)
    end = at("02:05") + jittered.delay
    assert broken(jittered, DUE, end) == ()
    assert broken(jittered, DUE, end + timedelta(seconds=1))[0].since == end
    assert started_late(jittered, STARTED, end) is None
    assert started_late(jittered, STARTED, end + timedelta(seconds=1)) is not None


STARTED = Fire(schedule="nightly", fire_time=at("02:00"), state=FireState.STARTED, run_name="r0")
EARLIER = EarlierRun(run_id="1", run_name="r0", run_status="failed", run_started_at=None, run_ended_at=None)


@pytest.mark.parametrize(
    ("sla", "fire", "begun", "text"),
    [
        case("in time", LATE, STARTED, "02:05", None),
        case("late", LATE, STARTED, "02:05:01", "the fire of 2026-11-23T02:00:00Z was started at 2026-11-23T02:05:01Z, not within 5m"),
        case("not promised", LONG, STARTED, "12:00", None),
        case("no promises at all", None, STARTED, "12:00", None),
        case("by hand", LATE, replace(STARTED, manual=True), "12:00", None),
        case("another run after one that failed", LATE, replace(STARTED, earlier_runs=(EARLIER,)), "12:00", None),
    ],
)  # fmt: skip
def test_started_late(sla: dict[str, str] | None, fire: Fire, begun: str, text: str | None) -> None:
    found = started_late(schedule(sla), fire, at(begun))
    assert (found.text if found else None) == text
    assert found is None or (found.promise, found.since) == (Promise.LATE_AFTER, at("02:05"))


@pytest.mark.parametrize(
    ("sla", "begun", "ended", "text"),
    [
        case("in time", LONG, "02:00", "04:00", None),
        case("too long", LONG, "02:00", "04:10", "run r0 took 2h10m, longer than 2h"),
        case("not promised", LATE, "02:00", "12:00", None),
        case("no promises at all", None, "02:00", "12:00", None),
        case("the beginning is not known", LONG, None, "12:00", None),
        case("the end is not known", LONG, "02:00", None, None),
    ],
)  # fmt: skip
def test_ended_late(sla: dict[str, str] | None, begun: str | None, ended: str | None, text: str | None) -> None:
    times = {"run_started_at": at(begun) if begun else None, "run_ended_at": at(ended) if ended else None}
    found = ended_late(schedule(sla), replace(STARTED, **times))
    assert (found.text if found else None) == text
    assert found is None or (found.promise, found.since) == (Promise.MAX_RUNTIME, at("04:00"))
