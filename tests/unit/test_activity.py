"""What is going on for each schedule."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from zendaemon.activity import Activity
from zendaemon.core.fire import Fire, FireState, again
from zendaemon.core.schedule import Schedule

TIME = datetime(2026, 11, 23, 2, tzinfo=UTC)
LIMITED = Schedule.model_validate({"name": "a", "snapshot": "prod", "every": "1h", "max_runs": 3})


def test_runs_are_to_be_counted_until_somebody_told_how_many_there_were() -> None:
    """A reload whose journal fails in between asks again at the next one."""
    activity = Activity()
    assert activity.uncounted([LIMITED]) == ["a"] == activity.uncounted([LIMITED])
    activity.count(["a"], {"a": 2})
    assert activity.uncounted([LIMITED]) == []
    assert activity.runs("a") == 2


def test_a_run_is_active_from_its_claim_to_its_end_and_counts_once() -> None:
    activity = Activity()
    activity.count(["a"], {})
    fire = Fire(schedule="a", fire_time=TIME)
    assert activity.claimed(fire)
    assert not activity.claimed(fire)
    assert (bool(activity.active("a") or activity.claims("a")), activity.runs("a")) == (True, 1)
    started = Fire(schedule="a", fire_time=TIME, state=FireState.STARTED, run_id="r1")
    activity.closed(started)
    assert (bool(activity.active("a") or activity.claims("a")), activity.runs("a")) == (True, 1)
    activity.ended(started)
    assert (activity.active("a"), activity.runs("a")) == ([], 1)


def test_what_waits_for_a_next_run_waits_no_longer_than_that_one_counts() -> None:
    """The run that it waits for may begin, after one that failed, when it waits already."""
    activity = Activity()
    schedule = LIMITED.model_copy(update={"overlap_timeout": timedelta(minutes=10)})
    failed = Fire(schedule="a", fire_time=TIME, state=FireState.STARTED, run_id="r1", decided_at=TIME, retry_at=TIME)
    activity.ended(failed)
    activity.hold(schedule)
    assert activity.lapse(TIME + timedelta(hours=1)) == []
    claimed = again(failed, TIME + timedelta(hours=1))
    activity.claimed(claimed)
    assert activity.lapse(TIME + timedelta(hours=2)) == []
    started = replace(claimed, state=FireState.STARTED, run_id="r2", decided_at=TIME + timedelta(hours=2))
    activity.closed(started)
    assert activity.lapse(TIME + timedelta(hours=2, minutes=9)) == []
    assert activity.lapse(TIME + timedelta(hours=2, minutes=10)) == ["a"]
    assert activity.lapse(TIME + timedelta(hours=3)) == []
