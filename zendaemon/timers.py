"""The timers: one APScheduler job for each cadence, which says "look at these schedules now" and nothing more.

asyncio's timers run on the monotonic clock, so APScheduler is woken by the wall clock too: `tick` is called once a
second when a wake is near, and after the clock was set; where it was set back every timer is set anew.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from apscheduler.executors.base import BaseExecutor
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from zendaemon.core.schedule import Schedule
    from zendaemon.core.trigger import Trigger

Cadence = tuple["Trigger", timedelta]
"""What schedules that share a timer have in common: the trigger and the jitter's delay."""

AHEAD = timedelta(seconds=2.9)
"""How long before a wake the schedules are told of that it is for."""
_TELL_EVERY = 0.25
_STEP = timedelta(seconds=2)


class _CadenceTrigger(BaseTrigger):  # type: ignore[misc] # APScheduler 3 has no annotations
    """The next wake after now; what lies before is the planner's to find."""

    def __init__(self, trigger: Trigger, delay: timedelta) -> None:
        self._trigger = trigger
        self._delay = delay

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime | None:
        """APScheduler's question; `previous` does not matter, since the timer carries no truth."""
        del previous
        found = self._trigger.next_after(now.astimezone(UTC) - self._delay)
        return None if found is None else found + self._delay


class _Inline(BaseExecutor):  # type: ignore[misc]
    """Runs a job where it is found due: all that it does is to note the names."""

    def _do_submit_job(self, job: Any, run_times: list[datetime]) -> None:  # noqa: ANN401
        del run_times
        job.func(*job.args)
        self._run_job_success(job.id, [])


class Timers:
    """Calls `wake` with the names of schedules whose fire time, with its jitter, has come, and `soon` with that instant
    and the names some time before.
    """

    def __init__(self, wake: Callable[[frozenset[str]], None]) -> None:
        logging.getLogger("apscheduler").setLevel(logging.WARNING)
        self._wake = wake
        self._jobs: dict[Cadence, tuple[Any, frozenset[str]]] = {}
        self._last: tuple[datetime, float] | None = None
        self._told: dict[str, datetime] = {}
        self._told_at = float("-inf")
        self.soon: Sequence[Callable[[datetime, frozenset[str]], None]] = ()
        self._store = MemoryJobStore()
        self._scheduler = AsyncIOScheduler(
            timezone=UTC,
            jobstores={"default": self._store},
            executors={"default": _Inline()},
            job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 2**31},
        )

    def start(self) -> None:
        self._scheduler.start()

    def stop(self) -> None:
        self._scheduler.shutdown(wait=False)

    def set(self, schedules: Iterable[Schedule]) -> None:
        """Have a timer for each cadence of these schedules, and no others. Timers that stay are not touched.

        The schedules of one that is set anew are woken, since it may have been about to go off.
        """
        wanted: dict[Cadence, set[str]] = defaultdict(set)
        for schedule in schedules:
            wanted[schedule.trigger, schedule.delay].add(schedule.name)
        for cadence in self._jobs.keys() - wanted.keys():
            self._remove(cadence)
        for cadence, names in wanted.items():
            self._put(cadence, frozenset(names))

    def _put(self, cadence: Cadence, names: frozenset[str]) -> None:
        if cadence in self._jobs:
            job, before = self._jobs[cadence]
            if before == names:
                return
            self._remove(cadence)
            self._wake(names)
        job = self._scheduler.add_job(self._wake, _CadenceTrigger(*cadence), args=(names,))
        self._jobs[cadence] = job, names

    def _remove(self, cadence: Cadence) -> None:
        job, _ = self._jobs.pop(cadence)
        if self._scheduler.get_job(job.id) is not None:
            self._scheduler.remove_job(job.id)

    def near(self, now: datetime) -> bool:
        """Whether a wake comes so soon that `tick` is to be called."""
        following = self._store.get_next_run_time()
        return following is not None and following <= now + AHEAD

    def tick(self, now: datetime, monotonic: float) -> None:
        """Have APScheduler look at the wall clock when a wake is near; set every timer anew after it was set back."""
        last, self._last = self._last, (now, monotonic)
        if last is not None and now - last[0] < timedelta(seconds=monotonic - last[1]) - _STEP:
            for job, _ in self._jobs.values():
                if self._scheduler.get_job(job.id) is not None:
                    job.reschedule(job.trigger)
        if self.near(now):
            self._scheduler.wakeup()
            self._tell_soon(now, monotonic)

    def _tell_soon(self, now: datetime, monotonic: float) -> None:
        """Once for each wake, and not at every look: there may be many."""
        if monotonic - self._told_at < _TELL_EVERY:
            return
        told, self._told, self._told_at = self._told, {}, monotonic
        for job in self._store.get_due_jobs(now + AHEAD):
            self._told[job.id] = at = job.next_run_time
            if at > now and told.get(job.id) != at:
                for tell in self.soon:
                    tell(at, *job.args)
