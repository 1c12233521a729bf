"""The attempts of claimed fires: in order, never two of one fire at once, until each is closed.

A fire waits here by priority and age, is started when the server has room, and what follows a failure is decided by
core.retry. The server is asked for the run before every POST that is not the first one.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http import HTTPStatus
from itertools import count
from typing import TYPE_CHECKING, Protocol

import structlog

from zendaemon.core import retry
from zendaemon.core.errors import (
    JournalError,
    NameTaken,
    Rejected,
    ServerError,
    Unauthorized,
    Unavailable,
    Uncertain,
    Unresolved,
    ZendaemonError,
)
from zendaemon.core.fire import Fire, FireState, Reason, lateness, run_config
from zendaemon.core.pacing import Pace
from zendaemon.core.schedule import Overlap
from zendaemon.events import fire_values, say_closed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from pydantic import JsonValue

    from zendaemon.core.run import Resolved, Run
    from zendaemon.core.schedule import Schedule
    from zendaemon.journal import Journal
    from zendaemon.targets import Targets

log = structlog.get_logger()

CLOCK_TOLERANCE = timedelta(seconds=5)
"""How far a run may seem to be created before its fire time and still be the fire's own."""
_LOOK_AGAIN = 5.0
_AFTER_ERROR = 30.0


class Server(Protocol):
    """What attempts need of a ZenML server."""

    @property
    def skew(self) -> timedelta:
        """The server's clock minus ours."""

    async def start(
        self, resolved: Resolved, config: Mapping[str, JsonValue], tags: Sequence[str], key: UUID
    ) -> Run: ...

    async def find_run(self, name: str, project: str | None) -> Run | None: ...


@dataclass(slots=True, kw_only=True)
class _Work:
    """A fire in hand. `settle_at` is the monotonic second before which a lost request may still be at work.

    `end` is how the fire is closed once the server has been asked a last time and has no run of it.
    """

    fire: Fire
    schedule: Schedule
    order: int
    tried: retry.Tried = field(default_factory=retry.Tried)
    ask_first: bool = False
    settle_at: float = 0.0
    failure: ZendaemonError | None = None
    end: retry.GiveUp | None = None

    @property
    def deadline(self) -> datetime:
        held = self.fire.manual or self.schedule.overlap is Overlap.BUFFER_ONE
        begin = self.fire.claimed_at if held and self.fire.claimed_at else self.fire.fire_time
        return begin + self.schedule.delay + self.schedule.catchup_window

    @property
    def asked_for_at(self) -> datetime:
        """The fire time; for a manual fire the claim, since its time is a whole second that may be ahead of it."""
        return self.fire.claimed_at if self.fire.manual and self.fire.claimed_at else self.fire.fire_time


class _NotSettled(Exception):
    """The server has no such run yet, and a lost request may still make one."""


class _Lapsed(Exception):
    """The server has no such run, and the fire's catch-up window is closed."""


