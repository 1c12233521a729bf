"""Runs after their start: a 200 means queued, so every run is watched until it has begun, and then to its end.

At most `_PER_SECOND` requests a second go to the server for this: young runs are asked often, old ones seldom.
"""

from __future__ import annotations

import asyncio
import heapq
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Protocol

import structlog

from zendaemon.core.errors import JournalError, ServerError
from zendaemon.core.run import DELETED, FAILED, QUEUED, TERMINAL
from zendaemon.events import Observers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from zendaemon.core.fire import Fire
    from zendaemon.core.run import Run
    from zendaemon.events import Observer
    from zendaemon.journal import Journal

log = structlog.get_logger()

_PER_SECOND = 5
_FIRST, _LONGEST = 2.0, 300.0
_GIVE_UP = timedelta(days=2)


class Server(Protocol):
    """What following needs of a ZenML server."""

    async def get_run(self, run_id: str) -> Run | None: ...


class Runs:
    """Follows the runs of started fires. `on_ended` is called with each fire whose run is not active any more."""

    def __init__(
        self, server: Server, journal: Journal, *, now: Callable[[], datetime], stuck_after: timedelta
    ) -> None:
        self._server = server
        self._journal = journal
        self._now = now
        self._stuck_after = stuck_after
        self._heap: list[tuple[float, int, Fire]] = []
        self._order = count()
        self._stuck: set[str] = set()
        self._added = asyncio.Event()
        self.observer: Observer = Observers()
        self.on_ended: Callable[[Fire], None] = lambda _: None
        self.follow_up: Callable[[Fire], Fire] = lambda fire: fire

    async def look(self, fires: Sequence[Fire]) -> list[Fire]:
        return [await self._look(fire, again=False) for fire in fires]

    def hurry(self, fires: Sequence[Fire]) -> None:
        pass

    def follow(self, fire: Fire, *, after: float = _FIRST) -> None:
        """Look at the run of a started fire in `after` seconds, and again until it has ended."""
        heapq.heappush(self._heap, (asyncio.get_running_loop().time() + after, next(self._order), fire))
        self._added.set()

    async def run(self) -> None:
        """Follow for ever."""
        loop = asyncio.get_running_loop()
        while True:
            self._added.clear()
            wait = self._heap[0][0] - loop.time() if self._heap else None
            if wait is None or wait > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):  # wait_for may lose a cancellation (Python 3.11)
                        await self._added.wait()
                continue
            _, _, fire = heapq.heappop(self._heap)
            try:
                await self._look(fire)
            except (ServerError, JournalError) as error:
                log.debug("run.postponed", schedule=fire.schedule, run_id=fire.run_id, error=str(error))
                self.follow(fire, after=self._interval(fire))
            except Exception:
                log.exception("engine.error", schedule=fire.schedule, run_id=fire.run_id)
                self.follow(fire, after=_LONGEST)
            await asyncio.sleep(1 / _PER_SECOND)

    def _interval(self, fire: Fire) -> float:
        age = (self._now() - (fire.decided_at or fire.fire_time)).total_seconds()
        return min(_LONGEST, max(_FIRST, age / 10))

    async def _look(self, fire: Fire, *, again: bool = True) -> Fire:
        run = await self._server.get_run(fire.run_id or "")
        age = self._now() - (fire.decided_at or fire.fire_time)
        seen = _as_seen(fire, run, self._now())
        ended = run is None or run.status in TERMINAL
        follow = not ended and age < _GIVE_UP
        if ended:
            seen = self.follow_up(seen)
        if seen != fire or not follow:
            await self._journal.record_status(seen, follow=follow)
        self._say(fire, seen, age)
        if follow:
            if again:
                self.follow(seen, after=self._interval(seen))
        else:
            self._stuck.discard(fire.run_id or "")
            self.on_ended(seen)
            self.observer.ended(seen)
        return seen

    def _say(self, before: Fire, seen: Fire, age: timedelta) -> None:
        bound = {"schedule": seen.schedule, "fire_key": str(seen.key), "run_id": seen.run_id, "run_name": seen.run_name}
        if seen.run_status != before.run_status:
            level = log.error if seen.run_status in FAILED else log.info
            begun = before.run_status in QUEUED
            level(
                "run.status", status=seen.run_status, was=before.run_status, reason=seen.message, begun=begun, **bound
            )
        elif seen.run_status in QUEUED and age > self._stuck_after and seen.run_id not in self._stuck:
            self._stuck.add(seen.run_id or "")
            log.error("run.stuck", status=seen.run_status, age_seconds=round(age.total_seconds()), **bound)


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
