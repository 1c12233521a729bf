"""The heart: wake -> plan -> claim -> start -> record.

Timers wake schedules; core.planning decides what is due from the watermark to now; the journal's claim makes it ours;
attempts start it; runs follow it. All deciding happens in one task, one wake after the other, and never waits for the
network.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from zendaemon.core.changes import Changes, changes
from zendaemon.core.errors import JournalError, ZendaemonError
from zendaemon.core.fire import Fire, FireState, run_name
from zendaemon.core.planning import Standing, plan, rule_text
from zendaemon.core.schedule import Overlap, Schedule, ScheduleSet
from zendaemon.events import say_closed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from uuid import UUID

    from zendaemon.attempts import Attempts
    from zendaemon.journal import Journal
    from zendaemon.runs import Runs
    from zendaemon.targets import Targets
    from zendaemon.timers import Timers

log = structlog.get_logger()

TICK = 0.5
"""Seconds between two looks at the clocks."""
_ASLEEP = timedelta(seconds=10)
_CLOCK_BEHIND = timedelta(minutes=1)
_JOURNAL_RETRY = 1.0


class Engine:
    """Holds the schedule set and decides its fires. Wired in cli; `run` is the task that must stay alive."""

    def __init__(
        self,
        *,
        journal: Journal,
        targets: Targets,
        attempts: Attempts,
        runs: Runs,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._journal = journal
        self._targets = targets
        self._attempts = attempts
        self._runs = runs
        self._now = now
        self._monotonic = monotonic
        self._deciding = asyncio.Lock()
        self._woken: set[str] = set()
        self._wake = asyncio.Event()
        self._watermarks: dict[str, datetime] = {}
        self._counts: Counter[str] = Counter()
        self._open: Counter[str] = Counter()
        self._running: defaultdict[str, set[str]] = defaultdict(set)
        self._waiting: dict[UUID, asyncio.Future[Fire]] = {}
        self._awake_since = now()
        self._last_look = self._awake_since
        self.timers: Timers | None = None
        self.schedules = ScheduleSet()
        self.beat = monotonic()
        attempts.on_closed = self._closed
        runs.on_ended = self._ended

    def wake(self, names: Iterable[str]) -> None:
        """Have these schedules looked at as soon as may be."""
        self._woken.update(names)
        self._wake.set()

    async def start(self, schedules: ScheduleSet) -> None:
        """Take over what an earlier process left, then the schedule set with what came due in between."""
        await self._targets.load()
        left = await self._journal.claims()
        self._open.update(fire.schedule for fire in left)
        for fire in await self._journal.followed():
            self._running[fire.schedule].add(fire.run_id or "")
            self._runs.follow(fire)
        await self.apply(schedules)
        for fire in left:
            self._attempts.settle(fire, self.schedules.schedules.get(fire.schedule))

    async def apply(self, new: ScheduleSet) -> Changes:
        """Replace the schedule set at one instant: fires due before it by the old set, after it by the new one."""
        async with self._deciding:
            found = changes(self.schedules, new)
            now = self._now()
            gone = {name for name in found.changed if not new.schedules[name].enabled}
            closing = gone.union(found.removed, found.restarted)
            await self._decide((*found.changed, *found.removed), now, closing)
            enabled = new.enabled()
            rules = {schedule.name: rule_text(schedule.trigger) for schedule in enabled}
            watermarks = await self._journal.sync(rules, found.restarted, now)
            counts = await self._journal.run_counts([s.name for s in enabled if s.max_runs])
            self._watermarks, self._counts, self.schedules = watermarks, Counter(counts), new
        self._warn_of_clock(now)
        self._targets.watch(enabled)
        if self.timers is not None:
            self.timers.set(enabled)
        self.wake(schedule.name for schedule in enabled)
        return found

    async def fire_now(self, name: str) -> tuple[Fire, asyncio.Future[Fire]]:
        """Claim and start a manual fire; the future gets it when it is closed.

        Raises ZendaemonError when there is no such schedule, or its run name cannot be made.
        """
        schedule = self.schedules.schedules.get(name)
        if schedule is None:
            raise ZendaemonError(f"there is no schedule {name!r}", hint="`zendaemon status` lists them")
        now = self._now()
        fire_time = now.replace(microsecond=0)
        while True:
            try:
                run = run_name(schedule, fire_time, manual=True)
            except ValueError as error:
                raise ZendaemonError(str(error)) from None
            fire = Fire(
                schedule=name,
                fire_time=fire_time,
                manual=True,
                run_name=run,
                project=schedule.project,
                claimed_at=now,
            )
            if await self._journal.claim([fire], {}):
                break
            fire_time += timedelta(seconds=1)
        closed: asyncio.Future[Fire] = asyncio.get_running_loop().create_future()
        self._waiting[fire.key] = closed
        self._open[name] += 1
        self._attempts.submit(fire, schedule)
        return fire, closed

    async def stop(self) -> None:
        """Decide nothing any more; what is being decided is finished first."""
        async with self._deciding:
            self._watermarks = {}

    async def run(self) -> None:
        """Decide for ever. A journal that cannot be written stops the deciding, never the task."""
        while True:
            try:
                async with asyncio.timeout(TICK):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._tick()
            if self._wake.is_set():
                began = self._monotonic()
                await self._decide_woken()
                # Time that the deciding took, as with a locked journal, is no sleep; the monotonic clock counts none.
                self._last_look += timedelta(seconds=self._monotonic() - began)
            self.beat = self._monotonic()

    def _tick(self) -> None:
        """Notice sleep: when nobody looked for a while, what came due meanwhile is a misfire."""
        now = self._now()
        if now - self._last_look > _ASLEEP:
            log.warning("clock.jumped", seconds=round((now - self._last_look).total_seconds(), 3))
            self._awake_since = now
        elif now < self._last_look - timedelta(seconds=1):
            log.warning("clock.jumped", seconds=round((now - self._last_look).total_seconds(), 3))
        self._last_look = now
        if self.timers is not None:
            self.timers.tick(now, self._monotonic())

    async def _decide_woken(self) -> None:
        self._wake.clear()
        names, self._woken = self._woken, set()
        try:
            async with self._deciding:
                await self._decide(names, self._now())
        except JournalError as error:
            log.error("journal.unavailable", error=str(error))  # noqa: TRY400 - no traceback wanted
            self.beat = self._monotonic()
            await asyncio.sleep(_JOURNAL_RETRY)
            self.wake(names)

    async def _decide(self, names: Iterable[str], now: datetime, closing: Collection[str] = ()) -> None:
        """Plan these schedules, claim in one transaction, and hand over what is to be started.

        By name, so that equals in priority and age start in an order that everyone can tell beforehand. The triggers of
        those in `closing` go at `now`.
        """
        planned: list[Fire] = []
        watermarks: dict[str, datetime] = {}
        for name in sorted(names):
            schedule = self.schedules.schedules.get(name)
            if schedule is None or name not in self._watermarks:
                continue
            try:
                decided = plan(schedule, self._standing(schedule), now, closing=name in closing)
            except Exception:
                log.exception("engine.error", schedule=name)
                continue
            if decided.fires:
                planned.extend(decided.fires)
                watermarks[name] = decided.watermark
        if not watermarks:
            return
        claimed = await self._journal.claim(planned, watermarks)
        self._watermarks.update(watermarks)
        for fire in claimed:
            self._hand_over(fire)

    def _standing(self, schedule: Schedule) -> Standing:
        name = schedule.name
        return Standing(
            watermark=self._watermarks[name],
            awake_since=self._awake_since,
            active=bool(self._open[name] or self._running.get(name)),
            runs=self._counts[name],
        )

    def _hand_over(self, fire: Fire) -> None:
        if fire.state is not FireState.CLAIMED:
            say_closed(fire)
            return
        self._open[fire.schedule] += 1
        self._counts[fire.schedule] += 1
        self._attempts.submit(fire, self.schedules.schedules[fire.schedule])

    def _closed(self, fire: Fire) -> None:
        waiting = self._waiting.pop(fire.key, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(fire)
        self._open[fire.schedule] -= 1
        if fire.state is FireState.STARTED:
            self._running[fire.schedule].add(fire.run_id or "")
            self._runs.follow(fire)
        else:
            self._counts[fire.schedule] -= not fire.manual
            self._look_for_held(fire.schedule)

    def _ended(self, fire: Fire) -> None:
        self._running[fire.schedule].discard(fire.run_id or "")
        if not self._running[fire.schedule]:
            del self._running[fire.schedule]
        self._look_for_held(fire.schedule)

    def _look_for_held(self, name: str) -> None:
        schedule = self.schedules.schedules.get(name)
        if schedule is not None and schedule.overlap is Overlap.BUFFER_ONE:
            self.wake([name])

    def _warn_of_clock(self, now: datetime) -> None:
        """A watermark in the future means that the clock was set back: nothing fires until it is reached again."""
        ahead = [mark for mark in self._watermarks.values() if mark > now + _CLOCK_BEHIND]
        if ahead:
            log.error("clock.behind", schedules=len(ahead), until=max(ahead).isoformat())
