"""The attempts of claimed fires: never two of one fire at once, until each is closed.

A fire waits in the queue for its turn; what follows a failure is decided by core.retry. The server is asked for the run
before every POST that is not the first one.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Protocol

import structlog

from zendaemon import starts
from zendaemon.core import retry
from zendaemon.core.errors import (
    NameTaken,
    Unavailable,
    Uncertain,
    Unresolved,
    ZendaemonError,
)
from zendaemon.core.fire import Fire, FireState, Reason, changed, lateness, not_again
from zendaemon.core.ownership import Clocks, Foreign, foreign, settles_in
from zendaemon.core.work import Lapsed, NotSettled, Work, may_have_run, rank, started
from zendaemon.events import Observers, Posting, fire_values, say_closed, say_retry, say_run_again
from zendaemon.gates import Shut, Wait
from zendaemon.queue import Queue, Rest
from zendaemon.records import Records
from zendaemon.removed import Removed
from zendaemon.starts import Starts

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from datetime import datetime, timedelta
    from uuid import UUID

    from zendaemon.core.run import Resolved, Run
    from zendaemon.core.schedule import Schedule
    from zendaemon.events import Observer
    from zendaemon.gates import Gates
    from zendaemon.journal import Journal
    from zendaemon.targets import Targets
    from zendaemon.zenml import Answer, Start

log = structlog.get_logger()

_LOOK_AGAIN = 5.0
_AFTER_ERROR = 30.0
_BEHIND_OTHERS = 0.05
_DEADLINES = 1000
_PAUSED = retry.GiveUp(FireState.SKIPPED, Reason.PAUSED)


class Server(starts.Server, Protocol):
    """What attempts need of a ZenML server."""

    @property
    def skew(self) -> timedelta:
        """The server's clock minus ours; it may be out by `skew_within`."""

    @property
    def skew_within(self) -> timedelta: ...

    async def send(self, start: Start) -> Answer: ...

    def started(self, start: Start, answer: Answer) -> Run: ...

    async def find_run(self, name: str, project: str | None) -> Run | None: ...


