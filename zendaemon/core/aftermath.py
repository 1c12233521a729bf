"""What follows a run that failed: another run of its fire, or, after several, a pause."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from zendaemon.core.run import FAILED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from zendaemon.core.fire import Fire
    from zendaemon.core.schedule import Schedule


def next_run(schedule: Schedule, fire: Fire, now: datetime) -> Fire:
    """The fire whose run ended at `now`, with the time of its next run where it is to have one.

    Fires by hand have none: somebody is there to look.
    """
    policy = schedule.on_run_failure
    if policy is None or fire.manual or fire.run_status not in FAILED or len(fire.earlier_runs) >= policy.retry_run:
        return fire
    return replace(fire, retry_at=now + policy.delay)


def failed_in_a_row(outcomes: Sequence[Fire], count: int, since: datetime | None) -> str | None:
    """Why a schedule is to be paused, by its latest fires whose runs succeeded or failed for good, the latest first.

    Runs that were started before `since`, the end of its last pause, do not count. None while they are not so many.
    """
    counting = [fire for fire in outcomes[:count] if since is None or (fire.decided_at or fire.fire_time) >= since]
    if len(counting) < count or any(fire.run_status not in FAILED for fire in counting):
        return None
    last = counting[0]
    why = f" ({last.message})" if last.message else ""
    return f"the runs of {count} fires in a row failed, the last one {last.run_name}{why}"[:1000]
