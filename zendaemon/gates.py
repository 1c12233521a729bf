"""Whether a claimed fire may be started at this moment: overlap, what it depends on, and conditions on the server.

Asked right before a start, and of the server itself, since what is known here of its runs may be minutes old. Fires by
hand pass; another run of a fire whose run failed only waits for active runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from zendaemon.core.errors import Held, JournalError, Rejected, Unavailable
from zendaemon.core.fire import FireState, Reason, instant_text
from zendaemon.core.policy import Overlap, OverlapScope
from zendaemon.core.retry import GiveUp
from zendaemon.core.run import SUCCEEDED, TERMINAL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime, timedelta

    from zendaemon.activity import Activity
    from zendaemon.core.fire import Fire
    from zendaemon.core.run import Resolved, Run
    from zendaemon.core.schedule import Schedule
    from zendaemon.core.work import Work

_STOPPING, _OTHER_RUNS, _OTHER_SCHEDULES, _JOURNAL, _DOUBT = 2.0, 10.0, 2.0, 1.0, 0.2
"""Seconds until it is looked again at what a fire waits for."""
_SKIPPED = GiveUp(FireState.SKIPPED, Reason.OVERLAP)


class Server(Protocol):
    """What gates need of a ZenML server."""

    @property
    def skew(self) -> timedelta: ...

    async def active_runs(self, pipeline_id: str, project: str | None, pipeline: str | None) -> list[Run]: ...

    async def stop_run(self, run_id: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again in so many seconds."""

    seconds: float
    why: Held


@dataclass(frozen=True, slots=True)
class Shut:
    """The fire is not to be started."""

    end: GiveUp
    why: Held


Verdict = Wait | Shut | None


