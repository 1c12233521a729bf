"""Runs after their start: a 200 means queued, so every run is watched until it has begun, and then to its end.

Young runs are looked at often, old ones seldom; what is due, and what is so soon, goes into one request. However many
runs there are, the server gets no more than 60 lists, or 300 questions for a single run, a minute (core.following).
"""

from __future__ import annotations

import asyncio
import heapq
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from itertools import count
from typing import TYPE_CHECKING, Protocol

import structlog

from zendaemon.core import following
from zendaemon.core.alert import Alert, AlertKind
from zendaemon.core.errors import JournalError, Rejected, ServerError, Stale, Unavailable
from zendaemon.core.run import DELETED, FAILED, QUEUED, TERMINAL
from zendaemon.events import Observers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
    from datetime import datetime, timedelta

    from zendaemon.core.fire import Fire
    from zendaemon.core.run import Run
    from zendaemon.core.schedule import Schedule
    from zendaemon.events import Observer
    from zendaemon.journal import Journal

log = structlog.get_logger()

MOST = 100
"""The runs of one request."""


class Server(Protocol):
    """What following needs of a ZenML server; see zenml.ZenML."""

    @property
    def skew(self) -> timedelta: ...

    async def get_runs(
        self, ids: Sequence[str], project: str | None, *, times: bool, turn: Callable[[int], Awaitable[None]]
    ) -> dict[str, Run | None]: ...


@dataclass(slots=True)
class Followed:
    """A run that is followed. `due` is by the loop's clock; the status is the same `since` then, by the wall clock.

    `answered` is the number of the question whose answer was taken last, so that a late answer changes nothing.
    """

    fire: Fire
    since: datetime
    due: float = 0.0
    project: str | None = None
    answered: int = 0
    hurried: bool = False
    stuck: bool = False


class Pace:
    """The questions that the server is asked: each keeps it free for a while, unless somebody waits for the answer."""

    def __init__(self) -> None:
        self._free = 0.0

    @property
    def wait(self) -> float:
        """Seconds until there may be another question; none left when it is not positive."""
        return self._free - following.AT_ONCE - asyncio.get_running_loop().time()

    def rest(self, seconds: float) -> None:
        self._free = max(self._free, asyncio.get_running_loop().time() + following.AT_ONCE + seconds)

    async def at_once(self, runs: int) -> None:
        """The turn of a question about so many runs: at the cost of those that come after it."""
        cost = following.LIST if runs > 1 else following.ALONE
        self._free = max(self._free, asyncio.get_running_loop().time()) + cost

    async def in_turn(self, runs: int) -> None:
        """The same, when it is time."""
        await asyncio.sleep(max(0.0, self.wait))
        await self.at_once(runs)


