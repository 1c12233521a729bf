"""The last moments before schedules are due: what their second will take is done beforehand, without effect.

A process that has slept finds its code and data gone from the processor's caches, and on a virtual machine from its
tables of pages too: the way of the first fires then takes several times as long as when it has just been taken. So it
is taken a few times until it is time: planned, written to the journal and undone, the server asked something small.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from zendaemon.core.errors import JournalError, ZendaemonError
from zendaemon.core.planning import plan
from zendaemon.timers import AHEAD

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import datetime

    from zendaemon.core.fire import Fire
    from zendaemon.engine import Engine
    from zendaemon.journal import Journal
    from zendaemon.queue import Queue

log = structlog.get_logger()

_FIRST, _LOOKED_AT = 50, 1000
"""So many fires are rehearsed, as many as are claimed first; they are the first of so many."""
_LAST_MOMENTS = timedelta(seconds=0.2)
_STILL = timedelta(seconds=0.5)
"""What is due so soon after something else needs none."""
_LAST = timedelta(milliseconds=10)
"""Nothing is begun so shortly before: it would be in the way."""
_ASK_EVERY = 30.0


class Server(Protocol):
    """What is needed of a ZenML server."""

    async def current_user(self) -> object: ...


class Rehearsal:
    """Beside the `queue` of fires: none while that hurries, and no question to a server that is away or busy."""

    def __init__(
        self, engine: Engine, server: Server, journal: Journal, queue: Queue[Any], now: Callable[[], datetime]
    ) -> None:
        self._engine = engine
        self._server = server
        self._journal = journal
        self._queue = queue
        self._now = now
        self._soon: dict[datetime, list[str]] = {}
        self._told = asyncio.Event()
        self._before: datetime | None = None
        self._asked_at = float("-inf")

    def expect(self, at: datetime, names: Collection[str]) -> None:
        """These schedules are due at `at`, jitter included."""
        some = self._soon.setdefault(at, [])
        some.extend(islice(names, _LOOKED_AT - len(some)))
        self._told.set()

    async def run(self) -> None:
        """Rehearse, for ever. What goes wrong here goes wrong again for the fire, which says so."""
        while True:
            await self._told.wait()
            self._told.clear()
            soon, self._soon = self._soon, {}
            for at in sorted(soon):
                try:
                    await self._prepare(at, soon[at])
                except Exception:
                    log.exception("engine.error")

    async def _prepare(self, at: datetime, names: Sequence[str]) -> None:
        """Wait for the last moments before `at`, and use them; not where something else was due just before."""
        before, self._before = self._before, at
        if (before is not None and abs(at - before) < _STILL) or self._left(at) > AHEAD:
            return
        await asyncio.sleep((self._left(at) - _LAST_MOMENTS).total_seconds())
        if self._left(at) > 2 * _LAST_MOMENTS or self._queue.hurries:  # the clock was set back meanwhile
            return
        with suppress(TimeoutError, JournalError):
            async with asyncio.timeout(self._left(at).total_seconds()):
                await asyncio.gather(self._ask(), self._rehearse(at, names))

    def _left(self, at: datetime) -> timedelta:
        return at - self._now()

    async def _ask(self) -> None:
        loop = asyncio.get_running_loop()
        if self._queue.room and loop.time() - self._asked_at >= _ASK_EVERY:
            self._asked_at = loop.time()
            with suppress(ZendaemonError):
                await self._server.current_user()

    async def _rehearse(self, at: datetime, names: Sequence[str]) -> None:
        """Again and again, at half of what is left each time: all is cold the first time, and soon again."""
        while self._left(at) > _LAST:
            self._engine.wake(())
            fires, watermarks = self._planned(at, names)
            await self._journal.rehearse(fires, watermarks)
            await asyncio.sleep(self._left(at).total_seconds() / 2)

    def _planned(self, at: datetime, names: Sequence[str]) -> tuple[list[Fire], dict[str, datetime]]:
        """What would be claimed first if it were `at`, and the watermarks after it."""
        fires: list[Fire] = []
        watermarks: dict[str, datetime] = {}
        for name in self._engine.in_turn(names)[:_FIRST]:
            schedule = self._engine.schedules.schedules[name]
            found = plan(schedule, self._engine.standing(schedule), at, limit=1)
            fires.extend(found.fires)
            watermarks[name] = found.watermark
        return fires, watermarks
