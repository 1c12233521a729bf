"""The shapes that people and programs are shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from zendaemon.core.fire import Fire, FireState, Reason
from zendaemon.core.shown import ShownFire

TIME = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)


def test_a_fire_has_the_keys_of_history() -> None:
    fire = Fire(
        schedule="nightly",
        fire_time=TIME,
        state=FireState.FAILED,
        reason=Reason.REJECTED,
        lateness_seconds=1.23456,
        decided_at=TIME,
        run_started_at=TIME + timedelta(seconds=1),
    )
    assert ShownFire.of(fire).model_dump(mode="json") == {
        "schedule": "nightly",
        "fire_time": "2026-11-23T02:00:00Z",
        "manual": False,
        "state": "failed",
        "reason": "rejected",
        "message": None,
        "run_id": None,
        "run_name": None,
        "run_status": None,
        "attempts": 0,
        "lateness_seconds": 1.235,
        "decided_at": "2026-11-23T02:00:00Z",
        "run_started_at": "2026-11-23T02:00:01Z",
        "run_ended_at": None,
        "earlier_runs": [],
        "retry_at": None,
    }