class Runs:
    """Follows the runs of started fires.

    `on_ended` is called with each fire whose run is not active any more, once that is on disk; `follow_up` before, for
    what is to be written along with it: when that fails, it is called again. `tell` gets the alerts. `schedule_of`
    finds the schedule of a fire by its name.
    """

    def __init__(
        self, server: Server, journal: Journal, *, now: Callable[[], datetime], stuck_after: timedelta
    ) -> None:
        self._server = server
        self._journal = journal
        self._now = now
        self._stuck_after = stuck_after
        self._followed: dict[str, Followed] = {}
        self._queue: list[tuple[float, int, str]] = []
        self._hurried: set[str] = set()
        self._order = count()
        self._questions = count(1)
        self._pace = Pace()
        self._failures = 0
        self._recording = asyncio.Lock()
        self._added = asyncio.Event()
        self.observer: Observer = Observers()
        self.on_ended: Callable[[Fire], None] = lambda _: None
        self.follow_up: Callable[[Fire], Fire] = lambda fire: fire
        self.tell: Callable[[Alert], None] = lambda _: None
        self.schedule_of: Callable[[str], Schedule | None] = lambda _: None

    def follow(self, fire: Fire, *, after: float | None = None) -> None:
        """Look at the run of a started fire in `after` seconds, and again until it has ended."""
        run_id = fire.run_id or ""
        one = self._followed.get(run_id)
        if one is None:
            one = self._followed[run_id] = Followed(fire, fire.decided_at or self._now(), project=fire.project)
        self._look_in(one, following.FIRST if after is None else after)

    def hurry(self, fires: Iterable[Fire]) -> None:
        """Somebody waits for the end of these runs: look at them within 5 s each time, before all others."""
        for fire in fires:
            run_id = fire.run_id or ""
            if (one := self._followed.get(run_id)) is not None and not one.hurried:
                one.hurried = True
                self._hurried.add(run_id)
                self._look_in(one, min(one.due - asyncio.get_running_loop().time(), self._interval(one)))

    async def look(self, fires: Sequence[Fire]) -> list[Fire]:
        """Ask the server for these runs now, and do with the answer what is always done with it. Returns what was seen.

        Raises ServerError when it cannot tell of all of them, JournalError when that could not be recorded.
        """
        seen: dict[str, Fire] = {}
        for project, some in self._by_project(fires).items():
            seen |= await self._ask(some, project, self._pace.at_once)
        for fire in fires:
            if fire.run_id not in seen:
                text = f"the server does not tell the status of run {fire.run_id}"
                raise Unavailable(text, status=HTTPStatus.INTERNAL_SERVER_ERROR)  # of this one; it may do so yet
        return [seen[fire.run_id or ""] for fire in fires]

    async def run(self) -> None:
        """Follow for ever."""
        while True:
            self._added.clear()
            wait = self._wait()
            if wait is None or wait > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):  # wait_for may lose a cancellation (Python 3.11)
                        await self._added.wait()
                continue
            for project, some in self._by_project(self._take()).items():
                await self._poll(some, project)

    async def _poll(self, fires: Sequence[Fire], project: str | None) -> None:
        longest = False
        try:
            seen = await self._ask(fires, project, self._pace.in_turn)
            self._failures = 0
            for fire in fires:
                if fire.run_id not in seen:
                    log.debug("run.postponed", schedule=fire.schedule, run_id=fire.run_id)
        except (ServerError, JournalError) as error:
            log.debug("run.postponed", runs=len(fires), run_id=fires[0].run_id, error=str(error))
            if not isinstance(error, Rejected | Stale):
                self._failures += 1
                self._pace.rest(following.rest(self._failures))
        except Exception:
            log.exception("engine.error", runs=len(fires), run_id=fires[0].run_id)
            longest = True
        for fire in fires:
            if (one := self._followed.get(fire.run_id or "")) is not None:
                self._look_in(one, following.LONGEST if longest else self._interval(one))

    def _interval(self, one: Followed) -> float:
        return following.interval(self._age(one.fire), hurried=one.hurried)

    def _age(self, fire: Fire) -> timedelta:
        return self._now() - (fire.decided_at or fire.fire_time)

    def _look_in(self, one: Followed, seconds: float) -> None:
        one.due = asyncio.get_running_loop().time() + seconds
        heapq.heappush(self._queue, (one.due, next(self._order), one.fire.run_id or ""))
        self._added.set()

    def _first(self) -> Followed | None:
        """The one that is due first; what was in the queue for another time is dropped from its head."""
        while self._queue:
            due, _, run_id = self._queue[0]
            one = self._followed.get(run_id)
            if one is not None and one.due == due:
                return one
            heapq.heappop(self._queue)
        return None

    def _wait(self) -> float | None:
        """Seconds until there is something to ask, None when nothing is followed."""
        first = self._first()
        return None if first is None else max(first.due - asyncio.get_running_loop().time(), self._pace.wait)

    def _take(self) -> list[Fire]:
        """What one request is to be about: what somebody waits for, what is due, and what is so soon."""
        now = asyncio.get_running_loop().time()
        taken: dict[str, Fire] = {}
        for run_id in self._hurried:
            one = self._followed[run_id]
            if len(taken) < MOST and following.may_join(one.due, self._interval(one), now):
                taken[run_id] = one.fire
        while len(taken) < MOST and (first := self._first()) is not None:
            if not following.may_join(first.due, self._interval(first), now):
                break
            heapq.heappop(self._queue)
            taken[first.fire.run_id or ""] = first.fire
        return list(taken.values())

    def _by_project(self, fires: Iterable[Fire]) -> Mapping[str | None, list[Fire]]:
        """Lists are of one project each: that in which the run was found, else that of the schedule."""
        found: defaultdict[str | None, list[Fire]] = defaultdict(list)
        for fire in fires:
            one = self._followed.get(fire.run_id or "")
            found[fire.project if one is None else one.project].append(fire)
        return found

    async def _ask(
        self, fires: Sequence[Fire], project: str | None, turn: Callable[[int], Awaitable[None]]
    ) -> dict[str, Fire]:
        """The fires as the server tells of them, by the ids of their runs."""
        number = next(self._questions)
        asked = {fire.run_id or "": fire for fire in fires}
        runs = await self._server.get_runs(list(asked), project, times=False, turn=turn)
        timeless = [run_id for run_id, run in runs.items() if run is not None and _lacks_times(asked[run_id], run)]
        if timeless:
            told = await self._server.get_runs(timeless, project, times=True, turn=turn)
            runs |= {run_id: run for run_id, run in told.items() if run is not None}
        async with self._recording:
            return await self._take_in(asked, runs, number)

    async def _take_in(self, asked: Mapping[str, Fire], runs: Mapping[str, Run | None], number: int) -> dict[str, Fire]:
        """Record what was seen of the runs that are followed, say it, and let go of those that have ended."""
        now = self._now()
        seen: dict[str, Fire] = {}
        fresh: dict[str, Followed] = {}
        for run_id, run in runs.items():
            one = self._followed.get(run_id)
            if one is not None and one.answered > number:
                seen[run_id] = one.fire
                continue
            found = _as_seen(asked[run_id] if one is None else one.fire, run, now)
            if one is not None:
                try:
                    found = self.follow_up(found) if _ended(found) else found
                except Exception:  # it is looked at again, and no other has to wait for it
                    log.exception("engine.error", **_bound(found))
                    continue
                fresh[run_id] = one
                self._note(one, run, number)
            seen[run_id] = found
        outcomes = await asyncio.gather(
            *(self._record(one.fire, seen[run_id]) for run_id, one in fresh.items()), return_exceptions=True
        )
        for (run_id, one), outcome in zip(fresh.items(), outcomes, strict=True):
            if outcome is None:
                self._taken(one, seen[run_id], now)
        if failed := [outcome for outcome in outcomes if outcome is not None]:
            raise failed[0]
        return seen

    def _note(self, one: Followed, run: Run | None, number: int) -> None:
        """What counts for the following, and not for the journal."""
        if run is not None and one.answered == 0 and run.status == one.fire.run_status and run.updated is not None:
            one.since = max(one.since, min(run.updated - self._server.skew, self._now()))
        if run is not None:
            one.project = run.project or one.project
        one.answered = number

    async def _record(self, before: Fire, seen: Fire) -> None:
        follow = self._goes_on(seen)
        if seen != before or not follow:
            await self._journal.record_status(seen, follow=follow)

    def _goes_on(self, seen: Fire) -> bool:
        return not _ended(seen) and self._age(seen) < following.GIVE_UP

    def _taken(self, one: Followed, seen: Fire, now: datetime) -> None:
        """It is on disk."""
        before, one.fire = one.fire, seen
        if seen.run_status != before.run_status:
            one.since = now
            self._say_status(before, seen)
            if one.stuck:
                one.stuck = False
                self._say_unstuck(before, seen, now)
        elif not one.stuck and self._is_stuck(one, now):
            one.stuck = True
            self._say_stuck(one, now)
        if self._goes_on(seen):
            return
        if not _ended(seen):
            log.warning("run.given_up", status=seen.run_status, age_days=self._age(seen).days, **_bound(seen))
        self._followed.pop(seen.run_id or "", None)
        self._hurried.discard(seen.run_id or "")
        self.on_ended(seen)
        self.observer.ended(seen)

    def _is_stuck(self, one: Followed, now: datetime) -> bool:
        fire = one.fire
        patience = following.patience(fire.run_status, self.schedule_of(fire.schedule), self._stuck_after)
        return not _ended(fire) and patience is not None and now - one.since > patience

    def _say_status(self, before: Fire, seen: Fire) -> None:
        if seen.run_status == DELETED:
            log.error("run.deleted", was=before.run_status, **_bound(seen))
            return
        level = log.error if seen.run_status in FAILED else log.info
        begun = before.run_status in QUEUED
        level(
            "run.status",
            status=seen.run_status,
            was=before.run_status,
            reason=seen.message,
            begun=begun,
            **_bound(seen),
        )

    def _say_stuck(self, one: Followed, now: datetime) -> None:
        fire, seconds = one.fire, round((now - one.since).total_seconds())
        log.error("run.stuck", status=fire.run_status, for_seconds=seconds, **_bound(fire))
        text = f"run {fire.run_name} has been {fire.run_status} for {seconds} s"
        self.tell(Alert(kind=AlertKind.RUN_STUCK, at=now, text=text, schedule=fire.schedule, fire=fire))

    def _say_unstuck(self, before: Fire, seen: Fire, now: datetime) -> None:
        log.info("run.unstuck", status=seen.run_status, was=before.run_status, **_bound(seen))
        text = f"run {seen.run_name} is {seen.run_status}, and no more stuck as {before.run_status}"
        kind, of = AlertKind.RECOVERED, AlertKind.RUN_STUCK
        self.tell(Alert(kind=kind, of=of, at=now, text=text, schedule=seen.schedule, fire=seen))


def _bound(fire: Fire) -> dict[str, object]:
    """What every event of a run carries."""
    return {
        "schedule": fire.schedule,
        "fire_key": str(fire.key),
        "run_id": fire.run_id,
        "run_name": fire.run_name,
    }


def _ended(fire: Fire) -> bool:
    return fire.run_status in TERMINAL


def _lacks_times(fire: Fire, run: Run) -> bool:
    """Whether a run has begun or ended since it was looked at, and a list told of it, which has no times."""
    begun = run.status not in QUEUED and run.status != fire.run_status
    return run.started_at is None and run.ended_at is None and (begun or not run.active)


def _as_seen(fire: Fire, run: Run | None, now: datetime) -> Fire:
    """The fire with what the server says of its run at `now`. When a run that is gone ended is told by nobody."""
    if run is None:
        return replace(fire, run_status=DELETED, message=None)
    started_at = run.started_at or fire.run_started_at
    ended_at = None if run.active else run.ended_at or now
    if started_at is not None and ended_at is not None:  # two clocks may have told them
        ended_at = max(started_at, ended_at)
    return replace(
        fire, run_status=run.status, message=run.status_reason, run_started_at=started_at, run_ended_at=ended_at
    )
