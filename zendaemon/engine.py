"""The heart: wake -> plan -> claim -> start -> record.

Timers wake schedules; core.planning decides what is due from the watermark to now; the journal's claim makes it ours;
attempts start it; runs follow it. All deciding happens in one task, one wake after the other, and never waits for the
network.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from zendaemon.awake import Awake, say_behind
from zendaemon.core.changes import Changes, changes
from zendaemon.core.errors import JournalError, ZendaemonError
from zendaemon.core.fire import Fire, FireState, by_hand
from zendaemon.core.planning import Standing, plan, rule_text
from zendaemon.core.run import TERMINAL
from zendaemon.core.schedule import Schedule, ScheduleSet
from zendaemon.events import say_closed
from zendaemon.marks import Marks
from zendaemon.pauses import Pauses
from zendaemon.turns import Turns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from uuid import UUID

    from zendaemon.activity import Activity
    from zendaemon.attempts import Attempts
    from zendaemon.journal import Journal
    from zendaemon.runs import Runs
    from zendaemon.targets import Targets
    from zendaemon.timers import Timers

log = structlog.get_logger()

_JOURNAL_RETRY = 1.0
_FIRST_CLAIMS, _CLAIMS = 50, 250
"""The fires after which what was planned is claimed: soon, so that the first starts wait for few."""
_SLICE = 20
"""The most fires of one schedule that are claimed at once; a catch-up goes on with the next wake."""
_BACKLOG = 20
"""While so many fires wait for the server, a catch-up claims no more, since those on time queue behind it."""


class Engine:
    """Holds the schedule set and decides its fires. Wired in cli; `run` is the task that must stay alive."""

    def __init__(
        self,
        *,
        journal: Journal,
        activity: Activity,
        targets: Targets,
        attempts: Attempts,
        runs: Runs,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._journal = journal
        self.marks = Marks(journal)
        self.activity = activity
        self._targets = targets
        self._attempts = attempts
        self._runs = runs
        self._now = now
        self._monotonic = monotonic
        self._deciding = asyncio.Lock()
        self._woken: set[str] = set()
        self._behind: set[str] = set()
        self._waiting: dict[UUID, asyncio.Future[Fire]] = {}
        self.awake = Awake(now, monotonic)
        self.timers: Timers | None = None
        self.pauses = Pauses(journal)
        self.schedules = ScheduleSet()
        self.turns = Turns(monotonic)
        attempts.on_closed = self._closed
        attempts.paused = lambda name: self.pauses.holding(name, now()) is not None
        runs.on_ended = self._ended

    @property
    def beat(self) -> float:
        """As of Turns; while the journal is waited for, also the monotonic second of its last answer."""
        return max(self.turns.beat, self._journal.beat) if self._deciding.locked() else self.turns.beat

    @property
    def _in_doubt(self) -> bool:
        return self.marks.in_doubt or self.pauses.in_doubt

    def wake(self, names: Iterable[str]) -> None:
        """Have these schedules looked at as soon as may be."""
        self._woken.update(names)
        self.turns.hasten()

    async def start(self, schedules: ScheduleSet) -> None:
        """Take over what an earlier process left, then the schedule set with what came due in between."""
        self.awake = Awake(self._now, self._monotonic)
        await self._targets.load()
        left = await self._journal.claims()
        for fire in left:
            self.activity.claimed(fire)
        await self.pauses.load(self._now())
        for fire in await self._journal.followed():
            self.activity.running(fire)
            self._runs.follow(fire)
        await self.apply(schedules)
        for fire in left:
            self._attempts.settle(fire, self.schedules.schedules.get(fire.schedule))

    async def apply(self, new: ScheduleSet) -> Changes:
        """Replace the schedule set at one instant: fires due before it by the old set, after it by the new one."""
        async with self.decided() as now:
            found = await self._replace(new, now)
        say_behind(self.marks.values(), now)
        enabled = new.enabled()
        self._targets.watch(enabled)
        if self.timers is not None:
            self.timers.set(enabled)
        self.wake((*found.added, *found.changed))
        return found

    async def _replace(self, new: ScheduleSet, now: datetime) -> Changes:
        found = changes(self.schedules, new)
        anew = (*found.restarted, *found.added) if self.schedules.schedules else found.restarted
        gone = {name for name in found.changed if not new.schedules[name].enabled}
        closing = gone.union(found.removed, found.restarted)
        undecided: Collection[str] = (*found.changed, *found.removed)
        while undecided:
            undecided = closing & await self._decide(undecided, now, closing)
        enabled = new.enabled()
        uncounted = self.activity.uncounted(enabled)
        self.activity.count(uncounted, await self._journal.run_counts(uncounted))
        rules = {schedule.name: rule_text(schedule.trigger) for schedule in enabled}
        await self.marks.sync(rules, anew, now)
        self.schedules = new
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
        try:
            while not await self._claim([fire := by_hand(schedule, fire_time, now)], {}, {name: schedule}):
                fire_time += timedelta(seconds=1)
        except ValueError as error:
            raise ZendaemonError(str(error)) from None
        finally:
            self.turns.hasten()
        closed = self._waiting[fire.key] = asyncio.get_running_loop().create_future()
        return fire, closed

    @asynccontextmanager
    async def decided(self, names: Collection[str] = ()) -> AsyncIterator[datetime]:
        """What was due of these schedules is decided, and nothing else is in the meantime. Raises JournalError."""
        async with self._deciding:
            try:
                with self.awake.deciding() as now:
                    if self._in_doubt:
                        await self._look_into_journal()
                    self._behind = self._behind.difference(names).union(await self._decide(names, now))
                    yield now
            finally:
                self.turns.hasten()  # what was done may have an end that the time brings

    async def stop(self) -> None:
        """Decide nothing any more; what is being decided is finished first."""
        async with self._deciding:
            self.marks.clear()

    async def run(self) -> None:
        """Decide for ever. A journal that cannot be written stops the deciding, never the task."""
        while True:
            self._go_on()
            await self.turns.next()
            now = self.awake.look()
            if self.timers is not None:
                self.timers.tick(now, self._monotonic())
            self._attempts.lapse()
            self._woken.update(self.pauses.lapse(now), self.activity.lapse(now))
            if self._woken or self._in_doubt:
                await self._decide_woken()
            self.turns.turned()

    def _go_on(self) -> None:
        """Look at once at what could not be decided before."""
        if self._in_doubt or (self._behind and not self._attempts.has_waiting(_BACKLOG)):
            self.wake(self._behind)

    async def _decide_woken(self) -> None:
        names, self._woken = self._woken, set()
        try:
            async with self.decided(names):
                pass
        except JournalError as error:
            log.error("journal.unavailable", error=str(error))  # noqa: TRY400 - no traceback wanted
            self.turns.turned()
            await asyncio.sleep(_JOURNAL_RETRY)
            self.wake(names)

    async def _decide(self, names: Iterable[str], now: datetime, closing: AbstractSet[str] = frozenset()) -> set[str]:
        """Plan these schedules, claim in few transactions, and hand over what is to be started after each.

        In the order of the queue, equals by name, so that everyone can tell it. The triggers of those in `closing` go
        at `now`. Returns those of which only the oldest fires were decided: a long catch-up is done in slices.
        """
        planned, watermarks = list[Fire](), dict[str, datetime]()
        behind, known, enough = set[str](), self.schedules.schedules, _FIRST_CLAIMS
        for name in self.in_turn(names):
            schedule = known[name]
            if name in self._behind and name not in closing and self._attempts.has_waiting(_BACKLOG - len(planned)):
                behind.add(name)
                continue
            try:
                decided = plan(schedule, self.standing(schedule), now, closing=name in closing, limit=_SLICE)
            except Exception:
                log.exception("engine.error", schedule=name)
                continue
            if decided.fires:
                planned.extend(decided.fires)
                watermarks[name] = decided.watermark
            behind.update([name] if decided.more else [])
            self._runs.hurry(self.activity.hold(schedule) if decided.held else ())
            if len(planned) >= enough:
                await self._claim(planned, watermarks, known)
                planned, watermarks, enough = [], {}, _CLAIMS
                for _ in range(2):  # what may be started at once is begun in one turn, and sent in the next
                    await asyncio.sleep(0)
        if watermarks:
            await self._claim(planned, watermarks, known)
        return behind

    def in_turn(self, names: Iterable[str]) -> list[str]:
        """Those on time by priority; then those that are behind, by that and by what is the oldest to decide."""
        known, marks = self.schedules.schedules, self.marks
        some = [name for name in names if name in known and name in marks]
        since = {name: marks[name].timestamp() for name in self._behind.intersection(some)}
        return sorted(some, key=lambda name: (name in since, -known[name].priority, since.get(name, 0.0), name))

    async def _claim(self, fires: Sequence[Fire], marks: Mapping[str, datetime], known: Mapping[str, Schedule]) -> bool:
        """Claim, and hand over what was not in the journal before; whether there was any."""
        taken = await self.marks.claim(fires, marks)
        for fire in taken:
            self.hand_over(fire, known[fire.schedule])
        return bool(taken)

    async def _look_into_journal(self) -> None:
        """The journal may have taken what it reported as failed: go on from what it has."""
        await self.pauses.put_right()
        for fire in await self.marks.put_right():
            if self.activity.claimed(fire):
                if (schedule := self.schedules.schedules.get(fire.schedule)) is None:
                    self._attempts.settle(fire, None)
                else:
                    self._attempts.submit(fire, schedule)  # it was in nobody's hands, so nothing was sent

    def standing(self, schedule: Schedule) -> Standing:
        name, activity = schedule.name, self.activity
        claimed, running = activity.will_run(name), self._now() < activity.ends(schedule)
        runs = activity.runs(name) if schedule.max_runs else 0
        return Standing(self.marks[name], self.awake.since, claimed, running, runs, self.pauses.get(name))

    def hand_over(self, fire: Fire, schedule: Schedule) -> None:
        if fire.state is not FireState.CLAIMED:
            say_closed(fire, self._attempts.observer)
            return
        self.activity.claimed(fire)
        self._attempts.submit(fire, schedule)

    def _closed(self, fire: Fire) -> None:
        if fire.manual and (waiting := self._waiting.pop(fire.key, None)) and not waiting.done():
            waiting.set_result(fire)
        self.activity.closed(fire)
        if fire.followed:
            self._runs.follow(fire)
            self._runs.hurry(self.activity.waited_for(fire))
        if fire.state is not FireState.STARTED or fire.run_status in TERMINAL:
            self._look_for_held(fire.schedule)
        self._go_on()

    def _ended(self, fire: Fire) -> None:
        self.activity.ended(fire)
        self._look_for_held(fire.schedule)

    def _look_for_held(self, name: str) -> None:
        if self.activity.let_go(name):
            self.wake([name])