class Attempts:
    """Starts claimed fires at one server. `on_closed` is called with each fire that got its final state."""

    def __init__(
        self,
        server: Server,
        targets: Targets,
        journal: Journal,
        *,
        now: Callable[[], datetime],
        max_concurrency: int,
        settle_after: timedelta,
        seed: int | None = None,
    ) -> None:
        self._server = server
        self._targets = targets
        self._journal = journal
        self._now = now
        self._settle_after = settle_after.total_seconds()
        self._random = random.Random(seed)  # noqa: S311 - jitter, not secrets
        self._queue: list[tuple[int, datetime, int, _Work]] = []
        self._order = count()
        self._tasks: set[asyncio.Task[None]] = set()
        self._asking: set[asyncio.Task[None]] = set()
        self._sleeping: set[asyncio.TimerHandle] = set()
        self._opens_at = 0.0
        self._gate: asyncio.TimerHandle | None = None
        self._stopping = False
        self.pace = Pace.full(max_concurrency)
        self.unavailable_since: datetime | None = None
        self.on_closed: Callable[[Fire], None] = lambda _: None

    @property
    def in_flight(self) -> int:
        return len(self._tasks)

    @property
    def waiting(self) -> int:
        return len(self._queue) + len(self._sleeping)

    def submit(self, fire: Fire, schedule: Schedule) -> None:
        """Take a fire that has just been claimed."""
        self._enqueue(_Work(fire=fire, schedule=schedule, order=next(self._order)))

    def settle(self, fire: Fire, schedule: Schedule | None) -> None:
        """Take a claim that an earlier process left behind: its request may be lost, or still under way.

        Without a schedule, since it was removed meanwhile, the server is only asked.
        """
        settle_at = asyncio.get_running_loop().time() + self._settle_after
        if schedule is None:
            task = asyncio.get_running_loop().create_task(self._settle_removed(fire, settle_at))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
            return
        order = next(self._order)
        self._enqueue(_Work(fire=fire, schedule=schedule, order=order, ask_first=True, settle_at=settle_at))

    async def drain(self, limit: timedelta) -> int:
        """Begin no more attempts and wait for those under way; return how many fires stay claimed."""
        self._stopping = True
        for timer in (*self._sleeping, self._gate):
            if timer is not None:
                timer.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=limit.total_seconds())
        left = self.waiting + self.in_flight + len(self._asking)
        for task in (*self._tasks, *self._asking):
            task.cancel()
        return left

    def _enqueue(self, work: _Work) -> None:
        """Queue; what else comes in the same turn is put in order with it before anything begins."""
        heapq.heappush(self._queue, (-work.schedule.priority, work.fire.fire_time, work.order, work))
        asyncio.get_running_loop().call_soon(self._pump)

    def _later(self, seconds: float, work: _Work) -> None:
        def wake() -> None:
            self._sleeping.discard(timer)
            self._enqueue(work)

        timer = asyncio.get_running_loop().call_later(seconds, wake)
        self._sleeping.add(timer)

    def _pump(self) -> None:
        """Begin as many attempts as the pace allows."""
        loop = asyncio.get_running_loop()
        while (
            self._queue and not self._stopping and len(self._tasks) < self.pace.limit and loop.time() >= self._opens_at
        ):
            work = heapq.heappop(self._queue)[-1]
            task = loop.create_task(self._guarded(work), name=f"attempt {work.fire.schedule}")
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._pump()

    async def _guarded(self, work: _Work) -> None:
        """An attempt that meets a fault of ours is uncertain: the fire is kept, and the server asked about it."""
        try:
            await self._attempt(work)
        except Exception:
            log.exception("engine.error", **fire_values(work.fire))
            work.ask_first = True
            self._later(_AFTER_ERROR, work)

    async def _attempt(self, work: _Work) -> None:
        now = self._now()
        if now >= work.deadline and not work.ask_first:
            await self._give_up(work, retry.lapsed(work.failure, work.tried))
            return
        if work.fire.lateness_seconds is None:
            work.fire = replace(work.fire, lateness_seconds=lateness(work.asked_for_at, now))
        try:
            run = await self._start_or_find(work)
        except _NotSettled:
            self._later(min(_LOOK_AGAIN, max(0.05, work.settle_at - asyncio.get_running_loop().time())), work)
        except _Lapsed:
            await self._give_up(work, work.end or retry.lapsed(work.failure, work.tried))
        except ZendaemonError as failure:
            await self._after(work, failure)
        else:
            self._reached(busy=False)
            await self._started(work, run)

    async def _start_or_find(self, work: _Work) -> Run:
        """One POST, or the run that an earlier one made."""
        fire, name = work.fire, work.fire.run_name or ""
        try:
            resolved = await self._targets.resolved(work.schedule)
        except Unresolved:
            if work.ask_first and (run := await self._server.find_run(name, fire.project)) is not None:
                return run
            raise
        if work.ask_first:
            run = await self._server.find_run(name, resolved.project or fire.project)
            if run is not None:
                self._check_ours(work, run, resolved)
                return run
            lapsed = work.end is not None or self._now() >= work.deadline
            if (lapsed or not resolved.unique_names) and asyncio.get_running_loop().time() < work.settle_at:
                raise _NotSettled
            if lapsed:
                raise _Lapsed
            work.ask_first = False
        try:
            config = run_config(work.schedule, fire.fire_time, name)
        except ValueError as error:
            raise Rejected(str(error)) from None
        work.fire = replace(fire, attempts=fire.attempts + 1)
        return await self._server.start(resolved, config, work.schedule.tags, fire.key)

    def _check_ours(self, work: _Work, run: Run, resolved: Resolved) -> None:
        """Raise NameTaken, with the run's id, when the run of that name cannot be this fire's."""
        if run.pipeline_id is not None and run.pipeline_id != resolved.pipeline_id:
            raise _Foreign(f"run {run.id} of another pipeline has the name {run.name!r}")
        if run.created is not None and run.created - self._server.skew < work.asked_for_at - CLOCK_TOLERANCE:
            raise _Foreign(f"run {run.id} with the name {run.name!r} was there before the fire time")

    async def _settle_removed(self, fire: Fire, settle_at: float) -> None:
        run = None
        while run is None:
            try:
                run = await self._server.find_run(fire.run_name or "", fire.project)
            except ServerError as error:
                log.debug("fire.uncertain", **fire_values(fire), error=str(error))
            else:
                if run is None and asyncio.get_running_loop().time() >= settle_at:
                    break
            await asyncio.sleep(0 if run else _LOOK_AGAIN)
        if run is not None:
            fire = replace(fire, state=FireState.STARTED, run_id=run.id, run_status=run.status)
        else:
            fire = replace(fire, state=FireState.FAILED, reason=Reason.REMOVED)
        await self._close(fire)

    async def _after(self, work: _Work, failure: ZendaemonError) -> None:
        """Retry, ask or give up, as core.retry decides."""
        self._note(failure)
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
        )
        if isinstance(failure, _Foreign):
            await self._give_up(work, retry.GiveUp(FireState.FAILED, Reason.NAME_TAKEN))
            return
        left = work.deadline - self._now()
        decision = retry.decide(failure, work.tried, work.schedule.retry, left=left, fraction=self._random.random())
        match decision:
            case retry.GiveUp() if _may_have_run(work, failure):
                work.end, work.ask_first = decision, True
                wait = retry.RetryAfter(retry.backoff(work.schedule.retry, work.tried.failures, 1.0), ask_first=True)
                self._say_retry(work, failure, wait)
                self._wait(work, failure, wait.seconds)
            case retry.GiveUp():
                await self._give_up(work, decision)
            case retry.ResolveAgain():
                work.tried = replace(work.tried, resolved_again=True)
                self._targets.forget(work.schedule)
                self._enqueue(work)
            case retry.RetryAfter():
                work.ask_first = work.ask_first or decision.ask_first
                self._say_retry(work, failure, decision)
                self._wait(work, failure, decision.seconds)

    def _wait(self, work: _Work, failure: ZendaemonError, seconds: float) -> None:
        """Back to the queue at once where the whole server is waited for, so that order and release are its alone."""
        if isinstance(failure, Unavailable):
            self._enqueue(work)
        else:
            self._later(seconds, work)

    def _note(self, failure: ZendaemonError) -> None:
        """Adapt the pace to what a failure says of the server. One that answers 500 is unwell, and yet there."""
        if isinstance(failure, Unavailable) and not failure.busy and failure.status != HTTPStatus.INTERNAL_SERVER_ERROR:
            self._unreachable(failure)
        elif isinstance(failure, Unavailable) or (isinstance(failure, Uncertain) and failure.status in (429, 503)):
            self._reached(busy=True)
            self._close_gate(failure)
        elif isinstance(failure, ServerError) and failure.status is not None:
            self._reached(busy=False)

    def _unreachable(self, failure: Unavailable) -> None:
        self.pace = self.pace.down()
        self._close_gate(failure)
        if self.unavailable_since is None:
            self.unavailable_since = self._now()
            log.error("server.unavailable", error=str(failure), waiting=self.waiting + 1)

    def _reached(self, *, busy: bool) -> None:
        self.pace = self.pace.busy() if busy else self.pace.answered()
        if self.unavailable_since is not None:
            down_for = (self._now() - self.unavailable_since).total_seconds()
            self.unavailable_since = None
            log.info("server.back", down_seconds=round(down_for, 3), waiting=self.waiting)
        if not busy:
            self._opens_at = 0.0

    def _close_gate(self, failure: Unavailable | Uncertain) -> None:
        loop = asyncio.get_running_loop()
        pause = max(self.pace.pause(self._random.random()), failure.retry_after or 0)
        self._opens_at = max(self._opens_at, loop.time() + pause)
        if self._gate is not None:
            self._gate.cancel()
        self._gate = loop.call_at(self._opens_at, self._pump)

    def _say_retry(self, work: _Work, failure: ZendaemonError, decision: retry.RetryAfter) -> None:
        event = "fire.uncertain" if isinstance(failure, Uncertain | NameTaken) else "fire.retrying"
        level = log.info if isinstance(failure, Unavailable) else log.warning
        level(event, **fire_values(work.fire), error=str(failure), delay_seconds=round(decision.seconds, 3))

    async def _started(self, work: _Work, run: Run) -> None:
        await self._close(
            replace(work.fire, state=FireState.STARTED, run_id=run.id, run_status=run.status, message=run.status_reason)
        )

    async def _give_up(self, work: _Work, decision: retry.GiveUp) -> None:
        message = str(work.failure) if work.failure is not None else None
        await self._close(replace(work.fire, state=decision.state, reason=decision.reason, message=message))

    async def _close(self, fire: Fire) -> None:
        """Record the end of a fire, as often as the journal needs; until then the claim stays and is settled later."""
        fire = replace(fire, decided_at=self._now())
        delay = 1.0
        while True:
            try:
                await self._journal.record(fire)
                break
            except JournalError as error:
                log.error("journal.unavailable", error=str(error), **fire_values(fire))  # noqa: TRY400 - no traceback wanted
                await asyncio.sleep(delay)
                delay = min(delay * 2, 30)
        say_closed(fire)
        self.on_closed(fire)


class _Foreign(NameTaken):
    """A run with the fire's name is somebody else's."""


def _may_have_run(work: _Work, failure: ZendaemonError) -> bool:
    """Whether only the server can tell if a start that got no answer made a run, and it has not told yet."""
    asked = Unavailable | Unauthorized | Rejected if work.ask_first else Unavailable | Unauthorized
    return isinstance(failure, Uncertain) or ((work.ask_first or work.tried.sent) and isinstance(failure, asked))
