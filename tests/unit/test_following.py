"""When a run is looked at, with which others, and when it counts as stuck."""

# ruff: noqa: FBT001 - columns of tables are flags
from __future__ import annotations

from datetime import timedelta

import pytest

from zendaemon.core.following import HURRIED, interval, may_join, patience, rest
from zendaemon.core.run import ACTIVE, PASSING
from zendaemon.core.schedule import Schedule

SETTING = timedelta(minutes=10)


def schedule(**keys: object) -> Schedule:
    return Schedule.model_validate({"name": "a", "snapshot": "s", "cron": "0 * * * *", **keys})


@pytest.mark.parametrize(
    ("age", "hurried", "seconds"),
    [
        pytest.param(timedelta(), False, 2, id="just started"),
        pytest.param(timedelta(seconds=-60), False, 2, id="the clock was set back"),
        pytest.param(timedelta(seconds=20), False, 2, id="20 s: a tenth, which is the least"),
        pytest.param(timedelta(minutes=5), False, 30, id="5 minutes: a tenth"),
        pytest.param(timedelta(minutes=50), False, 300, id="50 minutes: a tenth, which is the most"),
        pytest.param(timedelta(days=29), False, 300, id="old"),
        pytest.param(timedelta(), True, 2, id="just started, and waited for"),
        pytest.param(timedelta(days=29), True, HURRIED, id="old, and waited for"),
    ],
)
def test_interval(age: timedelta, hurried: bool, seconds: float) -> None:
    assert interval(age, hurried=hurried) == seconds


@pytest.mark.parametrize(
    ("due", "every", "joins"),
    [
        pytest.param(1000, 300, True, id="due now"),
        pytest.param(900, 300, True, id="long due"),
        pytest.param(1075, 300, True, id="a quarter of its interval early"),
        pytest.param(1076, 300, False, id="too early"),
        pytest.param(1000.5, 2, True, id="young, and soon"),
        pytest.param(1001, 2, False, id="young, and too early"),
    ],
)
def test_what_is_asked_for_along_with_others(due: float, every: float, joins: bool) -> None:
    assert may_join(due, every, 1000) is joins


def test_after_failures_the_server_is_left_alone_for_longer_and_longer() -> None:
    assert [rest(failures) for failures in (1, 2, 3, 4, 5, 10**6)] == [2, 4, 8, 15, 15, 15]


@pytest.mark.parametrize("status", [*ACTIVE, "of a newer server", None])
def test_patience_of_the_setting_is_for_what_a_run_only_passes_through(status: str | None) -> None:
    expected = SETTING if status in PASSING else None
    assert patience(status, schedule(), SETTING) == expected
    assert patience(status, None, SETTING) == expected, "a schedule that is gone"


@pytest.mark.parametrize("status", [*ACTIVE, "of a newer server"])
def test_patience_of_a_schedule_is_for_every_status(status: str) -> None:
    assert patience(status, schedule(stuck_after="2h"), SETTING) == timedelta(hours=2)


def test_a_run_may_run_be_paused_and_retried_for_as_long_as_it_takes() -> None:
    assert set(ACTIVE) - PASSING == {"running", "paused", "retrying"}
