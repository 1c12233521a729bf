"""What follows the end of a run: another run for the same fire after a failure, or a pause after many."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from zendaemon.core.aftermath import failed_in_a_row, next_run
from zendaemon.core.alert import Alert, AlertKind
from zendaemon.core.errors import JournalError
from zendaemon.core.fire import again, instant_text
from zendaemon.core.pause import Pause
from zendaemon.core.run import FAILED
from zendaemon.events import fire_values

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from uuid import UUID

    from zendaemon.attempts import Attempts
    from zendaemon.core.fire import Fire
    from zendaemon.core.schedule import Schedule
    from zendaemon.engine import Engine
    from zendaemon.gates import Gates
    from zendaemon.journal import Journal
    from zendaemon.runs import Runs

log = structlog.get_logger()

_LOOK = 0.5
_JOURNAL_RETRY = 1.0


class Aftermath:
    """Tells the engine's followers what follows, and does it when it is due. `run` is the task that must stay alive."""

    def __init__(self, engine: Engine, attempts: Attempts, journal: Journal, *, now: Callable[[], datetime]) -> None:
        self._engine = engine
        self._attempts = attempts
        self._journal = journal
        self._now = now
        self._due: dict[UUID, Fire] = {}
        self._dropped: dict[UUID, str] = {}
        self._look = asyncio.Event()
        self._doubted: set[str] = set()
        """Schedules of which it is to be told whether too many runs failed."""
        self.tell: Callable[[Alert], None] = lambda _: None

    def connect(self, runs: Runs, gates: Gates) -> None:
        """Hear of the ends of runs and fires, after the engine, and tell the gates what they ask of others."""
        engine_ended, engine_closed = runs.on_ended, self._attempts.on_closed

        def ended(fire: Fire) -> None:
            engine_ended(fire)
            self.ended(fire)

        def closed(fire: Fire) -> None:
            engine_closed(fire)
            if fire.run_status in FAILED:  # its next run came to nothing
                self.ended(fire)

        runs.on_ended, runs.follow_up = ended, self.follow_up
        self._attempts.on_closed = closed
        gates.look, gates.last, gates.drop = runs.look, self._journal.last_decided, self.drop
        gates.undecided = self._undecided
        gates.doubted = lambda name: name in self._doubted

    def _undecided(self, name: str) -> datetime | None:
        schedule = self._schedule(name)
        return self._engine.marks.undecided(schedule, self._now()) if schedule else None

    def follow_up(self, fire: Fire) -> Fire:
        """The fire whose run has just ended, as it is to be recorded: with the time of its next run, if any."""
        schedule = self._schedule(fire.schedule)
        decided = next_run(schedule, fire, self._now()) if schedule else fire
        if decided.retry_at is not None:
            retry_at = instant_text(decided.retry_at)
            log.warning(
                "run.retry", status=fire.run_status, reason=fire.message, retry_at=retry_at, **fire_values(fire)
            )
        return decided

    def ended(self, fire: Fire) -> None:
        """The end of a run is recorded."""
        if fire.retry_at is not None:
            self._due[fire.key] = fire
        elif fire.run_status in FAILED:
            self._doubted.add(fire.schedule)
        self._look.set()

    def drop(self, name: str) -> None:
        """No other run follows the failed ones of this schedule, since a later fire takes their place."""
        for fire in self._engine.activity.failed(name):
            self._dropped[fire.key] = "a later fire took its place"
            self._engine.activity.given_up(fire)
            self._look.set()

    async def load(self) -> None:
        """Take over what an earlier process left, before anything is decided."""
        for fire in await self._journal.retried():
            self._engine.activity.ended(fire)
            self._due[fire.key] = fire

    async def run(self) -> None:
        """Do for ever what is due. What a journal that cannot be written keeps from being done is done later."""
        self._doubted.update(name for name, it in self._engine.schedules.schedules.items() if it.pause_after_failures)
        while True:
            self._look.clear()
            try:
                await self._start_due()
                await self._judge_doubted()
            except JournalError as error:
                log.error("journal.unavailable", error=str(error))  # noqa: TRY400 - no traceback wanted
                await asyncio.sleep(_JOURNAL_RETRY)
            except Exception:
                log.exception("engine.error")
                await asyncio.sleep(_JOURNAL_RETRY)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._wait()):  # wait_for may lose a cancellation (Python 3.11)
                    await self._look.wait()

    def _wait(self) -> float | None:
        """Seconds until something is due, no more than `_LOOK`, since the clock may be set; None where nothing is."""
        if self._doubted or self._dropped:
            return 0
        soonest = min((fire.retry_at for fire in self._due.values() if fire.retry_at is not None), default=None)
        return None if soonest is None else min(_LOOK, max(0.0, (soonest - self._now()).total_seconds()))

    async def _start_due(self) -> None:
        now = self._now()
        for key, fire in list(self._due.items()):
            if key not in self._dropped and fire.retry_at is not None and fire.retry_at > now:
                continue
            if why := self._dropped.get(key) or self._why_not(fire, now):
                await self._give_up(fire, why)
            elif not await self._start(fire):
                continue
            self._due.pop(key, None)
            self._dropped.pop(key, None)

    def _why_not(self, fire: Fire, now: datetime) -> str | None:
        schedule = self._schedule(fire.schedule)
        if schedule is None:
            return "its schedule was removed or disabled"
        if schedule.on_run_failure is None:
            return "on_run_failure was taken out"
        return "the schedule is paused" if self._engine.pauses.holding(fire.schedule, now) else None

    async def _start(self, failed: Fire) -> bool:
        """Claim the next run and hand it over, unless a claim that seemed to fail has come to light meanwhile.

        False where it has come to be given up while others were decided.
        """
        async with self._engine.decided() as now:
            activity, schedule = self._engine.activity, self._schedule(failed.schedule)
            if failed not in activity.failed(failed.schedule):
                return failed.key not in self._dropped
            if schedule is None:
                return False
            if await self._engine.marks.claim_again(fire := again(failed, now)):
                self._dropped.pop(failed.key, None)
                self._engine.hand_over(fire, schedule)
            else:
                activity.given_up(failed)
        return failed.key not in self._dropped

    async def _give_up(self, fire: Fire, why: str) -> None:
        given_up = replace(fire, retry_at=None, message=f"not run again: {why}")
        await self._journal.drop_retry(given_up)
        self._engine.activity.given_up(fire)
        log.error("run.not_retried", reason=given_up.message, **fire_values(fire))
        self.tell(
            Alert(
                kind=AlertKind.RUN_FAILED,
                at=self._now(),
                text=f"run {fire.run_name} failed; {given_up.message}",
                schedule=fire.schedule,
                fire=given_up,
            )
        )
        self._doubted.add(fire.schedule)
        self._engine.wake([fire.schedule])

    async def _judge_doubted(self) -> None:
        for name in list(self._doubted):
            await self._judge(name)
            self._doubted.discard(name)

    async def _judge(self, name: str) -> None:
        """Pause a schedule when the runs of its last fires failed, of those since it was last paused."""
        schedule = self._schedule(name)
        if schedule is None or schedule.pause_after_failures is None:
            return
        count, pauses = schedule.pause_after_failures, self._engine.pauses
        outcomes = await self._journal.outcomes(name, count)
        if self._why_pause(name, outcomes, count) is None:
            return
        async with self._engine.decided([name]) as now:
            note = self._why_pause(name, outcomes, count)  # somebody may have resumed it meanwhile
            if note is not None and pauses.holding(name, now) is None:
                await pauses.begin(Pause(schedule=name, since=now, note=note, by="failures"), None)
                self._attempts.skip_paused()
                self.tell(Alert(kind=AlertKind.PAUSED, at=now, text=f"{name} is paused: {note}", schedule=name))

    def _why_pause(self, name: str, outcomes: Sequence[Fire], count: int) -> str | None:
        before = self._engine.pauses.get(name)
        return failed_in_a_row(outcomes, count, before.until if before else None)

    def _schedule(self, name: str) -> Schedule | None:
        schedule = self._engine.schedules.schedules.get(name)
        return schedule if schedule is not None and schedule.enabled else None