class Gates:
    """What is wired in later: `look` asks the server about the runs of these fires at once, `undecided` tells the first
    fire time of a schedule that is due and not decided yet, `last` its latest fire that was not skipped, `unmet` the
    first condition of `when` that does not hold, `drop` gives up the runs that were to follow failed ones, and
    `doubted` tells whether it is not known yet if a schedule's last failures pause it.
    """

    def __init__(self, server: Server, activity: Activity, *, now: Callable[[], datetime]) -> None:
        self._server = server
        self._activity = activity
        self._now = now
        self.look: Callable[[Sequence[Fire]], Awaitable[list[Fire]]]
        self.last: Callable[[str], Awaitable[Fire | None]]
        self.unmet: Callable[[Schedule, Resolved], Awaitable[str | None]]
        self.undecided: Callable[[str], datetime | None]
        self.drop: Callable[[str], None]
        self.doubted: Callable[[str], bool]

    async def verdict(self, work: Work, resolved: Resolved) -> Verdict:
        """None where the fire may be started. Raises a ServerError when the server does not say."""
        if work.fire.manual:
            return None
        try:
            found = await self._overlap(work, resolved)
            if found is None and work.schedule.pause_after_failures and self.doubted(work.schedule.name):
                found = Wait(_DOUBT, Held("whether its last failures pause the schedule is being looked at"))
            if found is None and not work.gated and not work.fire.earlier_runs:
                found = await self._depends(work) or await self._conditions(work, resolved)
                work.gated = found is None
        except JournalError as error:
            return Wait(_JOURNAL, Held(str(error)))
        return found

    async def _overlap(self, work: Work, resolved: Resolved) -> Verdict:
        schedule = work.schedule
        if schedule.overlap is Overlap.ALLOW:
            return None
        if schedule.overlap is Overlap.CANCEL_RUNNING and not work.fire.earlier_runs:
            return await self._in_place(work)
        if behind := self._behind_claims(work):
            return behind
        if found := await self._still_active(schedule):
            text, wait = f"run {found[0].run_name} is active", _STOPPING
        elif failed := self._activity.failed(schedule.name):  # which that look may have brought about
            text, wait = f"run {failed[0].run_name} failed, and another one is to follow", _STOPPING
        elif schedule.overlap_scope is OverlapScope.PIPELINE and (
            others := await self._of_pipeline(schedule, resolved)
        ):
            text, wait = f"run {others[0].name} of pipeline {resolved.pipeline} is active", _OTHER_RUNS
        else:
            return self._behind_claims(work)  # which may have come meanwhile
        if schedule.overlap is Overlap.SKIP and not work.fire.earlier_runs:
            return Shut(_SKIPPED, Held(text))
        return Wait(wait, Held(text))

    def _behind_claims(self, work: Work) -> Verdict:
        """Another run of a fire comes after the fires in hand: they may have passed their gates already. Of two such
        runs, and of two fires that were claimed when overlap was allowed, the earlier fire's is the first.
        """
        fire, others = work.fire, self._activity.claims(work.schedule.name)
        for other in others:
            if not other.manual and other.fire_time != fire.fire_time:
                if work.schedule.overlap is Overlap.CANCEL_RUNNING and other.fire_time > fire.fire_time:
                    return _replaced_by(other)
                if (bool(other.earlier_runs), other.fire_time) < (bool(fire.earlier_runs), fire.fire_time):
                    return Wait(_STOPPING, Held("another fire is being started"))
        return None

    async def _still_active(self, schedule: Schedule) -> list[Fire]:
        """The schedule's runs that count and are active, by what the server says now."""
        counting = [fire for fire in self._activity.active(schedule.name) if self._counts(schedule, fire)]
        return [fire for fire in await self.look(counting) if fire.run_status not in TERMINAL] if counting else []

    def _counts(self, schedule: Schedule, fire: Fire) -> bool:
        return self._now() - (fire.decided_at or fire.fire_time) < schedule.overlap_timeout

    async def _of_pipeline(self, schedule: Schedule, resolved: Resolved) -> list[Run]:
        now = self._now() + self._server.skew
        found = await self._server.active_runs(resolved.pipeline_id, resolved.project, resolved.pipeline or None)
        return [run for run in found if now - (run.created or now) < schedule.overlap_timeout]

    async def _in_place(self, work: Work) -> Verdict:
        """`cancel_running`: in the place of what is there already, of which one fire after the other is left."""
        name, fire_time = work.schedule.name, work.fire.fire_time
        for other in self._activity.claims(name):
            if not other.manual and other.fire_time > fire_time:
                return _replaced_by(other)
        if any(not other.manual and other.fire_time < fire_time for other in self._activity.claims(name)):
            return Wait(_STOPPING, Held("an earlier fire is being started"))
        self.drop(name)
        active = self._activity.active(name)
        verdict: Verdict = None
        for fire in await self.look(active) if active else ():
            if fire.run_status in TERMINAL:
                continue
            found = await self._stop(work, fire)
            if self._counts(work.schedule, fire):
                verdict = found if isinstance(found, Shut) else verdict or found
        return verdict

    async def _stop(self, work: Work, fire: Fire) -> Wait | Shut:
        """Have the server stop a run, once; one that its orchestrator has not taken yet cannot be stopped yet."""
        run_id = fire.run_id or ""
        if run_id not in work.stop_asked:
            try:
                await self._server.stop_run(run_id)
            except Rejected as error:
                text = f"run {fire.run_name} could not be stopped: {error}"
                return Shut(GiveUp(FireState.FAILED, Reason.OVERLAP), Held(text))
            except Unavailable as error:
                if error.status is None:
                    raise
                return Wait(_STOPPING, Held(f"run {fire.run_name} cannot be stopped yet: {error}"))
            work.stop_asked.add(run_id)
        return Wait(_STOPPING, Held(f"run {fire.run_name} is to stop"))

    async def _depends(self, work: Work) -> Verdict:
        """Wait for what the others began no later than this fire; then ask how the last one of each ended."""
        schedule, fire_time = work.schedule, work.fire.fire_time
        for name in schedule.depends_on:
            begun = (*self._activity.claims(name), *self._activity.active(name), *self._activity.failed(name))
            undecided = self.undecided(name)
            if any(fire.fire_time <= fire_time for fire in begun) or (undecided and undecided <= fire_time):
                return Wait(_OTHER_SCHEDULES, Held(f"schedule {name!r}, which it depends on, has not ended"))
        for name in schedule.depends_on if schedule.only_if_last_succeeded else ():
            last = await self.last(name)
            if last is None or last.run_status not in SUCCEEDED:
                return Shut(GiveUp(FireState.SKIPPED, Reason.DEPENDENCY), Held(_outcome(name, last)))
        return None

    async def _conditions(self, work: Work, resolved: Resolved) -> Verdict:
        why = await self.unmet(work.schedule, resolved) if work.schedule.when else None
        return None if why is None else Shut(GiveUp(FireState.SKIPPED, Reason.CONDITION), Held(why))


def _replaced_by(other: Fire) -> Shut:
    return Shut(_SKIPPED, Held(f"the fire of {instant_text(other.fire_time)} took its place"))


def _outcome(name: str, last: Fire | None) -> str:
    if last is None:
        return f"schedule {name!r} has had no fire yet"
    what = f"run {last.run_name} is {last.run_status}" if last.run_id else f"its fire is {last.state}: {last.reason}"
    return f"schedule {name!r}: {what}"