class Attempts:
    """Starts claimed fires at one server. `on_closed` is called with each fire that got its final state.
    `paused` tells of a schedule's name whether it is to start nothing; fires by hand are started all the same.
    """

    def __init__(  # noqa: PLR0913 - what attempts work with
        self,
        server: Server,
        targets: Targets,
        journal: Journal,
        gates: Gates,
        *,
        now: Callable[[], datetime],
        elapsed: Callable[[], float],
        max_concurrency: int,
        when_quick: int = 0,
        settle_after: timedelta,
        seed: int | None = None,
    ) -> None:
        self._server = server
        self._targets = targets
        self._gates = gates
        self._now = now
        self._elapsed = elapsed
        self._settle_after = settle_after.total_seconds()
        self._random = random.Random(seed)  # noqa: S311 - jitter, not secrets
        self._asking: set[asyncio.Task[None]] = set()
        self._deadlines: list[datetime] = []
        self._again: dict[UUID, bool] = {}
        self._removed = Removed(server, self._clocks)
        self._records = Records(journal, self._closed, lambda: self.queue.hurries)
        self.queue = Queue(
            lambda work: self._guarded(work, self._attempt(work)),
            rank,
            now=now,
            max_concurrency=max_concurrency,
            when_quick=when_quick,
            random=self._random,
        )
        self.starts = Starts(server, targets, self.queue, now)
        self.observer: Observer = Observers()
        self.on_closed: Callable[[Fire], None] = lambda _: None
        self.paused: Callable[[str], bool] = lambda _: False

    def submit(self, fire: Fire, schedule: Schedule) -> None:
        """Take a fire that has just been claimed."""
        skew = self._server.skew if self._server.skew_within else None  # nothing is known before the first answer
        work = Work(fire=fire, schedule=schedule, taken_at=self._elapsed(), skew=skew)
        if len(self._deadlines) > 2 * self.queue.waiting + _DEADLINES:  # most of them are of fires that were started
            self._deadlines = sorted(work.deadline for work in self.queue.ready)
        heapq.heappush(self._deadlines, work.deadline)
        self._enqueue(work)

    def settle(self, fire: Fire, schedule: Schedule | None) -> None:
        """Take a claim that was left behind: its request may be lost, or still under way.

        Without a schedule, since it was removed meanwhile, the server is only asked.
        """
        self.observer.left_behind(fire)
        settle_at = asyncio.get_running_loop().time() + self._settle_after
        if schedule is None:
            self._aside(self._settle_removed(fire, settle_at))
            return
        work = Work(fire=fire, schedule=schedule, taken_at=self._elapsed(), left_behind=True, ask_first=True)
        work.settle_at = settle_at
        self._enqueue(work)

    def has_waiting(self, count: int) -> bool:
        """Whether so many wait for their turn, not counting those that the server left without an answer."""
        fresh = (work for work in self.queue.ready if not work.in_vain_at)
        return count <= 0 or next(islice(fresh, count - 1, None), None) is not None

    async def drain(self, limit: timedelta) -> int:
        """Begin no more attempts and wait for those under way; return how many fires stay claimed."""
        end = asyncio.get_running_loop().time() + limit.total_seconds()
        left = await self.queue.drain(limit) + len(self._asking)
        for task in self._asking:
            task.cancel()
        return left + await self._records.drain(max(0.0, end - asyncio.get_running_loop().time()))

    def lapse(self) -> None:
        """Close what waits behind others, was never sent, and has lost its window meanwhile."""
        now, lapsed = self._now(), False
        while self._deadlines and self._deadlines[0] <= now:
            heapq.heappop(self._deadlines)
            lapsed = True
        if lapsed:
            for work in self.queue.take(lambda work: not work.ask_first and now >= work.deadline):
                self._aside(self.queue.do(work))

    def skip_paused(self) -> None:
        """Close what waits for its turn, was never sent, and is paused now."""
        for work in self.queue.take(lambda work: not work.ask_first and self._follow_pause(work)):
            self._aside(self.queue.do(work))

    def _follow_pause(self, work: Work) -> bool:
        """Whether it is paused now; `end` says so as long as that lasts."""
        paused = not work.fire.manual and self.paused(work.schedule.name)
        if paused:
            work.end = work.end or _PAUSED
        elif work.end is _PAUSED:
            work.end = None
        return paused

    def _aside(self, work: Coroutine[None, None, None]) -> None:
        """Do it now, beside what is in flight."""
        task = asyncio.get_running_loop().create_task(work)
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    def _enqueue(self, work: Work) -> None:
        work.order = self.queue.push(work, work.order)

    def _later(self, seconds: float, work: Work) -> None:
        self.queue.later(seconds, work, work.order or 0)

    async def _guarded(self, work: Work, doing: Coroutine[None, None, Rest | None]) -> Rest | None:
        """An attempt that meets a fault of ours is uncertain: the fire is kept, and the server asked about it."""
        try:
            return await doing
        except Exception:
            work.ask_first = True
            self._later(_AFTER_ERROR, work)
            log.exception("engine.error", **fire_values(work.fire))
            return None

    async def _attempt(self, work: Work) -> Rest | None:
        """Until the server has answered; the rest is what to do with that."""
        if not self._records.writable.is_set():
            await self._records.writable.wait()
        now = self._now()
        if now >= work.deadline and not work.ask_first:
            await self._give_up(work, retry.lapsed(work.failure, work.tried))
            return None
        if self._follow_pause(work) and not work.ask_first:
            await self._give_up(work, _PAUSED)
            return None
        if work.fire.lateness_seconds is None:
            work.fire = changed(work.fire, lateness_seconds=lateness(work.asked_for_at, now))
        begin = asyncio.get_running_loop().time()
        try:
            found = await self._start_or_find(work)
        except NotSettled as wait:
            work.in_vain_at = 0.0
            self._later(wait.seconds, work)
        except Lapsed:
            await self._give_up(work, work.end or retry.lapsed(work.failure, work.tried))
        except ZendaemonError as failure:
            await self._after(work, failure)
        else:
            took, at = asyncio.get_running_loop().time() - begin, self._now()
            return lambda: self._guarded(work, self._read(work, found, took, at))
        return None

    async def _read(self, work: Work, found: Run | Callable[[], Run], took: float, at: datetime) -> None:
        """Close with the run that was found `at` this instant, after so many seconds."""
        try:
            run = found() if callable(found) else found
        except ZendaemonError as failure:
            await self._after(work, failure)
        else:
            self.queue.answered(took, at)
            await self._close(work.fire, at, **started(run))

    async def _start_or_find(self, work: Work) -> Run | Callable[[], Run]:
        """The run that an earlier POST made, or what reads the answer to one more."""
        fire = work.fire
        work.asking = True
        try:
            resolved = await self._targets.resolved(work.schedule)
            work.target_id = resolved.id
        except Unresolved:
            if not work.ask_first:
                raise
            if (run := await self._find(work, fire.project)) is not None:
                self._check_settled(run)
                return run
            self._check_lost(work)
            raise
        if work.ask_first:
            run = await self._find(work, resolved.project or fire.project)
            self._follow_pause(work)  # which may have begun or ended meanwhile
            if run is not None:
                self._check_ours(work, run, resolved)
                self._check_settled(run)
                return run
            if work.end is not None or self._now() >= work.deadline or not resolved.unique_names:
                self._check_lost(work)
        await self._pass_gates(work, resolved)
        start = self.starts.of(fire, work.schedule, resolved)
        if self._follow_pause(work):
            self._check_lost(work)
        work.asking = False
        work.fire = changed(fire, attempts=fire.attempts + 1)
        with Posting(work.fire, self.observer, self._elapsed) as posting:
            answer = await self._server.send(start)
        return lambda: posting.read(lambda: self._server.started(start, answer))

    async def _find(self, work: Work, project: str | None) -> Run | None:
        """The run that an earlier POST made. Without one, it need not be asked for again if none can come any more."""
        unsettled = asyncio.get_running_loop().time() < work.settle_at
        run = await self._server.find_run(work.fire.run_name or "", project)
        work.ask_first = run is not None or unsettled
        return run

    async def _pass_gates(self, work: Work, resolved: Resolved) -> None:
        """Raise NotSettled while the fire is to wait, or a lost request may have made its run; then Lapsed."""
        match await self._gates.verdict(work, resolved):
            case Wait(seconds, why):
                work.failure = why
                raise NotSettled(seconds)
            case Shut(end, why):
                work.end, work.failure = end, why
                self._check_lost(work)

    def _check_lost(self, work: Work) -> None:
        """Of a run that was not there: raise NotSettled while it may have come since, then Lapsed if late."""
        if work.ask_first:
            left = work.settle_at - asyncio.get_running_loop().time()
            raise NotSettled(min(_LOOK_AGAIN, max(0.05, left)))
        if work.end is not None or self._now() >= work.deadline:
            raise Lapsed

    def _check_ours(self, work: Work, run: Run, resolved: Resolved) -> None:
        """Raise NameTaken, with the run's id, when the run of that name cannot be this fire's."""
        if why := foreign(work, run, resolved, self._clocks()):
            raise Foreign(why)

    def _check_settled(self, run: Run) -> None:
        """Raise NotSettled while the server may still take the run back."""
        if seconds := settles_in(run, self._clocks()):
            raise NotSettled(seconds)

    def _clocks(self) -> Clocks:
        return Clocks(self._now(), self._elapsed(), self._server.skew, self._server.skew_within)

    async def _settle_removed(self, fire: Fire, settle_at: float) -> None:
        run = await self._removed.run(fire, settle_at)
        gone = {"state": FireState.FAILED, "reason": Reason.REMOVED}
        await self._close(fire, self._now(), **(gone if run is None else started(run)))

    async def _after(self, work: Work, failure: ZendaemonError) -> None:
        """Retry, ask or give up, as core.retry decides."""
        self.queue.heed(failure)
        vain = work.asking and isinstance(failure, Unavailable) and failure.reached
        vain = vain or (isinstance(failure, Uncertain) and self.queue.pace.doubts > 1)
        work.in_vain_at = self._elapsed() if vain else 0.0
        work.ask_first = work.ask_first or work.left_behind  # what an earlier process sent may still be at work
        if work.asking and isinstance(failure, Unavailable) and failure.busy:
            failure = failure.for_a_question()
        if work.end is None:
            work.failure = failure
        tried = work.tried
        if isinstance(failure, Uncertain):
            work.settle_at = asyncio.get_running_loop().time() + self._settle_after
        counts = not (isinstance(failure, Unavailable) and failure.busy) and not isinstance(failure, NameTaken)
        work.tried = replace(
            tried,
            failures=tried.failures + counts,
            conflicts=tried.conflicts + isinstance(failure, NameTaken),
            sent=tried.sent or isinstance(failure, Uncertain),
            resolved_again=work.target_id in work.stale,
        )
        if isinstance(failure, Foreign):
            await self._give_up(work, retry.GiveUp(FireState.FAILED, Reason.NAME_TAKEN))
            return
        left = work.deadline - self._now()
        decision = retry.decide(failure, work.tried, work.schedule.retry, left=left, fraction=self._random.random())
        match decision:
            case retry.GiveUp() if may_have_run(work, failure):
                work.end, work.ask_first = decision, True
                wait = retry.RetryAfter(retry.backoff(work.schedule.retry, work.tried.failures, 1.0), ask_first=True)
                say_retry(work.fire, failure, wait.seconds)
                self._wait(work, failure, wait.seconds)
            case retry.GiveUp():
                await self._give_up(work, decision)
            case retry.ResolveAgain():
                work.stale |= {work.target_id}
                self._targets.forget(work.schedule, work.target_id)
                self._enqueue(work)
            case retry.RetryAfter():
                work.ask_first = work.ask_first or decision.ask_first
                say_retry(work.fire, failure, decision.seconds)
                self._wait(work, failure, decision.seconds)

    def _wait(self, work: Work, failure: ZendaemonError, seconds: float) -> None:
        """Back to the queue at once where the whole server is waited for, so that order and release are its alone.

        What fails with a question about this one fire waits by itself, so that another one is the next to begin: the
        server may be unwell with this question alone.
        """
        if isinstance(failure, Unavailable) and not (work.asking and failure.reached):
            self._enqueue(work)
        else:
            self._later(max(seconds, self.queue.opens_in + _BEHIND_OTHERS), work)

    async def _give_up(self, work: Work, decision: retry.GiveUp) -> None:
        message = str(work.failure) if work.failure is not None else None
        await self._close(work.fire, self._now(), state=decision.state, reason=decision.reason, message=message)

    async def _close(self, fire: Fire, at: datetime, **end: object) -> None:
        """Have the end of a fire recorded; that is not waited for."""
        fire = changed(fire, **end, decided_at=at)
        if fire.earlier_runs:
            self._again[fire.key] = fire.state is FireState.STARTED
            if not self._again[fire.key]:
                why = ": ".join(part for part in (fire.reason, fire.message) if part)
                fire = not_again(fire, f"not run again: {why}")
        await self._records.put(fire)

    def _closed(self, fire: Fire) -> None:
        self.on_closed(fire)
        if (was_started := self._again.pop(fire.key, None)) is None:
            say_closed(fire, self.observer)
        else:
            say_run_again(fire, self.observer, was_started=was_started)
